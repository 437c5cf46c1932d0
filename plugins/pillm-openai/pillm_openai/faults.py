"""Why a call gave no answer, whether asking again may help, and whether asking anything more is pointless."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import pillm

_SPENT = frozenset({
    "insufficient_quota", "quota_exceeded", "insufficient_balance", "billing_hard_limit_reached", "billing_not_active",
})  # fmt: skip
_REFUSED = frozenset({"content_filter", "content_policy_violation", "moderation_blocked"})
_LONGEST = 300
_READ = 2**16
"""Characters of an error that are looked at: it is cut to the longest only after the key was struck, lest half a key stay."""
_LONG_KEY, _TELLING = 16, 12
"""Characters of a key that nobody says by chance, and of its beginning that is a part of the secret already."""


class Fault(Exception):
    """One call that gave no answer."""

    def __init__(self, kind: Any, message: str, *, retry: bool = False, stop: bool = False, wait: float | None = None) -> None:
        super().__init__(message)
        self.kind, self.message, self.retry, self.stop, self.wait = kind, message, retry, stop, wait

    def failure(self, attempts: int, secret: str) -> pillm.Failure:
        """Return the failure that the stage records; the key is struck from the text."""
        tried = f" ({attempts} attempts)" if attempts > 1 else ""
        keyless = self.kind == "credentials" and not secret
        remedy = ". No key was sent: name its variable, -o api_key_env=NAME" if keyless else ""
        return pillm.Failure(self.kind, without(secret, f"{self.message}{tried}") + remedy, stop=self.stop)


def without(secret: str, text: str) -> str:
    """Return a text without the key in any form that a server may repeat it in, on one line and not endless."""
    for form in _forms(secret):
        # where a library cut the text, the beginning of a long key must go as well
        found = re.escape(form[:_TELLING]) + r"[^\s,;]*" if len(secret) >= _LONG_KEY else re.escape(form)
        text = re.sub(found, "[key]", text)
    return " ".join(text.split())[:_LONGEST]


def bytes_without(secret: str, body: bytes) -> bytes:
    """Return the body of an answer without the key; a short one is no secret (`none`, `EMPTY`) but a word like others."""
    if len(secret) >= _LONG_KEY:
        for form in _forms(secret):
            body = body.replace(form.encode("utf-8", "replace"), b"[key]")
    return body


@lru_cache(maxsize=8)
def _forms(secret: str) -> tuple[str, ...]:
    """Return a key as it is, and as JSON, addresses and base64 write it."""
    if len(secret) < _LONG_KEY:
        return (secret,) if secret else ()
    raw = (f"{before}{secret}".encode("utf-8", "replace") for before in ("", "Bearer "))
    coded = (base64.b64encode(text).decode().rstrip("=") for text in raw)
    return tuple(dict.fromkeys((secret, json.dumps(secret)[1:-1], quote(secret, safe="", errors="replace"), *coded)))


def fault_of_status(status: int, headers: Mapping[str, str], body: bytes) -> Fault:
    """Return what an HTTP status other than 2xx means."""
    said, code = server_words(body)
    text = f"the server answered {status}" + (f": {said}" if said else "")
    if 300 <= status < 400:
        text = (
            f"the server answered {status}, a redirection; prompts and keys are not sent on. Set base_url to the final address"
        )
        return Fault("network", text, stop=True)
    if status in (401, 403):
        return Fault("credentials", text, stop=True)
    if status == 402 or (status == 429 and code in _SPENT):
        return Fault("quota", text, stop=True)
    if status == 429:
        return Fault("rate", text, retry=True, wait=waiting_time(headers))
    if status == 404:
        # not "invalid", which is remembered for ever: the model may be there tomorrow
        return Fault("server", f"{text}. Check base_url and model", stop=True)
    if status in (408, 409, 425) or status >= 500:
        return Fault("server", text, retry=True, wait=waiting_time(headers))
    return Fault("refused" if code in _REFUSED else "invalid", text)


def fault_of_error(error: Any, body: bytes) -> Fault:
    """Return what an error object inside a 200 response means; gateways send them."""
    code = error.get("code") if isinstance(error, dict) else None
    if isinstance(code, int) and 300 <= code < 600:
        return fault_of_status(code, {}, body)
    said, name = server_words(body)
    if name in _SPENT:
        return Fault("quota", f"the server answered: {said}", stop=True)
    if name in _REFUSED:
        return Fault("refused", f"the server answered: {said}")
    return Fault("server", f"the server answered 200 with an error: {said}", retry=True)


def server_words(body: bytes) -> tuple[str, str]:
    """Return the message and the code of an error body; empty texts where it has none."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return body[:_READ].decode("utf-8", "replace").strip(), ""
    error = found.get("error", found) if isinstance(found, dict) else found
    if not isinstance(error, dict):
        return str(error)[:_READ], ""
    message = error.get("message") or error.get("detail") or ""
    return str(message)[:_READ], str(error.get("code") or error.get("type") or "")


def waiting_time(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that the server asks to wait, or None where it does not say."""
    with suppress(KeyError, ValueError):
        return _sane(float(headers["retry-after-ms"]) / 1000)
    with suppress(KeyError, ValueError):
        return _sane(float(headers["retry-after"]))
    with suppress(KeyError, ValueError, TypeError, OverflowError):
        until = parsedate_to_datetime(headers["retry-after"]).timestamp()
        return _sane(until - _server_time(headers))
    return None


def _server_time(headers: Mapping[str, str]) -> float:
    """Return the server's own time where it says it, so that clocks which differ do no harm; else this machine's."""
    with suppress(KeyError, ValueError, TypeError, OverflowError):
        return parsedate_to_datetime(headers["date"]).timestamp()
    return time.time()


def _sane(seconds: float) -> float:
    if seconds != seconds:  # NaN
        raise ValueError("not a number of seconds")
    return max(0.0, seconds)
