"""A release tried beside the one that answers: it takes the place only once it is healthy and answers right, else it goes."""

from __future__ import annotations

import time
from pathlib import Path

from pillm.deployment.asking import completion_of, is_healthy, names_itself
from pillm.deployment.place import Place
from pillm.deployment.smoke import SmokeTest
from pillm.errors import BackendError, PillmError, Unavailable
from pillm.progress import Progress
from pillm.remote.conversation import Conversation
from pillm.remote.endings import ending, size, tail

_WORD = 30.0
_DRAIN = 90.0
_PAUSE = 0.2


class Trial:
    """One release on trial at one place."""

    def __init__(self, place: Place, release: str, smoke: SmokeTest, wait: float, progress: Progress) -> None:
        self._place, self._release, self._smoke = place, release, smoke
        self._wait, self._progress = wait, progress

    def run(self) -> bool:
        """Let the release take the place of the one that answers; return whether it did, False where it had it already.

        Raises BackendError where it does not start, is not healthy within `wait` seconds or fails its smoke test, Unavailable
        where the connection breaks or somebody else deploys there. In all of these the old release answers as before.
        """
        argv = ["sh", f"{self._place.root}/serve.sh", "trial", self._release]
        with Conversation(self._place.remote, "the trial", argv) as talk:
            first = talk.hear(timeout=_WORD)
            if first == "same":
                return False
            if first != "started":
                raise Unavailable(f"{self._host}: {_REASONS.get(first, first)}. What answered before still answers.")
            try:
                self._examine(talk)
            except PillmError as error:
                raise type(error)(f"{self._named(error)} {self._outcome()}") from error
        return True

    @property
    def _host(self) -> str:
        return self._place.remote.host

    def _named(self, error: PillmError) -> str:
        said = str(error).removeprefix(f"{self._host}: ")
        return f"{self._host}: {said}{'' if said.endswith('.') else '.'}"

    def _outcome(self) -> str:
        return "The release that answered before still answers." if self._place.current else "Nothing is served there yet."

    def _examine(self, talk: Conversation) -> None:
        connection = self._place.remote.connection
        self._progress.note(f"{self._host}: {self._release} starts beside the one that answers")
        with connection.forward(self._place.socket(self._release)) as beside:
            self._until_healthy(talk, beside)
            self._check_answer(beside)
        if talk.ask("commit", timeout=_WORD) != "committed":
            raise BackendError("the commit failed there")
        try:
            self._check_address()
        except PillmError:
            talk.ask("revert", timeout=_WORD)
            raise
        self._progress.note(f"{self._host}: {self._release} answers; the old server ends what it has begun")
        talk.ask("finish", timeout=_DRAIN)

    def _check_address(self) -> None:
        """Ask the new release once more, where everybody will."""
        with self._place.remote.connection.forward(f"127.0.0.1:{self._place.port}") as front:
            if not is_healthy(front):
                raise BackendError(f"port {self._place.port} does not answer: another program may have it")
            if names_itself(front) != self._release:
                raise BackendError(f"port {self._place.port} leads to another program")
            self._check_answer(front)

    def _until_healthy(self, talk: Conversation, beside: Path) -> None:
        until = time.monotonic() + self._wait
        while time.monotonic() < until:
            state = talk.ask("look", timeout=_WORD)
            if state.startswith("exit "):
                raise BackendError(self._why(int(state[5:]) if state[5:].isdigit() else 1))
            if state == "listens" and is_healthy(beside):
                return
            time.sleep(_PAUSE)
        raise BackendError(f"the new server was not ready after {self._wait:.0f} s. Give it longer with --wait")

    def _check_answer(self, beside: Path) -> None:
        wrong = self._smoke.judge(completion_of(beside, self._smoke.request(), max(60.0, self._wait)))
        if wrong:
            raise BackendError(f"the smoke test failed: {wrong}")

    def _why(self, code: int) -> str:
        log = f"{self._place.root}/log/{self._release}.log"
        said = self._place.remote.run(["tail", "-n", "3", "--", log])
        has = self._place.remote.memory() if code == 137 else None
        memory = f"; the device has {size(has)} left" if has else ""
        return f"the new server ended: {ending(code)}{memory}. It last said: {tail(said)}"


_REASONS = {
    "busy": "another deployment is under way there",
    "stopped": "the keeper there does not run. Run the same command again",
    "undone": "the trial ended before it began",
}
