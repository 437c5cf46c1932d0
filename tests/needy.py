"""The source of a plugin whose backends need files beside it: a key, a tool, a base."""

from __future__ import annotations

NEEDY = '''
from pathlib import Path

import pydantic
from pydantic import Field

import pillm
from pillm.testing import EchoTeacher, TableExporter, TableTrainer
from pillm.testing.fakes import TableRunner

HERE = Path(__file__).parent

class Keyed(EchoTeacher):
    """Needs a key that is a file."""

    name = "keyed"

    def check(self):
        if not (HERE / "key").exists():
            raise pillm.Unavailable("the key is not set. Nothing was sent.")

class Tooled(TableExporter):
    """Needs a tool that is a file."""

    name = "tooled"

    def check(self):
        if not (HERE / "tool").exists():
            raise pillm.MissingDependency("the tool is not installed. Get it with: fetch-tool")

class Rounding(pydantic.BaseModel):
    type: str

class Based(TableTrainer):
    """Starts from a base that is downloaded where it is not here."""

    name = "based"
    wordy: bool = Field(False, description="Refuse the prompts, once the base is here.")
    layers: int = Field(0, description="Keep so many layers.")
    quantization_aware: Rounding | None = Field(None, description="Round as a file does.")

    def planned_shape(self):
        base = self.base_checkpoint(fetch=False)
        return {**base.config, "num_hidden_layers": self.layers} if self.layers and base else None

    def base_checkpoint(self, *, fetch=True):
        if fetch and (HERE / "remote").is_dir():
            (HERE / "remote").rename(HERE / "base")
        if (HERE / "base").is_dir():
            return pillm.Checkpoint(path=HERE / "base")
        if fetch:
            raise pillm.Unavailable("the base is not here and the hub is out of reach.")
        return None

    def base_config(self):
        if (HERE / "cut").exists():
            raise pillm.Unavailable("the hub is out of reach.")
        if self.base_checkpoint(fetch=False) is None and (HERE / "config").is_dir():
            return pillm.Checkpoint(path=HERE / "config")
        return self.base_checkpoint(fetch=False)

    def check_prompts(self, prompts, contract):
        if self.wordy and (HERE / "base").is_dir():
            raise pillm.ConfigError("the prompts are too long.")

class Picky(TableExporter):
    """Packs students of at most a hundred layers."""

    name = "picky"

    def examine(self, checkpoint, *, student=None, prove=False):
        layers = student["num_hidden_layers"]
        yield pillm.Finding("layers", "ok" if layers <= 100 else "broken", f"{layers} layers are too many.", "Keep 100.")
        yield pillm.Finding("widths", "note", "rows are odd.", "Prefer IQ4_NL.")

class Held(TableRunner):
    """Holds answers to their schema, but for one keyword."""

    name = "held"
    context: int | None = Field(None, description="Tokens of prompt and answer.")

    def check_prompts(self, prompts):
        for prompt in prompts:
            if prompt.schema and "not" in prompt.schema:
                raise pillm.ConfigError(f"{prompt.id}: no answer can be held to 'not'.")

class Strict(EchoTeacher):
    """Asks for nothing that it cannot hold answers to."""

    name = "strict"
    check_prompts = Held.check_prompts

@pillm.hookimpl
def pillm_runners():
    return [Held]

@pillm.hookimpl
def pillm_teachers():
    return [Keyed, Strict]

@pillm.hookimpl
def pillm_trainers():
    return [Based]

@pillm.hookimpl
def pillm_exporters():
    return [Tooled, Picky]
'''
