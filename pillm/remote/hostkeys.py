"""Keys of hosts: an unknown one is shown and refused, an accepted one is recorded, a changed one is refused.

One rule for all that pillm does over ssh: a host whose key was accepted for pillm is held to that key, any other to the keys
that the person's own ssh knows; an unknown or changed key is refused before a byte is sent.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

from pillm.errors import PillmError, Unavailable, UnsafeError
from pillm.files import fsync_file
from pillm.remote.connection import Connection

_CHANGED = ("REMOTE HOST IDENTIFICATION HAS CHANGED", "POSSIBLE DNS SPOOFING", "differs from the key for the IP address")
_REVOKED = "is marked as revoked"
_UNKNOWN = ("host key is known for", "Host key verification failed")
_OLD = re.compile(r"^Offending .*key.* in (.+):(\d+)\s*$", re.MULTILINE)
_SHOWN = re.compile(r"^debug1: Server host key: (\S+) (SHA256:[A-Za-z0-9+/=]+)", re.MULTILINE)


def own_file() -> Path:
    """Return the file of the keys that were accepted for pillm."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "pillm" / "known_hosts"


def is_unknown(said: str) -> bool:
    """Return whether ssh refused a host because it knows no key of it, which says nothing against the host."""
    return any(text in said for text in _UNKNOWN) and not _is_changed(said)


def _is_changed(said: str) -> bool:
    return any(text in said for text in _CHANGED) or _REVOKED in said


def refusal(connection: Connection, said: str) -> PillmError | None:
    """Return the error for what ssh said of a host's key, or None where it was not about keys."""
    where = connection.known_hosts or "your known hosts of ssh"
    if _is_changed(said):
        old = _OLD.search(said)
        forget = f"remove line {old[2]} of {old[1]}" if old else f"remove its line from {where}"
        return UnsafeError(
            f"{connection.host} shows another key than the one in {where}: it was set up anew, or somebody stands in between. "
            f"Nothing was sent. If you set it up anew, {forget}, and accept the new key."
        )
    if not is_unknown(said):
        return None
    kind, fingerprint = shown_key(connection)
    accept = f"and answer yes to `ssh {connection.host} true`, or give `pillm deploy` --accept-host-key {fingerprint}"
    if connection.known_hosts:
        accept = f"and repeat the command with --accept-host-key {fingerprint}"
    return UnsafeError(
        f"{connection.host} is not known in {where}, and nothing was sent to it. It shows the {kind} key {fingerprint}. "
        f"Compare that with what `ssh-keygen -lf /etc/ssh/ssh_host_{_name(kind)}_key.pub` says on the device itself, {accept}."
    )


def shown_key(connection: Connection) -> tuple[str, str]:
    """Return kind and SHA256 fingerprint of the key that a host shows; ssh leaves before it says who we are."""
    with tempfile.TemporaryDirectory(prefix="pillm-") as folder:
        said = _refused_attempt(connection, Path(folder) / "nobody", [])
    found = _SHOWN.search(said)
    if found is None:
        raise Unavailable(f"{connection.host} shows no host key: {' '.join(said.strip().splitlines()[-2:]) or 'no answer'}.")
    return found[1], found[2]


def accept(connection: Connection, known_hosts: Path, fingerprints: tuple[str, ...]) -> None:
    """Record the key of an unknown host whose fingerprint is one of those that were accepted; others stay unknown.

    Raises UnsafeError where the host shows a key of another fingerprint.
    """
    kind, fingerprint = shown_key(connection)
    if fingerprint not in fingerprints:
        raise UnsafeError(
            f"{connection.host} shows the {kind} key {fingerprint}, and accepted was {', '.join(fingerprints)}. Nothing was "
            "sent. Compare the fingerprint with the one that the device itself prints."
        )
    with tempfile.TemporaryDirectory(prefix="pillm-") as folder:
        file = Path(folder) / "seen"
        options = ["-o", "StrictHostKeyChecking=accept-new", "-o", "PreferredAuthentications=none"]
        _refused_attempt(connection, file, options)
        lines = file.read_text("utf-8").splitlines() if file.is_file() else []
        matching = [line for line in lines if _fingerprint(line) == fingerprint]
    if not matching:
        raise UnsafeError(f"{connection.host} showed another key than a moment ago. Nothing was sent.")
    known_hosts.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with known_hosts.open("a", encoding="utf-8") as out:
        out.write("".join(f"{line}\n" for line in matching))
    fsync_file(known_hosts)


def _refused_attempt(connection: Connection, known_hosts: Path, options: list[str]) -> str:
    """Connect without a way to log in and return what ssh said; of two options of one name, ssh takes the first."""
    argv = [*connection.command("true")[:1], "-o", "LogLevel=DEBUG1", "-o", "ControlPath=none", *options]
    argv += [*connection.options(known_hosts), "--", connection.host, "true"]
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60)
    except subprocess.TimeoutExpired:
        return "no answer within 60 s"
    return done.stderr.decode("utf-8", "replace")


def _fingerprint(line: str) -> str:
    asked = ["ssh-keygen", "-l", "-f", "-"]
    done = subprocess.run(asked, input=line.encode(), capture_output=True, check=False, timeout=60)
    return next((word for word in done.stdout.decode("utf-8", "replace").split() if word.startswith("SHA256:")), "")


def _name(kind: str) -> str:
    return next((name for name in ("ed25519", "ecdsa", "rsa") if name in kind), "ed25519")
