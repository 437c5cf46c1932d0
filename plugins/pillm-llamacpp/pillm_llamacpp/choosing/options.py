"""The options of an exporter that chooses the quantisation itself: `quants: auto`."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

import pillm
from pillm_llamacpp.choosing.front import WEIGHTS
from pillm_llamacpp.choosing.limits import EXACT, Limits, parse_score, parse_size

AUTO = "auto"
_NEEDED = "Only with quants=auto. "
_ASKED = ("device", "min_exact", "max_bytes", "max_ram", "min_tps", "keep", "weights", "probes", "metrics", "rows")


class Choosing(pillm.Backend):
    """What a choice among quantisations is made by; mixed into the exporter."""

    device: str | None = Field(None, description=f"{_NEEDED}The device to choose for: a profile's name or file.")
    keep: Literal["pick", "front"] = Field(
        "pick", description=f"{_NEEDED}Which files ship: the pick alone, or all that no other file beats in everything."
    )
    min_exact: str | float | None = Field(
        None, description=f"{_NEEDED}Exact answers on validation rows to keep: '0.98 of F16', or a share of the rows."
    )
    max_bytes: int | None = Field(None, ge=1, description=f"{_NEEDED}Of the file; also as '1.5 GB', '300 MiB'.")
    max_ram: int | None = Field(None, ge=1, description=f"{_NEEDED}Of weights, cache and buffers on the device.")
    min_tps: float | None = Field(None, gt=0, description=f"{_NEEDED}Predicted tokens per second of decode on the device.")
    weights: dict[str, float] = Field(
        {**WEIGHTS},
        description=f"{_NEEDED}How much a loss of each counts against the others.",
    )
    probes: int = Field(
        32, ge=0, le=1024, description=f"{_NEEDED}Groups of tensors to measure when types are searched for; 0: no search."
    )

    metrics: tuple[str | dict[str, Any], ...] = Field(
        (EXACT,),
        min_length=1,
        description=f"{_NEEDED}What files are scored by, the first that applies decides; in a recipe: its evaluate.metrics.",
    )
    rows: int | None = Field(
        None,
        ge=1,
        description=f"{_NEEDED}Validation rows to compare and to score files on at the most; none: by the model's size.",
    )

    @field_validator("max_bytes", "max_ram", mode="before")
    @classmethod
    def _sizes(cls, value: Any) -> Any:
        return parse_size(value) if isinstance(value, str) else value

    @field_validator("min_exact")
    @classmethod
    def _score(cls, value: str | float | None) -> str | float | None:
        if value is not None:
            parse_score(value)
        return value

    @field_validator("metrics", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return (value,) if isinstance(value, (str, dict)) else value

    @field_validator("weights")
    @classmethod
    def _positive(cls, value: dict[str, float]) -> dict[str, float]:
        if unknown := sorted(set(value) - set(WEIGHTS)):
            raise ValueError(f"weights has no {unknown[0]!r}; it has {', '.join(WEIGHTS)}")
        if min(value.values(), default=0) < 0 or max(value.values(), default=0) <= 0:
            raise ValueError("weights are numbers from 0 up, and one of them at least is above 0")
        return value

    @model_validator(mode="after")
    def _device_for_a_choice(self) -> Self:
        if self.chooses and self.device is None:
            raise ValueError("quants=auto chooses for a device; name one, such as device=pi4-4gb")
        if self.chooses:
            try:
                pillm.device(str(self.device))
                self.scoring()
            except pillm.ConfigError as error:
                raise ValueError(str(error)) from error
        elif asked := [name for name in _ASKED if getattr(self, name) != type(self).model_fields[name].default]:
            raise ValueError(f"{asked[0]} is for quants=auto alone: named quants are made as they are")
        return self

    @property
    def chooses(self) -> bool:
        """Return whether the exporter chooses the quantisation itself."""
        return tuple(getattr(self, "quants", ())) == (AUTO,)

    def scoring(self) -> tuple[pillm.Metric, ...]:
        """Return the metrics that files are scored by; raise ConfigError for one that is not known.

        What `min_exact` asks for is measured whatever they are.
        """
        tables = [{"use": one} if isinstance(one, str) else one for one in self.metrics]
        if self.min_exact is not None and EXACT not in [table.get("use") for table in tables]:
            tables.append({"use": EXACT})
        unnamed = [table for table in tables if not isinstance(table.get("use"), str)]
        if unnamed:
            raise pillm.ConfigError(f"metrics: the table {unnamed[0]} needs 'use: NAME'")
        return tuple(
            pillm.metric(table["use"], **{key: value for key, value in table.items() if key != "use"}) for table in tables
        )

    @property
    def limits(self) -> Limits:
        """Return the budget."""
        exact, relative = parse_score(self.min_exact) if self.min_exact is not None else (None, True)
        return Limits(max_bytes=self.max_bytes, max_ram=self.max_ram, min_tps=self.min_tps, min_exact=exact, relative=relative)
