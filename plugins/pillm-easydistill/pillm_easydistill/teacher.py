"""The teacher `easydistill`: version 2's data jobs, a bounded chunk of requests at a time."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, field_validator

import pillm
from pillm_easydistill import child, installation
from pillm_easydistill.datajob import DataJob, JobType
from pillm_easydistill.options import FREE, PYTHON

_HERE = ("localhost", "127.0.0.1", "::1")
_EXPANDED = re.compile(r"\$\{?\w")
COT_PROMPT = (  # answers are filed under the option alone: another text needs another option
    "Think step by step between <|begin_of_thought|> and <|end_of_thought|>. Then give the answer, and nothing else, "
    "between <|begin_of_solution|> and <|end_of_solution|>.\n\n{problem}"
)


class EasyDistillTeacher(pillm.Teacher):
    """EasyDistill 2.x: its jobs instruct_distill and cot_distill against any OpenAI-compatible server."""

    model_config = ConfigDict(hide_input_in_errors=True)
    name: ClassVar[str] = "easydistill"

    model: str = Field(min_length=1, description="The model, as the server names it.")
    base_url: str = Field(description="The server's address, such as http://127.0.0.1:8080/v1.")
    api_key_env: str | None = Field(
        None,
        pattern=r"^[A-Z_][A-Z0-9_]*$",
        description="The name of the environment variable that holds the key; none: the server needs no key.",
        json_schema_extra=FREE,
    )
    python: str | None = PYTHON
    job_type: Literal["instruct_distill", "cot_distill"] = Field(
        "instruct_distill", description="EasyDistill's job: answer, or think step by step and then answer."
    )
    cot_prompt: str | None = Field(
        None, description="What cot_distill asks, with {problem} for the row's text; absent: to think, then to answer."
    )
    temperature: float = Field(0.0, ge=0, le=2, description="Sampling temperature.")
    max_tokens: int = Field(2048, ge=1, description="The longest answer, in tokens.")
    chunk: int = Field(
        32, ge=1, le=256, description="Requests in one job; what a kill in the middle of one loses.", json_schema_extra=FREE
    )
    max_workers: int = Field(8, ge=1, le=256, description="Requests of a job in flight at once.", json_schema_extra=FREE)
    retry_attempts: int = Field(
        3, ge=0, le=50, description="Further tries after a fault that may pass.", json_schema_extra=FREE
    )
    timeout: float = Field(120.0, gt=0, description="Seconds to wait for one answer.", json_schema_extra=FREE)

    @field_validator("model", "base_url", "cot_prompt")
    @classmethod
    def _nothing_to_expand(cls, value: str | None) -> str | None:
        if value and _EXPANDED.search(value):  # version 2 takes "$5" anywhere in its configuration for a variable's name
            raise ValueError("must not contain $NAME: EasyDistill 2 would put an environment variable there")
        return value

    @field_validator("base_url")
    @classmethod
    def _an_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an address such as http://127.0.0.1:8080/v1")
        if parts.username or parts.password:
            raise ValueError("must not contain a user name or a password; name the key's environment variable in api_key_env")
        return value

    @field_validator("cot_prompt")
    @classmethod
    def _has_a_place(cls, value: str | None) -> str | None:
        if value is not None and "{problem}" not in value:
            raise ValueError("must contain {problem}, where the row's text is put")
        return value

    def check(self) -> None:
        """Raise where EasyDistill 2 or the key is missing, or the key would travel in clear; nothing is sent."""
        installation.require(self.python, "v2")
        if self.api_key_env is None:
            return
        if not os.environ.get(self.api_key_env, "").strip():
            raise pillm.Unavailable(
                f"teacher 'easydistill' needs a key, and {self.api_key_env} is not set. Write export {self.api_key_env}=... "
                "Nothing was sent."
            )
        parts = urlsplit(self.base_url)
        if parts.scheme != "https" and parts.hostname not in _HERE:
            raise pillm.UnsafeError(
                f"{parts.netloc} is not on this machine and its address is not https: the key would travel in clear. Nothing "
                "was sent. Use an https address."
            )

    def tariff(self) -> tuple[str, str]:
        """Return model and address: a server of one's own costs nothing only where a prices.yaml says so."""
        return self.model, self.base_url

    def estimate(self, request: pillm.Request) -> pillm.Usage:
        """Estimate tokens as characters / 4, and an answer as long as `max_tokens` allows."""
        asked = sum(len(str(message.get("content") or "")) for message in request.messages)
        return pillm.Usage(prompt_tokens=-(-asked // 4), completion_tokens=self.max_tokens)

    def answer(self, requests: Iterator[pillm.Request]) -> Iterator[tuple[pillm.Request, pillm.Answer | pillm.Failure]]:
        """Pull `chunk` requests, run one job on them and yield their answers, until there are no more.

        A row that EasyDistill dropped is a failure. After one that makes asking pointless nothing more is pulled.
        """
        self.check()
        python = installation.require(self.python, "v2").python
        while not getattr(requests, "stopping", False):
            asked = list(islice(requests, self.chunk))
            results = list(self._ask(asked, python)) if asked else []
            yield from results
            if not asked or any(isinstance(result, pillm.Failure) and result.stop for _, result in results):
                return

    def _ask(self, asked: list[pillm.Request], python: str) -> Iterator[tuple[pillm.Request, pillm.Answer | pillm.Failure]]:
        with tempfile.TemporaryDirectory(prefix="pillm-easydistill-") as folder:
            job = DataJob(Path(folder), self._settings(), self.job_type, os.environ.get(self.api_key_env or "", ""))
            sayable = job.write(asked)
            code = 0
            lines: list[str] = []
            if sayable:
                argv = (python, "-m", "easydistill.cli", "--config", str(job.config))
                code = child.run(argv, folder=job.folder, log=job.log, environment={}, on_line=lines.append)
            yield from job.results(asked, code, lines)

    def _settings(self) -> dict[str, object]:
        """Return version 2's configuration, without the files; a key is named and never written."""
        shared = {
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "max_workers": self.max_workers,
            "show_progress": False,
        }
        kinds: dict[JobType, dict[str, object]] = {
            "instruct_distill": {"generation": {**shared, "retry_attempts": self.retry_attempts}},
            "cot_distill": {"cot": {**shared, "prompt_template": self.cot_prompt or COT_PROMPT}},
        }
        return {
            "job_type": self.job_type,
            "backend": {
                "type": "openai",
                "base_url": self.base_url,
                "api_key": f"${{{self.api_key_env}}}" if self.api_key_env else "none",
                "model_id": self.model,
                "timeout": self.timeout,
                "max_retries": 0,
            },
            **kinds[self.job_type],
        }
