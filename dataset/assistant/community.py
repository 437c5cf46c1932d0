"""Convert the English tests of a home-assistant/intents checkout into rows."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent))

from tools import TOOLS, arrange

ORIGIN = "home-assistant/intents"
LICENSE = "CC-BY-4.0"
LAYOUTS = ("tests-en", "tests/en")
# Home Assistant leaves the domain of a named entity to the entity; here the call says it.
NAMED_DOMAINS = ("cover", "lock")


def tests_folder(checkout: Path) -> Path:
    """Find the English tests of a checkout."""
    for layout in LAYOUTS:
        if (checkout / layout).is_dir():
            return checkout / layout
    raise FileNotFoundError(f"neither {' nor '.join(LAYOUTS)} in {checkout}")


def cases(folder: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield each sentence's id and text with its intent."""
    for path in sorted(folder.rglob("*.yaml")):
        stem = path.relative_to(folder).with_suffix("").as_posix().replace("/", "-")
        tests = (yaml.safe_load(path.read_text("utf-8")) or {}).get("tests") or []
        for i, test in enumerate(tests):
            # Files in an intent's own folder leave the intent's name to the folder.
            intent = test.get("intent") or {
                "name": path.parent.name,
                "slots": test.get("slots"),
            }
            for j, sentence in enumerate(test.get("sentences") or []):
                yield f"ha-en-{stem}-{i:02}-{j:02}", sentence.strip(), intent


def value(found: Any) -> Any:
    """Return a slot's value as this data set writes it."""
    if isinstance(found, list):
        found = found[0]
    return found.strip().lower() if isinstance(found, str) else found


def arguments(sentence: str, intent: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that a sentence itself asks for."""
    context = {key: value(found) for key, found in (intent.get("context") or {}).items()}
    slots = {key: value(found) for key, found in (intent.get("slots") or {}).items()}
    if slots.get("name") == "all":
        del slots["name"]
    area = slots.get("area")
    if area is not None and area == context.get("area") and area not in sentence.lower():
        del slots["area"]
    if "name" in slots and "domain" not in slots and context.get("domain") in NAMED_DOMAINS:
        slots["domain"] = context["domain"]
    return slots


def rows(checkout: Path, skipped: Counter[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a checkout and count what is left out."""
    seen: set[str] = set()
    for identity, sentence, intent in cases(tests_folder(checkout)):
        name = intent.get("name") or "(no intent)"
        if name not in TOOLS:
            skipped[name] += 1
            continue
        try:
            call = arrange(name, arguments(sentence, intent))
        except ValueError as error:
            skipped[f"{name}: {error}"] += 1
            continue
        if sentence.lower() in seen:
            skipped[f"{name}: same sentence again"] += 1
            continue
        seen.add(sentence.lower())
        content = json.dumps(call, ensure_ascii=False, separators=(",", ":"))
        yield {
            "id": identity,
            "messages": [{"role": "user", "content": sentence}],
            "schema": "assistant",
            "reference": {"content": content, "origin": ORIGIN},
            "group": identity.rsplit("-", 1)[0],
            "split": "test",
            "language": "en",
            "tags": [name, "en", "community"],
            "source": ORIGIN,
            "license": LICENSE,
        }


def main() -> int:
    """Convert a checkout into a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a checkout of home-assistant/intents")
    parser.add_argument("--out", type=Path, required=True, help="the JSONL file to write")
    options = parser.parse_args()
    skipped: Counter[str] = Counter()
    try:
        made = list(rows(options.folder, skipped))
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in made)
    options.out.write_text(text, "utf-8")
    print(f"{len(made)} rows written to {options.out}", file=sys.stderr)
    for reason, sentences in sorted(skipped.items()):
        print(f"skipped {sentences:4} {reason}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
