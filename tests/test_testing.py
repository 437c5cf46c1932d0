"""The conformance kit accepts what keeps the protocol and names the rule that anything else breaks."""

import sys

import pytest

import pillm.testing
from pillm import BenchPlan, Trainer
from pillm.plugins import find, registry
from pillm.testing import (
    FAKES,
    DropFilter,
    EchoTeacher,
    LengthMetric,
    TableExporter,
    TableRunner,
    TableTrainer,
    check_exporter,
    check_filter,
    check_metric,
    check_plugin,
    check_runner,
    check_teacher,
    check_trainer,
    installed_plugin,
    sample_examples,
)


def test_the_fakes_keep_the_protocol_from_teacher_to_runner(tmp_path):
    said = check_teacher(EchoTeacher(truth=True))
    assert [answer.content for answer in said] == [example.answer.content for example in sample_examples()]
    checkpoint = check_trainer(TableTrainer(upper=True), tmp_path / "train")
    models = check_exporter(TableExporter(quants=("F16", "Q8_0")), checkpoint, tmp_path / "export")
    assert [model.quant for model in models] == ["F16", "Q8_0"]
    for model in (checkpoint, *models):
        assert [answer.content for answer in check_runner(TableRunner(), model)][-1] == "FOUR."
    assert check_metric(LengthMetric())[-1] == pytest.approx(1 / 6)
    assert check_filter(DropFilter(word="salon"))[0] is None


def test_the_built_in_metrics_and_the_fakes_are_good_plugins():
    from pillm import metrics
    from pillm.testing import fakes

    assert {cls.name for cls in check_plugin(metrics)} >= {"exact", "json", "schema", "fields"}
    assert len(check_plugin(fakes)) == 6


def test_every_name_of_the_kit_is_exported():
    made = {name for name, value in vars(pillm.testing).items() if getattr(value, "__module__", "").startswith("pillm.testing")}
    assert made <= set(pillm.testing.__all__)
    assert all(hasattr(pillm.testing, name) for name in pillm.testing.__all__)


def test_an_abstract_trainer_cannot_be_built():
    with pytest.raises(TypeError, match="abstract"):
        Trainer()


def test_a_table_is_timed_for_real(tmp_path):
    checkpoint = check_trainer(TableTrainer(), tmp_path / "train")
    with TableRunner().open(checkpoint) as session:
        benchmark = session.bench(BenchPlan(pp=64, tg=16))
    assert benchmark.basis == "measured"
    assert benchmark.tg_tps > 0


def test_a_plugin_is_installed_for_the_length_of_a_context(tmp_path, monkeypatch):
    monkeypatch.setenv("PILLM_PLUGINS", "fakes")
    with installed_plugin(tmp_path, "fakes", FAKES):
        assert find("teacher", "echo") is EchoTeacher
        status = next(status for status in registry().statuses if status.name == "fakes")
        assert (status.distribution, status.version, status.error) == ("pillm-fakes", "1.0", None)
    assert "echo" not in registry().provided("teacher")
    assert str(tmp_path) not in sys.path
