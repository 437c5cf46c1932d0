"""One data job of version 2: its configuration and seeds written, its JSONL read back by request id."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import yaml

import pillm
from pillm_easydistill.child import why

JobType: TypeAlias = Literal["instruct_distill", "cot_distill"]

_FAILED = re.compile(r"Failed to generate for instruction (\S+) after \d+ attempts: (.*)")
_FATAL = re.compile(r"(?:\w+\.)*\w*(?:Error|Exception): .*")
_ID = {"instruct_distill": "{}", "cot_distill": "cot_gen_{}"}
_UNSAYABLE = {
    "instruct_distill": "EasyDistill's job instruct_distill says one user message, a system message before it, and no tools",
    "cot_distill": "EasyDistill's job cot_distill says one user message, without a system message, and no tools",
}
_KINDS = (
    (r"insufficient_quota|code: 402", pillm.Failure("quota", "", stop=True)),
    (r"code: 40[13]|authentication|api key", pillm.Failure("credentials", "", stop=True)),
    (r"code: 429|rate limit", pillm.Failure("rate", "")),
    (r"connection error|timed out|timeout|health check failed", pillm.Failure("network", "")),
    (r"code: 4\d\d", pillm.Failure("refused", "")),
    ("", pillm.Failure("server", "")),
)
_TOLD = 300  # characters of a fault that are passed on


@dataclass(slots=True)
class DataJob:
    """The files of one job, and what becomes of its requests; `secret` never leaves in a message."""

    folder: Path
    settings: dict[str, object]
    job_type: JobType
    secret: str = ""

    @property
    def config(self) -> Path:
        """Return the configuration."""
        return self.folder / "job.yaml"

    @property
    def log(self) -> Path:
        """Return the child's output."""
        return self.folder / "log.txt"

    @property
    def _output(self) -> Path:
        return self.folder / "answers.jsonl"

    def write(self, requests: Sequence[pillm.Request]) -> int:
        """Write the configuration and a seed for each request that the job can say; return how many those are."""
        seeds = [self._seed(place, request) for place, (_, request) in enumerate(self._sayable(requests))]
        (self.folder / "seeds.jsonl").write_text("".join(json.dumps(seed) + "\n" for seed in seeds), "utf-8")
        dataset = {"input_path": str(self.folder / "seeds.jsonl"), "output_path": str(self._output)}
        self.config.write_text(yaml.safe_dump({**self.settings, "dataset": dataset}), "utf-8")
        return len(seeds)

    def results(
        self, requests: Sequence[pillm.Request], code: int, lines: Sequence[str]
    ) -> Iterator[tuple[pillm.Request, pillm.Answer | pillm.Failure]]:
        """Yield each request with its answer, or with why it has none."""
        answers = self._answers()
        faults = {found[1]: found[2] for line in lines if (found := _FAILED.search(line))}
        ids = {number: _ID[self.job_type].format(place) for place, (number, _) in enumerate(self._sayable(requests))}
        for number, request in enumerate(requests):
            if number not in ids:
                yield request, pillm.Failure("refused", f"{_UNSAYABLE[self.job_type]}; this row has more.")
            elif ids[number] in answers:
                yield request, answers[ids[number]]
            elif ids[number] in faults:
                yield request, self._failure(faults[ids[number]])
            elif code:
                yield request, self._crash(code, lines)
            else:  # version 2 drops an empty answer and a line it cannot read with a warning, and ends with exit code 0
                yield request, pillm.Failure("invalid", "EasyDistill dropped the row: the answer was empty, or never written.")

    def _sayable(self, requests: Sequence[pillm.Request]) -> Iterator[tuple[int, pillm.Request]]:
        roles = (["user"], ["system", "user"]) if self.job_type == "instruct_distill" else (["user"],)
        for number, request in enumerate(requests):
            texts = [message.get("content") for message in request.messages]
            plain = all(isinstance(text, str) and text for text in texts) and not request.prompt.tools
            if plain and [message.get("role") for message in request.messages] in roles:
                yield number, request

    def _seed(self, place: int, request: pillm.Request) -> dict[str, str]:
        said = {str(message["role"]): str(message["content"]) for message in request.messages}
        if self.job_type == "cot_distill":
            return {"problem": said["user"]}
        return {"id": str(place), "instruction": said["user"], **({"system": said["system"]} if "system" in said else {})}

    def _answers(self) -> dict[str, pillm.Answer]:
        """Return what version 2 wrote, by request id; nothing where it never came to writing."""
        if not self._output.is_file():
            return {}
        answers = {}
        for line in self._output.read_text("utf-8").split("\n"):  # an answer may hold other line ends
            try:
                row = json.loads(line)
                answers[str(row["metadata"]["request_id"])] = self._answer(row)
            except (ValueError, LookupError, TypeError):
                continue  # the row that this line was meant for is told as dropped
        return answers

    def _answer(self, row: dict[str, Any]) -> pillm.Answer:
        said, facts = str(row["messages"][-1]["content"]), row["metadata"]
        content, reasoning, _ = pillm.read_reply(said, tools=False)
        counted = facts.get("usage") or {}
        usage = pillm.Usage(
            prompt_tokens=int(counted.get("prompt_tokens") or 0), completion_tokens=int(counted.get("completion_tokens") or 0)
        )
        return pillm.Answer(
            content,
            reasoning=reasoning,
            finish_reason="length" if usage.completion_tokens >= self._limit() else "stop",  # version 2 does not say
            usage=usage if counted else None,
            model=facts.get("model"),
        )

    def _limit(self) -> int:
        section = self.settings.get("generation") or self.settings.get("cot")
        return int(section["max_tokens"]) if isinstance(section, dict) else 0

    def _failure(self, said: str) -> pillm.Failure:
        kind = next(kind for pattern, kind in _KINDS if re.search(pattern, said, re.IGNORECASE))
        return replace(kind, message=self._told(said))

    def _crash(self, code: int, lines: Sequence[str]) -> pillm.Failure:
        """Return the failure of a row whose job died: the next job would die of the same."""
        said = next((found[0] for line in reversed(lines) if (found := _FATAL.search(line))), "it said nothing")
        kind = self._failure(said).kind if "health check" in said else "crashed"
        return pillm.Failure(kind, f"EasyDistill {why(code)}: {self._told(said)}", stop=True)

    def _told(self, said: str) -> str:
        text = said.replace(self.secret, "***") if self.secret else said
        return text.strip()[:_TOLD] or "it said nothing"
