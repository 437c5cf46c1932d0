"""What a plan asks for is timed in turns, and what cannot be timed is said."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import pytest

from pillm.errors import BackendError, ConfigError, MissingDependency
from pillm.performance.benchmark import BenchPlan, BenchWork
from pillm.performance.rounds import Rounds, in_bursts
from pillm.performance.sampler import Sampler
from pillm.performance.sensors import Sensors
from pillm.performance.timer import Host, TimedReply, Timing
from pillm.records import Prompt
from tests.recorded import RecordedMachine, Steady

ROW = Prompt(id="a", messages=({"role": "user", "content": "b"},), schema={"type": "object"})


def test_works_take_turns_after_a_warm_up() -> None:
    timer = Steady()
    Rounds(timer, BenchPlan(pp=8, tg=4, repetitions=2, depths=(16,), thread_counts=(2,))).run()
    one_round = ["pp8", "tg4", "pp8 t2", "tg4 t2", "pp8 @ d16", "tg4 @ d16"]
    assert timer.done == ["pp8", "tg1", *one_round, *one_round]


def test_the_peak_of_memory_is_read_before_longer_caches_are_made() -> None:
    timer = Steady()
    rounds = Rounds(timer, BenchPlan(pp=8, tg=4, repetitions=2, depths=(16,)))
    rounds.run()
    assert rounds.record().peak_memory == 5_000_000 + 1000 * 4


def test_prompt_and_answer_are_clipped_to_what_the_model_sees() -> None:
    rounds = Rounds(Steady(context=64), BenchPlan(pp=512, tg=128, repetitions=1))
    rounds.run()
    assert (rounds.record().pp, rounds.record().tg) == (32, 32)


def test_every_sample_is_kept_and_the_median_counts() -> None:
    timer = Steady(pace={"tg4": [1.0, 0.002, 0.001, 0.004]})
    rounds = Rounds(timer, BenchPlan(pp=8, tg=4, repetitions=3))
    rounds.run()
    found = rounds.record()
    assert found.samples["tg_tps"] == pytest.approx([1.0, 500.0, 1000.0])
    assert found.tg_tps == pytest.approx(500.0)
    assert found.points[1].speed.low == pytest.approx(1.0)


def test_what_the_model_cannot_see_is_named_and_the_rest_is_timed() -> None:
    class Short(Steady):
        def time(self, work: BenchWork) -> Timing:
            if work.depth:
                raise BackendError("more than the 64 that the model can see")
            return super().time(work)

    rounds = Rounds(Short(), BenchPlan(pp=8, tg=4, repetitions=2, depths=(512,), prefix=True))
    rounds.run()
    assert set(rounds.record().not_measured) == {"pp8 @ d512", "tg4 @ d512", "prefix"}


def test_an_encoder_is_timed_reading_and_embedding_alone() -> None:
    class Encoder(Talker):
        def host(self) -> Host:
            return replace(super().host(), writes=False, context=256)

    rounds = Rounds(Encoder(), BenchPlan(pp=512, more_pp=(32,), repetitions=2, depths=(64,), prefix=True, texts=("a",)))
    rounds.run()
    found = rounds.record()
    assert (found.pp, found.tg, found.tg_tps, found.measured) == (256, 0, 0.0, True)
    assert [one.name for one in found.points] == ["pp256", "pp32"]
    assert "embed_ms" in found.times
    assert set(found.not_measured) == {"depths", "prefix", "tg"}
    assert str(found).endswith("an encoder")


def test_headline_figures_that_cannot_be_timed_are_an_error() -> None:
    class Broken(Steady):
        def time(self, work: BenchWork) -> Timing:
            raise BackendError("it fell over")

    with pytest.raises(BackendError, match="fell over"):
        Rounds(Broken(), BenchPlan()).run()


def test_a_saved_prefix_counts_from_the_second_time_on() -> None:
    rounds = Rounds(Steady(), BenchPlan(pp=8, tg=4, repetitions=3, prefix=True))
    rounds.run()
    found = rounds.record().times["ttft_prefix_ms"]
    assert found.value == pytest.approx(0.5 + 16 * 0.1)
    assert len(found.samples) == 2


@dataclass(slots=True)
class Talker(Steady):
    """Also answers and embeds."""

    def reply(self, prompt: Prompt, *, constrained: bool, fresh: bool) -> TimedReply:
        return TimedReply(first_ms=50.0 if fresh else 5.0, gaps_ms=(2.0, 3.0) if constrained else (1.0, 1.0, 9.0))

    def embed(self, texts: Iterable[str]) -> Iterator[tuple[float, ...]]:
        yield from ((1.0,) for _ in texts)


def test_answers_and_embeddings_are_timed_where_rows_are_given() -> None:
    rounds = Rounds(Talker(), BenchPlan(pp=8, tg=4, repetitions=1, prompts=(ROW,), texts=("a", "b")))
    rounds.run()
    times = rounds.record().times
    assert (times["answer_ttft_ms"].value, times["answer_ttft_cached_ms"].value) == (50.0, 5.0)
    assert (times["inter_token_free_ms"].value, times["inter_token_free_p95_ms"].value) == (1.0, 9.0)
    assert times["inter_token_constrained_ms"].value == 2.5
    assert times["answer_ttft_constrained_ms"].value == 5.0
    assert len(times["embed_ms"].samples) == 2
    silent = Rounds(Steady(), BenchPlan(pp=8, tg=4, repetitions=1, prompts=(ROW,), texts=("a",)))
    silent.run()
    assert set(silent.record().not_measured) == {"prompts", "texts"}


def test_tokens_that_arrive_in_bursts_tell_no_time_between_two() -> None:
    burst, steady = [0.016, 0.016, 0.016, 1.1] * 8, [0.28] * 32
    assert in_bursts(burst)
    assert not in_bursts([*steady, 9.0]), "one that was held up is no burst"
    assert not in_bursts([0.01, 3.0]), "two say nothing"
    assert not in_bursts([0.016] * 32)
    assert in_bursts([0.016] * 32, lasted=32 * 0.28), "all of them came at once, late"

    class Buffered(Steady):
        def time(self, work: BenchWork) -> Timing:
            return replace(super().time(work), steps_ms=tuple(burst) if work.kind == "tg" else ())

    rounds = Rounds(Buffered(), BenchPlan(pp=8, tg=32, repetitions=3))
    rounds.run()
    found = rounds.record()
    assert not {"inter_token_ms", "inter_token_p95_ms"} & found.times.keys()
    assert found.not_measured["inter_token_ms"].startswith("tokens arrive in bursts")


def test_a_long_run_tells_its_first_and_last_minute() -> None:
    rounds = Rounds(Steady(), BenchPlan(pp=8, tg=64, repetitions=1))
    rounds.run()
    begins = [*range(0, 300, 10), *range(300, 600, 12)]
    rounds.lasting = [Timing(tokens=64, seconds=10.0 if at < 300 else 12.0, begin=float(at)) for at in begins]
    times = rounds.record().times
    assert times["sustained_first_ms"].value == pytest.approx(10_000 / 64)
    assert times["sustained_last_ms"].value == pytest.approx(12_000 / 64)


def test_sustained_writing_lasts_as_long_as_was_asked() -> None:
    rounds = Rounds(Steady(), BenchPlan(pp=8, tg=4, repetitions=1, sustained=0.05))
    rounds.run()
    assert len(rounds.lasting) > 1
    assert {"sustained_first_ms", "sustained_last_ms"} <= set(rounds.record().times)
    assert len(list(rounds.spans())) == 1 + len(rounds.lasting)


def test_each_part_of_the_work_is_sampled_under_its_own_name() -> None:
    class Watching(Steady):
        def time(self, work: BenchWork) -> Timing:
            sampler.take()
            return super().time(work)

    plan = BenchPlan(pp=8, tg=4, repetitions=1, prefix=True, sustained=0.01)
    with Sampler(Sensors(RecordedMachine()), every=60.0) as sampler:
        Rounds(Watching(), plan, sampler=sampler).run()
    assert sampler.parts == ("headline", "prefix", "sustained")
    assert [one.phase for one in sampler.of("headline")] == ["idle", "pp", "tg", "pp", "tg", "between"]
    assert {one.phase for one in sampler.of("prefix")} == {"between", "prefix"}
    assert {one.phase for one in sampler.of("sustained")} == {"between", "sustained"}


@dataclass(slots=True)
class Blocky(Talker):
    """Times each piece of work several times in a row, and opens the model anew."""

    lost: type[Exception] | None = None

    @property
    def in_blocks(self) -> bool:
        return True

    def host(self) -> Host:
        if self.done and self.lost is not None:
            raise self.lost("no llama-server")
        return super(Blocky, self).host()

    def reload(self, *, cold: bool) -> float:
        return 900.0 if cold else 300.0


def test_work_that_costs_much_to_begin_is_done_in_blocks_without_a_warm_up_of_ours() -> None:
    timer = Blocky()
    rounds = Rounds(timer, BenchPlan(pp=8, tg=4, repetitions=2, depths=(16,), loads=2))
    rounds.run()
    assert timer.done == ["pp8", "pp8", "tg4", "tg4", "pp8 @ d16", "pp8 @ d16", "tg4 @ d16", "tg4 @ d16"]
    found = rounds.record()
    assert found.samples["tg_tps"] == pytest.approx([1000.0] * 2)
    assert (found.times["load_cold_ms"].samples, found.times["load_warm_ms"].value) == ((900.0, 900.0), 300.0)


def test_blocks_in_which_a_model_is_loaded_can_be_kept_from_being_judged_by_their_clock() -> None:
    class Watched(Blocky):
        def time(self, work: BenchWork) -> Timing:
            sampler.take()
            return Blocky.time(self, work)

    plan = BenchPlan(pp=8, tg=4, repetitions=1)
    for phase, phases in (("untold", {"untold"}), ("", {"pp", "tg"})):
        with Sampler(Sensors(RecordedMachine()), every=60.0) as sampler:
            Rounds(Watched(), plan, sampler=sampler, phase=phase).run()
        assert {one.phase for one in sampler.of("headline")} == {"idle", "between", *phases}


@pytest.mark.parametrize("lost", [BackendError, MissingDependency, ConfigError])
def test_speeds_are_kept_where_what_they_took_cannot_be_told(lost: type[Exception]) -> None:
    rounds = Rounds(Blocky(lost=lost), BenchPlan(pp=8, tg=4, repetitions=1))
    rounds.run()
    found = rounds.record()
    assert found.tg_tps == pytest.approx(1000)
    assert found.not_measured == {"load_ms": "no llama-server", "peak_memory": "no llama-server"}


def test_what_a_timer_cannot_do_any_more_is_named_and_the_rest_is_kept() -> None:
    class Tired(Steady):
        def time(self, work: BenchWork) -> Timing:
            if work.kind == "tg" and len(self.done) > 6:
                raise BackendError("it does not fit")
            return super().time(work)

    rounds = Rounds(Tired(), BenchPlan(pp=8, tg=4, repetitions=2, sustained=60.0, loads=1))
    rounds.run()
    missing = rounds.record().not_measured
    assert missing["sustained"] == "it does not fit"
    assert "does not open the model anew" in missing["load_cold_ms"]
