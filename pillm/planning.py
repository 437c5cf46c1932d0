"""Plan for what a person names: a path, or a model that a plugin ships; and the lengths of a data set's requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pillm.artifacts import Checkpoint, Lengths, Plan
from pillm.devices import DeviceProfile, planner
from pillm.errors import DataError

if TYPE_CHECKING:
    from pillm.contract import Contract
    from pillm.lengths import RowLengths
    from pillm.records import Prompt


def plan(
    model: Any,
    device: str | Path | DeviceProfile,
    *,
    context: int | None = None,
    quant: str | None = None,
    types: Mapping[str, str] | None = None,
    lengths: Lengths | None = None,
) -> Plan:
    """Return whether a model fits a device, how fast it would be, and what would do instead.

    `model` is a ModelFile, a Checkpoint, the name of a shipped model, the path of a .gguf file, a model folder or a
    config.json, or what a config.json would hold. `quant` asks what another quantisation would be; a checkpoint is planned in
    the device's first choice. `types` asks, on top of that, for a storage type of some tensors, by their names in GGUF.
    `context` counts tokens. With `lengths` (see `lengths_of`), the time to the first token and to the end of an answer is told
    too, and the context holds such a request.
    Raises DataError for a model that cannot be read, ConfigError for an unknown device, quantisation, tensor or type, for a
    context that is shorter than the request, and where the memory of the device is not known.
    """
    return planner.plan(_located(model), device, context=context, quant=quant, types=types, lengths=lengths)


def plan_table(
    model: Any, device: str | Path | DeviceProfile, *, context: int | None = None, lengths: Lengths | None = None
) -> list[Plan]:
    """Return a plan for each quantisation that the device does not run badly, largest first.

    Raises what `plan` raises.
    """
    return planner.plan_table(_located(model), device, context=context, lengths=lengths)


def lengths_of(
    prompts: Iterable[Prompt], model: Any = None, *, contract: Contract | None = None, answer: int | None = None
) -> Lengths:
    """Return the tokens of a middling request of a data set and of its answer, for `plan`.

    They are counted with the tokenizer and the chat template in the model's folder, or beside its file; without them, or
    without the library `tokenizers`, they are reckoned from characters and `estimated`. `answer` counts tokens and stands for
    the answers that the rows have. Raises DataError where there is no row, or none has an answer and `answer` is not said.
    """
    found = requests_of(prompts, model, contract=contract, answer=answer)
    if found.typical is None:
        what = "no row has an answer yet: say how many tokens one has" if found.longest else "there are no rows"
        raise DataError(f"the lengths of the requests cannot be told: {what}.")
    return found.typical


def requests_of(
    prompts: Iterable[Prompt], model: Any = None, *, contract: Contract | None = None, answer: int | None = None
) -> RowLengths:
    """Return the lengths of `lengths_of`, None where no answer is known, and the tokens of the longest request."""
    from pillm.contract import Contract
    from pillm.lengths import RowLengths, row_lengths
    from pillm.tokencounter import TokenCounter

    rows = list(prompts)
    if answer is not None:  # any will do in the place of those that are not counted
        rows = [replace(row, given={"role": "assistant", "content": "-"}) for row in rows]
    found = row_lengths(rows, TokenCounter(contract or Contract(), _folder_of(_located(model))))
    if answer is None or found.typical is None:
        return found
    return RowLengths(typical=replace(found.typical, answer=answer), longest=found.longest + answer)


def _located(model: Any) -> Any:
    """Return a shipped model, where that is what a text names and no path, as a Checkpoint; all else as it is."""
    if isinstance(model, (str, Path)) and str(model).endswith((".yaml", ".yml")):
        raise DataError(f"{model} is no model. If it is a recipe: pillm run {model} --dry-run plans its files.")
    if not isinstance(model, str) or Path(model).exists():
        return model
    from pillm.plugins import model_folder  # which takes longer than a plan: only a name needs it

    folder = model_folder(model)
    return model if folder is None else Checkpoint(path=folder, name=model)


def _folder_of(model: Any) -> Path | None:
    """Return the folder that a model's tokenizer lies in, if anywhere."""
    if model is None or isinstance(model, Mapping):
        return None
    path = Path(getattr(model, "path", model))
    return path if path.is_dir() else path.parent
