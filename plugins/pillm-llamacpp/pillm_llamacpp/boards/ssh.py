"""Commands on another machine through the system's ssh: its keys, its known hosts, its configuration."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pillm

_SSH_FAILED, _NOT_FOUND = 255, 127
_ENDINGS = {
    132: "it was built for another CPU (illegal instruction)",
    137: "it was killed, most often because the device is out of memory",
    139: "it crashed",
    134: "it aborted: one of its own checks failed",
}


@dataclass(frozen=True, slots=True)
class Remote:
    """A machine that ssh can reach without asking for a password."""

    host: str
    timeout: float

    def run(self, command: Sequence[str], *, stdin: IO[bytes] | None = None) -> str:
        """Run a command there and return its output.

        Raises Unavailable where ssh fails or time runs out, MissingDependency where the command is not installed there,
        BackendError where it fails.
        """
        return self.shell(" ".join(map(_quoted, command)), what=command[0], stdin=stdin)

    def shell(self, line: str, *, what: str, stdin: IO[bytes] | None = None) -> str:
        """Run a line of the remote shell whose every word from outside was quoted."""
        if shutil.which("ssh") is None:
            raise pillm.MissingDependency("the command ssh is not installed here. Get it with: apt install openssh-client")
        argv = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15", "--", self.host, line]
        try:
            done = subprocess.run(
                argv, stdin=stdin or subprocess.DEVNULL, capture_output=True, timeout=self.timeout, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise pillm.Unavailable(
                f"{self.host}: {what} took longer than {self.timeout:.0f} s. Raise the option `timeout`, or look at the device."
            ) from error
        if done.returncode:
            raise self._failure(done.returncode, what, done.stderr.decode("utf-8", "replace"))
        return done.stdout.decode("utf-8", "replace")

    def _failure(self, code: int, what: str, stderr: str) -> pillm.PillmError:
        tail = " ".join(stderr.strip().splitlines()[-3:]) or "it said nothing"
        if code == _SSH_FAILED:
            return pillm.Unavailable(
                f"{self.host} cannot be reached by ssh: {tail}. Nothing was changed there. "
                f"Make `ssh {self.host} true` work without a password, then run the same command again."
            )
        if code == _NOT_FOUND:
            return pillm.MissingDependency(
                f"{self.host} has no {what} ({tail}). pillm's page rpi4/README.md says how to build it there; where it is "
                "built already, name its path with the option `program`."
            )
        reason = _ENDINGS.get(code, f"status {code}")
        return pillm.BackendError(f"{self.host}: {what} failed: {reason}. It last said: {tail}")

    def upload(self, path: Path, folder: str, sha256: str) -> str:
        """Put a file into a folder there, whole or not at all, and return its path; a file that is there is not sent."""
        target = f"{folder}/{sha256[:16]}-{path.name}"
        part = f"{target}.part"
        if self._sha256(target) == sha256:
            return target
        with path.open("rb") as file:
            self.shell(f"mkdir -p {_quoted(folder)} && cat > {_quoted(part)}", what="the upload", stdin=file)
        found = self._sha256(part)
        if found != sha256:
            self.shell(f"rm -f {_quoted(part)}", what="rm")
            raise pillm.Unavailable(
                f"{self.host}: {path.name} arrived with sha256 {found or 'none'}, not {sha256}; run the same command again."
            )
        self.run(["mv", "-f", "--", part, target])
        return target

    def _sha256(self, path: str) -> str:
        quoted = _quoted(path)
        line = self.shell(f"if [ -f {quoted} ]; then sha256sum -- {quoted}; fi", what="sha256sum")
        return line.partition(" ")[0].lstrip("\\")


def _quoted(word: str) -> str:
    """Quote a word for the remote shell, all but a leading `~` or `~/`: that is the home folder there."""
    home, slash, rest = word.partition("/")
    if home != "~":
        return shlex.quote(word)
    return f"~/{shlex.quote(rest)}" if rest else f"~{slash}"
