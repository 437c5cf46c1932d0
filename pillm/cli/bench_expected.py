"""What the planner foretells for the very work that is timed: its lengths and its threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pillm
from pillm.performance.benchmark import Expected

if TYPE_CHECKING:
    from pillm.devices import DeviceProfile

_FITTED_PP, _FITTED_TG = 512, 128
"""What a plan's own speeds are of."""


def expected_of(profile: DeviceProfile, model: pillm.ModelFile | pillm.Checkpoint, plan: pillm.BenchPlan) -> Expected:
    """Return the memory and the speeds of a plan's two figures on a device, and for how many threads they are."""
    told = pillm.plan(model, profile)
    own = profile.at(told.bytes)
    return Expected(
        device=told.device,
        memory=told.needs,
        pp=plan.pp,
        tg=plan.tg,
        pp_threads=own.threads_batch or own.cores,
        tg_threads=own.threads or own.cores,
        pp_tps=told.pp_tps if plan.pp == _FITTED_PP else _reading(profile, model, plan.pp),
        tg_tps=told.tg_tps if plan.tg == _FITTED_TG else _writing(profile, model, plan.tg),
    )


def _reading(profile: DeviceProfile, model: pillm.ModelFile | pillm.Checkpoint, tokens: int) -> float | None:
    found = pillm.plan(model, profile, lengths=pillm.Lengths(prompt=tokens, answer=1))
    return round(tokens / found.ttft_s, 3) if found.ttft_s else None


def _writing(profile: DeviceProfile, model: pillm.ModelFile | pillm.Checkpoint, tokens: int) -> float | None:
    """Return the speed of so many steps behind a token; None of a single one, which a plan does not tell apart."""
    found = pillm.plan(model, profile, lengths=pillm.Lengths(prompt=1, answer=tokens + 1))
    if not found.ttft_s or not found.answer_s or found.answer_s <= found.ttft_s:
        return None
    return round(tokens / (found.answer_s - found.ttft_s), 3)
