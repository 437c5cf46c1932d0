"""Programs that were built: where they are kept, and the manifest that says what they were made of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pillm
from pillm_llamacpp import source
from pillm_llamacpp.building.targets import Target

MANIFEST = "manifest.json"
PINNED = {"version": source.VERSION, "commit": source.COMMIT, "sha256": source.SHA256}


def kept_folder(target: Target) -> Path:
    """Return where a target's programs are kept, in the user's cache."""
    return source.cache_folder() / f"build-{target.name}-{source.VERSION}-{source.SHA256[:8]}"


def work_folder(target: Target) -> Path:
    """Return where a target's source is unpacked and compiled, until that is done."""
    return kept_folder(target).with_name(f"{kept_folder(target).name}.work")


def command(target: Target, *more: str) -> str:
    """Return the command that builds for a target."""
    return " ".join(("pillm-llamacpp build --target", target.name, *more))


@dataclass(frozen=True, slots=True)
class Built:
    """The programs of one target in one folder."""

    target: Target
    folder: Path

    def path(self, program: str) -> Path:
        """Return where a program is, or would be."""
        return self.folder / "bin" / program

    def read(self) -> dict[str, Any] | None:
        """Return the manifest where it is of this target and of the pinned source, else None."""
        try:
            found = json.loads((self.folder / MANIFEST).read_text("utf-8"))
            fits = found["target"] == self.target.name and found["source"] == PINNED and self._fits(found["options"])
            return dict(found) if fits and isinstance(found["programs"], dict) else None
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def _fits(self, options: dict[str, str]) -> bool:
        wanted = self.target.options(())
        return all(options.get(name) == value for name, value in wanted.items() if name != "LLAMA_BUILD_EXAMPLES")

    def lacking(self, programs: tuple[str, ...]) -> tuple[str, ...]:
        """Return those of the programs that are not there as the manifest records them."""
        recorded = (self.read() or {}).get("programs", {})
        return tuple(name for name in programs if not self._stands(name, recorded.get(name)))

    def _stands(self, program: str, entry: Any) -> bool:
        path = self.path(program)
        return bool(entry) and path.is_file() and pillm.sha256_file(path) == entry.get("sha256")

    def require(self, program: str) -> Path:
        """Return a program's path; raise MissingDependency, with the command that builds it, where it is not there."""
        if self.lacking((program,)):
            raise pillm.MissingDependency(
                f"{program} was not built for {self.target.title} yet ({self.path(program)} is missing or was changed). "
                f"Build it once, which takes some minutes: {command(self.target)}"
            )
        return self.path(program)

    def record(self, programs: tuple[str, ...], compiler: str, options: dict[str, str]) -> None:
        """Write the manifest: of these programs, and of what it recorded before and still stands."""
        before = (self.read() or {}).get("programs", {})
        kept = {name: entry for name, entry in before.items() if self._stands(name, entry)}
        made = {
            name: {"sha256": pillm.sha256_file(self.path(name)), "bytes": self.path(name).stat().st_size} for name in programs
        }
        told = {
            "target": self.target.name, "source": PINNED, "options": options, "compiler": compiler,
            "programs": dict(sorted({**kept, **made}.items())),
        }  # fmt: skip
        part = self.folder / f".{MANIFEST}.part"
        part.write_text(json.dumps(told, indent=2) + "\n", "utf-8")
        part.replace(self.folder / MANIFEST)
