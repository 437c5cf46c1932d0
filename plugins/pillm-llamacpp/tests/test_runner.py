from __future__ import annotations

import json
import os
import shutil
import signal
from itertools import count
from pathlib import Path

import pytest
from pillm_llamacpp.exporter import GGUFExporter
from pillm_llamacpp.runner import LocalRunner, VulkanRunner
from pillm_llamacpp.serving import Served, sequences
from pillm_llamacpp.session import LocalSession
from pillm_llamacpp.teacher import GGUFTeacher
from pillm_llamacpp_tiny import SENTENCES, request, write_model

import pillm
from pillm.options import describe
from pillm.testing import check_runner, check_teacher


def answers(runner: LocalRunner, model: pillm.ModelFile, requests: list[pillm.Request]) -> list[pillm.Answer | pillm.Failure]:
    with runner.open(model) as session:
        said = {asked.key: result for asked, result in session.answer(iter(requests))}
    return [said[one.key] for one in requests]


def test_the_runner_keeps_the_protocol(gguf: pillm.ModelFile) -> None:
    check_runner(LocalRunner(max_tokens=12), gguf)


def test_the_teacher_keeps_the_protocol_and_is_known_by_its_content(gguf: pillm.ModelFile, tmp_path: Path) -> None:
    teacher = GGUFTeacher(model=gguf.path, max_tokens=8)
    check_teacher(teacher)
    elsewhere = tmp_path / "other.gguf"
    shutil.copyfile(gguf.path, elsewhere)
    moved = GGUFTeacher(model=elsewhere, max_tokens=8)
    assert teacher.identity() == moved.identity()
    assert teacher.identity()["sha256"] == gguf.sha256


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


def test_the_cache_is_sized_by_the_models_own_heads(tmp_path: Path) -> None:
    wide = write_model(tmp_path / "wide", head=128)
    (model,) = GGUFExporter(quants=["F16"]).export(wide, tmp_path, pillm.Progress())
    served = Served(path=str(model.path))
    try:
        assert served.model.kv_bytes == 2 * (128 + 128) * 2 * 2, "16 bit, keys and values, of 2 heads in 2 layers"
    finally:
        served.model.close()


def test_a_model_that_is_only_timed_has_no_cache_for_answers(gguf: pillm.ModelFile) -> None:
    served = Served(path=str(gguf.path), parallel=4)
    try:
        served.ask("bench", {"pp": 8, "tg": 4, "repetitions": 1, "threads": 1})
        assert (served.facts()["parallel"], served.batcher) == (4, None)
    finally:
        served.model.close()


def test_as_many_answers_are_decoded_together_as_asked_where_memory_holds_them() -> None:
    assert sequences(16, cost=10, free=1000) == 16
    assert sequences(16, cost=10, free=80) == 6, "a quarter is left for others"
    assert sequences(16, cost=10, free=-5) == 1


def test_the_answers_that_are_decoded_together_are_a_fixed_number_unless_told_otherwise(gguf: pillm.ModelFile) -> None:
    assert GGUFTeacher(model=gguf.path).parallel == LocalRunner().parallel == 8
    with LocalRunner().open(gguf) as session:
        assert isinstance(session, LocalSession)
        assert session.facts["parallel"] == 8


def test_a_parallel_that_memory_does_not_hold_is_cut_with_a_warning(
    checkpoint: pillm.Checkpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    far = Path(shutil.copytree(checkpoint.path, tmp_path / "far"))
    config = json.loads((far / "config.json").read_text())
    (far / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 2**30}))
    (model,) = GGUFExporter(quants=["F16"]).export(pillm.Checkpoint(path=far), tmp_path, pillm.Progress())
    for runner in (LocalRunner(parallel=64, context=2**30), LocalRunner(context=2**30)):
        caplog.clear()
        with runner.open(model) as session:
            assert isinstance(session, LocalSession)
            assert 1 <= session.facts["parallel"] < runner.parallel
        (warning,) = caplog.messages
        assert f"not {runner.parallel}" in warning, "the default's cut is told as well"
        assert "smaller context" in warning
        assert "answer may differ" in warning
    caplog.clear()
    with LocalRunner(parallel=16, context=2**16).open(model) as session:
        assert isinstance(session, LocalSession)
        assert session.facts["parallel"] == 16
    assert not caplog.messages


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


def crash_on(
    session: LocalSession, monkeypatch: pytest.MonkeyPatch, *culprits: int, by: signal.Signals = signal.SIGSEGV
) -> None:
    """Make the process die, truly, whenever it is sent one of these rows."""
    packet = session._packet

    def deadly(asked: pillm.Request, number: int) -> object:
        if asked.prompt.id in {f"row-{culprit}" for culprit in culprits}:
            os.kill(session.worker_pid, by)
        return packet(asked, number)

    monkeypatch.setattr(session, "_packet", deadly)


def test_a_killed_worker_is_started_again_and_no_row_is_lost(gguf: pillm.ModelFile) -> None:
    with LocalRunner(max_tokens=8).open(gguf) as session:
        assert isinstance(session, LocalSession)
        os.kill(session.worker_pid, signal.SIGKILL)
        ((_, result),) = session.answer(iter([request()]))
    assert isinstance(result, pillm.Answer)


@pytest.mark.parametrize(
    ("by", "kind", "reason"),
    [
        (signal.SIGSEGV, "crashed", "llama.cpp crashed (SIGSEGV)"),
        (signal.SIGABRT, "crashed", "one of its own checks failed (SIGABRT)"),
        (signal.SIGKILL, "server", "most often because memory ran out (SIGKILL)"),
        (signal.SIGTERM, "server", "told to stop (SIGTERM)"),
    ],
)
def test_a_row_that_ends_llama_cpp_fails_alone_and_for_good_only_where_llama_cpp_crashed_itself(
    by: signal.Signals, kind: str, reason: str, gguf: pillm.ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalRunner(max_tokens=2, parallel=2).open(gguf) as session:
        assert isinstance(session, LocalSession)
        crash_on(session, monkeypatch, 5, by=by)
        said = {asked.prompt.id: result for asked, result in session.answer(request("Oui", n) for n in range(12))}
    assert len(said) == 12
    failed = {name: result for name, result in said.items() if isinstance(result, pillm.Failure)}
    assert list(failed) == ["row-5"]
    assert failed["row-5"].kind == kind
    assert reason in failed["row-5"].message


def test_a_row_that_ends_the_worker_by_an_error_of_its_own_has_crashed_it(
    gguf: pillm.ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalRunner(max_tokens=2, parallel=2).open(gguf) as session:
        assert isinstance(session, LocalSession)
        packet = session._packet
        monkeypatch.setattr(session, "_packet", lambda asked, number: {**packet(asked, number), "max_tokens": "many"})
        ((_, failed),) = session.answer(iter([request()]))
    assert isinstance(failed, pillm.Failure)
    assert failed.kind == "crashed"
    assert "TypeError" in failed.message


def test_what_to_do_about_a_killed_worker_is_said_before_what_it_said_last(
    gguf: pillm.ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalRunner(max_tokens=2, parallel=1).open(gguf) as session:
        assert isinstance(session, LocalSession)

        def deadly(*_: object) -> object:
            session._worker._log.write(b"load_tensors\n")
            os.kill(session.worker_pid, signal.SIGKILL)
            return {}

        monkeypatch.setattr(session, "_packet", deadly)
        results = session.answer(request("Oui", n) for n in range(12))
        _, failed = next(results)
        assert isinstance(failed, pillm.Failure)
        assert failed.message.endswith("takes less memory.\nIt last said:\nload_tensors")
        with pytest.raises(pillm.BackendError, match=r"this was the last\.\nIt last said:\nload_tensors$"):
            list(results)


def test_a_model_that_crashes_again_and_again_is_an_error(gguf: pillm.ModelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalRunner(max_tokens=2, parallel=1).open(gguf) as session:
        assert isinstance(session, LocalSession)
        crash_on(session, monkeypatch, *range(12))
        with pytest.raises(pillm.BackendError, match="started again 5 times"):
            list(session.answer(request("Oui", n) for n in range(12)))


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


def test_only_what_changes_an_answer_is_part_of_the_teachers_identity(gguf: pillm.ModelFile) -> None:
    known = GGUFTeacher(model=gguf.path).identity()
    assert known == GGUFTeacher(model=gguf.path, seed=9, parallel=2, threads=1, batch=64).identity()
    assert known != GGUFTeacher(model=gguf.path, context=99).identity(), "an answer stops where the context ends"
    drawn = [GGUFTeacher(model=gguf.path, temperature=1.0, seed=seed).identity() for seed in (0, 9)]
    assert drawn[0] != drawn[1]


def test_a_larger_context_asks_again_what_did_not_fit_the_smaller_one(gguf: pillm.ModelFile, tmp_path: Path) -> None:
    rows = [pillm.Prompt(id="long", messages=({"role": "user", "content": "un mot " * 20},))]
    small, large = (
        pillm.label(rows, GGUFTeacher(model=gguf.path, context=context, max_tokens=4), tmp_path) for context in (32, 256)
    )
    assert small.counts.failed == 1
    assert not large.up_to_date
    assert large.counts.failed == 0


def test_the_file_is_in_the_key_by_its_content_and_never_by_its_path(gguf: pillm.ModelFile) -> None:
    (model,) = [option for option in describe(GGUFTeacher) if option["name"] == "model"]
    assert model["in_key"]
    assert str(gguf.path) not in str(GGUFTeacher(model=gguf.path).identity())


def test_evaluations_ask_the_teacher_without_a_grammar_and_without_sampling(gguf: pillm.ModelFile) -> None:
    asked = GGUFTeacher(model=gguf.path, constrain=True, temperature=0.7).greedy()
    assert (asked.constrain, asked.temperature) == (False, 0.0)
    (result,) = [said for _, said in asked.answer(iter([request(schema={"const": "oui"})]))]
    assert isinstance(result, pillm.Answer)
    assert result.content != '"oui"'


def test_the_teacher_forecasts_four_characters_to_a_token(gguf: pillm.ModelFile) -> None:
    teacher = GGUFTeacher(model=gguf.path, max_tokens=5)
    assert teacher.estimate(request("a" * 40)) == pillm.Usage(prompt_tokens=10, completion_tokens=5)


def test_a_consumer_that_stops_early_leaves_the_session_usable(gguf: pillm.ModelFile) -> None:
    pulled = []

    def endless() -> object:
        for number in count():
            pulled.append(number)
            yield request("Bonjour", number)

    with LocalRunner(max_tokens=4).open(gguf) as session:
        stream = session.answer(endless())  # type: ignore[arg-type]
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        assert len(pulled) <= 16
        ((asked, result),) = session.answer(iter([request("Encore", 99)]))
    assert asked.prompt.id == "row-99"
    assert isinstance(result, pillm.Answer)


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


def test_a_file_that_llama_cpp_cannot_load_is_an_error_with_its_reason(gguf: pillm.ModelFile, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(gguf.path.read_bytes()[: gguf.bytes // 2])
    with pytest.raises(pillm.DataError, match=r"cannot load .*cut\.gguf"):
        LocalRunner().open(pillm.ModelFile.of(cut, "Q8_0"))


def test_a_model_folder_is_not_for_this_runner(checkpoint: pillm.Checkpoint) -> None:
    with pytest.raises(pillm.ConfigError, match="reads GGUF files"):
        LocalRunner().open(checkpoint)


def test_vulkan_is_refused_with_the_remedy_where_llama_cpp_was_built_without(gguf: pillm.ModelFile) -> None:
    for refused in (VulkanRunner().check, lambda: VulkanRunner().open(gguf)):
        with pytest.raises(pillm.MissingDependency, match="GGML_VULKAN=on"):
            refused()


def test_a_teachers_file_that_is_not_there_is_told_before_anything_is_asked(gguf: pillm.ModelFile, tmp_path: Path) -> None:
    GGUFTeacher(model=gguf.path).check()
    with pytest.raises(pillm.DataError, match=r"none\.gguf cannot be read"):
        GGUFTeacher(model=tmp_path / "none.gguf").check()


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
