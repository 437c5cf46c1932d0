"""What a runner knows of the machine that its models run on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pillm.artifacts import DeviceFacts, ModelFile
from pillm.devices.detection import probe_machine
from pillm.machines import LocalMachine


class Placed:
    """Runs models on a machine: this one, unless it says another."""

    def probe(self) -> DeviceFacts:
        """Return what the machine is that models run on; raise Unavailable where it cannot be reached."""
        return probe_machine(LocalMachine())

    def speed_files(self, folder: Path) -> Sequence[ModelFile]:
        """Return model files of two sizes and types, written into a folder, to time a machine with; empty: it has none.

        Their weights may be random: only their speed is of use.
        """
        del folder
        return ()
