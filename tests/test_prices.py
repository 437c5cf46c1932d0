"""What calls cost: exact, never 0 by ignorance, and a file of the user's wins."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import genai_prices
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pillm
from pillm.prices import Price, find_price

COUNTS = st.integers(0, 10**12)
DOLLARS = st.decimals(0, 1_000_000, places=6)
OPENAI = "https://api.openai.com/v1"


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a configuration folder of this test alone."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config" / "pillm").mkdir(parents=True)
    return tmp_path / "config" / "pillm"


def written(folder: Path, text: str) -> Path:
    """Write a price file."""
    (folder / "prices.yaml").write_text(text, "utf-8")
    return folder / "prices.yaml"


@given(COUNTS, COUNTS, COUNTS, DOLLARS, DOLLARS, st.none() | DOLLARS)
def test_a_cost_is_exact_and_rounded_up_to_a_nano_dollar(
    prompt: int, cached: int, completion: int, one: Decimal, two: Decimal, three: Decimal | None
) -> None:
    usage = pillm.Usage(prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached)
    cost = Price(one, two, three).cost(usage)
    read = min(cached, prompt)
    each = Fraction(one if three is None else three)
    true = ((prompt - read) * Fraction(one) + read * each + completion * Fraction(two)) / 1_000_000
    assert 0 <= Fraction(cost) - true < Fraction(1, 10**9)
    assert cost.as_tuple().exponent == -9


@given(st.integers(-5, 5), st.integers(-5, 5), st.integers(-5, 5))
def test_no_usage_a_server_may_report_costs_less_than_nothing(prompt: int, cached: int, completion: int) -> None:
    usage = pillm.Usage(prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached)
    assert Price(Decimal(1), Decimal(2), Decimal("0.5")).cost(usage) >= 0


def test_a_known_model_has_the_price_of_its_provider_and_says_who_says_so() -> None:
    price = find_price("gpt-4.1-mini", OPENAI)
    assert price is not None
    assert (price.input_per_million, price.output_per_million, price.cached_per_million) == (
        Decimal("0.4"), Decimal("1.6"), Decimal("0.1"),
    )  # fmt: skip
    assert genai_prices.__version__ in price.source
    assert "openai" in price.source
    assert find_price("gpt-4.1-mini") == price


def test_an_unknown_model_is_unknown_and_so_is_a_server_of_ones_own() -> None:
    assert find_price("nobody-knows-this-model", OPENAI) is None
    assert find_price("nobody-knows-this-model") is None
    for server in ("http://127.0.0.1:8000/v1", "http://192.168.1.5:8000/v1"):
        assert find_price("gpt-4.1-mini", server) is None


def test_every_price_of_the_bundled_table_agrees_with_the_table() -> None:
    checked = 0
    for provider in genai_prices.data_snapshot.get_snapshot().providers:
        for model in provider.models[:40]:
            usage = pillm.Usage(prompt_tokens=300_000, completion_tokens=2_000, cached_tokens=1_000)
            theirs = genai_prices.Usage(input_tokens=300_000, output_tokens=2_000, cache_read_tokens=1_000)
            price = find_price(model.id)
            if price is None:
                continue
            total = genai_prices.calc_price(theirs, model.id).total_price
            assert 0 <= price.cost(usage) - total < Decimal("1e-9"), model.id
            checked += 1
    print(f"{checked} models priced as the table prices them")
    assert checked > 200


def test_a_price_with_steps_goes_up_for_the_whole_call() -> None:
    price = find_price("gemini-2.5-pro")
    assert price is not None
    ((tokens, dearer),) = price.above
    at, over = (pillm.Usage(prompt_tokens=count) for count in (tokens, tokens + 1))
    assert price.cost(at) == tokens * price.input_per_million / 1_000_000
    assert price.cost(over) == (tokens + 1) * dearer.input_per_million / 1_000_000


def test_a_file_wins_over_the_table_and_the_given_one_over_the_users(config: Path, tmp_path: Path) -> None:
    written(config, "- {model: gpt-4.1-mini, input: 7, output: 8}\n- {model: mine*, input: 1e-3, output: 0.1}\n")
    assert find_price("GPT-4.1-mini", OPENAI) == Price(Decimal(7), Decimal(8), source=str(config / "prices.yaml"))
    beside = written(tmp_path, "- {model: gpt-4.1-mini, input: 1, output: 2, cached: 0.1}\n")
    for user in (beside, tmp_path):
        price = find_price("gpt-4.1-mini", OPENAI, user)
        assert price == Price(Decimal(1), Decimal(2), Decimal("0.1"), source=str(beside))
    mine = find_price("mine-7b", None, tmp_path)
    assert mine is not None, "what one file does not know the next may"
    assert mine.input_per_million == Decimal("0.001")
    assert find_price("gpt-4.1", OPENAI, tmp_path / "config") is not None, "a folder need not hold one"


def test_a_model_costs_nothing_only_where_a_file_says_so(tmp_path: Path) -> None:
    path = written(tmp_path, "- {model: '*', server: http://127.0.0.1:8000/v1/, input: 0, output: 0}\n")
    free = find_price("anything", "http://127.0.0.1:8000/v1", path)
    assert free is not None
    assert free.cost(pillm.Usage(prompt_tokens=10**9)) == 0
    for server in (None, "http://127.0.0.1:8001/v1", "http://127.0.0.1:8000/v2"):
        assert find_price("anything", server, path) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model: a", "prices are a list"),
        ("- {model: a, inputs: 1, output: 1}", "unknown key 'inputs'. Did you mean 'input'"),
        ("- {model: a, input: 1}", "'output' is missing"),
        ("- {input: 1, output: 1}", "'model' must be a text"),
        ("- {model: a, input: -1, output: 1}", "0..1000000"),
        ("- {model: a, input: 2e6, output: 1}", "0..1000000"),
        ("- {model: a, input: free, output: 1}", "a number of dollars"),
        ("- {model: a, input: true, output: 1}", "a number of dollars"),
        ("- {model: a, input: 1, output: 1}\n- {model: b, input: x, output: 1}", "entry 2: input"),
        ("- &a {model: a}\n- *a", "anchors are not allowed"),
        ("- !!python/object:os.system {}", "tags are not allowed"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(pillm.ConfigError, match=r"prices\.yaml") as caught:
        find_price("a", None, written(tmp_path, text))
    assert said in str(caught.value)


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(pillm.ConfigError, match="is not there"):
        find_price("a", None, tmp_path / "none.yaml")


@given(st.text(max_size=200))
def test_no_text_in_a_price_file_is_more_than_a_sentence(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("prices") / "prices.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with suppress(pillm.ConfigError):
        assert find_price("a-model-of-no-one", None, path) is None


@given(st.floats(0, 1_000_000))
def test_a_price_is_taken_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, dollars: float) -> None:
    path = tmp_path_factory.mktemp("prices") / "prices.yaml"
    path.write_text(f"- {{model: a, input: {dollars!r}, output: 0}}\n", "utf-8")
    price = find_price("a", None, path)
    assert price is not None
    assert price.input_per_million == Decimal(repr(dollars))


def test_the_table_is_loaded_by_whoever_asks_and_nothing_is_fetched() -> None:
    code = (
        "import sys, pillm, pillm.prices\n"
        "print('genai_prices' in sys.modules)\n"
        "sys.addaudithook(lambda event, args: event.startswith('socket.connect') and sys.exit(f'{event} {args}'))\n"
        "print(pillm.prices.find_price('gpt-4.1-mini') is not None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_without_the_table_a_price_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    assert find_price("gpt-4.1-mini", OPENAI) is None
