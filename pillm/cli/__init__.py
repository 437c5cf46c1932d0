"""The command line: a thin layer over the library, one small module per command."""

from __future__ import annotations

from pillm.cli.program import main as main
