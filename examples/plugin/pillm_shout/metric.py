"""The metric `closeness`: how many words an answer and its reference share, in order."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import ClassVar

from pydantic import Field

import pillm


class Closeness(pillm.Metric):
    """The share of words that the answer has in common with the reference, in order."""

    name: ClassVar[str] = "closeness"
    loudness: bool = Field(True, description="Tell capitals and small letters apart.")

    def score(self, prompt: pillm.Prompt, answer: pillm.Answer) -> float | None:
        """Return a score in 0..1; None without a reference."""
        if prompt.reference is None:
            return None
        wanted, said = prompt.reference.content, answer.content
        if not self.loudness:
            wanted, said = wanted.casefold(), said.casefold()
        return SequenceMatcher(None, wanted.split(), said.split(), autojunk=False).ratio()
