"""Why a file ships, in a sentence that says what it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pillm_llamacpp.choosing.front import Trial

SEEN = (
    "BUT no row was set aside for validation: all of this was measured on rows that were trained on and says little of "
    "others, so set split.validation and choose again"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What the figures of a choice rest on."""

    compared: int = 0
    """Conversations that divergences were measured on."""
    answer_tokens: int = 0
    """Of them."""
    scored: int = 0
    """Rows that files were asked."""
    metric: str | None = None
    """The metric that the score is of."""
    max_tokens: int = 0
    """After which an answer was cut."""
    seen: bool = False
    """Whether these rows were trained on, for want of others."""

    def told(self) -> str:
        """Return in words what the figures rest on; empty where that is not known."""
        if not self.compared:
            return ""
        scored = ", and no file was scored"
        if self.scored and self.metric:
            scored = f", the score on {self.scored} rows by {self.metric}"
        elif self.scored:
            scored += ", since no metric applies to them"
        else:
            scored += ": no validation row with its answer came with the checkpoint"
        kind = "conversations that were trained on" if self.seen else "validation conversations"
        return f"the divergence rests on {self.compared} {kind} ({self.answer_tokens} answer tokens){scored}"


def reason_of(best: Trial, full: Trial, among: tuple[int, int], wanted: Mapping[str, str], basis: Basis) -> str:
    """Return why a file ships; `among` are how many files were worth comparing and how many were tried.

    `wanted` says what was `cared` for, the `device`, and what was `asked` for.
    """
    pace = f", about {best.tg_tps:g} tokens per second on {wanted['device']}" if best.tg_tps else ""
    asked = f"asked for: {wanted['asked']}" if wanted["asked"] else ""
    cut = f"{best.cut} of its answers reached the limit of {basis.max_tokens} tokens and count as they are" if best.cut else ""
    figures = (
        f"{best.name} is the best trade of {wanted['cared']} among the {among[0]} of {among[1]} files that keep to the limits "
        f"and that no other beats in everything: {best.bytes / 1e6:.2f} MB{pace}, divergence {best.kld:.2g} nats"
        f"{_score(best, full)}"
    )
    told = [figures, basis.told(), cut, asked, SEEN if basis.seen else ""]
    return "; ".join(part for part in told if part) + "."


def _score(best: Trial, full: Trial) -> str:
    if best.score is None:
        return ""
    said = f", score {best.score:.3f}"
    if full.score is not None:
        said += f" (F16 {full.score:.3f})"
    if best.lost is not None:
        said += f", difference {best.lost.low:+.3f} to {best.lost.high:+.3f}"
    if best.exact is not None and full.exact is not None and (best.exact, full.exact) != (best.score, full.score):
        said += f", exact answers {best.exact:.3f} (F16 {full.exact:.3f})"
    return said
