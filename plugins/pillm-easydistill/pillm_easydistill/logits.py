"""Write a teacher's probabilities where version 1 will look for them.

Its own inference needs vLLM and has the teacher go on in its own words. Here the teacher, any model of the same tokenizer,
reads the answers that are learnt. Version 1's training takes line `s` of the file for the row of optimiser step `s`,
whatever row that is, and lays the entries of a line beside the labels from the answer's first token on, although a
position predicts the token after it. So the lines are written in the order of training, epoch after epoch, and each
starts with the distribution of the answer's second token.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pillm
from pillm_easydistill import student

if TYPE_CHECKING:
    from pillm_easydistill.student import Base, Lesson


def open_teacher(name: str, base: Base) -> Path:
    """Return a teacher's folder; raise DataError where its token ids mean something else than the student's."""
    teacher = student.Base.open(name, None)
    if teacher.chat.tokenizer.get_vocab() != base.chat.tokenizer.get_vocab():
        raise pillm.DataError(
            f"teacher {name!r} has another tokenizer than the base, so its probabilities are of other tokens. Choose one of "
            "the same family, or job_type=kd_black_box_train_only."
        )
    return teacher.folder


def write_logits(path: Path, lines: Sequence[str], *, epochs: int, seed: int) -> None:
    """Write the rows' lines for each epoch, in the order of training."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for epoch in range(epochs):
            file.writelines(f"{lines[index]}\n" for index in order(len(lines), seed + epoch))


def lines_of(taught: Sequence[Lesson], teacher: Path, *, top: int, vocabulary: int) -> Iterator[str]:
    """Yield each row's line: for each answer token but the first the `top` most likely tokens and their probabilities.

    Ids from `vocabulary` on, which only pad the teacher's output, are left out.
    """
    import torch

    model = student.load_teacher(teacher)
    for lesson in taught:
        row = lesson.row
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([row.ids], device=model.device)).logits[0, row.start : row.end - 1]
        best = logits.float().softmax(-1)[:, :vocabulary].topk(min(top, vocabulary))
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        yield json.dumps([{str(token): chance for token, chance in zip(*at, strict=True)} for at in pairs])


def order(count: int, seed: int) -> list[int]:
    """Return the order in which accelerate's sampler visits rows; `seed` is the run's seed plus the epoch's number."""
    import torch

    return [int(index) for index in torch.randperm(count, generator=torch.Generator().manual_seed(seed))]


def write_teacher(folder: Path, vocabulary: int) -> None:
    """Write the one file that version 1 reads of a teacher: its config.json, for `vocab_size`."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"vocab_size": vocabulary}) + "\n", "utf-8")
