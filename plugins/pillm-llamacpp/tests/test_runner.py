from __future__ import annotations

from pathlib import Path

import pytest
from pillm_llamacpp.process.serving import Served
from pillm_llamacpp.runner import LocalRunner, VulkanRunner
from pillm_llamacpp_tiny import SENTENCES, answers, request

import pillm
from pillm.testing import check_runner


def test_the_runner_keeps_the_protocol(gguf: pillm.ModelFile) -> None:
    check_runner(LocalRunner(max_tokens=12), gguf)


def test_max_tokens_is_never_exceeded(gguf: pillm.ModelFile) -> None:
    for limit in (1, 7):
        for result in answers(LocalRunner(max_tokens=limit), gguf, [request(text) for text in SENTENCES]):
            assert isinstance(result, pillm.Answer)
            assert len(result.token_ids or ()) <= limit
            assert result.usage
            assert result.usage.completion_tokens <= limit
            assert result.finish_reason == "length"


def test_an_answer_stops_where_the_context_ends(gguf: pillm.ModelFile) -> None:
    (result,) = answers(LocalRunner(max_tokens=10_000, context=64), gguf, [request("Bonjour")])
    assert isinstance(result, pillm.Answer)
    assert result.usage
    assert result.usage.prompt_tokens + result.usage.completion_tokens == 64


def test_a_prompt_longer_than_the_context_is_a_failure_and_the_others_are_answered(gguf: pillm.ModelFile) -> None:
    requests = [request("un mot " * 200, 1), request("Bonjour", 2)]
    failed, answered = answers(LocalRunner(context=64, max_tokens=4), gguf, requests)
    assert isinstance(failed, pillm.Failure)
    assert "the context is 64" in failed.message
    assert isinstance(answered, pillm.Answer)


def test_an_answer_does_not_depend_on_its_neighbours(gguf: pillm.ModelFile) -> None:
    requests = [request(f"{text} {number}", number) for number, text in enumerate(SENTENCES * 5)]
    alone = answers(LocalRunner(parallel=1, max_tokens=10), gguf, requests)
    together = answers(LocalRunner(parallel=8, max_tokens=10), gguf, requests)
    assert [result.content for result in alone] == [result.content for result in together]  # type: ignore[union-attr]


def test_a_prompt_that_begins_like_the_last_one_is_not_read_again(gguf: pillm.ModelFile) -> None:
    requests = [request("Bonjour, un", 1), request("Bonjour, deux", 2)]
    first, second = answers(LocalRunner(parallel=1, max_tokens=4), gguf, requests)
    assert isinstance(first, pillm.Answer)
    assert isinstance(second, pillm.Answer)
    assert first.usage
    assert first.usage.cached_tokens == 0
    assert second.usage
    assert second.usage.cached_tokens > 4


def test_log_probabilities_are_recorded_best_first(gguf: pillm.ModelFile) -> None:
    (result,) = answers(LocalRunner(logprobs=400, max_tokens=3), gguf, [request()])
    assert isinstance(result, pillm.Answer)
    assert result.logprobs
    assert result.token_ids
    for token, row in zip(result.token_ids, result.logprobs, strict=True):
        assert row[0][0] == token
        assert [value for _, value in row] == sorted((value for _, value in row), reverse=True)
        assert sum(2.718281828459045**value for _, value in row) == pytest.approx(1.0, abs=1e-3)


def test_a_temperature_samples_and_a_seed_repeats_it(gguf: pillm.ModelFile) -> None:
    requests = [request(text, number) for number, text in enumerate(SENTENCES)]
    runs = [
        [result.content for result in answers(LocalRunner(temperature=1.5, seed=seed, max_tokens=8), gguf, requests)]  # type: ignore[union-attr]
        for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2]


def test_a_schema_that_no_grammar_holds_fails_its_row_alone(gguf: pillm.ModelFile) -> None:
    schemas = [{"const": "oui"}, {"not": {"const": 1}}, {"type": "strnig"}]
    requests = [request(number=number, schema=schema) for number, schema in enumerate(schemas)]
    answered, *failed = answers(LocalRunner(constrain=True), gguf, requests)
    assert isinstance(answered, pillm.Answer)
    for number, result in enumerate(failed, 1):
        assert isinstance(result, pillm.Failure)
        assert result.kind == "invalid"
        assert f"row-{number}" in result.message


def test_the_token_that_ends_the_turn_is_counted_and_not_said(gguf: pillm.ModelFile) -> None:
    runner = LocalRunner(constrain=True, logprobs=1)
    (result,) = answers(runner, gguf, [request(schema={"const": "oui"})])
    assert isinstance(result, pillm.Answer)
    assert result.content == '"oui"'
    assert result.finish_reason == "stop"
    assert result.token_ids
    assert result.token_ids[-1] in (0, 2)
    assert result.usage
    assert result.usage.completion_tokens == len(result.token_ids) == len(result.logprobs or ())


def test_the_bench_measures_and_is_clipped_to_the_context(gguf: pillm.ModelFile) -> None:
    with LocalRunner(threads=1).open(gguf) as session:
        found = session.bench(pillm.BenchPlan(pp=512, tg=16, repetitions=2))
    assert (found.pp, found.tg) == (240, 16)
    assert found.basis == "measured"
    assert found.pp_tps > 0
    assert found.tg_tps > 0
    assert [len(found.samples[name]) for name in ("pp_tps", "tg_tps")] == [2, 2]
    assert found.peak_memory
    assert found.peak_memory > 1_000_000
    assert found.load_ms
    assert found.ttft_ms
    assert found.threads == 1


def test_embeddings_have_length_one(gguf: pillm.ModelFile) -> None:
    with LocalRunner().open(gguf) as session:
        vectors = list(session.embed(["Bonjour", "Bonjour", "Hello there"]))
    assert vectors[0] == vectors[1] != vectors[2]
    assert all(sum(value * value for value in vector) == pytest.approx(1.0, abs=1e-6) for vector in vectors)


def test_a_file_that_was_cut_off_is_an_error_with_its_reason(gguf: pillm.ModelFile, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(gguf.path.read_bytes()[: gguf.bytes // 2])
    with pytest.raises(pillm.DataError, match=r"cut\.gguf: the data of .* it may be cut off"):
        LocalRunner().open(pillm.ModelFile.of(cut, "Q8_0"))


def test_a_model_folder_is_not_for_this_runner(checkpoint: pillm.Checkpoint) -> None:
    with pytest.raises(pillm.ConfigError, match="reads GGUF files"):
        LocalRunner().open(checkpoint)


def test_vulkan_is_refused_with_the_remedy_where_llama_cpp_was_built_without(gguf: pillm.ModelFile) -> None:
    for refused in (VulkanRunner().check, lambda: VulkanRunner().open(gguf)):
        with pytest.raises(pillm.MissingDependency, match="GGML_VULKAN=on"):
            refused()


def test_characters_that_tokens_split_come_out_whole(gguf: pillm.ModelFile) -> None:
    served = Served(path=str(gguf.path), vocab_only=True)
    try:
        for text in ("😀", "👩‍👩‍👧‍👦 日本", "é", "a😀b"):
            ids = served.model.tokenize(text)
            assert len(ids) > len(text) or text == "é"
            assert served.model.text(ids) == text
        assert served.model.text(served.model.tokenize("日")[:2]) == "\ufffd"
    finally:
        served.model.close()
