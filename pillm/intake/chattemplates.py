"""The sandbox that chat templates are rendered in, the same as transformers', and what they must get through to be trusted."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from pillm.intake.faults import Fault, shown

if TYPE_CHECKING:
    from jinja2 import Environment

SECONDS: Final = 0.8
MEGABYTES: Final = 256
MAX_GROWTH: Final = 64
"""How many times longer than its conversation a rendering may be, past what any system prompt takes."""
_ROOM: Final = 256 * 1024
_LIBRARY = f"{json.__file__.rpartition('/json/')[0]}/encodings/"
_FORBIDDEN = ("socket.", "subprocess.", "os.", "shutil.", "pty.", "ctypes.", "urllib.", "http.", "ftplib.", "smtplib.",
              "pickle.", "sqlite3.", "tempfile.", "webbrowser.", "import", "exec", "compile", "open")  # fmt: skip


def chat_environment(now: Callable[[str], str] | None = None) -> Environment:
    """Return the Jinja sandbox that chat templates are rendered in: tags, filters and functions are those of transformers.

    `now` answers `strftime_now`; none: the clock. Render only templates that `check_chat_template` let pass.
    """
    import jinja2
    import jinja2.ext
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(jinja2.ext.Extension):
        tags = {"generation"}  # noqa: RUF012 - as its base class declares it

        def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            # a call block, not a plain scope: variables set inside must not leak, as in transformers
            return jinja2.nodes.CallBlock(self.call_method("_content"), [], [], body).set_lineno(line)

        def _content(self, caller: Any) -> str:
            return str(caller())

    class Namespace(jinja2.utils.Namespace):
        def __init__(*given: Any, **named: Any) -> None:
            made = dict(*given[1:], **named)
            for name in made:
                _refuse_hidden(name)
            jinja2.utils.Namespace.__init__(given[0], made)

        def __setitem__(self, name: str, value: Any) -> None:
            _refuse_hidden(name)
            jinja2.utils.Namespace.__setitem__(self, name, value)

    def _refuse_hidden(name: Any) -> None:
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"a namespace holds no name that begins with an underscore, such as {name!r}")

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals.update(
        raise_exception=refuse,
        strftime_now=now or _now,
        namespace=Namespace,
        dict=_dict,
    )
    return environment


def _dict(*given: Any, **named: Any) -> dict[str, Any]:
    """Make a dictionary: the type itself would lead a template on to its methods."""
    return dict(*given, **named)


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None,
            sort_keys: bool = False) -> str:  # fmt: skip
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _now(form: str) -> str:
    return datetime.now().strftime(form)


def try_template(source: str, specials: Mapping[str, str]) -> None:
    """Render a few conversations; raise Fault for a template that reaches out, or writes far more than it was given.

    A template may refuse a conversation in its own words, but not every one. Runs in the limited child, which ends it where it
    takes too long.
    """
    import jinja2

    try:
        template = chat_environment().from_string(source)
    except jinja2.TemplateError as error:
        raise Fault(f"the chat template cannot be read: {str(error)[:200]}", broken=True) from None
    except RecursionError:
        raise Fault("the chat template is nested too deeply") from None
    refusal, rendered = "", 0
    for conversation in CONVERSATIONS:
        for ask in (True, False):
            given = {**conversation, "add_generation_prompt": ask, "documents": None, **specials}
            try:
                text = template.render(**given)
            except jinja2.exceptions.SecurityError as error:
                raise Fault(f"the chat template reaches for what it must not: {str(error)[:200]}") from None
            except (MemoryError, RecursionError) as error:
                what = "memory" if isinstance(error, MemoryError) else "depth"
                raise Fault(f"the chat template takes more {what} than any conversation needs") from None
            except Exception as error:  # noqa: BLE001 - it says no in its own way: no system message, no tools, roles in turn
                refusal = refusal or f"{type(error).__name__}: {str(error)[:160]}"
                continue
            rendered += 1
            if len(text) > _ROOM + MAX_GROWTH * len(json.dumps(given)):
                raise Fault(f"the chat template makes {len(text)} characters of a short conversation")
    if not rendered:
        raise Fault(f"the chat template renders no conversation, not even one question ({refusal})", broken=True)


class Watch:
    """Hears what Python is about to do, and notes what no template has to do; nothing it notes is done."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.active = False

    def __call__(self, event: str, given: tuple[Any, ...]) -> None:
        """Refuse an event that reaches out of the template."""
        if not self.active or not event.startswith(_FORBIDDEN) or _is_ours(event, given):
            return
        self.seen.append(f"{event} {shown(given[:1])}")
        raise PermissionError(f"a chat template must not: {event}")


def _is_ours(event: str, given: tuple[Any, ...]) -> bool:
    """Return whether Jinja itself does it: it compiles a template to Python, which it runs; Python reads a codec's module."""
    if event == "compile":
        return str(given[1]) == "<template>"
    if event == "exec":
        return str(getattr(given[0], "co_filename", "")).startswith(("<template>", _LIBRARY))
    if event == "import":
        return str(given[0]).startswith("encodings.")
    return event == "open" and str(given[0]).startswith(_LIBRARY) and given[1] in ("r", "rb")


def _call(name: str, arguments: Any) -> dict[str, Any]:
    return {"id": "call00001", "type": "function", "function": {"name": name, "arguments": arguments}}


_ASK: Final = {"role": "user", "content": "Allume la lumière de la cuisine à 11 h 45, s'il te plaît."}
_SAY: Final = {"role": "assistant", "content": "C'est fait: la lumière est allumée. 😀"}
_SCHEMA: Final = {"type": "object", "properties": {"room": {"type": "string", "enum": ["hall"]}}, "required": ["room"]}
_TOOL: Final = {"type": "function", "function": {"name": "turn_on", "description": "Turn on.", "parameters": _SCHEMA}}
_SYSTEM: Final = {"role": "system", "content": "You are a helpful assistant."}
CONVERSATIONS: Final[tuple[dict[str, Any], ...]] = (
    {"messages": [_ASK], "tools": None},
    {"messages": [_SYSTEM, _ASK], "tools": None},
    {"messages": [_ASK, _SAY] * 12, "tools": None},
    {"messages": [_ASK, {**_SAY, "reasoning_content": "Hm.", "thinking": "Hm."}, _ASK], "tools": None, "enable_thinking": True},
    {"messages": [_SYSTEM, _ASK], "tools": [_TOOL, _TOOL]},
    {"messages": [_SYSTEM, _ASK, {"role": "assistant", "content": "", "tool_calls": [_call("turn_on", {"room": "kitchen"})]},
                  {"role": "tool", "name": "turn_on", "tool_call_id": "call00001", "content": "{\"ok\": true}"}, _SAY],
     "tools": [_TOOL]},
    {"messages": [{"role": "user", "content": "Bonjour " * 512}, {"role": "assistant", "content": "x" * 4096}], "tools": None},
)  # fmt: skip
"""What a template is tried on: every role, tools, thoughts, many turns and long ones."""
