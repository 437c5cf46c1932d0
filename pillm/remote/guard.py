"""The lines that stand before every command on another machine, so that none is left behind when the connection breaks."""

from __future__ import annotations

from collections.abc import Sequence

from pillm.remote.connection import quoted

_HELD = """exec 3<&0
if command -v setsid >/dev/null; then setsid "$@" </dev/null 3<&- & child=$!; group=-$child
else "$@" </dev/null 3<&- & child=$!; group=$child
fi
{ while read -r line; do :; done; kill -TERM "$group" "$child"; sleep 2; kill -KILL "$group" "$child"; } <&3 >/dev/null 2>&1 &
watch=$!
exec 3<&-
wait "$child"; code=$?
kill "$watch" 2>/dev/null
case $group in -*) kill -KILL "$group" 2>/dev/null ;; esac
[ "$code" = 255 ] && code=254
exit "$code"
"""
"""A session of its own, and a watcher that reads the connection: its end is the command's end, its whole group's."""
_FED = '"$@"; code=$?; [ "$code" = 255 ] && code=254; exit "$code"\n'
"""Here the connection is the command's own input, whose end it sees itself; 255 is what ssh means by its own failures."""


def guarded(argv: Sequence[str], *, fed: bool) -> str:
    """Return the line for the remote shell: every word of the command quoted, nothing of it read as shell."""
    return quoted(["sh", "-c", _FED if fed else _HELD, "pillm", *argv])
