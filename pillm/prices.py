"""What a call costs: a `prices.yaml` of yours, else the table of genai-prices; what neither knows is unknown, never 0."""

from __future__ import annotations

import os
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal, localcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pillm.errors import ConfigError, did_you_mean
from pillm.records import Usage
from pillm.yamlfile import parse_yaml

FILE = "prices.yaml"
NANO = Decimal("1e-9")
MOST = Decimal(1_000_000)
"""Dollars per million tokens that no model costs: whoever writes more has mistaken the unit."""
_KEYS = ("model", "server", "input", "output", "cached")
_COUNTED = ("input_mtok", "output_mtok", "cache_read_mtok")
_UNCOUNTED = ("requests_kcount", "input_mchars", "output_mchars", "output_reasoning_mtok", "output_citation_mtok")
"""What some models charge beside input and output tokens and a `Usage` does not say: their calls have no known price."""


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars per million tokens; `cached_per_million` is for prompt tokens read from a cache, None: as for the others."""

    input_per_million: Decimal
    output_per_million: Decimal
    cached_per_million: Decimal | None = None
    above: tuple[tuple[int, Price], ...] = ()
    """(tokens, price), ascending: a call with more prompt tokens than that costs that price as a whole."""
    source: str = ""
    """Who says so: a file, or genai-prices with version and provider."""

    def cost(self, usage: Usage) -> Decimal:
        """Return the dollars of a call, rounded up to a whole nano-dollar: never too little, and sums stay exact."""
        price = next((price for tokens, price in reversed(self.above) if usage.prompt_tokens > tokens), self)
        prompt = max(usage.prompt_tokens, 0)
        cached = min(max(usage.cached_tokens, 0), prompt)
        cached_price = price.input_per_million if price.cached_per_million is None else price.cached_per_million
        with localcontext(prec=100, rounding=ROUND_CEILING):
            total = (prompt - cached) * price.input_per_million + cached * cached_price
            total += max(usage.completion_tokens, 0) * price.output_per_million
            return (total / 1_000_000).quantize(NANO)


def find_price(model: str, server: str | None = None, user: Path | None = None) -> Price | None:
    """Return the price of a model's tokens as of now, or None where nobody knows it.

    Looked up in turn: `user`, a file or a folder that may hold a `prices.yaml` (the recipe's); the `prices.yaml` of the
    user's configuration folder; genai-prices where it is installed, which is asked for the provider at `server`, an
    address, or without one for the model's maker. So a server of one's own has a price only where a file says so, be it
    0. Nothing is fetched. Raises ConfigError for a file that is wrong.
    """
    for path in _files(user):
        known = [(entry, _entry(entry, f"{path}: entry {number}")) for number, entry in enumerate(_entries(path), 1)]
        for entry, price in known:
            if _fits(entry, model, server):
                return price
    return _bundled(model, server)


def _files(user: Path | None) -> list[Path]:
    """Return the price files that there are, nearest first."""
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "pillm" / FILE
    if user is not None and not user.exists():
        raise ConfigError(f"{user} is not there. Give a prices.yaml, or a folder that may hold one.")
    near = [] if user is None else [user / FILE if user.is_dir() else user]
    return [path for path in (*near, config) if path.is_file()]


def _entries(path: Path) -> list[dict[str, Any]]:
    try:
        entries = parse_yaml(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({error}). Mend it or take it away.") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigError(f"{path}: prices are a list: - {{model: NAME, input: 0.40, output: 1.60}} (dollars a million tokens)")
    return entries


def _entry(entry: dict[str, Any], where: str) -> Price:
    for name in entry:
        if name not in _KEYS:
            raise ConfigError(f"{where}: unknown key {name!r}.{did_you_mean(str(name), _KEYS)} Known: {', '.join(_KEYS)}.")
    for name, wanted in (("model", str), ("server", str | None)):
        if not isinstance(entry.get(name), wanted) or entry.get(name) == "":
            raise ConfigError(f"{where}: {name!r} must be a text.")
    for name in ("input", "output"):
        if name not in entry:
            raise ConfigError(f"{where}: {name!r} is missing: dollars per million tokens, 0 where they are free.")
    cached = entry.get("cached")
    return Price(
        _dollars(entry["input"], f"{where}: input"),
        _dollars(entry["output"], f"{where}: output"),
        None if cached is None else _dollars(cached, f"{where}: cached"),
        source=where.rpartition(": ")[0],
    )


def _dollars(value: Any, where: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{where} must be a number of dollars per million tokens, not {value!r}.")
    dollars = Decimal(str(value))  # as it was written: 0.1 is a tenth
    if not 0 <= dollars <= MOST:
        raise ConfigError(f"{where} must be dollars per million tokens in 0..{MOST}, not {value!r}.")
    return dollars


def _fits(entry: dict[str, Any], model: str, server: str | None) -> bool:
    """Say whether an entry is for a model (a `*` at the end stands for any rest) at a server."""
    name, asked = entry["model"].casefold(), model.casefold()
    same = asked.startswith(name[:-1]) if name.endswith("*") else asked == name
    return same and (entry.get("server") is None or (server is not None and _address(entry["server"]) == _address(server)))


def _address(server: str) -> tuple[str, str]:
    parts = urlsplit(server if "://" in server else f"https://{server}")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}".casefold(), parts.path.rstrip("/")


def _bundled(model: str, server: str | None) -> Price | None:
    try:  # a third of a second: only whoever asks for a price pays for it
        import genai_prices
    except ImportError:
        return None
    try:
        usage = genai_prices.Usage(input_tokens=0, output_tokens=0)
        found = genai_prices.calc_price(usage, model, provider_api_url=server)
    except (LookupError, ValueError):
        return None
    prices = {name: value for name, value in vars(found.model_price).items() if value is not None}
    if not {"input_mtok", "output_mtok"} <= prices.keys() or prices.keys() & set(_UNCOUNTED):
        return None
    source = f"genai-prices {genai_prices.__version__} ({found.provider.id}, {found.model.id})"
    starts = {tier.start for name in _COUNTED for tier in getattr(prices.get(name), "tiers", ())}
    return _price(prices, 0, source, tuple((start, _price(prices, start + 1, source)) for start in sorted(starts)))


def _price(prices: dict[str, Any], tokens: int, source: str, above: tuple[tuple[int, Price], ...] = ()) -> Price:
    """Return what a call with that many prompt tokens costs, of a table whose prices may go up in steps."""

    def at(price: Any) -> Decimal | None:
        if price is None or isinstance(price, Decimal):
            return price
        steps = [tier.price for tier in price.tiers if tokens > tier.start]
        return Decimal(steps[-1] if steps else price.base)

    one, two, three = (at(prices.get(name)) for name in _COUNTED)
    return Price(one or Decimal(0), two or Decimal(0), three, above, source)
