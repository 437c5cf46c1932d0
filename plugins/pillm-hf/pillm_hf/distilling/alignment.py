"""From stored labels to a cache of targets: the teacher's distributions are the student's where both wrote the same tokens."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from statistics import median_low

import pillm
from pillm_hf.distilling.targetcache import TargetWriter
from pillm_hf.distilling.targets import Targets, Vocabulary
from pillm_hf.options.distillation import OTHER_TOKENIZER
from pillm_hf.rows.text import Encoded

Alternatives = Sequence[tuple[int, float]]
_FIRST = 100  # rows that say how many alternatives labels commonly have
_LABEL_AGAIN = "label again with logprobs=16 or more"


@dataclass(slots=True)
class Alignment:
    """How many rows got targets, at how many positions, and how many rows were left out, by reason."""

    rows: int = 0
    positions: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def cache_labels(
    examples: Iterable[pillm.Example], rows: Iterable[Encoded], path: Path, vocabulary: Vocabulary, *, k: int | None = None
) -> Alignment:
    """Write the log-probabilities that labelling stored as a cache of targets for the student's rows.

    A position gets the k most likely ids; all that the first rows commonly have, where k is absent or more than that. Rows are
    matched by id and answer, and each example is counted. Raises DataError where fewer than half of them align: then the
    tokenizers differ, or nothing was stored.
    """
    found = Alignment()
    matched = _matched(examples, rows, vocabulary, found.left_out)
    first = list(islice(matched, _FIRST))
    if not first:
        raise unaligned(found)
    held = min(median_low(min(map(len, logprobs)) for _, logprobs in first), vocabulary.size)
    with TargetWriter(path, vocabulary, k=held if k is None else min(k, held)) as writer:
        for row, logprobs in chain(first, matched):
            targets = _targets(logprobs, writer.layout.k, vocabulary.size)
            if targets is None:
                found.left_out[f"fewer than k={writer.layout.k} log-probabilities at a position"] += 1
                continue
            writer.add(row.id, row.ids[row.start : row.end], targets)
            found.rows += 1
            found.positions += len(targets)
        if found.rows * 2 < found.rows + found.left_out.total():
            raise unaligned(found)
    return found


def _matched(
    examples: Iterable[pillm.Example], rows: Iterable[Encoded], vocabulary: Vocabulary, left_out: Counter[str]
) -> Iterator[tuple[Encoded, Sequence[Alternatives]]]:
    """Yield each student's row that wrote the teacher's tokens, with the alternatives at the positions that both have."""
    known = by_id(rows)
    for example in examples:
        answer, candidates = example.answer, known.get(example.prompt.id, [])
        shared = [(row, count) for row in candidates if (count := positions_shared(answer.token_ids or (), row))]
        reason = _reason(answer, vocabulary, bool(candidates), bool(shared))
        if reason:
            left_out[reason] += 1
        else:
            row, count = shared[0]
            yield row, (answer.logprobs or ())[:count]


def _reason(answer: pillm.Answer, vocabulary: Vocabulary, encoded: bool, shared: bool) -> str | None:
    """Return why an example gets no targets, or None."""
    if not encoded:
        return "the row is not trained on"
    if not answer.token_ids:
        return "the answer is stored without token ids (given, changed after it was made, or from a server that tells none)"
    if not answer.logprobs:
        return f"the answer is stored without log-probabilities ({_LABEL_AGAIN})"
    if answer.tokenizer_hash not in (None, vocabulary.tokenizer_hash):  # None: the server did not say; its tokens will
        return "the teacher has another tokenizer"
    return None if shared else "the student writes the answer in other tokens"


def positions_shared(token_ids: Sequence[int], row: Encoded) -> int:
    """Return at how many of a row's learnt positions the teacher stood before the same choice; 0 where the answers differ.

    A row learns the answer and the token that ends its turn. A teacher's ids end with that token, with another that ended its
    answer, or, where the server leaves it out or the answer was cut, without one: then the last position is the label's alone.
    """
    learnt = row.ids[row.start : row.end]
    said = len(learnt) - 1
    if list(token_ids[:said]) != learnt[:said] or not said <= len(token_ids) <= said + 1:
        return 0
    return said + (list(token_ids[said:]) == learnt[said:])


def _targets(logprobs: Sequence[Alternatives], k: int, size: int) -> Targets | None:
    """Return the k best alternatives of each position and their rest, or None where a position has fewer.

    Ids beyond the student's vocabulary are its teacher's padding: what they hold falls to the rest.
    """
    import torch

    from pillm_hf.losses.divergences import with_rest

    best = []
    for alternatives in logprobs:
        known = {token: value for token, value in alternatives if token < size and not math.isnan(value)}
        best.append(sorted(known.items(), key=lambda pair: -pair[1])[:k])
    if any(len(pairs) < k for pairs in best):
        return None
    ids = torch.tensor([[token for token, _ in pairs] for pairs in best])
    values = torch.tensor([[value for _, value in pairs] for pairs in best])
    none = torch.zeros((len(best), 0), dtype=torch.int64)
    return Targets(ids, with_rest(values), none, none)


def by_id(rows: Iterable[Encoded]) -> dict[str, list[Encoded]]:
    """Return rows by their ids."""
    found: defaultdict[str, list[Encoded]] = defaultdict(list)
    for row in rows:
        found[row.id].append(row)
    return found


def unaligned(found: Alignment) -> pillm.DataError:
    """Return what to say where too few rows have targets: how many, and why the others have none."""
    total = found.rows + found.left_out.total()
    reasons = "; ".join(f"{count} rows: {reason}" for reason, count in found.left_out.most_common()) or "there are no rows"
    return pillm.DataError(
        f"only {found.rows} of {total} rows have a teacher's distribution to learn from ({reasons}). {OTHER_TOKENIZER}"
    )
