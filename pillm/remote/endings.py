"""How commands on another machine end, in words."""

from __future__ import annotations

from pillm.errors import BackendError, MissingDependency, PillmError, StorageError

OUT_OF_MEMORY = 137
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126
_ENDINGS = {
    132: "it was built for another CPU (illegal instruction)",
    134: "it aborted: one of its own checks failed",
    139: "it crashed (it read memory that is not its own)",
    143: "it was told to end",
    254: "status 255",
}
_FULL = ("No space left on device", "File too large", "File size limit exceeded", "Disk quota exceeded")


def size(count: float) -> str:
    """Return a number of bytes as people write it."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def tail(stderr: str) -> str:
    """Return the end of what a command said."""
    return " ".join(stderr.strip().splitlines()[-3:])[-600:] or "it said nothing"


def ending(code: int, needs: int | None = None, has: int | None = None) -> str:
    """Return what an exit status means; `needs` and `has` are bytes of memory, where they are known."""
    if code != OUT_OF_MEMORY:
        return _ENDINGS.get(code, f"status {code}")
    wants = f" (needs {size(needs)}" if needs else ""
    having = f"{', has' if wants else ' (the device has'} {size(has)}" if has else ""
    return f"it was killed, most often because the device is out of memory{wants}{having}{')' if wants or having else ''}"


def failure(host: str, what: str, code: int, stderr: str, memory: tuple[int | None, int | None] = (None, None)) -> PillmError:
    """Return the error for a command that ended badly there; `memory` is what it needs and what the machine has."""
    said = tail(stderr)
    if code == _NOT_FOUND:
        return MissingDependency(
            f"{host} has no {what} ({said}). pillm's page rpi4/README.md says how to build llama.cpp there; where it is "
            "built already, name its path with the option for it."
        )
    if code == _NOT_EXECUTABLE:
        return BackendError(f"{host}: {what} is not a program that can be run there: {said}")
    if any(text in stderr for text in _FULL):
        return StorageError(f"{host}: no space is left there ({said}). Free some space and run the same command again.")
    return BackendError(f"{host}: {what} failed: {ending(code, *memory)}. It last said: {said}")
