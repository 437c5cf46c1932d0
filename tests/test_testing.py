"""The conformance kit accepts what keeps the protocol and names the rule that anything else breaks."""

import sys

import pytest

import pillm.testing
<<<<<<< HEAD
from pillm import BenchPlan, Trainer
=======
from pillm import (
    Answer,
    BenchPlan,
    Checkpoint,
    ConfigError,
    Failure,
    Finding,
    Metric,
    ModelFile,
    Prompt,
    Runner,
    Session,
    Teacher,
    Trainer,
    Unavailable,
    hookimpl,
)
from pillm.contract import Contract
>>>>>>> part-verdict
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


<<<<<<< HEAD
=======
def test_a_failing_question_is_a_failure_and_keeps_the_protocol():
    first = sample_examples()[0].prompt
    assert isinstance(check_teacher(EchoTeacher(fails=(first.text,), window=3))[0], Failure)


class Wrong(Teacher):
    """Breaks one rule, as told."""

    name: ClassVar[str] = "wrong"
    rule: str = Field("none", description="Which rule to break.")

    def answer(self, requests):
        if self.rule == "thread":
            pulled = []
            puller = threading.Thread(target=lambda: pulled.extend(requests))
            puller.start()
            puller.join()
            requests = iter(pulled)
        if self.rule == "greedy":
            requests = iter(list(requests))
        for number, request in enumerate(requests):
            if self.rule == "silent" and number == 1:
                continue
            if self.rule == "bare":
                yield "text"
            elif self.rule == "text":
                yield request, "text"
            elif self.rule == "stranger":
                yield Contract().request(Prompt(id="x", messages=()), {}), Answer("a")
            elif self.rule == "mute":
                yield request, Failure("server", "")
            elif self.rule == "list":
                yield request, Answer(["a"])
            elif self.rule == "logprobs":
                yield request, Answer("a", token_ids=(1, 2), logprobs=(((1, -0.1),),))
            elif self.rule == "positive":
                yield request, Answer("a", token_ids=(1,), logprobs=(((1, 0.5),),))
            else:
                yield request, Answer("a")
                if self.rule == "twice":
                    yield request, Answer("a")


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ("thread", "another thread"),
        ("greedy", "pulled 512 requests"),
        ("silent", "never answered sample-2"),
        ("bare", r"\(request, answer\) pairs"),
        ("text", "an Answer or a Failure, not 'text'"),
        ("stranger", "the requests it was given"),
        ("mute", "without a sentence"),
        ("list", "not text"),
        ("logprobs", "another number of tokens"),
        ("positive", "above 0"),
        ("twice", "'sample-1' twice"),
    ],
)
def test_a_teacher_that_breaks_a_rule_is_told_which(rule, sentence):
    with pytest.raises(ConformanceError, match=sentence):
        check_teacher(Wrong(rule=rule))


@pytest.mark.parametrize(("option", "value"), [("temperature", 0.5), ("constrain", True)])
def test_a_teacher_that_evaluations_cannot_ask_plainly_is_told(option, value):
    class Set(EchoTeacher):
        """Keeps its options whoever asks."""

        name: ClassVar[str] = "set"
        temperature: float = Field(0.0, description="How warm.")
        constrain: bool = Field(False, description="Hold answers to the row's schema.")

        def greedy(self):
            return self

    assert check_teacher(Set())
    with pytest.raises(ConformanceError, match=f"greedy.. of teacher 'set' keeps '{option}'"):
        check_teacher(Set(**{option: value}))


def test_a_teacher_that_breaks_no_rule_passes():
    assert len(check_teacher(Wrong())) == 4


class Nameless(Metric):
    """Has no name."""

    def score(self, prompt, answer):
        return 1.0


class Loud(Metric):
    """Has a loud name."""

    name: ClassVar[str] = "LOUD METRIC"

    def score(self, prompt, answer):
        return 1.0


class Undescribed(Metric):
    """Has an option without words."""

    name: ClassVar[str] = "undescribed"
    weight: int = 1

    def score(self, prompt, answer):
        return 1.0


class Secret(Metric):
    """Takes a secret as an option."""

    name: ClassVar[str] = "secret"
    api_key: str = Field("", description="Your key.")

    def score(self, prompt, answer):
        return 1.0


class Restless(Metric):
    """Has an identity that moves."""

    name: ClassVar[str] = "restless"

    def score(self, prompt, answer):
        return 1.0

    def identity(self):
        return {"use": "restless", "at": time.perf_counter_ns()}


class Tuned(Metric):
    """Has an identity that depends on tuning."""

    name: ClassVar[str] = "tuned"
    batch_size: int = Field(8, description="Rows at a time.", json_schema_extra={"key": False})

    def score(self, prompt, answer):
        return 1.0

    def identity(self):
        return {"use": "tuned", "batch_size": self.batch_size}


class Half(Metric):
    """Leaves its one method out."""

    name: ClassVar[str] = "half"


@pytest.mark.parametrize(
    ("cls", "sentence"),
    [
        (Nameless, "needs a name"),
        (Loud, "'LOUD METRIC'"),
        (Undescribed, "'weight' needs a description"),
        (Secret, "looks like a secret"),
        (Half, "leaves abstract: score"),
        (dict, "not a subclass of pillm.Metric"),
    ],
)
def test_a_class_that_declares_itself_badly_is_told_how(cls, sentence):
    with pytest.raises(ConformanceError, match=sentence):
        check_plugin(SimpleNamespace(pillm_metrics=hookimpl(lambda: [cls])))


@pytest.mark.parametrize(
    ("backend", "sentence"), [(Restless(), "from one call to the next"), (Tuned(), "changes with 'batch_size'")]
)
def test_an_identity_that_moves_is_found(backend, sentence):
    with pytest.raises(ConformanceError, match=sentence):
        check_backend(backend)


class Unready(LengthMetric):
    """Says that something stands in its way, as told."""

    name: ClassVar[str] = "unready"
    raises: bool = Field(True, description="Raise it, or return it.")

    def check(self):
        if self.raises:
            raise Unavailable("the key is not set")
        return "the key is not set"


@pytest.mark.parametrize(("raises", "sentence"), [(True, "raised before it was put to work: the key"), (False, "give nothing")])
def test_a_backend_that_is_put_to_work_must_say_that_it_can(raises, sentence):
    with pytest.raises(ConformanceError, match=sentence):
        check_metric(Unready(raises=raises))


def test_a_plugin_without_hooks_or_with_one_name_twice_is_refused():
    with pytest.raises(ConformanceError, match="implements no hook"):
        check_plugin(SimpleNamespace())
    with pytest.raises(ConformanceError, match="one name twice"):
        check_plugin(SimpleNamespace(pillm_metrics=hookimpl(lambda: [LengthMetric, LengthMetric])))


def test_a_misspelt_hook_is_refused():
    with pytest.raises(ConformanceError, match="pillm_teacher"):
        check_plugin(SimpleNamespace(pillm_teacher=hookimpl(lambda: [])))


def test_a_plugin_that_imports_something_heavy_is_named(tmp_path):
    source = "import numpy\n" + FAKES
    with installed_plugin(tmp_path, "heavy", source) as module, pytest.raises(ConformanceError, match="loads numpy"):
        check_plugin(__import__(module))


def test_a_trainer_that_leaves_out_the_probes_is_told(tmp_path):
    class Forgetful(TableTrainer):
        """Forgets the probes."""

        name: ClassVar[str] = "forgetful"

        def train(self, data, out, progress):
            super().train(data, out, progress)
            (out / "probes.jsonl").write_text("")

    class Stray(TableTrainer):
        """Writes beside its folder."""

        name: ClassVar[str] = "stray"

        def train(self, data, out, progress):
            super().train(data, out, progress)
            (out.parent / "log.txt").write_text("")

    class Mumbling(TableTrainer):
        """Leaves a record that says nothing."""

        name: ClassVar[str] = "mumbling"

        def train(self, data, out, progress):
            super().train(data, out, progress)
            (out / "training.json").write_text('{"losses": [1.0, NaN]}')

    with pytest.raises(ConformanceError, match=r"wrote a training\.json in which the report finds nothing"):
        check_trainer(Mumbling(), tmp_path / "c")
    with pytest.raises(ConformanceError, match="probe"):
        check_trainer(Forgetful(), tmp_path / "a")
    with pytest.raises(ConformanceError, match=r"outside its folder: log\.txt"):
        check_trainer(Stray(), tmp_path / "b")


def test_an_exporter_that_yields_too_early_is_told(tmp_path):
    class Early(TableExporter):
        """Goes on writing after it yielded."""

        name: ClassVar[str] = "early"

        def export(self, checkpoint, out, progress) -> Iterator[ModelFile]:
            for model in super().export(checkpoint, out, progress):
                yield model
                model.path.write_bytes(b"more")

    checkpoint = check_trainer(TableTrainer(), tmp_path / "train")
    with pytest.raises(ConformanceError, match=r"changed student-F16\.table after"):
        check_exporter(Early(), checkpoint, tmp_path / "export")


@pytest.mark.parametrize(
    ("found", "words"),
    [("fine", "must yield Findings"), (Finding("layers", "broken", "too many"), r"would refuse in a run .*too many")],
)
def test_an_exporter_that_would_refuse_what_it_exports_is_told(tmp_path, found, words):
    class Picky(TableExporter):
        """Says something else beforehand."""

        name: ClassVar[str] = "picky"

        def examine(self, checkpoint, *, student=None, prove=False):
            yield found

    checkpoint = check_trainer(TableTrainer(), tmp_path / "train")
    with pytest.raises(ConformanceError, match=words):
        check_exporter(Picky(), checkpoint, tmp_path / "export")


def test_a_runner_that_answers_twice_in_two_ways_is_told(tmp_path):
    class Dice(Runner):
        """Never says the same."""

        name: ClassVar[str] = "dice"
        reads: ClassVar[frozenset[str]] = frozenset({"checkpoint"})

        def open(self, model):
            return Dicing()

    class Dicing(Session):
        said = 0

        def answer(self, requests):
            for request in requests:
                self.said += 1
                yield request, Answer(str(self.said))

    with pytest.raises(ConformanceError, match="differently when asked again"):
        check_runner(Dice(), Checkpoint(path=tmp_path))
    with pytest.raises(ConformanceError, match="reads checkpoint, not gguf"):
        check_runner(Dice(), ModelFile(path=tmp_path / "a.gguf", quant="F16", bytes=1, sha256=""))


def test_a_runner_that_finds_only_when_asked_that_it_cannot_hold_a_schema_is_told(tmp_path):
    class Late(TableRunner):
        """Holds answers to schemas, and refuses one late."""

        name: ClassVar[str] = "late"
        capabilities: ClassVar[frozenset[str]] = frozenset({"answer", "bench", "grammar"})
        constrain: bool = Field(False, description="Hold answers to the row's schema.")
        early: bool = Field(False, description="Look in time.")

        def check_prompts(self, prompts):
            if self.early and any("not" in (prompt.schema or {}) for prompt in prompts):
                raise ConfigError("'not' cannot be held to.")

        def open(self, model):
            return Refusing({}, "late") if self.constrain else super().open(model)

    class Refusing(TableSession):
        def answer(self, requests):
            for request in requests:
                yield request, Failure("invalid", "'not' cannot be held to.")

    student = check_trainer(TableTrainer(), tmp_path / "train")
    with pytest.raises(ConformanceError, match=r"check_prompts\(\) let pass \('not' cannot be held to"):
        check_runner(Late(), student)
    check_runner(Late(early=True), student)


def test_a_runner_that_does_not_answer_is_only_timed(tmp_path):
    class Timer(TableRunner):
        """Times tables and answers nothing."""

        name: ClassVar[str] = "timer"
        capabilities: ClassVar[frozenset[str]] = frozenset({"bench"})
        session: ClassVar[type[Session]]

        def open(self, model):
            return self.session()

    class Timed(Session):
        def answer(self, requests):
            raise AssertionError("asked")

        def bench(self, plan):
            return TableSession({}, "a table").bench(plan)

    class Idle(Timed):
        bench = Session.bench

    Timer.session = Timed
    assert check_runner(Timer(), Checkpoint(path=tmp_path)) == []
    Timer.session = Idle
    with pytest.raises(ConformanceError, match=r"says that it can bench, and its session has no bench\(\)"):
        check_runner(Timer(), Checkpoint(path=tmp_path))


def test_a_metric_that_scores_rows_it_says_it_does_not_apply_to_is_told():
    class Modest(LengthMetric):
        """Applies to nothing, it says."""

        name: ClassVar[str] = "modest"

        def applies(self, prompt):
            return False

    with pytest.raises(ConformanceError, match=r"to which applies\(\) says that it does not apply"):
        check_metric(Modest())


def test_a_metric_that_scores_nonsense_is_told():
    class Endless(LengthMetric):
        """Scores infinity."""

        name: ClassVar[str] = "endless"

        def score(self, prompt, answer):
            return float("inf")

    with pytest.raises(ConformanceError, match="finite"):
        check_metric(Endless())


>>>>>>> part-verdict
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
