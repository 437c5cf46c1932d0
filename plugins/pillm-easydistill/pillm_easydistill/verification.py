"""Say whether EasyDistill left a trained student behind: files are believed, exit codes and words in a log are not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pillm

if TYPE_CHECKING:
    import torch

_TOKENIZER = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")


class NoStudent(Exception):
    """What EasyDistill left behind is no trained student; the message says in what."""


def verify(result: Path, base: Path) -> None:
    """Raise NoStudent unless a folder holds a whole checkpoint of the base's shapes, with weights that were trained."""
    if not (result / "config.json").is_file():
        raise NoStudent("it wrote no checkpoint (no config.json)")
    files = sorted(result.glob("*.safetensors"))
    if not files:
        raise NoStudent("its checkpoint has no weights (*.safetensors)")
    changed, seen = False, set()
    with ExitStack() as opened:
        before = _Tensors(sorted(base.glob("*.safetensors")), opened)
        for name, weight in _Tensors(files, opened):
            seen.add(name)
            changed = _check(name, weight, before) or changed
    unknown = sorted(seen - set(before.names))
    if before.names and len(unknown) == len(seen):
        raise NoStudent(f"its checkpoint is of another model ({', '.join(unknown[:3])})")
    if not changed:
        raise NoStudent("every weight is as it was in the base: nothing was learnt")
    if not any((result / name).is_file() for name in _TOKENIZER):
        raise NoStudent("it stopped before it saved the tokenizer")


def _check(name: str, weight: torch.Tensor, before: _Tensors) -> bool:
    """Return whether a weight differs from the base's; raise NoStudent where it cannot be the base's, trained."""
    import torch

    if not bool(torch.isfinite(weight).all()):
        raise NoStudent(f"its weight {name} holds numbers that are none (NaN or infinity)")
    if name not in before.names:
        return False  # a head that shares the embeddings' weights may be stored or not
    known = before.read(name)
    if known.shape != weight.shape:
        raise NoStudent(f"its weight {name} has shape {tuple(weight.shape)}, the base's has {tuple(known.shape)}")
    return not torch.equal(weight.float(), known.float())


class _Tensors:
    """The tensors of several files, read one at a time."""

    def __init__(self, files: list[Path], opened: ExitStack) -> None:
        from safetensors import SafetensorError, safe_open

        self.names: dict[str, Any] = {}
        for path in files:
            try:
                pillm.check_model_file(path)
                file = opened.enter_context(safe_open(path, framework="pt"))
                self.names |= dict.fromkeys(file.keys(), file)
            except (SafetensorError, OSError, pillm.DataError) as error:
                raise NoStudent(f"{path.name} cannot be read ({error})") from error

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        for name in self.names:
            yield name, self.read(name)

    def read(self, name: str) -> torch.Tensor:
        tensor: torch.Tensor = self.names[name].get_tensor(name)
        return tensor
