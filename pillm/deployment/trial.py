"""A release tried beside the one that answers: it takes the place only once it is healthy and answers right, else it goes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pillm.deployment.asking import completion_of, is_healthy, names_of, prompt_of
from pillm.deployment.place import Place
from pillm.deployment.profile import mark
from pillm.deployment.smoke import AnyTest, judge_all
from pillm.deployment.standing import answers, log_end
from pillm.errors import BackendError, PillmError, StorageError, Unavailable
from pillm.progress import Progress
from pillm.records import Message
from pillm.remote.conversation import Conversation
from pillm.remote.endings import ending, size

_WORD = 30.0
_DRAIN = 90.0
_PAUSE = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One release on trial at one place: what it is asked, the seconds until it must be ready, the API key that it asks for.

    The place's port is the one to answer at.
    """

    place: Place
    release: str
    tests: Sequence[AnyTest]
    wait: float
    progress: Progress
    key: str | None = None
    system: Message | None = None
    """The system message that the server must put in by itself."""

    def run(self) -> bool:
        """Let the release take the place of the one that answers; return whether it did, False where it had it already.

        Raises BackendError where it does not start, is not healthy within `wait` seconds or fails its smoke test, Unavailable
        where the connection breaks or somebody else deploys there. In all of these the old release answers as before.
        """
        argv = ["sh", f"{self.place.root}/serve.sh", "trial", self.release, str(self.place.port or "")]
        with Conversation(self.place.remote, "the trial", argv) as talk:
            first = talk.hear(timeout=_WORD)
            if first == "same":
                return False
            if first == "unwritable":
                raise StorageError(
                    f"{self._host}: {self.place.root} cannot be written to. {self._outcome()} Free some space there."
                )
            if first != "started":
                raise Unavailable(f"{self._host}: {_REASONS.get(first, first)}. {self._outcome()}")
            try:
                self._examine(talk)
            except PillmError as error:
                failed = error
            else:
                return True
        raise type(failed)(f"{self._named(failed)} {self._outcome()}") from failed  # once the board has cleared up

    @property
    def _host(self) -> str:
        return self.place.remote.host

    def _named(self, error: PillmError) -> str:
        said = str(error).removeprefix(f"{self._host}: ")
        return f"{self._host}: {said}{'' if said.endswith('.') else '.'}"

    def _outcome(self) -> str:
        """Say what answers there now, since it was asked."""
        if self.place.current is None:
            return "Nothing is served there yet."
        try:
            if answers(self.place):
                return "The release that answered before still answers."
        except PillmError:
            return "The board itself keeps the release before in its place; it could not be asked just now."
        return "The release before has its place, but does not answer: see --status."

    def _examine(self, talk: Conversation) -> None:
        connection = self.place.remote.connection
        self.progress.note(f"{self._host}: {self.release} starts beside the one that answers")
        with connection.forward(self.place.socket(self.release)) as beside:
            self._until_healthy(talk, beside)
            with self._judged(talk):
                self._check_system(beside)
                self._check_answers(beside)
        said = talk.ask("commit", timeout=_WORD)
        if said != "committed":
            raise StorageError(f"the links there could not be turned ({said.strip()}). Free some space, or look at the card")
        try:
            self._check_address()
        except PillmError:
            talk.ask("revert", timeout=_WORD)
            raise
        self.progress.note(f"{self._host}: {self.release} answers; the old server ends what it has begun")
        talk.ask("finish", timeout=_DRAIN)

    @contextmanager
    def _judged(self, talk: Conversation) -> Iterator[None]:
        """Tell the board that a release which fails meanwhile need not be kept for another try."""
        try:
            yield
        except BackendError:
            with suppress(PillmError):
                talk.ask("refuse", timeout=_WORD)
            raise

    def _check_address(self) -> None:
        """Ask the new release once more, where everybody will."""
        with self.place.remote.connection.forward(f"127.0.0.1:{self.place.port}") as front:
            until = time.monotonic() + (_WORD if self.place.current is None else 2.0)  # at first the front has to begin
            while not is_healthy(front) and time.monotonic() < until:
                time.sleep(_PAUSE)
            if not is_healthy(front):
                raise BackendError(f"port {self.place.port} does not answer: another program may have it")
            if not names_of(front, self.key) & {self.release, mark(self.release)}:
                raise BackendError(f"port {self.place.port} leads to another program")
            if not self._completed(front, self.tests[0]).strip():  # what it says was judged already
                raise BackendError(f"port {self.place.port} leads to the new server, which answers nothing there")

    def _until_healthy(self, talk: Conversation, beside: Path) -> None:
        until = time.monotonic() + self.wait
        while time.monotonic() < until:
            state = talk.ask("look", timeout=_WORD)
            if state.startswith("exit "):
                with self._judged(talk):
                    raise BackendError(self._why(int(state[5:]) if state[5:].isdigit() else 1))
            if state == "listens" and is_healthy(beside):
                return
            time.sleep(_PAUSE)
        said = log_end(self.place, self.release)
        raise BackendError(
            f"the new server was not ready after {self.wait:.0f} s. It last said: {said}. What was sent is kept: give it "
            "longer with --wait"
        )

    def _check_system(self, beside: Path) -> None:
        """See that the server puts the system message in where the caller sends none."""
        if not self.system:
            return
        hello = {"role": "user", "content": "Hello"}
        bare, told = (prompt_of(beside, one, self.key) for one in ((hello,), (self.system, hello)))
        if bare != told and None not in (bare, told):
            raise BackendError(
                "the new server does not put in the system message that the model was trained under. Use another version of "
                "llama.cpp there, or let callers send it: --no-system"
            )

    def _check_answers(self, beside: Path) -> None:
        said: list[str] = []
        for test in self.tests:
            said.append(self._completed(beside, test))
            if 2 * sum(not one.judge(text) for one, text in zip(self.tests, said, strict=False)) >= len(self.tests):
                return  # the others may answer as they will
        if wrong := judge_all(self.tests, said):
            raise BackendError(
                f"the smoke test failed: {wrong}. Where any answer will do: --smoke any; its log: --logs --release last-failed"
            )

    def _completed(self, server: Path, test: AnyTest) -> str:
        return completion_of(server, test.request(), max(60.0, self.wait), self.key)

    def _why(self, code: int) -> str:
        has = self.place.remote.memory() if code == 137 else None
        memory = f"; the device has {size(has)} left" if has else ""
        return f"the new server ended: {ending(code)}{memory}. It last said: {log_end(self.place, self.release)}"


_REASONS = {
    "busy": "another deployment is under way there",
    "stopped": "the keeper there does not run. Run the same command again",
    "undone": "the trial ended before it began",
}
