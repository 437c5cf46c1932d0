"""What the tests of the core share: the fake backends, the command line, and a process that forgets between tests."""

from __future__ import annotations

import json
import logging
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from pillm import plugins
from pillm.cli.program import main
from pillm.testing import FAKES, LoopbackBoard, installed_plugin, missing_for_board
from tests.deploys import Field, a_field
from tests.recipes import laid_out


@pytest.fixture(autouse=True)
def _no_history_of_ones_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what tests measure out of the user's own history."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.getbasetemp() / "data" / uuid4().hex))


@pytest.fixture(autouse=True)
def _forgetful() -> Iterator[None]:
    """Read the plugins anew for every test, and undo what a command did to logging and signals."""
    log, before = logging.getLogger("pillm"), signal.getsignal(signal.SIGTERM)
    plugins.registry.cache_clear()
    yield
    plugins.registry.cache_clear()
    signal.signal(signal.SIGTERM, before)
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()
    log.propagate = True


@pytest.fixture
def fakes(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Install the fake backends of `pillm.testing` and nothing else; give the folder that a subprocess needs on its path."""
    folder = tmp_path_factory.mktemp("fakes")
    monkeypatch.setenv("PILLM_PLUGINS", "fakes")  # a developer's own plugins never change a test
    with installed_plugin(folder, "fakes", FAKES):
        yield folder


@dataclass(frozen=True)
class Done:
    """What a command left: its exit code, what it said on stdout and on stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Return the one JSON document on stdout."""
        return json.loads(self.out)


Cli = Callable[..., Done]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run `pillm WORDS` in this process."""
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*words: object) -> Done:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        code = ended.value.code
        return Done(code if isinstance(code, int) else 0, out, err)

    return run


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Write three rows, the second one answered."""
    path = tmp_path / "rows.jsonl"
    path.write_text(
        '{"user": "hello", "group": "a"}\n{"user": "bonjour", "assistant": "salut", "group": "b"}\n{"id": 7, "user": "hi"}\n',
        "utf-8",
    )
    return path


@pytest.fixture
def recipe_folder(tmp_path: Path) -> Iterator[None]:
    """Make the test's folder one with a recipe of the fake backends and its rows."""
    with laid_out(tmp_path):
        yield


@pytest.fixture
def board() -> Iterator[LoopbackBoard]:
    """Start a board of the test's own: a real sshd on 127.0.0.1."""
    if lacking := missing_for_board():
        pytest.skip(lacking)
    with tempfile.TemporaryDirectory(prefix="b") as short, LoopbackBoard(Path(short) / "b") as found:
        yield found  # the sockets on a board may have 108 bytes of name


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Let torch use one thread: tiny models gain nothing from a second one, and on a busy machine they wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def served() -> Iterator[Field]:
    """Give a board where a model answers `old`; a test that changes that changes it back."""
    if lacking := missing_for_board():
        pytest.skip(lacking)
    with a_field() as found:
        yield found
