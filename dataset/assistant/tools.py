"""The assistant's tools, their arguments, and the JSON schemas made from them."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
PERCENT: Schema = {"type": "integer", "minimum": 0, "maximum": 100}
COUNT: Schema = {"type": "integer", "minimum": 0}
DATES = ["today", "tomorrow", "after_tomorrow"]
WEEKDAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
MONTH_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
CALENDAR = [f"{m:02}-{d:02}" for m, n in enumerate(MONTH_DAYS, 1) for d in range(1, n + 1)]
CLOCK = "^([01][0-9]|2[0-3]):[0-5][0-9]$"
DOMAIN: Schema = {
    "enum": ["light", "fan", "switch", "cover", "lock", "valve", "scene", "script"],
}
COVER: Schema = {"enum": ["curtain", "blind", "shutter", "garage", "window"]}
COLORS = ["white", "red", "orange", "yellow", "green", "blue", "purple", "pink", "turquoise"]

SWITCHED: dict[str, Schema] = {
    "name": TEXT,
    "area": TEXT,
    "floor": TEXT,
    "domain": DOMAIN,
    "device_class": COVER,
}

# The order of the arguments is the order of the keys in every answer. The required ones come
# first, because a grammar made from the schema writes them first.
TOOLS: dict[str, tuple[dict[str, Schema], list[str]]] = {
    "create_event": (
        {
            "title": TEXT,
            "date": {"enum": [*DATES, *WEEKDAYS, *CALENDAR]},
            "time": {"type": "string", "pattern": CLOCK},
        },
        ["title"],
    ),
    "send_email": ({"to": TEXT, "subject": TEXT, "body": TEXT}, ["to"]),
    "find_place": ({"query": TEXT, "near": TEXT}, ["query"]),
    "take_note": ({"text": TEXT}, ["text"]),
    "HassTurnOn": (SWITCHED, []),
    "HassTurnOff": (SWITCHED, []),
    "HassLightSet": (
        {
            "name": TEXT,
            "area": TEXT,
            "floor": TEXT,
            "brightness": PERCENT,
            "color": {"enum": COLORS},
        },
        [],
    ),
    "HassClimateSetTemperature": (
        {"temperature": {"type": "number"}, "name": TEXT, "area": TEXT, "floor": TEXT},
        ["temperature"],
    ),
    "HassClimateGetTemperature": ({"name": TEXT, "area": TEXT}, []),
    "HassStartTimer": ({"hours": COUNT, "minutes": COUNT, "seconds": COUNT, "name": TEXT}, []),
    "HassCancelTimer": (
        {"name": TEXT, "start_hours": COUNT, "start_minutes": COUNT, "area": TEXT},
        [],
    ),
    "HassListAddItem": ({"item": TEXT, "name": TEXT}, ["item", "name"]),
    "HassShoppingListAddItem": ({"item": TEXT}, ["item"]),
    "HassGetWeather": ({"name": TEXT}, []),
    "HassSetPosition": (
        {
            "position": PERCENT,
            "name": TEXT,
            "area": TEXT,
            "domain": DOMAIN,
            "device_class": COVER,
        },
        ["position"],
    ),
    "HassSetVolume": ({"volume_level": PERCENT, "name": TEXT, "area": TEXT}, ["volume_level"]),
    "HassGetCurrentTime": ({}, []),
}

SUBSETS: dict[str, list[str]] = {
    "calendar": ["create_event"],
    "email": ["send_email"],
    "localsearch": ["find_place"],
    "note": ["take_note"],
    "home": [name for name in TOOLS if name.startswith("Hass")],
    "assistant": list(TOOLS),
}


def call_schema(tool: str) -> Schema:
    """Return the schema of one call to a tool."""
    properties, required = TOOLS[tool]
    arguments: Schema = {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"name": {"const": tool}, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def schema(subset: str) -> Schema:
    """Return the self-contained schema of a set of tools."""
    names = SUBSETS[subset]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"One tool call ({subset})",
        "oneOf": [{"$ref": f"#/$defs/{name}"} for name in names],
        "$defs": {name: call_schema(name) for name in names},
    }


def arrange(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return a call with its arguments in the tool's own order."""
    known = TOOLS[tool][0]
    unknown = set(arguments) - set(known)
    if unknown:
        raise ValueError(f"{tool} has no argument {sorted(unknown)}")
    ordered = {key: arguments[key] for key in known if key in arguments}
    return {"name": tool, "arguments": ordered}
