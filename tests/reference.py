"""Make the generated pages of docs/reference/ and the generated schemas; `--check` says which are out of date.

python -m tests.reference --write
python -m tests.reference --check
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click

import pillm
from pillm import errors, hookspecs
from pillm.cli.backends_command import meaning, shown_type, shown_value
from pillm.cli.catalogue import card, installed
from pillm.cli.formats import FORMATS, format_schema
from pillm.cli.program import COMMANDS, program
from pillm.devices import device, device_names
from pillm.kinds import KINDS
from pillm.recipefile import RecipeFile

ROOT = Path(__file__).parent.parent
FIRST_PARTY = "hf openai llamacpp nano easydistill trl hub"
NOTE = "<!-- Made by `make reference`; change its source instead. -->\n\n"
WIDTH = 90


def main() -> None:
    """Write or check every generated file."""
    stale = [path for path, text in generated() if not path.is_file() or path.read_text("utf-8") != text]
    if "--write" in sys.argv:
        for path, text in generated():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
    for path in stale:
        print(path.relative_to(ROOT))
    sys.exit(1 if stale and "--write" not in sys.argv else 0)


def generated() -> Iterator[tuple[Path, str]]:
    """Yield every generated file with the text that it should have."""
    pages = {"cli": cli_page, "backends": backends_page, "hooks": hooks_page, "errors": errors_page, "recipe": recipe_page,
             "devices": devices_page, "python": python_page}  # fmt: skip
    for name, make in pages.items():
        yield ROOT / "docs" / "reference" / f"{name}.md", NOTE + make()
    for name in FORMATS:
        yield ROOT / "schemas" / f"{name}.schema.json", json.dumps(format_schema(name), ensure_ascii=False, indent=2) + "\n"


def cli_page() -> str:
    """Return the help of every command."""
    parts = ["# The command line\n"]
    parts.append(
        "Data goes to stdout, everything else to stderr. Every command has `--json`. The exit codes: [errors](errors.md).\n"
    )
    context = click.Context(program, info_name="pillm", max_content_width=WIDTH, terminal_width=WIDTH)
    parts.append(f"```\n{program.get_help(context)}\n```\n")
    for name in (name for section in COMMANDS.values() for name in section):
        parts.append(f"## pillm {name}\n")
        parts += _help(name, context)
    return "\n".join(parts)


def _help(words: str, parent: click.Context) -> Iterator[str]:
    name = words.rpartition(" ")[2]
    command = parent.command.get_command(parent, name) if isinstance(parent.command, click.Group) else None
    if command is None:
        raise KeyError(words)
    context = click.Context(command, parent=parent, info_name=name, terminal_width=WIDTH, max_content_width=WIDTH)
    yield f"```\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            yield f"### pillm {words} {each}\n"
            yield from _help(f"{words} {each}", context)


def backends_page() -> str:
    """Return every option of every first-party backend."""
    parts = ["# The backends and their options\n"]
    parts.append(
        "`pillm backends NAME` prints the same for whatever is installed. An option is set by `-o name=value`, by\n"
        '`name: value` in a recipe, and by `pillm.teacher("name", option=value)` in Python. "Key" says whether a change of\n'
        "the option makes results anew; options that are not in the key can be tuned at any time and re-ask nothing.\n"
    )
    last = ""
    for found in installed():
        one = card(*found)
        if one["kind"] != last:
            parts.append(f"## {one['kind'].capitalize()}s\n")
            last = one["kind"]
        reads = f" It reads: {', '.join(one['reads'])}." if one.get("reads") else ""
        parts.append(f"### {one['kind']} `{one['name']}`\n\nFrom `{one['distribution']}`. {one['description']}{reads}\n")
        if one["options"]:
            parts.append("| option | type | default | what it means | key |\n|---|---|---|---|---|")
            parts += [_option_row(row) for row in one["options"]]
            parts.append("")
        else:
            parts.append("It has no options.\n")
    return "\n".join(parts)


def _option_row(row: dict[str, object]) -> str:
    default = "needed" if row["required"] else f"`{shown_value(row['default'])}`"
    said = meaning({**row, "in_key": True}).replace("|", "\\|")
    return f"| `{row['name']}` | {shown_type(str(row['type']))} | {default} | {said} | {'yes' if row['in_key'] else 'no'} |"


def hooks_page() -> str:
    """Return every hook with its question."""
    parts = ["# The hooks\n"]
    parts.append(
        "A plugin answers the hooks it can, by returning classes: [how to write one](../how-to/write-a-plugin.md).\n"
        "Arguments may be added to a hook later without breaking a plugin, for a plugin takes only the ones it names.\n"
    )
    for name, hook in sorted(vars(hookspecs).items()):
        if name.startswith("pillm_"):
            signature = str(inspect.signature(hook)).replace("'", "")
            parts.append(f"## `{name}`\n\n```python\ndef {name}{signature}\n```\n\n{inspect.getdoc(hook)}\n")
    parts.append("## What the classes must do\n")
    for kind, base in KINDS.items():
        parts.append(f"### {kind}: `pillm.{base.__name__}`\n\n{inspect.getdoc(base)}\n")
        for name, method in vars(base).items():
            if inspect.isfunction(method) and not name.startswith("_"):
                signature = str(inspect.signature(method)).replace("'", "")
                must = "" if getattr(method, "__isabstractmethod__", False) else " (optional)"
                parts.append(f"- `{name}{signature}`{must}: {(inspect.getdoc(method) or '').partition(chr(10))[0]}")
        parts.append("")
    return "\n".join(parts)


def errors_page() -> str:
    """Return the exit codes and the tree of errors."""
    codes = {
        0: "done and verified", 1: "failed (disk full included)", 2: "wrong command line, recipe or data",
        3: "a gate was not met", 4: "a dependency or tool is missing; the message says how to get it",
        5: "the teacher, network, credentials or a lock stood in the way; the same command resumes", 6: "refused as unsafe",
        130: "interrupted; the same command resumes",
    }  # fmt: skip
    parts = [
        "# Errors and exit codes\n",
        "| code | meaning |\n|---:|---|",
        *(f"| {code} | {said} |" for code, said in codes.items()),
    ]
    parts.append(
        "\nA message says what happened, where (`prompts.jsonl:3`), what is safe and what to do. With `--json` it is the one\n"
        'document on stdout: `{"error": {"kind", "message", "exit_code"}}`. A bug is no `PillmError`: it keeps its\n'
        "traceback. A pipe that is closed early ends a command quietly with 1.\n\n"
        "## The tree\n\nEvery name below is `pillm.NAME`.\n"
    )
    parts.append(f"```\n{inspect.getdoc(errors)}\n```\n")
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "exit_code")]
    parts.append("| error | exit code | meaning |\n|---|---:|---|")
    parts += [f"| `{kind.__name__}` | {kind.exit_code} | {inspect.getdoc(kind)} |" for kind in kinds]
    return "\n".join(parts) + "\n"


def recipe_page() -> str:
    """Return every key of a recipe."""
    parts = ["# The recipe\n", (
        "One YAML file: a table per backend, `use:` names it, every other key is one of its options\n"
        "([backends](backends.md)). Paths count from the recipe's folder. Unknown keys, tags, anchors and aliases are\n"
        "refused. `1e-5` is a number, `no` is a word. `pillm schema recipe` prints the JSON Schema.\n"
    ), "| key | default | what it means |\n|---|---|---|"]  # fmt: skip
    for name, field in RecipeFile.model_fields.items():
        section = getattr(field.annotation, "model_fields", None)
        if section is None:
            parts.append(_key_row(name, field))
        else:
            parts += [_key_row(f"{name}.{key}", inner) for key, inner in section.items()]
    parts.append(
        "\nA gate is a number (`exact: 0.9`), or relative to another subject: `0.95 of teacher`, `0.3 above base`,\n"
        "`0.02 below F16`. It names a metric, `tg_tps` or `pp_tps` (on the `device` that is named: as a `bench_runner`\n"
        "measured it there, else as predicted, and never as another machine did it; without a device, as it was\n"
        "measured), or `bytes` (at most). Every shipped file must meet it, else the run ends with exit code 3 and keeps its\n"
        "files and report. A figure that was not made is not met. Where a speed's measurement is void (throttled, swapped, or\n"
        "prefill spread by more than `bench.max_spread`), its gate is neither met nor missed: it is not judged, report, JSON\n"
        "and terminal say why, and unless another gate was missed the run ends with exit code 5. The same command measures\n"
        "again.\n"
    )
    return "\n".join(parts)


def _key_row(name: str, field: object) -> str:
    default = "needed" if field.is_required() else f"`{json.dumps(field.get_default(), default=str)}`"  # type: ignore[attr-defined]
    return f"| `{name}` | {default} | {field.description} |"  # type: ignore[attr-defined]


def devices_page() -> str:
    """Return the device profiles."""
    parts = ["# Device profiles\n", "`pillm plan MODEL --device NAME` reads them; a file of your own is given by its path.",
             "`this-machine` is the profile that fits the machine pillm runs on, with its own clock and memory.\n"]  # fmt: skip
    parts.append("| name | device | memory | cores | decode reads | context | computes on |\n|---|---|---:|---:|---:|---:|---|")
    for name in device_names():
        one = device(name)
        speed = f"{one.bandwidth_gbps:g} GB/s" if one.bandwidth_gbps else "not measured"
        memory = "its own" if one.name.startswith("generic-") else f"{one.ram_mib} MiB"
        able = ", ".join((*one.accelerators, *(f"not {other}" for other in one.refused)))
        parts.append(f"| `{name}` | {one.title} | {memory} | {one.cores or '?'} | {speed} | {one.context} | {able} |")
    return "\n".join(parts) + "\n"


def python_page() -> str:
    """Return every public name."""
    parts = ["# The Python names\n", "Everything below is `pillm.NAME`; nothing else is promised to stay.\n"]
    groups: dict[str, list[str]] = {"Verbs and readers": [], "Types": [], "Errors": [], "Other": []}
    for name in pillm.__all__:
        value = getattr(pillm, name)
        said = (inspect.getdoc(value) or "").partition("\n")[0]
        if inspect.isclass(value):
            group = "Errors" if issubclass(value, BaseException) else "Types"
            groups[group].append(f"- `{name}`: {said}")
        elif inspect.isfunction(value):
            signature = str(inspect.signature(value)).replace("'", "")
            groups["Verbs and readers"].append(f"- `{name}{signature}`: {said}")
        else:
            groups["Other"].append(f"- `{name}`")
    return "\n".join([*parts, *(f"## {group}\n\n" + "\n".join(lines) + "\n" for group, lines in groups.items() if lines)])


if __name__ == "__main__":
    os.environ["PILLM_PLUGINS"] = FIRST_PARTY
    main()
