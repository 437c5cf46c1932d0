"""Turn text and plain data into backend options, and every refusal into a sentence."""

from __future__ import annotations

import re
import types
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

from pillm.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails

    from pillm.backends import Backend


# a user name or a password in an address, or a key in its query or in a table
_SECRET = re.compile(
    r"://[^/\s]*@|(api.?key|token|secret|password|credential)[^=:\s]*\s*[=:]|[?&](key|auth|sig)\w*=", re.IGNORECASE
)


def parse_assignments(pairs: Iterable[str]) -> dict[str, Any]:
    """Return nested options from `a.b=value` texts; values that start with `[` or `{` are YAML, the rest stay text."""
    options: dict[str, Any] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        *path, last = name.split(".")
        if not sign or not all((*path, last)):
            raise ConfigError(f"{pair!r} is not of the form name=value.")
        target = options
        for step in path:
            target = target.setdefault(step, {})
            if not isinstance(target, dict):
                raise ConfigError(f"{name!r}: {step!r} is already set to a value.")
        target[last] = _value(text, pair)
    return options


def _value(text: str, pair: str) -> Any:
    if not text.startswith(("[", "{")):
        return text
    from pillm.yamlfile import parse_yaml

    try:
        return parse_yaml(text)
    except ValueError as error:
        raise ConfigError(f"{pair.partition('=')[0]!r}: the value starts like YAML but is not ({error}).") from error


def configure(cls: type[Backend], options: Mapping[str, Any], *, kind: str) -> Backend:
    """Return the backend with these options, text converted by each field's type; raise ConfigError in a sentence."""
    from pydantic import ValidationError

    fields = cls.model_fields
    for name in options:
        if name not in fields:
            known = f"Its options are: {', '.join(fields)}." if fields else "It has no options."
            raise ConfigError(f"{kind} {cls.name!r} has no option {name!r}.{did_you_mean(name, fields)} {known}")
    try:
        return cls(**{name: _listed(value, fields[name].annotation) for name, value in options.items()})
    except ValidationError as error:
        raise ConfigError(_sentence(error, cls, kind)) from error


def _listed(value: Any, annotation: Any) -> Any:
    """Split text at commas where the field is a list, and read "none" where it may be None."""
    if not isinstance(value, str):
        return value
    choices = _choices(annotation)
    if value.casefold() in ("none", "null") and type(None) in choices:
        return None
    if any(get_origin(choice) in (list, tuple, set, frozenset) for choice in choices) and str not in choices:
        return [item.strip() for item in value.split(",") if item.strip()]
    return value


def _choices(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) in (Union, types.UnionType):
        return get_args(annotation)
    return (annotation,)


def _sentence(error: ValidationError, cls: type[Backend], kind: str) -> str:
    return " ".join(_one(detail, cls, kind) for detail in error.errors())


def _one(detail: ErrorDetails, cls: type[Backend], kind: str) -> str:
    place = ".".join(str(step) for step in detail["loc"])
    if not place:
        return f"{kind} {cls.name!r}: {detail['msg'].removeprefix('Value error, ').rstrip('.')}."
    if detail["type"] == "missing":
        return f"{kind} {cls.name!r} needs the option {place!r}: {_description(cls, place)}"
    reason = detail["msg"].removeprefix("Value error, ").rstrip(".")
    given = detail["input"] if isinstance(detail["input"], (list, tuple)) else [detail["input"]]
    told = any(repr(one) in reason for one in given)  # the reason names what is wrong itself
    seen = "" if told or _is_private(detail, cls) else f", not {detail['input']!r}"
    return f"{kind} {cls.name!r} option {place!r}: {reason[:1].lower()}{reason[1:]}{seen}."


def _is_private(detail: ErrorDetails, cls: type[Backend]) -> bool:
    """Return whether a refused value may be, or hold, a secret: then it is not repeated."""
    from pydantic import BaseModel

    models: list[type[BaseModel]] = [cls]
    for step in detail["loc"]:  # an option may be a model with options of its own
        fields = [model.model_fields[step] for model in models if isinstance(step, str) and step in model.model_fields]
        inner = [choice for field in fields for choice in _choices(field.annotation)]
        models += [choice for choice in inner if isinstance(choice, type) and issubclass(choice, BaseModel)]
    hidden = any(model.model_config.get("hide_input_in_errors") for model in models)
    # a field that takes the name of an environment variable is where people paste the secret itself
    return hidden or str(detail["loc"][-1]).endswith("_env") or bool(_SECRET.search(repr(detail["input"])))


def _description(cls: type[Backend], place: str) -> str:
    field = cls.model_fields.get(place)
    return (field.description if field and field.description else "it has no default.").rstrip(".") + "."


def describe(cls: type[BaseModel]) -> list[dict[str, Any]]:
    """Return each option of a backend, the needed ones first: name, type, default, bounds and description.

    The options of an option that is a model of its own follow it, by the names that a command line gives them: `a.b`.
    """
    properties = cls.model_json_schema().get("properties", {})
    rows = []
    for name, field in cls.model_fields.items():
        spec = properties.get(name, {})
        options = spec.get("anyOf", [spec])
        inner = _inner(field.annotation)
        kind = "table" if inner else str(field.annotation.__name__ if isinstance(field.annotation, type) else field.annotation)
        row = {
            "name": name,
            "type": kind.replace("typing.", "").replace("NoneType", "None"),
            "default": None if field.is_required() else field.get_default(call_default_factory=True),
            "required": field.is_required(),
            "bounds": _bounds(options),
            "description": field.description or "",
            "in_key": not (isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("key") is False),
        }
        rows.append(row)
        for each in describe(inner) if inner else ():
            needed = ["needed"] if each["required"] else []
            bounds = ", ".join([*needed, each["bounds"]] if each["bounds"] else needed)
            more = {"required": False, "bounds": bounds, "in_key": row["in_key"]}
            rows.append({**each, **more, "name": f"{name}.{each['name']}"})
    return sorted(rows, key=lambda row: not row["required"])


def _inner(annotation: Any) -> type[BaseModel] | None:
    """Return the model that an option is, where it is no backend of its own."""
    from pydantic import BaseModel

    from pillm.backends import Backend

    found = (choice for choice in _choices(annotation) if isinstance(choice, type) and issubclass(choice, BaseModel))
    return next((choice for choice in found if not issubclass(choice, Backend)), None)


def _bounds(options: list[dict[str, Any]]) -> str:
    signs = {"minimum": ">=", "maximum": "<=", "exclusiveMinimum": ">", "exclusiveMaximum": "<"}
    found = [f"{sign} {option[name]}" for option in options for name, sign in signs.items() if name in option]
    found.extend("one of " + ", ".join(map(str, option["enum"])) for option in options if "enum" in option)
    return ", ".join(found)
