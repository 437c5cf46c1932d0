"""Why a call gave no answer, whether asking again may help, and whether asking anything more is pointless."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any

import pillm

_SPENT = frozenset({
    "insufficient_quota", "quota_exceeded", "insufficient_balance", "billing_hard_limit_reached", "billing_not_active",
})  # fmt: skip
_REFUSED = frozenset({"content_filter", "content_policy_violation", "moderation_blocked"})
_LONGEST = 300


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
    """Return a text without the key, on one line and not endless."""
    struck = text.replace(secret, "[key]") if secret else text
    return " ".join(struck.split())[:_LONGEST]


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
        return body[:_LONGEST].decode("utf-8", "replace").strip(), ""
    error = found.get("error", found) if isinstance(found, dict) else found
    if not isinstance(error, dict):
        return str(error)[:_LONGEST], ""
    message = error.get("message") or error.get("detail") or ""
    return str(message)[:_LONGEST], str(error.get("code") or error.get("type") or "")


def waiting_time(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that the server asks to wait, or None where it does not say."""
    with suppress(KeyError, ValueError):
        return _sane(float(headers["retry-after-ms"]) / 1000)
    with suppress(KeyError, ValueError):
        return _sane(float(headers["retry-after"]))
    with suppress(KeyError, ValueError, TypeError):
        return _sane(parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time())
    return None


def _sane(seconds: float) -> float:
    if seconds != seconds:  # NaN
        raise ValueError("not a number of seconds")
    return max(0.0, seconds)
