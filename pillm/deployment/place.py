"""The folder on a board that one served model has, and what stands on the board beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from pillm.errors import BackendError, ConfigError, MissingDependency, StorageError
from pillm.remote import Remote

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
_LONGEST_SOCKET = 100  # of the 108 bytes that the kernel has for a socket's name
_TOOLS = ("flock", "mkfifo", "setsid", "sha256sum", "systemd-socket-activate", "tar", "cut", "sed")
_LOOK = """printf 'home %s\\n' "$HOME"
printf 'machine %s\\n' "$(uname -m)"
printf 'cores %s\\n' "$(nproc 2>/dev/null || echo 4)"
for tool in $1; do command -v "$tool" >/dev/null || printf 'lacks %s\\n' "$tool"; done
[ -x /usr/lib/systemd/systemd-socket-proxyd ] || [ -x /lib/systemd/systemd-socket-proxyd ] || echo 'lacks systemd-socket-proxyd'
printf 'port %s\\n' "$(cat -- "$HOME/.local/share/pillm/served/$2/port" 2>/dev/null)"
printf 'current %s\\n' "$(readlink -- "$HOME/.local/share/pillm/served/$2/current" 2>/dev/null)"
printf 'previous %s\\n' "$(readlink -- "$HOME/.local/share/pillm/served/$2/previous" 2>/dev/null)"
"""
_INSTALL = """mkdir -p -- "$1/files" "$1/releases" "$1/log" "$1/run" && chmod 700 -- "$1" || exit 1
cat >"$1/serve.sh.new" && mv -f -- "$1/serve.sh.new" "$1/serve.sh"
"""
_UNPACK = """release=$1/releases/$2 part=$1/releases/.$2.part
rm -rf -- "$part" && mkdir -p -- "$part" && tar -xf - -C "$part" && ln -s -- "../../files/$3" "$part/model.gguf" || exit 1
ln -s -- model.gguf "$part/$4" || exit 1
cd -- "$part" && sha256sum --check --quiet --strict sums >&2 || exit 1
sync
if [ -d "$release" ]; then rm -rf -- "$part"; else mv -T -- "$part" "$release"; fi
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """How a model is served: the name of its place there, its port on 127.0.0.1, and its limits.

    None is what was said of it before: the port that it has, the settings of the release that answers; else the default.
    """

    name: str = "default"
    port: int | None = None
    server: str | None = None
    """The llama-server there, a name or a path; by default llama-server."""
    context: int | None = None
    """Tokens that prompt and answer may have together; by default 2048."""
    threads: int | None = None
    """Threads to compute with; by default as many as the board has cores, four at most."""
    temperature: float | None = None
    """Chance in answers to requests that say nothing of it; by default 0, greedy, as the file was scored."""
    predict: int | None = None
    """Tokens of an answer at most, where a request says nothing of it; by default 512."""
    system: bool | None = None
    """Whether the contract's system message is put before messages that have none; by default it is."""
    defaults: bool = False
    """Whether what was said before is forgotten."""
    wait: float = 180.0
    """Seconds after which a new server that is not ready is given up."""
    api_key_file: Path | None = None
    """A file here of the API keys that callers must show, one a line; None: the ones that the board has, or none."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model is served: the folder there, and the release that answers now."""

    remote: Remote
    name: str
    root: str
    cores: int
    port: int | None
    current: str | None
    previous: str | None

    @classmethod
    def find(cls, remote: Remote, name: str) -> Place:
        """Look at a board; raise MissingDependency for what it lacks, ConfigError for a name that no folder should have."""
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{name!r} is no name for a served model: up to 32 small letters, digits and dashes.")
        told = remote.script(_LOOK, " ".join(_TOOLS), name, what="the look at the board")
        facts = [line.partition(" ")[::2] for line in told.splitlines()]
        lacking = [value for key, value in facts if key == "lacks"]
        if lacking:
            raise MissingDependency(
                f"{remote.host} lacks {', '.join(lacking)}. On Debian and Raspberry Pi OS: sudo apt install systemd util-linux"
            )
        known = dict(facts)
        home = known.get("home", "")
        if not home.startswith("/"):
            raise BackendError(f"{remote.host}: the home folder there is {home!r}, which is no place for a model.")
        found = cls(
            remote=remote,
            name=name,
            root=f"{home.rstrip('/')}/.local/share/pillm/served/{name}",
            cores=_number(known.get("cores")) or 4,
            port=_number(known.get("port")) if known.get("current") else None,  # one that never answered has none
            current=known.get("current", "").rpartition("/")[2] or None,
            previous=known.get("previous", "").rpartition("/")[2] or None,
        )
        if len(found.socket("0" * 12).encode()) > _LONGEST_SOCKET:
            raise ConfigError(f"{remote.host}: the path {found.root} is too long for a socket. Choose a shorter --name.")
        return found

    def socket(self, release: str) -> str:
        """Return the path of the socket that a release's server listens on."""
        return f"{self.root}/run/{release}.sock"

    def install(self) -> None:
        """Make the folder there and put the keeper's script into it; one that runs goes on as it was."""
        argv = ["sh", "-c", _INSTALL, "sh", self.root]
        self.remote.run_as("the installation", argv, stdin=keeper_script())

    def unpack(self, release: str, archive: bytes, model: str, link: str) -> None:
        """Put a release there, whole or not at all; raise StorageError where what arrived is not what was sent.

        `model` is the file there, `link` the second name that it has in the release.
        """
        argv = ["sh", "-c", _UNPACK, "sh", self.root, release, model.rpartition("/")[2], link]
        try:
            self.remote.run_as("the unpacking", argv, stdin=archive, timeout=600)
        except BackendError as error:
            if "FAILED" not in str(error) and "did NOT match" not in str(error):
                raise
            raise StorageError(f"{error} What answered before still answers. Run the same command again.") from error

    def ask(self, verb: str, *words: str, timeout: float = 120.0) -> str:
        """Let the keeper's script do something there and return what it says."""
        argv = ["sh", f"{self.root}/serve.sh", verb, *words]
        return self.remote.run_as(f"serve.sh {verb}", argv, timeout=timeout).strip()

    def deployed(self) -> str:
        """Return the release that answers there; raise ConfigError where nothing is deployed."""
        if self.current is None:
            raise ConfigError(f"{self.remote.host}: nothing is deployed under the name {self.name!r}.")
        return self.current

    def standing(self) -> dict[str, str]:
        """Return how it stands there, as the script tells it."""
        return dict(line.partition(" ")[::2] for line in self.ask("status").splitlines())


def keeper_script() -> bytes:
    """Return the script that serves on the board: three files here, one there, so that one rename replaces all of it."""
    return b"".join(files("pillm.deployment").joinpath(name).read_bytes() for name in ("keeper.sh", "trial.sh", "serve.sh"))


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None
