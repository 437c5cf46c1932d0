"""What an examination found: of an installation, or of a model that is to be exported."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

from pillm.errors import DataError
from pillm.records import JSONObject

State: TypeAlias = Literal["ok", "note", "missing", "broken"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: `missing` and `broken` stand in the way, a `note` does not."""

    name: str
    state: State
    detail: str
    remedy: str = ""

    @property
    def wrong(self) -> bool:
        """Say whether it stands in the way."""
        return self.state in ("missing", "broken")

    def to_json(self) -> JSONObject:
        """Return the finding as plain JSON."""
        return asdict(self)


def refuse_wrong(findings: Iterable[Finding], what: str) -> list[Finding]:
    """Return the findings; raise DataError with the first that stands in the way of `what`, naming how many others do."""
    found = list(findings)
    wrong = [one for one in found if one.wrong]
    if wrong:
        first, more = wrong[0], len(wrong) - 1
        others = f" {more} more thing{'s' if more > 1 else ''} stand{'' if more > 1 else 's'} in the way." if more else ""
        raise DataError(" ".join(filter(None, (f"{what}: {first.detail}", first.remedy, others.strip()))))
    return found
