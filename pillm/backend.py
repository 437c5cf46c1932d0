"""The configuration object is the backend: its fields are its options.

A field that cannot change a result (batch size, concurrency, device, timeouts) is declared with `json_schema_extra={"key":
False}`, so that tuning it never re-buys or re-makes anything.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo

from pillm.distributions import home_of
from pillm.records import JSONObject


class Backend(BaseModel):
    """Something configured that works: keyword-only, frozen, unknown options refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())
    name: ClassVar[str]
    distribution_name: ClassVar[str | None] = None
    distribution_version: ClassVar[str | None] = None
    """The name and version of the distribution whose plugin provides it; set when the plugin is asked."""

    def options(self) -> JSONObject:
        """Return every option and its value as plain JSON."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        nested = {name: value.options() for name, value in values.items() if isinstance(value, Backend)}
        return {"use": self.name, **self.model_dump(mode="json", exclude=set(nested)), **nested}

    def identity(self) -> JSONObject:
        """Return what this backend is, as far as its results depend on it; keys are made of it.

        An option at its default is left out, so that a new option re-buys nothing: its default must do what was done
        before it was there. A default that changes would pass old results off as new ones: give the option another name, or
        override this and say it always. Override it too to add the content of files that are only named. Import nothing heavy.
        """
        kept = {
            name: getattr(self, name)
            for name, field in type(self).model_fields.items()
            if not (isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("key") is False)
            and not _is_default(getattr(self, name), field)
        }
        nested = {name: value.identity() for name, value in kept.items() if isinstance(value, Backend)}
        dumped = self.model_dump(mode="json", include=set(kept) - set(nested))
        return {"use": self.name, **dumped, **nested}

    def check(self) -> None:
        """Raise what would stand in the way of working: a dependency, a tool, a model or a key that is missing.

        A run asks before its teacher costs anything, save the backends whose results it holds already. It must be quick, and
        change and download nothing. By default the backends among the options are asked.
        """
        for value in (getattr(self, name) for name in type(self).model_fields):
            if isinstance(value, Backend):
                value.check()

    @classmethod
    def version(cls) -> str:
        """Return the version of the distribution that provides this backend; "0" where it is not installed."""
        if told := cls.__dict__.get("distribution_version"):  # a parent's own may be another distribution's
            return str(told)
        home = home_of(cls)
        return home.version if home else "0"

    @classmethod
    def distribution(cls) -> str | None:
        """Return the name of the distribution that provides this backend; None where it is not installed."""
        if told := cls.__dict__.get("distribution_name"):
            return str(told)
        home = home_of(cls)
        return home.name if home else None


def _is_default(value: Any, field: FieldInfo) -> bool:
    """Say whether an option has the value it would have if nobody gave it; a required one never has."""
    if field.is_required():
        return False
    default = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, Backend) and isinstance(default, Backend):
        return value.identity() == default.identity()  # tuning it is no difference
    return isinstance(value, bool) == isinstance(default, bool) and bool(value == default)  # True == 1, and is not the same
