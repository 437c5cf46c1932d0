"""`Remote`: a machine that ssh can reach, as probing, benchmarks, runners and deployment use it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pillm.errors import ConfigError, PillmError, Unavailable
from pillm.progress import Progress
from pillm.remote.connection import SSH_FAILED, Connection, Done
from pillm.remote.endings import OUT_OF_MEMORY, failure, tail
from pillm.remote.guard import guarded
from pillm.remote.hostkeys import accept, is_unknown, own_file, refusal

if TYPE_CHECKING:
    from pillm.remote.conversation import Conversation
    from pillm.remote.openshell import OpenShell
    from pillm.remote.sockets import Reached

_SMALL = 1 << 20
_SLACK = 30.0
_READ = 'if [ -r "$1" ] && [ -f "$1" ]; then echo yes; head -c "$2" -- "$1"; fi'


@dataclass(frozen=True, slots=True)
class Remote:
    """A machine that ssh can reach without asking for a password; a context manager, or `close` it.

    A host whose key was accepted for pillm is held to that key, any other to the keys that the person's own ssh knows. With
    `known_hosts` only the keys in that file are trusted. An unknown host's key is recorded, there or in pillm's own file, where
    its SHA256 fingerprint is one of `accepted`. `ssh_config` is a configuration that ssh reads instead of the person's own.
    Nothing is sent before the first command.
    """

    host: str
    ssh_config: Path | None = None
    known_hosts: Path | None = None
    accepted: tuple[str, ...] = ()
    connection: Connection = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for fingerprint in self.accepted:
            if not re.fullmatch(r"SHA256:[A-Za-z0-9+/]{43}=?", fingerprint):
                raise ConfigError(f"{fingerprint!r} is no fingerprint of a host key; one reads SHA256: and 43 characters.")
        own = own_file()
        trusted = self.known_hosts or (own if self.accepted or own.is_file() else None)
        object.__setattr__(self, "connection", Connection(self.host, self.ssh_config, trusted))

    @property
    def label(self) -> str:
        """Return what messages call it."""
        return self.host

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next command opens it anew."""
        self.connection.close()

    def connect(self) -> None:
        """Open the connection that all commands share, unless it is open.

        Raises UnsafeError for a host whose key is unknown or changed, before anything is sent; Unavailable where ssh fails.
        """
        said = self.connection.open()
        if said is not None and is_unknown(said) and self.connection.known_hosts is not None:
            if self.accepted:
                accept(self.connection, self.connection.known_hosts, self.accepted)
                said = self.connection.open()
            elif self.known_hosts is None:  # nothing was accepted for pillm: it is left to the person's own ssh
                self.connection.known_hosts = None
                said = self.connection.open()
        if said is not None:
            raise self.unreachable(said)

    def unreachable(self, said: str) -> PillmError:
        """Return the error for a machine that ssh did not reach, or lost."""
        return refusal(self.connection, said) or Unavailable(
            f"{self.host} cannot be reached by ssh: {tail(said)}. Nothing was left half done there. "
            f"Make `ssh {self.host} true` work without a password, then run the same command again."
        )

    def read(self, path: str) -> str | None:
        """Return the text of a small file there, or None where it cannot be read."""
        said, found, text = self.run(["sh", "-c", _READ, "sh", path, str(_SMALL)]).partition("yes\n")
        return text if found and not said else None

    def run(self, argv: Sequence[str], *, stdin: bytes | None = None, timeout: float = 60.0, needs: int | None = None) -> str:
        """Run a command there and return its output; it ends with this call, with time or with the connection.

        `stdin` is what it reads, `timeout` its seconds, `needs` the bytes of memory it is known to need. Raises Unavailable
        where ssh fails or time runs out, UnsafeError for a host that is not known, MissingDependency where the command is not
        there, StorageError where the disk is full, BackendError where it fails.
        """
        return self.run_as(argv[0], argv, stdin=stdin, timeout=timeout, needs=needs)

    def script(self, text: str, *words: str, what: str, timeout: float = 60.0) -> str:
        """Run a POSIX shell script there that finds `words` in $1, $2 and so on; `what` names it in messages."""
        return self.run_as(what, ["sh", "-c", text, "sh", *words], timeout=timeout)

    def run_as(
        self, what: str, argv: Sequence[str], *, stdin: bytes | None = None, timeout: float = 60.0, needs: int | None = None
    ) -> str:
        """Run a command that messages call `what`; see `run`."""
        done = self.execute(what, argv, stdin=stdin, timeout=timeout)
        if done.code == SSH_FAILED:
            raise self.unreachable(done.err)
        if done.code:
            has = self.memory() if done.code == OUT_OF_MEMORY else None
            raise failure(self.host, what, done.code, done.err, (needs, has))
        return done.out.decode("utf-8", "replace")

    def execute(self, what: str, argv: Sequence[str], *, stdin: bytes | None = None, timeout: float = 60.0) -> Done:
        """Run a command and return how it ended, whatever that is; raise only where it could not be run or took too long."""
        line = guarded(argv, fed=stdin is not None)
        self.connect()
        try:
            return self.connection.execute(line, held=stdin is None, stdin=stdin, timeout=timeout)
        except Unavailable as error:
            raise Unavailable(
                f"{self.host}: {what} took longer than {timeout:.0f} s and was ended. Raise its timeout, or look at the device."
            ) from error

    def hold(self, what: str, argv: Sequence[str], *, needs: int | None = None) -> Conversation:
        """Start a command that runs until the context that this returns is left, or the connection breaks: never longer.

        Messages call it `what`; `needs` are the bytes of memory it is known to need. See `pillm.remote.conversation`.
        """
        from pillm.remote.conversation import Conversation

        return Conversation(self, what, argv, held=True, needs=needs)

    def open_shell(self) -> OpenShell:
        """Return this machine behind one shell that stays open there, cheap enough to look at once a second; close it."""
        from pillm.remote.openshell import OpenShell

        return OpenShell(self)

    @contextmanager
    def reach(self, there: str) -> Iterator[Reached]:
        """Give a way to the HTTP server behind a socket there, a path or `127.0.0.1:PORT`; raise Unavailable where it fails."""
        from pillm.remote.sockets import Reached

        self.connect()
        with self.connection.forward(there) as here:
            yield Reached(here)

    def upload(self, path: Path, folder: str, sha256: str, progress: Progress | None = None) -> str:
        """Put a file into a folder there, whole or not at all, and return its path; see `pillm.remote.uploading`."""
        from pillm.remote.uploading import upload

        return upload(self, path, folder, sha256, progress or Progress())

    def path(self, path: str) -> str:
        """Return a path there with a leading `~` or `~/` replaced by the home folder there."""
        start, _, rest = path.partition("/")
        if start != "~":
            return path
        home = self.script('printf %s "$HOME"', what="the home folder")
        return f"{home}/{rest}" if rest else home

    def free_space(self, folder: str) -> int | None:
        """Return the free bytes of the file system that a folder stands on or will, or None where it is not told."""
        found = self.script(_DF, folder, what="df").split()
        return int(found[0]) * 1024 if found and found[0].isdigit() else None

    def memory(self) -> int | None:
        """Return the bytes of memory that programs there could still take, or None where it is not told."""
        found = re.search(r"^MemAvailable:\s*(\d+) kB", self.read("/proc/meminfo") or "", re.MULTILINE)
        return int(found[1]) * 1024 if found else None


_DF = """folder=$1
while [ ! -d "$folder" ]; do
  next=$(dirname -- "$folder"); [ "$next" = "$folder" ] && exit 0; folder=$next
done
df -Pk -- "$folder" | awk 'NR == 2 { print $4 }'
"""
