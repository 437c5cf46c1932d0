"""One ssh connection to a machine: made once, shared by every command, and never to a host whose key is not known."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pillm.errors import ConfigError, MissingDependency, Unavailable

SSH_FAILED = 255
_HOST = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}@)?[A-Za-z0-9_:][A-Za-z0-9_.:%-]{0,254}")
_LONGEST_SOCKET = 80  # of the 108 bytes of a socket's name; ssh makes it under a longer name first
_PERSIST = 30
_LOGIN = 60
_ALIVE = ("ServerAliveInterval=5", "ServerAliveCountMax=3", "TCPKeepAlive=yes")


def checked_host(host: str) -> str:
    """Return a host's name; raise ConfigError for one that ssh or a shell could take for something else."""
    if not _HOST.fullmatch(host):
        raise ConfigError(
            f"{host!r} is no host: it is a name or user@name of letters, digits, dots and dashes, and never begins with a dash."
        )
    return host


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended there."""

    code: int
    out: bytes
    err: str


class Connection:
    """What stands between this machine and that one; opened by the first command, closed with `close`."""

    def __init__(self, host: str, config: Path | None, known_hosts: Path | None) -> None:
        self.host = checked_host(host)
        self.known_hosts = known_hosts
        """The only file whose keys are trusted; None: the keys that the person's own ssh knows."""
        self._config = config
        self._folder: Path | None = None
        self._forwards = 0
        self._opening = threading.Lock()

    def options(self, known_hosts: Path | None = None) -> list[str]:
        """Return the options of every ssh that is started: an unknown key is refused whatever a configuration says."""
        options = ["BatchMode=yes", "ConnectTimeout=15", "LogLevel=ERROR", "ForwardAgent=no", "ForwardX11=no", *_ALIVE]
        options += ["PermitLocalCommand=no", "RemoteCommand=none", "RequestTTY=no", "StrictHostKeyChecking=yes"]
        trusted = known_hosts or self.known_hosts
        if trusted is not None:
            options += [
                f"UserKnownHostsFile={_option_path(trusted)}", "GlobalKnownHostsFile=/dev/null", "KnownHostsCommand=none",
                "UpdateHostKeys=no", "VerifyHostKeyDNS=no", "HashKnownHosts=no", "NoHostAuthenticationForLocalhost=no",
            ]  # fmt: skip
        config = ["-F", str(self._config)] if self._config else []
        return [*config, *(word for option in options for word in ("-o", option))]

    def command(self, line: str) -> list[str]:
        """Return the words that run one line of the remote shell, through the connection that is open."""
        shared = ["-o", "ControlMaster=no", "-o", f"ControlPath={self._socket or 'none'}"]
        return [_ssh(), *self.options(), *shared, "--", self.host, line]

    def open(self) -> str | None:
        """Open the shared connection unless it is open; return what ssh said where it could not."""
        with self._opening:  # of two that open it at once, one would be a connection of its own that nobody closes
            return self._opened()

    def _opened(self) -> str | None:
        if self._socket and self._alive():
            return None
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="pillm-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        if len(str(self._folder)) > _LONGEST_SOCKET:
            return None  # every command then makes a connection of its own
        master = ["-o", f"ControlPath={self._socket}", "-o", f"ControlPersist={_PERSIST}", "-o", "ClearAllForwardings=yes"]
        argv = [_ssh(), *self.options(), *master, "-M", "-N", "-f", "--", self.host]
        with tempfile.TemporaryFile() as said:  # a pipe would stay open as long as the connection
            try:
                done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=False, timeout=_LOGIN)
            except subprocess.TimeoutExpired:
                return f"no login within {_LOGIN} s"
            said.seek(0)
            return said.read().decode("utf-8", "replace") if done.returncode else None

    @contextmanager
    def forward(self, there: str) -> Iterator[Path]:
        """Give a socket here that leads to one there, a path or `127.0.0.1:PORT`; raise Unavailable where ssh refuses."""
        if self._folder is None or self._socket is None:
            raise Unavailable(f"{self.host}: the path of the folder for temporary files is too long for ssh. Set TMPDIR=/tmp.")
        self._forwards += 1
        here = self._folder / f"f{self._forwards}"
        self.control("forward", "-L", f"{here}:{there}")
        try:
            yield here
        finally:
            with suppress(Unavailable, subprocess.TimeoutExpired):  # with the connection the socket went too
                self.control("cancel", "-L", f"{here}:{there}")
            here.unlink(missing_ok=True)

    def control(self, verb: str, *words: str) -> None:
        """Tell the shared connection something; raise Unavailable where it is not open or refuses."""
        argv = [_ssh(), *self.options(), "-o", f"ControlPath={self._socket}", "-O", verb, *words, "--", self.host]
        try:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_LOGIN)
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"{self.host}: the open connection does not answer. Run the same command again.") from error
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip()
            raise Unavailable(f"{self.host}: the open connection refused ({said}). Run the same command again.")

    def close(self) -> None:
        """Close the shared connection."""
        if self._folder is None:
            return
        if self._socket and Path(self._socket).exists():
            with suppress(Unavailable, OSError, subprocess.TimeoutExpired):
                self.control("exit")
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = None

    @property
    def _socket(self) -> str | None:
        return str(self._folder / "s") if self._folder and len(str(self._folder)) <= _LONGEST_SOCKET else None

    def _alive(self) -> bool:
        with suppress(Unavailable, subprocess.TimeoutExpired):
            self.control("check")
            return True
        return False

    def execute(self, line: str, *, held: bool, stdin: bytes | None, timeout: float) -> Done:
        """Run a line there; `held` keeps its standard input open until it ends, for a guard that waits for its end.

        Raises Unavailable when `timeout` seconds are over.
        """
        reading, writing = os.pipe() if held else (-1, -1)
        process = subprocess.Popen(
            self.command(line),
            stdin=reading if held else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        if held:
            os.close(reading)
        try:
            out, err = process.communicate(None if held else stdin or b"", timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"{timeout:.0f} s") from error
        finally:
            if held:
                os.close(writing)  # where time is up, the guard there ends the command
            end(process)
        return Done(process.returncode, out, err.decode("utf-8", "replace"))


def end(process: subprocess.Popen[bytes], grace: float = 5.0) -> None:
    """See a local ssh to its end, by force after `grace` seconds."""
    with suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=0 if process.poll() is not None else grace)
        return
    process.kill()
    process.communicate()


def quoted(words: Sequence[str]) -> str:
    """Return words as one line of a POSIX shell; raise ConfigError for what no shell can carry."""
    for word in words:
        if "\0" in word:
            raise ConfigError(f"{word[:40]!r} holds a zero byte, which no command can be given.")
    return shlex.join(words)


def _option_path(path: Path) -> str:
    """Return a path as ssh reads it in an option: quoted, and nothing in it expanded."""
    text = str(path.absolute())
    if '"' in text or "\n" in text or "${" in text or "\\" in text:
        raise ConfigError(f"{text!r} cannot be a file of known hosts: ssh would read its name as something else.")
    return '"' + text.replace("%", "%%") + '"'


def _ssh() -> str:
    found = shutil.which("ssh")
    if found is None:
        raise MissingDependency("the command ssh is not installed here. Get it with: apt install openssh-client")
    return found
