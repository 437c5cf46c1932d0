"""pillm: turn a big language model's skill into a file small enough for a Raspberry Pi, and prove what was kept.

Names are imported on first use, so that `import pillm` and `pillm --help` load neither plugins nor pydantic.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pillm.agreement import Agreement as Agreement
    from pillm.artifacts import CHOICE_FILE as CHOICE_FILE
    from pillm.artifacts import Alternative as Alternative
    from pillm.artifacts import Benchmark as Benchmark
    from pillm.artifacts import BenchPlan as BenchPlan
    from pillm.artifacts import Checkpoint as Checkpoint
    from pillm.artifacts import DeviceFacts as DeviceFacts
    from pillm.artifacts import Evaluation as Evaluation
    from pillm.artifacts import Fact as Fact
    from pillm.artifacts import Figure as Figure
    from pillm.artifacts import Lengths as Lengths
    from pillm.artifacts import ModelFile as ModelFile
    from pillm.artifacts import Parity as Parity
    from pillm.artifacts import Plan as Plan
    from pillm.artifacts import Probe as Probe
    from pillm.artifacts import sha256_file as sha256_file
    from pillm.backends import Backend as Backend
    from pillm.backends import Exporter as Exporter
    from pillm.backends import Filter as Filter
    from pillm.backends import Metric as Metric
    from pillm.backends import Rows as Rows
    from pillm.backends import Runner as Runner
    from pillm.backends import Session as Session
    from pillm.backends import Teacher as Teacher
    from pillm.backends import Trainer as Trainer
    from pillm.backends import TrainingData as TrainingData
    from pillm.batches import BatchError as BatchError
    from pillm.batches import BatchMode as BatchMode
    from pillm.batches import BatchStatus as BatchStatus
    from pillm.batches import BatchTeacher as BatchTeacher
    from pillm.cards.beside import ollama_from as ollama_from
    from pillm.cards.beside import write_card as write_card
    from pillm.cards.card import Card as Card
    from pillm.cards.card import card_of as card_of
    from pillm.cards.card import card_to_json as card_to_json
    from pillm.cards.lineage import read_lineage as read_lineage
    from pillm.cards.metadata import metadata_of as metadata_of
    from pillm.cards.preference import Preference as Preference
    from pillm.cards.preference import preferred_file as preferred_file
    from pillm.contract import Contract as Contract
    from pillm.contract import template_message as template_message
    from pillm.deployment.bundle import Bundle as Bundle
    from pillm.deployment.deploying import Deployment as Deployment
    from pillm.deployment.deploying import deploy as deploy
    from pillm.deployment.packing import bundle_of as bundle_of
    from pillm.deployment.place import Service as Service
    from pillm.deployment.programs import LlamaProgram as LlamaProgram
    from pillm.deployment.programs import find_llama_program as find_llama_program
    from pillm.deployment.rollback import roll_back as roll_back
    from pillm.deployment.smoke import SmokeTest as SmokeTest
    from pillm.devices import DeviceProfile as DeviceProfile
    from pillm.devices import device as device
    from pillm.devices.detection import probe_machine as probe_machine
    from pillm.devices.ggufheader import GGUFHeader as GGUFHeader
    from pillm.devices.ggufheader import read_header as read_header
    from pillm.devices.planner import memory_to_serve as memory_to_serve
    from pillm.divergence import Divergence as Divergence
    from pillm.encoders import is_encoder as is_encoder
    from pillm.errors import BackendError as BackendError
    from pillm.errors import ConfigError as ConfigError
    from pillm.errors import DataError as DataError
    from pillm.errors import GateError as GateError
    from pillm.errors import Interrupted as Interrupted
    from pillm.errors import MissingDependency as MissingDependency
    from pillm.errors import PillmError as PillmError
    from pillm.errors import PluginError as PluginError
    from pillm.errors import StorageError as StorageError
    from pillm.errors import Unavailable as Unavailable
    from pillm.errors import UnknownBackend as UnknownBackend
    from pillm.errors import UnsafeError as UnsafeError
    from pillm.examination import Finding as Finding
    from pillm.expansion import Expanded as Expanded
    from pillm.expansion import Expansion as Expansion
    from pillm.expansion import expand as expand
    from pillm.files import fsync_file as fsync_file
    from pillm.files import fsync_folder as fsync_folder
    from pillm.forecasts import ExportForecast as ExportForecast
    from pillm.forecasts import TrainingForecast as TrainingForecast
    from pillm.hookspecs import hookimpl as hookimpl
    from pillm.hubs import Published as Published
    from pillm.hubs import Publisher as Publisher
    from pillm.hubs import Release as Release
    from pillm.hubs import ReleaseFile as ReleaseFile
    from pillm.hubs import RemoteFile as RemoteFile
    from pillm.hubs import RemoteModel as RemoteModel
    from pillm.hubs import Source as Source
    from pillm.hubs import Standing as Standing
    from pillm.intake.chattemplates import chat_environment as chat_environment
    from pillm.intake.door import check_chat_template as check_chat_template
    from pillm.intake.door import check_model_file as check_model_file
    from pillm.intake.door import check_model_folder as check_model_folder
    from pillm.intake.door import template_hash as template_hash
    from pillm.intake.owncode import asked_code as asked_code
    from pillm.intake.owncode import check_own_code as check_own_code
    from pillm.intake.rendering import limited_rendering as limited_rendering
    from pillm.intake.storedtensors import StoredTensor as StoredTensor
    from pillm.intake.storedtensors import stored_tensors as stored_tensors
    from pillm.judging import Judge as Judge
    from pillm.machines import LocalMachine as LocalMachine
    from pillm.machines import Machine as Machine
    from pillm.models import NamedBase as NamedBase
    from pillm.models import fetch_model as fetch_model
    from pillm.models import find_model as find_model
    from pillm.models import named_base as named_base
    from pillm.origins import Origin as Origin
    from pillm.performance.benchmark import BenchWork as BenchWork
    from pillm.performance.timer import Host as Host
    from pillm.performance.timer import Hosted as Hosted
    from pillm.performance.timer import TimedReply as TimedReply
    from pillm.performance.timer import Timer as Timer
    from pillm.performance.timer import Timing as Timing
    from pillm.pipeline import run as run
    from pillm.planning import lengths_of as lengths_of
    from pillm.planning import plan as plan
    from pillm.planning import plan_table as plan_table
    from pillm.plugins import exporter as exporter
    from pillm.plugins import filter_ as filter_
    from pillm.plugins import metric as metric
    from pillm.plugins import model_folder as model_folder
    from pillm.plugins import publisher as publisher
    from pillm.plugins import runner as runner
    from pillm.plugins import teacher as teacher
    from pillm.plugins import trainer as trainer
    from pillm.prices import Price as Price
    from pillm.prices import find_price as find_price
    from pillm.probing import Probed as Probed
    from pillm.probing import Probing as Probing
    from pillm.probing import probe as probe
    from pillm.progress import Event as Event
    from pillm.progress import Progress as Progress
    from pillm.publishing import prepare_release as prepare_release
    from pillm.publishing import push as push
    from pillm.recipe import Recipe as Recipe
    from pillm.recipe import load_recipe as load_recipe
    from pillm.records import Answer as Answer
    from pillm.records import Example as Example
    from pillm.records import Failure as Failure
    from pillm.records import Message as Message
    from pillm.records import Prompt as Prompt
    from pillm.records import Reference as Reference
    from pillm.records import Request as Request
    from pillm.records import Usage as Usage
    from pillm.rehearsal import rehearse as rehearse
    from pillm.remote.machine import Remote as Remote
    from pillm.rendered import RenderedText as RenderedText
    from pillm.replies import read_reply as read_reply
    from pillm.rows import PromptFile as PromptFile
    from pillm.rows import read_examples as read_examples
    from pillm.rows import read_prompts as read_prompts
    from pillm.stages.benchmarking import bench as bench
    from pillm.stages.embedding import embed as embed
    from pillm.stages.evaluation import Scope as Scope
    from pillm.stages.evaluation import evaluate as evaluate
    from pillm.stages.exporting import export as export
    from pillm.stages.intervals import Difference as Difference
    from pillm.stages.intervals import difference as difference
    from pillm.stages.labelling import Labelled as Labelled
    from pillm.stages.labelling import Labelling as Labelling
    from pillm.stages.labelling import label as label
    from pillm.stages.splitting import split as split
    from pillm.stages.training import Training as Training
    from pillm.stages.training import train as train
    from pillm.tablefile import Table as Table
    from pillm.tablesources import read_table as read_table
    from pillm.tasks import Task as Task
    from pillm.tasks import TaskCounts as TaskCounts
    from pillm.tasks import load_task as load_task
    from pillm.tasks import prompts_of as prompts_of
    from pillm.tokenizers import tokenizer_hash as tokenizer_hash
    from pillm.tracing import Traced as Traced
    from pillm.tracing import trace as trace
    from pillm.verification import verify as verify

_HOMES = {
    "agreement": "Agreement",
    "artifacts": "Alternative CHOICE_FILE Benchmark BenchPlan Checkpoint DeviceFacts Evaluation Fact Figure Lengths "
    "ModelFile Parity Plan Probe "
    "sha256_file",
    "batches": "BatchError BatchMode BatchStatus BatchTeacher",
    "backends": "Backend Exporter Filter Metric Rows Runner Session Teacher Trainer TrainingData",
    "cards.beside": "ollama_from write_card",
    "cards.card": "Card card_of card_to_json",
    "cards.lineage": "read_lineage",
    "cards.metadata": "metadata_of",
    "cards.preference": "Preference preferred_file",
    "contract": "Contract template_message",
    "deployment.bundle": "Bundle",
    "deployment.smoke": "SmokeTest",
    "deployment.deploying": "Deployment deploy",
    "deployment.packing": "bundle_of",
    "deployment.place": "Service",
    "deployment.programs": "LlamaProgram find_llama_program",
    "deployment.rollback": "roll_back",
    "devices": "DeviceProfile device",
    "devices.planner": "memory_to_serve",
    "devices.ggufheader": "GGUFHeader read_header",
    "devices.detection": "probe_machine",
    "divergence": "Divergence",
    "errors": "BackendError ConfigError DataError GateError Interrupted MissingDependency PillmError PluginError "
    "StorageError Unavailable UnknownBackend UnsafeError",
    "encoders": "is_encoder",
    "examination": "Finding",
    "expansion": "Expanded Expansion expand",
    "forecasts": "ExportForecast TrainingForecast",
    "files": "fsync_file fsync_folder",
    "hookspecs": "hookimpl",
    "intake.chattemplates": "chat_environment",
    "intake.door": "check_chat_template check_model_file check_model_folder template_hash",
    "intake.owncode": "asked_code check_own_code",
    "intake.rendering": "limited_rendering",
    "intake.storedtensors": "StoredTensor stored_tensors",
    "hubs": "Published Publisher Release ReleaseFile RemoteFile RemoteModel Source Standing",
    "judging": "Judge",
    "origins": "Origin",
    "machines": "LocalMachine Machine",
    "models": "NamedBase fetch_model find_model named_base",
    "performance.benchmark": "BenchWork",
    "performance.timer": "Host Hosted TimedReply Timer Timing",
    "pipeline": "run",
    "planning": "lengths_of plan plan_table",
    "plugins": "exporter filter_ metric model_folder publisher runner teacher trainer",
    "prices": "Price find_price",
    "probing": "Probed Probing probe",
    "progress": "Event Progress",
    "publishing": "prepare_release push",
    "recipe": "Recipe load_recipe",
    "records": "Answer Example Failure Message Prompt Reference Request Usage",
    "remote.machine": "Remote",
    "rehearsal": "rehearse",
    "rendered": "RenderedText",
    "replies": "read_reply",
    "rows": "PromptFile read_examples read_prompts",
    "stages.benchmarking": "bench",
    "stages.embedding": "embed",
    "stages.evaluation": "Scope evaluate",
    "stages.exporting": "export",
    "stages.intervals": "Difference difference",
    "stages.labelling": "Labelled Labelling label",
    "stages.splitting": "split",
    "stages.training": "Training train",
    "tablefile": "Table",
    "tablesources": "read_table",
    "tasks": "Task TaskCounts load_task prompts_of",
    "tokenizers": "tokenizer_hash",
    "tracing": "Traced trace",
    "verification": "verify",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = sorted(_HOME_OF)  # noqa: PLE0605 - made of the table above, which a test holds against the imports
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'pillm' has no attribute {name!r}")
    value = getattr(import_module(f"pillm.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
