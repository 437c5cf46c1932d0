"""`README.md`: a card as a model hub and its readers want it, a YAML table first and Markdown after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import yaml

from pillm.artifacts import Figure
from pillm.cards.card import Card, CardFile, Compared
from pillm.cards.terms import Part
from pillm.wording import code, escaped, score, size, speed, table

KINDS = {"teacher": "teacher", "base": "untrained base", "checkpoint": "checkpoint"}


def model_card(card: Card, beside: Sequence[str] = ()) -> str:
    """Return the README of a model; `beside` are the names of what stands beside its files."""
    parts = [
        f"---\n{_front_matter(card)}---",
        f"# {escaped(card.name)}",
        _lead(card),
        _files(card),
        _scores(card),
        _speeds(card),
        _use(card, beside),
        _made(card),
        f"## Terms\n\n{escaped(card.terms)}" if card.terms else "",
        _lineage(card, beside),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(card: Card) -> str:
    """Return what a hub sorts models by; a licence that is no id of it is called `other`, with its name."""
    said: dict[str, object] = {}
    if card.license:
        known = Part(role="base", name="", license=card.license).kind is not None
        said |= {"license": card.license.lower()} if known else {"license": "other", "license_name": card.license}
    if card.license_link:
        said["license_link"] = card.license_link
    if card.base:
        said["base_model"] = card.base.name
        said["base_model_relation"] = card.relation
    data = sorted({part.name for part in card.parts if part.role == "data" and part.name})
    said |= {"datasets": data} if data else {}
    languages = sorted({language.partition("-")[0].lower() for language in card.languages})
    said |= {"language": languages} if languages else {}
    said |= {"pipeline_tag": card.purpose, "library_name": "gguf", "tags": sorted({*card.tags, "gguf"})}
    return yaml.safe_dump(said, allow_unicode=True, sort_keys=False)


def _lead(card: Card) -> str:
    teacher = next((part for part in card.parts if part.role == "teacher"), None)
    pieces = [f"A model of {card.size_label} parameters" if card.size_label else "A model"]
    pieces.append(_descent(card, teacher is not None))
    pieces.append(f" on answers of {escaped(teacher.name)}" if teacher else "")
    chosen = next((one for one in card.files if one.chosen), None)
    take = f" Take {code(chosen.file)} ({size(chosen.bytes)}): {escaped(card.chosen_by)}." if chosen else ""
    return "".join(pieces) + ". Made with pillm." + take


def _descent(card: Card, taught: bool) -> str:
    """Return what a model is of its base."""
    if card.base is None:
        return ", trained" if taught else ""
    name = escaped(card.base.name or "an unnamed model")
    told = {"finetune": f", trained from {name}", "quantized": f": {name} as it is, packed for llama.cpp"}
    return told.get(card.relation, f", an adapter to be put on {name}")


def _files(card: Card) -> str:
    rows = [[code(one.file), escaped(one.quant), size(one.bytes), f"`{one.sha256[:16]}…`"] for one in card.files]
    return f"## Files\n\n{table(['file', 'type', 'size', 'sha256'], rows, 2)}" if rows else ""


def _scores(card: Card) -> str:
    """Return a table of means with their 95 % intervals for each set."""
    subjects: list[tuple[str, CardFile | Compared]] = [
        (f"{KINDS.get(one.kind, one.kind)} {one.name}", one) for one in card.compared
    ]
    subjects += [(one.file, one) for one in card.files]
    tables = []
    for name in dict.fromkeys(set_ for _, one in subjects for set_ in one.scores):
        found = [(title, one.scores[name]) for title, one in subjects if name in one.scores]
        metrics = list(dict.fromkeys(metric for _, scores in found for metric in scores))
        rows = [[escaped(title), *(_cell(scores.get(metric)) for metric in metrics)] for title, scores in found]
        most = max(figure.rows for _, scores in found for figure in scores.values()) if metrics else 0
        lead = f"Set {escaped(name)}, {most} rows: means with 95 % intervals, greedy answers."
        tables.append(f"{lead}\n\n{table(['subject', *map(escaped, metrics)], rows)}")
    return "\n\n".join(["## Scores", *tables]) if tables else ""


def _cell(figure: Figure | None) -> str:
    return f"{score(figure.mean)} [{figure.low:.3f}, {figure.high:.3f}]" if figure else "–"


def _speeds(card: Card) -> str:
    rows = [
        [
            code(one.file),
            escaped(fast.device),
            f"{fast.basis}, void" if fast.void else fast.basis,
            speed(fast.pp_tps),
            speed(fast.tg_tps),
        ]
        for one in card.files
        for fast in one.speeds
    ]
    if not rows:
        return ""
    lead = "Tokens per second. *measured* was timed there; *predicted* is arithmetic on the file and the device's profile."
    void = dict.fromkeys(reason for one in card.files for fast in one.speeds for reason in fast.void)
    if void:
        lead += f" *void*: the machine was disturbed meanwhile ({escaped('; '.join(void))}), so the figure promises nothing."
    return f"## Speed\n\n{lead}\n\n{table(['file', 'device', 'basis', 'prefill', 'decode'], rows, 3)}"


def _use(card: Card, beside: Sequence[str]) -> str:
    """Return how to run the file, in the ways that work with what is there."""
    file = next((one.file for one in card.files if one.chosen), card.files[-1].file if card.files else "")
    if not file.endswith(".gguf"):
        return ""
    commands, notes = _commands(card, file, beside), []
    if "grammar.gbnf" in beside:
        notes.append(f"To hold answers to their schema, give llama.cpp {code('--grammar-file grammar.gbnf')}.")
    if card.system:
        notes.append(f"It was taught under this system message, and wants it: {code(card.system)}")
    return "\n\n".join(["## Use", "```sh\n" + "\n".join(commands) + "\n```", *notes])


def _commands(card: Card, file: str, beside: Sequence[str]) -> list[str]:
    if card.purpose == "feature-extraction":
        asked = f'llama-embedding -m {file} -p "a text"'
        return ["# llama.cpp", asked, "# pillm", f"pillm embed {file} texts.jsonl --out vectors.jsonl"]
    if card.relation == "adapter":
        return ["# llama.cpp", f"llama-cli -m BASE.gguf --lora {file} --jinja --temp 0"]
    commands = ["# llama.cpp", f"llama-cli -m {file} --jinja --temp 0"]
    if "Modelfile" in beside:
        commands += ["# Ollama", f"ollama create {card.stem.lower()} -f Modelfile", f"ollama run {card.stem.lower()}"]
    return [*commands, "# pillm", f"pillm chat {file}"]


def _made(card: Card) -> str:
    rows = [
        [part.role, escaped(part.name or "(unnamed)"), escaped(part.revision or "–"), escaped(part.license or "unknown"),
         escaped(part.said_by or "–"), str(part.rows or "–")]
        for part in card.parts
    ]  # fmt: skip
    heads = ["part", "name", "revision", "licence", "says who", "rows"]
    return f"## Made from\n\n{table(heads, rows, 5)}" if rows else ""


def _lineage(card: Card, beside: Sequence[str]) -> str:
    lines = list(_sums(card, beside))
    if not card.lineage and not lines:
        return ""
    rows = [[code(name), code(value)] for name, value in card.lineage.items()]
    told = "The same stands in the metadata of every file; `pillm verify FILE --run RUN` checks it." if rows else ""
    shown = table(["key", "value"], rows, 2) if rows else ""
    return "\n\n".join(part for part in ("## Lineage", told, shown, *lines) if part)


def _sums(card: Card, beside: Sequence[str]) -> Iterator[str]:
    if "SHA256SUMS" in beside:
        yield "`sha256sum -c SHA256SUMS` checks that every file arrived whole."
