"""The provider's batch queue: a file of requests goes up, and files of results come down, through the SDK's own client."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import Any

import pillm
from pillm_openai.faults import Fault, bytes_without, fault_of_error, fault_of_status, server_words, without
from pillm_openai.reading import answer_of
from pillm_openai.writing import encoded

ENDPOINT = "/v1/chat/completions"
MAX_FILE = 200_000_000
"""Bytes: what the batch API takes in one file."""
_GIVE_UP = ". Where it is lost for good, -o batch_give_up=true asks its requests anew; they may be paid for twice"
_NO_QUEUE, _GONE = (404, 405, 501), (404, 410)
_RUNNING, _ENDED = ("validating", "in_progress", "finalizing", "cancelling"), ("completed", "failed", "expired", "cancelled")
_LONGEST_LINE = 64 * 2**20
_SOON = 30.0  # seconds: what is asked about a batch is answered by then, or asked again
_SAID = frozenset(
    ("host", "authorization", "accept", "accept-encoding", "connection", "content-type", "content-length", "transfer-encoding")
)
_OURS = "pillm"
"""The metadata field by which a batch is found again."""


class Queue:
    """Batches of chat completions at one server; use it as a context manager."""

    def __init__(self, base_url: str, secret: str, *, timeout: float, near: bool) -> None:
        import httpx2
        import openai

        self._secret = secret
        self._status, self._broken = openai.APIStatusError, (openai.OpenAIError, httpx2.HTTPError, OSError)
        self._soon = min(timeout, _SOON)
        http = openai.DefaultHttpxClient(
            timeout=timeout,
            follow_redirects=False,
            trust_env=not near,  # a proxy has no business between here and this network
            event_hooks={"request": [_say_nothing_of_this_machine]},
        )
        # who asks again, and when, is for pillm to say: the SDK would be deaf to Ctrl-C meanwhile
        self._client = openai.OpenAI(
            api_key=secret or "none", base_url=base_url, timeout=timeout, max_retries=0, http_client=http
        )

    def __enter__(self) -> Queue:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def submit(self, bodies: Iterable[tuple[str, dict[str, Any]]], name: str) -> str:
        """Send (custom id, request body) pairs as one batch and return its id."""
        with TemporaryFile() as file:
            for key, body in bodies:
                file.write(line_of(key, body))
            file.seek(0)
            with self._told("take the file of a batch", taken=False):
                sent = self._client.files.create(file=(f"{_OURS}-{name}.jsonl", file, "application/jsonl"), purpose="batch")
        with self._told("take the batch", creating=True):
            made = self._client.batches.create(
                completion_window="24h", endpoint=ENDPOINT, input_file_id=sent.id, metadata={_OURS: name}
            )
            return _id_of(made)

    def find(self, name: str) -> str | None:
        """Return the id of the batch with that name; None where the whole list holds none."""
        with self._told("list its batches", there=True):
            for one in self._listed():
                if self._name(one) == name:
                    return _id_of(one)
        return None

    def _listed(self) -> Iterator[Any]:
        """Yield every batch of the account."""
        seen: set[str] = set()
        for page in self._client.batches.list(limit=100, timeout=self._soon).iter_pages():
            if not isinstance(page.data, list):
                raise TypeError("an answer that is no list of batches")
            new = {_id_of(one) for one in page.data} - seen
            yield from page.data
            if not new:  # the last page, or one of a server that does not turn pages
                if page.data:
                    raise ValueError("the same page again")
                return
            seen |= new

    def _name(self, batch: Any) -> str:
        """Return the name that a batch was submitted under: of its file where the server keeps no metadata."""
        if batch.metadata:
            return str(batch.metadata.get(_OURS, ""))
        file = str(self._client.files.retrieve(batch.input_file_id, timeout=self._soon).filename)
        return file.removeprefix(f"{_OURS}-").removesuffix(".jsonl")

    def poll(self, batch: str) -> pillm.BatchStatus:
        """Return where a batch stands."""
        with self._told(f"say where batch {batch} stands", there=True):
            found = self._client.batches.retrieve(batch, timeout=self._soon)
            if not isinstance(found.status, str):
                raise TypeError("an answer that is no batch")
        counts = found.request_counts
        ended = found.status in _ENDED or bool(found.status not in _RUNNING and found.output_file_id)
        return pillm.BatchStatus(
            ended=ended,
            done=counts.completed + counts.failed if counts else 0,
            total=counts.total if counts else 0,
            failure=self._failure(found) if ended and found.status != "completed" else None,
        )

    def _failure(self, batch: Any) -> pillm.Failure:
        said = "; ".join(str(one.message) for one in (batch.errors.data or [])[:3]) if batch.errors else ""
        # "server", which asking again may mend: rows that fail one and all are not at fault
        text = f"batch {batch.id} {batch.status}" + (f": {said}" if said else "")
        remedy = ". Where it was too much at once: -o batches=1, or a smaller batch_size" if batch.status == "failed" else ""
        return pillm.Failure("server", without(self._secret, text) + remedy, stop=batch.status == "failed")

    def results(self, batch: str) -> Iterator[tuple[str, pillm.Answer | pillm.Failure]]:
        """Yield custom id and result of each line of the batch's files; a line that cannot be read is passed over."""
        with self._told(f"give the results of batch {batch}", there=True):
            found = self._client.batches.retrieve(batch, timeout=self._soon)
            counts, read = found.request_counts, 0
            for file in filter(None, (found.output_file_id, found.error_file_id)):
                with self._client.files.with_streaming_response.content(file) as response:
                    for line in _lines(response.iter_bytes()):
                        if (result := self._result(line)) is not None:
                            read += 1
                            yield result
            due = counts.completed + (counts.failed if found.status == "completed" else 0) if counts else 0
        if read < due:  # they are paid for and may still be there: fetched again, and not bought again but on demand
            raise pillm.BatchError(f"batch {batch} holds {due} results, {read} could be read{_GIVE_UP}", gone=True)

    def _result(self, line: bytes) -> tuple[str, pillm.Answer | pillm.Failure] | None:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            return None
        if not isinstance(found, dict) or not isinstance(key := found.get("custom_id"), str):
            return None
        try:
            return key, self._answer(found)
        except Fault as fault:
            return key, fault.failure(1, self._secret)

    def _answer(self, found: Mapping[str, Any]) -> pillm.Answer:
        response = found.get("response")
        if not isinstance(response, dict) or not isinstance(response.get("body"), dict):
            raise fault_of_error(found.get("error") or {"message": "a line without a response"}, json.dumps(found).encode())
        body = bytes_without(self._secret, json.dumps(response["body"], ensure_ascii=False).encode("utf-8", "surrogatepass"))
        status = response.get("status_code", 200)
        if status != 200:
            raise fault_of_status(status if isinstance(status, int) else 500, {}, body)
        return answer_of(body, {})

    @contextmanager
    def _told(self, what: str, *, taken: bool | None = None, creating: bool = False, there: bool = False) -> Iterator[None]:
        """Turn what goes wrong into BatchError, with the server's words and without the key.

        `taken` is what is known of the batch then; `creating` knows it of answers alone: one that says no has not taken it.
        `there` says that the batch is expected to be there.
        """
        try:
            yield
        except pillm.BatchError:
            raise
        except self._status as error:
            raise self._refusal(what, error, taken=taken, creating=creating, there=there) from None
        except self._broken as error:  # a server that is not there, or a line that was cut
            reason = str(error.__cause__ or error) or type(error).__name__
            text = without(self._secret, f"the server did not {what} ({reason})")
            raise pillm.BatchError(text, passing=not creating, taken=taken) from None
        except (ValueError, TypeError, AttributeError) as error:  # bodies that are no batch, no file, no list
            text = without(self._secret, f"the server did not {what} ({error})")
            raise pillm.BatchError(text + (_GIVE_UP if there else ""), taken=taken) from None

    def _refusal(self, what: str, error: Any, *, taken: bool | None, creating: bool, there: bool) -> pillm.BatchError:
        status, headers, body = error.status_code, error.response.headers, error.response.content
        fault = fault_of_status(status, headers, body)
        refused = creating and 400 <= status < 500 and status != 408
        said = server_words(body)[0] if status in _NO_QUEUE else ""
        text = without(self._secret, f"the server did not {what}: " + (f"{status} {said}".strip() if said else fault.message))
        if there and not fault.retry:
            text += _GIVE_UP
        elif status in _NO_QUEUE:
            text += ". A server without a batch queue is asked with -o batch=false"
        return pillm.BatchError(
            text,
            passing=fault.retry and (refused or not creating),
            wait=fault.wait or 0.0,
            gone=there and status in _GONE and _is_json(body),  # a proxy that finds nothing says so in HTML
            taken=False if refused else taken,
        )


def _is_json(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body), dict)
    except ValueError:
        return False


def _id_of(batch: Any) -> str:
    if not isinstance(batch.id, str) or not batch.id:
        raise ValueError("an answer without the batch's id")
    return str(batch.id)


def line_of(key: str, body: Mapping[str, Any]) -> bytes:
    """Return the line of a batch's file that asks a request."""
    return encoded({"custom_id": key, "method": "POST", "url": ENDPOINT, "body": body}) + b"\n"


def _lines(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield lines, which end in a line feed alone: U+2028 and its like may stand in an answer."""
    rest = b""
    for part in parts:
        *whole, rest = (rest + part).split(b"\n")
        yield from whole
        if len(rest) > _LONGEST_LINE:
            raise ValueError(f"a line of more than {_LONGEST_LINE >> 20} MiB")
    yield rest


def _say_nothing_of_this_machine(request: Any) -> None:
    """Leave out what the SDK adds of its own or takes from the environment: it is for other servers, or nobody's business."""
    for name in [name for name in request.headers if name.lower() not in _SAID]:
        del request.headers[name]
    request.headers["User-Agent"] = "pillm"
