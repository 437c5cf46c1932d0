"""The conformance kit for plugin authors, and the fakes.

`check_plugin(module)` reads a plugin as pillm will; `check_teacher`, `check_batch_teacher`, `check_trainer`,
`check_exporter`, `check_runner`, `check_metric`, `check_filter`, `check_source` and `check_publisher` put one configured
backend to work and raise ConformanceError with a sentence.
`FakeOpenAIServer` and `FakeHub` are real HTTP servers, `LoopbackBoard` is a real sshd and `installed_plugin` a real
installation, all for the length of a test.
"""

from pillm.testing.answering import check_runner, check_teacher
from pillm.testing.batching import check_batch_teacher
from pillm.testing.board import LoopbackBoard, missing_for_board
from pillm.testing.declarations import ConformanceError, check_backend, check_plugin
from pillm.testing.exchanging import check_publisher, check_source
from pillm.testing.fakes import (
    DropFilter,
    EchoTeacher,
    LengthMetric,
    TableExporter,
    TableRunner,
    TableSession,
    TableTrainer,
)
from pillm.testing.hub import FakeHub, HubCall
from pillm.testing.installing import FAKES, installed_plugin, on_path, write_plugin
from pillm.testing.making import check_exporter, check_filter, check_metric, check_trainer
from pillm.testing.samples import sample_examples
from pillm.testing.server import Call, FakeOpenAIServer, Reply, completion, shout

__all__ = [
    "FAKES",
    "Call",
    "ConformanceError",
    "DropFilter",
    "EchoTeacher",
    "FakeHub",
    "FakeOpenAIServer",
    "HubCall",
    "LengthMetric",
    "LoopbackBoard",
    "Reply",
    "TableExporter",
    "TableRunner",
    "TableSession",
    "TableTrainer",
    "check_backend",
    "check_batch_teacher",
    "check_exporter",
    "check_filter",
    "check_metric",
    "check_plugin",
    "check_publisher",
    "check_runner",
    "check_source",
    "check_teacher",
    "check_trainer",
    "completion",
    "installed_plugin",
    "missing_for_board",
    "on_path",
    "sample_examples",
    "shout",
    "write_plugin",
]
