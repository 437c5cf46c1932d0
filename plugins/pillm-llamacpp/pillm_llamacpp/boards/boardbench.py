"""A model file is timed on a board: by its llama-bench in blocks, and by its llama-server as it answers."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pillm
from pillm_llamacpp.boards.boardserver import BoardServer, check_memory
from pillm_llamacpp.boards.boardsession import BoardAnswers, Serving
from pillm_llamacpp.boards.servertimes import Prefixed, pace, written
from pillm_llamacpp.inference.machine import memory_sizes

_FACTS = ("build_commit", "build_number", "cpu_info", "model_type", "n_threads", "n_batch", "flash_attn", "type_k", "repack")
_COLD = """dd if="$1" iflag=nocache count=0 status=none && left=$(fincore --bytes --noheadings --output RES "$1") || exit 1
[ "$left" -lt 4194304 ] || { echo "$left bytes of it stay in memory" >&2; exit 1; }
"""
"""Drop the pages of a file from memory, and see that they are gone."""
_PINGS = 5


class BoardBench(pillm.Timer, BoardAnswers):
    """A model file on a board, open for questions and for the stopwatch."""

    def __init__(self, remote: pillm.Remote, model: pillm.ModelFile, serving: Serving, *, program: str) -> None:
        """Look at the file here; `program` is the llama-bench there."""
        super().__init__(remote, model, serving)
        self._shell = remote.open_shell()
        self._bench = program
        self._details: dict[str, Any] = {"runner": "pi4", "context": self._context}
        self._widest = 0
        """Tokens of the longest prompt that was timed with nothing before it."""
        self._prefixed: Prefixed | None = None
        self._random = Random(0)  # noqa: S311 - tokens, not secrets

    @property
    def in_blocks(self) -> bool:
        """Return True: llama-bench loads the model each time that it is started."""
        return True

    def machine(self) -> pillm.Machine:
        """Return the board, for its sensors."""
        return self._shell

    def repeat(self, work: pillm.BenchWork, repetitions: int) -> Sequence[pillm.Timing]:
        """Time a piece of work with llama-bench; raise BackendError where it cannot, ConfigError for too little memory."""
        self._end()  # the board has not the memory for both, nor the cores
        program = pillm.find_llama_program(self._remote, self._remote.path(self._bench))
        if work.depth and "--n-depth" not in program.flags:
            raise pillm.BackendError(f"{program.path} (llama.cpp {program.version}) has no --n-depth.")
        numbers = {"-p": 0, "-n": 0, "-r": repetitions, "-t": work.threads or self._serving.threads}
        numbers["-p" if work.kind == "pp" else "-n"] = work.tokens
        numbers |= ({"-d": work.depth} if work.depth else {}) | ({} if self.facts["writes"] else {"-embd": 1})
        options = [text for option, number in numbers.items() for text in (option, str(number))]
        needs = pillm.memory_to_serve(self._model, context=work.tokens + work.depth)
        path = self._uploaded()
        check_memory(self._remote, needs)
        argv = [program.path, "-m", path, *options, "-o", "json"]
        output = self._remote.run_as("llama-bench", argv, timeout=self._serving.timeout, needs=needs)
        row = _row(output, work, self._remote.host)
        self._details |= {name: row[name] for name in _FACTS if name in row}
        self._details["timed_by"] = f"llama-bench {program.version}, {repetitions} in a row; answers by llama-server"
        self._widest = max(self._widest, work.tokens if work.kind == "pp" and not work.depth else 0)
        return _timings(row, work)

    def time(self, work: pillm.BenchWork) -> pillm.Timing:
        """Time a piece of work with llama-server, which stays; raise BackendError for what does not fit its context."""
        if work.tokens + work.depth + 1 > self._context:
            raise pillm.BackendError(f"{work.name} does not fit the context of {self._context} tokens.")
        if work.threads not in (None, self._serving.threads):
            self._end()
            self._serving = replace(self._serving, threads=work.threads or self._serving.threads)
        server = self._started("time")
        if self._prefixed is None or self._prefixed.server is not server:
            self._prefixed = Prefixed(server, self._serving.timeout)
        if work.depth:
            return self._prefixed.time(work, self._drawn)
        read = work.tokens if work.kind == "pp" else 1
        began = time.monotonic()
        body = {"prompt": self._drawn(read), "n_predict": work.tokens + 1 if work.kind == "tg" else 1, "cache_prompt": False}
        found = written(server, body, timeout=self._serving.timeout)
        if work.kind == "pp":
            return pillm.Timing(tokens=read, seconds=found.first_ms / 1000, begin=began, first_ms=found.first_ms)
        steps = found.gaps_ms
        begin = time.monotonic() - sum(steps) / 1000
        return pillm.Timing(tokens=len(steps), seconds=sum(steps) / 1000, begin=begin, steps_ms=steps)

    def _drawn(self, count: int) -> list[int]:
        return [self._random.randrange(int(self.facts["vocabulary"])) for _ in range(count)]

    def reply(self, prompt: pillm.Prompt, *, constrained: bool, fresh: bool) -> pillm.TimedReply:
        """Answer a row and say when its tokens came, by the clock of the board."""
        from pillm_llamacpp.grammars.grammar import compile_schema

        request = pillm.Request(key="bench", prompt=prompt, messages=prompt.messages)
        held = constrained and prompt.schema is not None
        ids = self._encoded(request, held=held)
        room = self._context - len(ids)
        if not ids or room < 1:
            raise pillm.BackendError(f"row {prompt.id}: its {len(ids)} tokens do not fit the context of {self._context}.")
        body: dict[str, Any] = {"prompt": ids, "n_predict": min(self._serving.max_tokens, room), "cache_prompt": not fresh}
        if held and prompt.schema is not None:
            body["grammar"] = compile_schema(prompt.schema, where=prompt.where or prompt.id).gbnf
        return pace(self._started("time"), body, timeout=self._serving.timeout)

    def embed(self, texts: Iterable[str]) -> Iterator[tuple[float, ...]]:
        """Yield one embedding of length 1 per text; see BoardAnswers."""
        return BoardAnswers.embed(self, texts)

    def host(self) -> pillm.Host:
        """Return what the board is and, once something was timed, what llama-server takes there with its whole context."""
        memory, load_ms = {}, None
        if self._widest:
            server = self._used()
            load_ms, memory = server.load_ms, self._memory(server)
            pings = [self._ping(server) for _ in range(_PINGS)]
            self._details |= {
                "round_trip_ms": round(statistics.median(pings), 3),
                "memory_of": "llama-server, one answer at once",
            }
        board = (self._shell.read("/proc/device-tree/model") or "").strip("\0\n ")
        return pillm.Host(
            model=self._model.path.name, device=board or self._remote.host, threads=self._serving.threads,
            context=self.facts["sees"] or self._context, writes=self.facts["writes"], load_ms=load_ms, memory=memory,
            details=self._details,
        )  # fmt: skip

    def _used(self) -> BoardServer:
        """Return the server once it has done what llama-bench did: it takes more memory then."""
        if not self.facts["writes"]:
            list(self._embedded([self._drawn(min(self._widest, self._context))]))
            return self._started("embed")
        self.time(pillm.BenchWork(kind="pp", tokens=min(self._widest, self._context - 2)))
        return self._started("time")

    def _memory(self, server: BoardServer) -> dict[str, int]:
        texts = (self._shell.read(f"/proc/{server.pid}/{name}") or "" for name in ("status", "smaps_rollup"))
        return memory_sizes(*texts)

    def _ping(self, server: BoardServer) -> float:
        began = time.perf_counter()
        server.ask("/health", timeout=self._serving.timeout)
        return (time.perf_counter() - began) * 1000

    def reload(self, *, cold: bool) -> float:
        """Start llama-server anew and return the milliseconds until its first token, the start over ssh included."""
        self._end()
        path = self._uploaded()
        self._served_by()
        if cold:
            self._remote.run_as("dropping the file from memory", ["sh", "-c", _COLD, "sh", path])
        began = time.perf_counter()
        server = self._started("time" if self.facts["writes"] else "embed")
        if self.facts["writes"]:
            written(server, {"prompt": self._drawn(1), "n_predict": 1}, timeout=self._serving.timeout)
        else:
            list(self._embedded([self._drawn(1)]))
        return (time.perf_counter() - began) * 1000

    def close(self) -> None:
        """End what runs there and here; calling it twice is harmless."""
        try:
            self._shell.close()
        finally:
            super().close()


def _row(output: str, work: pillm.BenchWork, host: str) -> dict[str, Any]:
    """Return the row of llama-bench's JSON that is of a piece of work, whatever other columns its version has."""
    read, wrote = (work.tokens, 0) if work.kind == "pp" else (0, work.tokens)
    try:
        rows = [row for row in json.loads(output) if isinstance(row, dict)]
        row = next(one for one in rows if (one["n_prompt"], one["n_gen"], one.get("n_depth", 0)) == (read, wrote, work.depth))
        if min(_speeds(row)) <= 0:
            raise ValueError("a speed is not positive")
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise pillm.BackendError(
            f"{host}: llama-bench printed no timings that can be read ({type(error).__name__}: {error}). "
            f"It began with: {output[:200]!r}"
        ) from error
    return row


def _speeds(row: dict[str, Any]) -> list[float]:
    return [float(value) for value in row.get("samples_ts") or [row["avg_ts"]]]


def _timings(row: dict[str, Any], work: pillm.BenchWork) -> list[pillm.Timing]:
    """Return what llama-bench timed; the last one ended just now, and each before it began a step earlier."""
    seconds = [work.tokens / speed for speed in _speeds(row)]
    begin, found = time.monotonic() - sum(seconds), []
    for one in seconds:
        first = one * 1000 if work.kind == "pp" and not work.depth else None
        found.append(pillm.Timing(tokens=work.tokens, seconds=one, begin=begin, first_ms=first))
        begin += one
    return found
