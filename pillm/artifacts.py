"""What the stages make: checkpoints, model files, evaluations, benchmarks and plans."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pillm.agreement import Agreement
from pillm.agreement import Parity as Parity
from pillm.divergence import Divergence
from pillm.errors import DataError
from pillm.performance.benchmark import Basis as Basis
from pillm.performance.benchmark import Benchmark as Benchmark
from pillm.performance.benchmark import BenchPlan as BenchPlan
from pillm.plans import Alternative as Alternative
from pillm.plans import Fact as Fact
from pillm.plans import Lengths as Lengths
from pillm.plans import Plan as Plan
from pillm.records import JSONObject, canonical
from pillm.rendered import RenderedText, read_rendered

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CONTRACT_FILE = "contract.json"
PROBES_FILE = "probes.jsonl"
CALIBRATION_FILE = "calibration.jsonl"
CHOICE_FILE = "choice.json"
"""Where an exporter that chose among quantisations says what it tried and why it chose, beside its files."""
TRAINING_FILE = "training.json"
"""Where a trainer says what it did, if it says so: `rows`, `rows_left_out` by reason, and what a report draws."""


def sha256_file(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_folder(folder: Path, names: Iterable[str] | None = None) -> str:
    """Return one sha256 over the relative names and bytes of a folder's files."""
    every = (path for path in folder.rglob("*") if path.is_file())
    files = sorted(every) if names is None else [folder / name for name in sorted(names)]
    listing = {path.relative_to(folder).as_posix(): sha256_file(path) for path in files}
    return hashlib.sha256(canonical(listing).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One rendered conversation and the token ids that the trainer's own batches contained for it."""

    id: str
    messages: tuple[JSONObject, ...]
    text: str
    ids: tuple[int, ...]
    tools: tuple[JSONObject, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A Hugging Face model folder; one that a trainer made also carries its contract, probes and calibration texts."""

    path: Path
    name: str = ""
    told: JSONObject | None = None
    """What a run says of it that its folder does not: the recipe's hash, the licence, terms."""
    origin: str = ""
    """The name and the commit that it was fetched under; empty: it was not fetched."""

    @property
    def label(self) -> str:
        """Return a short name for tables and file names."""
        return self.name or self.path.resolve().name

    @property
    def config(self) -> JSONObject:
        """Return the model's `config.json`; raise DataError where it cannot be read."""
        path = self.path / "config.json"
        try:
            config: JSONObject = json.loads(path.read_text("utf-8"))
            if not isinstance(config, dict):
                raise TypeError("config.json holds no object")
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise DataError(
                f"{self.path} is not a readable model folder ({error}). It needs config.json, the weights and the tokenizer."
            ) from error
        return config

    @property
    def contract(self) -> JSONObject:
        """Return the prompt contract that the trainer wrote, or an empty object."""
        path = self.path / CONTRACT_FILE
        try:
            found: JSONObject = json.loads(path.read_text("utf-8")) if path.is_file() else {}
            if not isinstance(found, dict):
                raise TypeError("it holds no object")
        except (ValueError, TypeError, RecursionError) as error:
            raise DataError(f"{path} is damaged ({error}). Train again.") from error
        return found

    def probes(self) -> Iterator[Probe]:
        """Yield the probes that the trainer wrote; none where another program made the folder.

        Raises DataError for a damaged file.
        """
        path = self.path / PROBES_FILE
        if not path.is_file():
            return
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    row = json.loads(line)
                    yield Probe(
                        id=row["id"],
                        messages=tuple(row["messages"]),
                        text=row["text"],
                        ids=tuple(row["ids"]),
                        tools=tuple(row.get("tools", ())),
                    )
                except (ValueError, KeyError, TypeError) as error:
                    raise DataError(f"{path}:{number} is damaged ({error!r}). Train again.") from error

    def calibration(self) -> list[str]:
        """Return the rendered conversations that an importance matrix may be computed from; DataError for a damaged file."""
        return [row.text for row in self.rendered() if row.split != "validation"]

    def validation(self) -> list[RenderedText]:
        """Return the rendered conversations that quantisations may be compared on; raise DataError for a damaged file."""
        return [row for row in self.rendered() if row.split == "validation"]

    def rendered(self) -> list[RenderedText]:
        """Return all that the trainer rendered for measuring quantisations; raise DataError for a damaged file."""
        return read_rendered(self.path / CALIBRATION_FILE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One exported file: what ships, and what is scored."""

    path: Path
    quant: str
    bytes: int
    sha256: str
    parity: Parity | None = None
    types: dict[str, int] = field(default_factory=dict)
    """How many tensors have each storage type: the true mix behind the quantisation's name."""
    agreement: Agreement | None = None
    """With the checkpoint that it was made of; None where that was not measured."""
    divergence: Divergence | None = None
    """From the unquantised file, on conversations that were not trained on; None where it was not measured."""
    imatrix: bool = False
    """Whether an importance matrix weighed the rounding."""

    @classmethod
    def of(cls, path: Path, quant: str, **facts: Any) -> ModelFile:
        """Return the record of a file on disk, measured and hashed; `facts` are further fields."""
        return cls(path=path, quant=quant, bytes=path.stat().st_size, sha256=sha256_file(path), **facts)

    @property
    def label(self) -> str:
        """Return a short name for tables and file names."""
        return self.path.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A mean with its 95 % interval, over the `rows` rows that the metric applied to."""

    mean: float
    low: float
    high: float
    rows: int


SubjectKind: TypeAlias = Literal["teacher", "base", "adapter", "checkpoint", "model", "device"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The scores of one subject on one set of rows."""

    subject: str
    kind: SubjectKind
    set: str
    rows: int
    metrics: dict[str, Figure]
    quant: str | None = None
    tags: dict[str, dict[str, Figure]] = field(default_factory=dict)
    """For each tag its metrics."""
    compared_with: str = "reference"
    """What `exact` and `fields` compared with: the reference, or the teacher's answer."""
    predictions: Path | None = None
    seconds: float = 0.0
    failed: int = 0
    """Rows that got no answer; they score 0."""
    cut: int = 0
    """Answers that hit the token limit; they are scored as they are."""
    prompt_tokens: float | None = None
    """The median over the answered rows, where the subject counts tokens."""
    completion_tokens: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """What a probe found out about a machine; None or empty where it does not tell."""

    model: str | None = None
    """What the device tree or the firmware calls it, such as `Raspberry Pi 4 Model B Rev 1.4`."""
    architecture: str = ""
    """As `uname -m` says it: `aarch64`, `x86_64`."""
    cpu: str | None = None
    """The core's name, such as `Cortex-A72`."""
    cores: int | None = None
    max_ghz: float | None = None
    ram_mib: int | None = None
    isa: tuple[str, ...] = ()
    """The processor's feature flags that matter to matrix products, such as `asimddp`, `avx512_bf16`."""
    system: str | None = None
    kernel: str | None = None
    profile: str | None = None
    """The name of the device profile that fits; None: none does."""


def to_json(artifact: Any) -> JSONObject:
    """Return an artifact as plain JSON; paths become text and absent values are left out."""

    def plain(value: Any) -> Any:
        if isinstance(value, Path):
            return value.as_posix()
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return value

    return {key: plain(value) for key, value in asdict(artifact).items() if value is not None}
