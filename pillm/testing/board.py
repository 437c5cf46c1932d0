"""A board for tests: a real sshd on 127.0.0.1 with keys, a home and troubles of its own."""

from __future__ import annotations

import getpass
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from pillm.remote import Remote

_SHELL = """#!/bin/sh
# what sshd runs for every command: in the home of the board, written down first, with the troubles of the board
root={root}
number=$(( $(cat "$root/count") + 1 )); echo "$number" >"$root/count"
printf '%s' "$SSH_ORIGINAL_COMMAND" >"$root/commands/$number"
[ -e "$root/environment" ] && . "$root/environment"
cd "$HOME" || exit 1
[ -e "$root/delay" ] && sleep "$(cat "$root/delay")"
[ -e "$root/largest" ] && trap '' XFSZ && ulimit -f "$(cat "$root/largest")"
[ -e "$root/hook" ] && sh "$root/hook" "$number"
exec sh -c "$SSH_ORIGINAL_COMMAND"
"""
_SSHD = """ListenAddress 127.0.0.1
Port {port}
HostKey {root}/host_key
PidFile {root}/sshd.pid
AuthorizedKeysFile {root}/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
PermitUserRC no
PrintMotd no
MaxSessions 30
MaxStartups 100:30:200
LogLevel INFO
SetEnv HOME={home} PILLM_BOARD={root}
ForceCommand {root}/shell
"""
_SSH = """Host board
  HostName 127.0.0.1
  Port {port}
  User {user}
  IdentityFile "{root}/user_key"
  IdentitiesOnly yes
  UserKnownHostsFile "{root}/known_hosts"
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
"""


def missing_for_board() -> str:
    """Return what this machine lacks for a LoopbackBoard, or an empty text: a reason to skip a test."""
    lacking = [name for name in ("ssh", "ssh-keygen") if shutil.which(name) is None]
    lacking += [] if _sshd() else ["sshd (apt install openssh-server)"]
    return f"not installed: {', '.join(lacking)}" if lacking else ""


def _sshd() -> str | None:
    return shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/local/sbin")


@dataclass
class LoopbackBoard:
    """A machine that ssh reaches on 127.0.0.1, for the length of a test; a context manager.

    `folder` is an empty folder of the test's. `home` is the home folder of the board, `commands` what was run there, in order.
    """

    folder: Path
    host: str = "board"
    port: int = field(init=False)
    _process: subprocess.Popen[bytes] | None = field(init=False, default=None)

    @property
    def home(self) -> Path:
        """Return the folder that is the home on the board."""
        return self.folder / "home"

    @property
    def ssh_config(self) -> Path:
        """Return the configuration with which ssh reaches the board as `board`."""
        return self.folder / "ssh_config"

    @property
    def commands(self) -> list[str]:
        """Return every line that the board was told to run."""
        found = sorted((self.folder / "commands").iterdir(), key=lambda path: int(path.name))
        return [path.read_text("utf-8", "replace") for path in found]

    @property
    def fingerprint(self) -> str:
        """Return the fingerprint of the board's host key, as `accepted` takes it."""
        argv = ["ssh-keygen", "-lf", str(self.folder / "host_key.pub")]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()[1]

    def remote(self, **options: Any) -> Remote:
        """Return the way to the board; `options` are those of Remote."""
        return Remote(self.host, ssh_config=self.ssh_config, **options)

    def __enter__(self) -> Self:
        if re.search(r"[\s\"%]", str(self.folder)):
            raise ValueError(f"sshd cannot be told of the folder {self.folder}")
        for name in ("home", "commands"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "count").write_text("0")
        self._new_key("user_key")
        shutil.copy(self.folder / "user_key.pub", self.folder / "authorized_keys")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        values = {"root": self.folder, "home": self.home, "port": self.port, "user": getpass.getuser()}
        shell = self.folder / "shell"
        shell.write_text(_SHELL.replace("{root}", shlex.quote(str(self.folder))), "utf-8")
        shell.chmod(0o755)
        (self.folder / "sshd_config").write_text(_SSHD.format(**values), "utf-8")
        self.ssh_config.write_text(_SSH.format(**values), "utf-8")
        if os.getuid() == 0:  # sshd wants a place for its children, which a machine without a running sshd may lack
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self.change_host_key()
        self.trust()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        for pid in self.processes():
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def processes(self) -> list[int]:
        """Return what runs on the board, whoever started it and wherever it went since."""
        marks, found = (f"PILLM_BOARD={self.folder}\0".encode(), f"{self.home}/".encode()), []
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # some programs forget their environment, not their command line
                told = (path / "environ").read_bytes(), (path / "cmdline").read_bytes()
                if marks[0] in told[0] or marks[1] in told[1].replace(b"\0", b" "):
                    found.append(int(path.name))
        return [pid for pid in found if pid != os.getpid()]

    def trust(self) -> None:
        """Write the board's present host key where the `ssh_config` looks for it."""
        kind, key = (self.folder / "host_key.pub").read_text("utf-8").split()[:2]
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {kind} {key}\n", "utf-8")

    def change_host_key(self) -> None:
        """Give the board another host key, as after a new installation, and start its sshd anew."""
        self._stop()
        self._new_key("host_key")
        self.start()

    def start(self) -> None:
        """Start sshd, and wait until it listens."""
        sshd = _sshd()
        if sshd is None:
            raise FileNotFoundError("sshd")
        log = (self.folder / "sshd.log").open("ab")
        argv = [sshd, "-D", "-e", "-f", str(self.folder / "sshd_config")]
        with log:
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until = time.monotonic() + 20
        while time.monotonic() < until and self._process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as answer:
                if answer.recv(4) == b"SSH-":
                    return
            time.sleep(0.02)
        raise RuntimeError(f"sshd did not start: {(self.folder / 'sshd.log').read_text('utf-8', 'replace')[-400:]}")

    def cut(self) -> None:
        """Break every connection at once, as a pulled cable does; what runs on the board goes on."""
        if self._process is None:
            return
        for pid in _descendants(self._process.pid):
            with suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text("utf-8").startswith("sshd"):
                    os.kill(pid, signal.SIGKILL)

    def unplug(self) -> None:
        """Break every connection and refuse new ones until `start`."""
        self._stop()

    def slow(self, seconds: float) -> None:
        """Let the board think for so long before every command."""
        (self.folder / "delay").write_text(str(seconds))

    def limit(self, largest: int) -> None:
        """Let no file on the board grow beyond so many bytes, which is what a full disk does to an upload."""
        (self.folder / "largest").write_text(str(largest // 512))

    def hook(self, script: str) -> None:
        """Run a POSIX shell script on the board before every command; $1 is the command's number."""
        (self.folder / "hook").write_text(script, "utf-8")

    def environment(self, **variables: str) -> None:
        """Set variables for every command on the board."""
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()]
        (self.folder / "environment").write_text("".join(lines), "utf-8")

    def healthy(self) -> None:
        """End all troubles."""
        for name in ("delay", "largest", "hook"):
            (self.folder / name).unlink(missing_ok=True)

    def _stop(self) -> None:
        if self._process is None:
            return
        self.cut()
        self._process.terminate()
        self._process.wait(10)
        self._process = None

    def _new_key(self, name: str) -> None:
        path = self.folder / name
        for old in (path, path.with_name(f"{name}.pub")):
            old.unlink(missing_ok=True)
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)]
        subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)


def _descendants(pid: int) -> Iterator[int]:
    """Yield the processes below a process, the farthest last."""
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in task.read_text("utf-8").split():
                yield int(child)
                yield from _descendants(int(child))
