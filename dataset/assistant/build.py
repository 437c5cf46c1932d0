"""Write the committed files of the data set, or check that they are up to date."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from random import Random

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from generator import Group, Row, groups, held_out, row  # noqa: E402
from tools import SUBSETS, TOOLS, schema  # noqa: E402

SEED = 20
TEST_ROWS = 3
TRAIN_ROWS_PER_TOOL = 270
ATTEMPTS = 400
SCHEMAS = HERE.parents[1] / "schemas"
BEGIN, END = "<!-- counts -->", "<!-- /counts -->"


def normal(text: str) -> str:
    """Reduce a prompt to its words, so that two wordings compare equal."""
    return " ".join(re.sub(r"[^\w'\-%°:.,]|[.,:](?!\d)", " ", text.casefold()).split())


def five_grams(text: str) -> set[tuple[str, ...]]:
    """Return every run of five words of a text."""
    found = re.findall(r"[\w']+", text.casefold())
    return {tuple(found[i : i + 5]) for i in range(len(found) - 4)}


def handwritten() -> list[Row]:
    """Return the rows written by hand."""
    lines = (HERE / "handwritten.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def reserved() -> set[tuple[str, ...]]:
    """Return the runs of five words that belong to the handwritten prompts."""
    texts = [made["messages"][0]["content"] for made in handwritten()]
    return set().union(*map(five_grams, texts))


def distinct(group: Group, rows: int, seen: set[str], kept_out: set[tuple[str, ...]]) -> Iterator[Row]:
    """Yield some rows of a group whose words were not seen before."""
    # A seed per group: editing one group leaves the rows of the others alone.
    rng = Random(f"{SEED}/{group.name}")
    number = count(1)
    left = rows
    for _ in range(ATTEMPTS):
        made = row(group, rng, 0)
        text = made["messages"][0]["content"]
        words = normal(text)
        if words in seen or five_grams(text) & kept_out:
            continue
        seen.add(words)
        made["id"] = f"{group.name.replace('/', '-')}-{next(number):03}"
        yield made
        left -= 1
        if not left:
            return


def prompts() -> list[Row]:
    """Return the rows of the committed file, in the order of the groups."""
    kept: dict[str, list[Row]] = {}
    seen: set[str] = set()
    kept_out, shares = reserved(), train_shares()
    seen.update(normal(made["messages"][0]["content"]) for made in handwritten())
    # The held-out groups come first, so no train row can repeat one of their prompts.
    for group in sorted(groups(), key=lambda g: not held_out(g.name)):
        rows = shares.get(group.name, TEST_ROWS)
        kept[group.name] = list(distinct(group, rows, seen, kept_out))
    return [made for group in groups() for made in kept[group.name]]


def train_shares() -> dict[str, int]:
    """Share a tool's train rows among its groups as evenly as whole rows allow."""
    pools: dict[str, list[str]] = {}
    for group in groups():
        if not held_out(group.name):
            pools.setdefault(group.intent, []).append(group.name)
    return {
        name: TRAIN_ROWS_PER_TOOL * (number + 1) // len(names) - TRAIN_ROWS_PER_TOOL * number // len(names)
        for names in pools.values()
        for number, name in enumerate(names)
    }


def jsonl(rows: list[Row]) -> str:
    """Write rows as JSON lines."""
    return "".join(json.dumps(made, ensure_ascii=False) + "\n" for made in rows)


def table(rows: list[Row], written: list[Row]) -> str:
    """Count the rows for the data-set card."""
    per: Counter[tuple[str, str, str]] = Counter()
    for made in rows:
        intent, lang = made["tags"][:2]
        per[intent, lang, made.get("split", "train")] += 1
    by_hand = Counter(made["tags"][0] for made in written)
    sizes = Counter(group.intent for group in groups())
    lines = [
        "| Tool | Groups | fr train | en train | fr test | en test | handwritten |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    columns = [("fr", "train"), ("en", "train"), ("fr", "test"), ("en", "test")]
    for tool in TOOLS:
        cells = [sizes[tool], *(per[tool, *column] for column in columns), by_hand[tool]]
        lines.append(f"| `{tool}` | {' | '.join(map(str, cells))} |")
    totals = [sum(per[tool, *column] for tool in TOOLS) for column in columns]
    cells = [len(groups()), *totals, len(written)]
    lines.append(f"| **all** | {' | '.join(map(str, cells))} |")
    return "\n".join([*lines, "", registers(rows)])


def registers(rows: list[Row]) -> str:
    """Count the registers and the phenomena for the data-set card."""
    kinds = Counter(made["tags"][2] for made in rows)
    tags = Counter(tag for made in rows for tag in made["tags"][3:])
    lines = ["| Register | Rows | | Phenomenon | Rows |", "|---|---:|---|---|---:|"]
    left, right = kinds.most_common(), tags.most_common()
    for i in range(max(len(left), len(right))):
        a = f"{left[i][0]} | {left[i][1]}" if i < len(left) else " | "
        b = f"{right[i][0]} | {right[i][1]}" if i < len(right) else " | "
        lines.append(f"| {a} | | {b} |")
    return "\n".join(lines)


def card(counts: str) -> str:
    """Return the card with its counts renewed."""
    text = (HERE / "README.md").read_text("utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n{counts}\n{END}{after}"


def outputs() -> dict[Path, str]:
    """Return every committed file with the text it must have."""
    rows = prompts()
    files = {HERE / "prompts.jsonl": jsonl(rows)}
    files[HERE / "README.md"] = card(table(rows, handwritten()))
    for subset in SUBSETS:
        text = json.dumps(schema(subset), ensure_ascii=False, indent=2) + "\n"
        files[SCHEMAS / f"{subset}.schema.json"] = text
    return files


def main() -> int:
    """Write the files, or with --check compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 on a change")
    check = parser.parse_args().check
    stale = 0
    for path, text in outputs().items():
        if path.exists() and path.read_text("utf-8") == text:
            continue
        stale += 1
        print(f"{'stale' if check else 'written'}: {path.relative_to(HERE.parents[1])}")
        if not check:
            path.write_text(text, "utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
