"""Who has a port of a board: a model that pillm serves there under another name, or any other program."""

from __future__ import annotations

from pillm.deployment.place import Place, Service
from pillm.errors import ConfigError

PORT = 8080
_WHO = r"""hex=$(printf '%04X' "$1")
for folder in "$HOME"/.local/share/pillm/served/*; do
  name=${folder##*/}
  [ "$name" != "$2" ] && [ -L "$folder/current" ] || continue
  [ "$(cat -- "$folder/port" 2>/dev/null)" = "$1" ] && printf 'name %s\n' "$name"
done
inode=$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v port=":$hex" '
  $4 == "0A" && substr($2, length($2) - 4) == port && $2 ~ /^(0100007F|0*|0*FFFF00000100007F):/ { print $10; exit }')
[ -n "$inode" ] || exit 0
pid=$(find /proc/[0-9]*/fd -maxdepth 1 -lname "socket:\[$inode\]" 2>/dev/null | sed -n 's,^/proc/\([0-9]*\)/.*,\1,p;q')
read -r own _ 2>/dev/null <"$HOME/.local/share/pillm/served/$2/run/front"
[ -n "$pid" ] && [ "$pid" = "${own-}" ] && exit 0
printf 'taken %s %s\n' "$pid" "$(cat "/proc/$pid/comm" 2>/dev/null)"
"""


def port_for(place: Place, service: Service) -> int:
    """Return the port that a model answers at or will.

    Raises ConfigError for one that differs from the one it has, or that something else has there.
    """
    if service.port is not None and place.port not in (None, service.port):
        raise ConfigError(
            f"{place.remote.host}: {place.name!r} answers at port {place.port}, and whoever asks it relies on that. Leave "
            "--port out, or serve it under another --name."
        )
    port = place.port or service.port or PORT
    if taken := who_has(place, port):
        raise ConfigError(f"{place.remote.host}: port {port} {taken}. Nothing was sent. Choose another --port, or end that.")
    return port


def who_has(place: Place, port: int) -> str | None:
    """Return in words who else has a port there, or None where it is free or this model's own."""
    told = place.remote.script(_WHO, str(port), place.name, what="the look at the port")
    facts = [line.partition(" ")[::2] for line in told.splitlines()]
    for key, value in facts:
        if key == "name":
            return f"is that of the model served as {_plain(value)!r}"
    for key, value in facts:
        if key == "taken":
            pid, _, program = value.partition(" ")
            return f"is taken by {_plain(program)} (process {pid})" if pid.isdigit() else "is taken by another user's program"
    return None


def _plain(text: str) -> str:
    return "".join(sign for sign in text if sign.isprintable())[:40] or "a program"
