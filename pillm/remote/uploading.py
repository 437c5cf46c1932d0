"""Files sent to another machine: checked by their hash there, continued where a broken connection stopped, never half there.

What pillm has there already, deployed or in the cache of runner pi4, is linked and not sent again; the cache makes room.
"""

from __future__ import annotations

import hashlib
import os
import re
import select
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pillm.errors import DataError, StorageError, Unavailable
from pillm.progress import Progress
from pillm.remote.connection import SSH_FAILED, end
from pillm.remote.endings import failure, size, tail
from pillm.remote.guard import guarded

if TYPE_CHECKING:
    from pillm.remote.machine import Remote

_PLAIN = re.compile(r"[^A-Za-z0-9._-]")
_CHUNK = 1 << 16
_SPARE = 64 << 20
_STALL = 60.0
_MINUTES = 600.0  # a board hashes 8 GB from its card in that time
_LOOK = """if [ -f "$1" ]; then touch -- "$1"; printf 'whole '; sha256sum <"$1"; exit; fi
for twin in "$HOME/.cache/pillm/models/$4"-* "$HOME"/.local/share/pillm/served/*/files/"$4"-*; do
  case $twin in *.part) continue ;; esac
  [ -f "$twin" ] && found=$(sha256sum <"$twin") && [ "${found%% *}" = "$5" ] || continue
  mkdir -p -- "$3" && ln -- "$twin" "$1" 2>/dev/null && echo "whole $found" && exit
done
if [ -f "$2" ]; then printf '%s ' "$(wc -c <"$2")"; sha256sum <"$2"
else mkdir -p -- "$3" && echo 0 -
fi"""
_APPEND = 'cat >>"$1" || { [ "$(df -Pk -- "$1" | awk \'NR == 2 { print $4 }\')" -gt 64 ] || rm -f -- "$1"; exit 1; }'
_ROOM = """cd -- "$HOME/.cache/pillm/models" 2>/dev/null || exit 0
for file in $(ls -tr); do
  [ "$(df -Pk -- "$1" | awk 'NR == 2 { print $4 }')" -gt "$2" ] && exit 0
  case $file in "$3"*) continue ;; esac
  [ -f "$file" ] && rm -f -- "$file" && echo "$file"
done
exit 0
"""
_PLACE = """found=$(sha256sum <"$1") || exit 1
if [ "${found%% *}" != "$3" ]; then rm -f -- "$1"; echo "$found"; exit 0; fi
{ sync -- "$1" || sync; } 2>/dev/null
mv -f -- "$1" "$2" && { sync -- "$4" || sync; } 2>/dev/null
echo placed
"""


def upload(remote: Remote, path: Path, folder: str, sha256: str, progress: Progress) -> str:
    """Put a file into a folder of another machine and return its path there; one that is there already is not sent.

    What a broken connection left is checked by its hash and continued. Raises StorageError where the space there does not
    suffice, before anything is sent; Unavailable where the connection breaks or other bytes arrived; DataError where the file
    here is not the one of that sha256.
    """
    folder = remote.path(folder)
    target = f"{folder}/{sha256[:16]}-{_PLAIN.sub('_', path.name)[-80:]}"
    part = f"{target}.part"
    total = path.stat().st_size
    length, _, found = remote.script(
        _LOOK, target, part, folder, sha256[:16], sha256, what="the look for what is there", timeout=_MINUTES
    ).partition(" ")
    if length == "whole" and found.split()[0] == sha256:
        return target
    start = int(length) if length.isdigit() else 0
    if length == "whole" or (start and (start > total or _sha256_of(path, start) != found.split()[0])):
        remote.run(["rm", "-f", "--", part])
        start = 0
    _make_space(remote, folder, target, total - start, progress)
    _check_space(remote, folder, path.name, total - start)
    progress.start(total, unit="bytes")
    if start:
        progress.advance(start)
        progress.note(f"{remote.host}: {path.name} continues at {size(start)} of {size(total)}")
    if start < total or not total:
        _send(remote, path, part, start, progress)
    _place(remote, (part, target, folder), path, sha256)
    return target


def _make_space(remote: Remote, folder: str, target: str, missing: int, progress: Progress) -> None:
    """Let the files go that runner pi4 keeps there, the oldest first, where the space does not suffice."""
    free, needed = remote.free_space(folder), missing + _SPARE
    if free is None or free >= needed:
        return
    words = (folder, str(needed // 1024 + 1), target.rpartition("/")[2][:16])
    gone = remote.script(_ROOM, *words, what="the making of space").split()
    if gone:
        progress.note(f"{remote.host}: {len(gone)} files that runner pi4 kept in ~/.cache/pillm/models were removed for space")


def _check_space(remote: Remote, folder: str, name: str, missing: int) -> None:
    free = remote.free_space(folder)
    if free is not None and free < missing + _SPARE:
        raise StorageError(
            f"{remote.host}: {folder} has {size(free)} free; {name} needs {size(missing)} more and {size(_SPARE)} to spare. "
            "Nothing was sent. Free some space there and run the same command again."
        )


def _send(remote: Remote, path: Path, part: str, start: int, progress: Progress) -> None:
    """Send a file from `start` on; the bytes go through a pipe of our own, so that a connection that stalls is noticed."""
    remote.connect()
    line = guarded(["sh", "-c", _APPEND, "sh", part], fed=True)
    argv = remote.connection.command(line)
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            stalled = _pump(process, path, start, progress)
        except BaseException:
            process.kill()
            raise
        if stalled:
            process.kill()
        out, err = process.communicate()
        end(process)
    said = err.decode("utf-8", "replace")
    if stalled:
        raise Unavailable(
            f"{remote.host}: nothing more of {path.name} could be sent for {_STALL:.0f} s. What arrived is kept; the same "
            "command continues there."
        )
    if process.returncode == SSH_FAILED or process.returncode < 0:
        raise Unavailable(
            f"{remote.host}: the connection broke while {path.name} was sent ({tail(said)}). What "
            "arrived is kept; the same command continues there."
        )
    if process.returncode:
        raise failure(remote.host, "the upload", process.returncode, said + out.decode("utf-8", "replace"))


def _pump(process: subprocess.Popen[bytes], path: Path, start: int, progress: Progress) -> bool:
    """Write the rest of a file to a process; return whether it stopped reading without ending."""
    pipe = process.stdin
    if pipe is None:
        return False
    try:
        os.set_blocking(pipe.fileno(), False)
        with path.open("rb") as file:
            file.seek(start)
            while chunk := file.read(_CHUNK):
                rest = memoryview(chunk)
                while rest:
                    if not select.select([], [pipe], [], _STALL)[1]:
                        return True
                    rest = rest[os.write(pipe.fileno(), rest) :]
                progress.advance(len(chunk))
    except BrokenPipeError:  # the command ended or the connection broke: its status says which
        pass
    finally:
        with suppress(BrokenPipeError):
            pipe.close()
        process.stdin = None  # communicate would write to it
    return False


def _place(remote: Remote, places: tuple[str, str, str], path: Path, sha256: str) -> None:
    part, target, folder = places
    said = remote.script(_PLACE, part, target, sha256, folder, what="the check of what arrived", timeout=_MINUTES)
    if said.strip() == "placed":
        return
    if _sha256_of(path, path.stat().st_size) != sha256:
        raise DataError(f"{path} is not the file of sha256 {sha256}: it changed since. Nothing is left of it on {remote.host}.")
    raise Unavailable(
        f"{remote.host}: {path.name} arrived with sha256 {said.split()[0] if said.split() else 'none'}, not {sha256}, and was "
        "removed there. Run the same command again; where it happens again, the card of the device may be failing."
    )


def _sha256_of(path: Path, length: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while length > 0 and (chunk := file.read(min(1 << 20, length))):
            digest.update(chunk)
            length -= len(chunk)
    return digest.hexdigest()
