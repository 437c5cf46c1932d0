"""The teacher `shout`: a rule, no model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

import pillm

TOPICS = {
    "LIGHT": ("light", "lamp", "lumière", "lampe", "éclair"),
    "TIMER": ("timer", "remind", "alarm", "minuterie", "rappelle", "alarme"),
    "WEATHER": ("weather", "rain", "snow", "météo", "pleut", "neige"),
    "MUSIC": ("music", "song", "play", "musique", "chanson", "joue"),
}


class Shout(pillm.Teacher):
    """Shouts what a request is about: LIGHT!, TIMER!, WEATHER!, MUSIC!, and PARDON! where it heard nothing."""

    name: ClassVar[str] = "shout"
    marks: int = Field(1, ge=0, le=9, description="How many exclamation marks.")

    def answer(self, requests: Iterator[pillm.Request]) -> Iterator[tuple[pillm.Request, pillm.Answer | pillm.Failure]]:
        """Answer one request at a time."""
        for request in requests:
            said = self._topic(request.prompt.text) + "!" * self.marks
            yield request, pillm.Answer(said, model="rules-1", usage=self.estimate(request))

    def estimate(self, request: pillm.Request) -> pillm.Usage:
        """Count words as tokens."""
        return pillm.Usage(prompt_tokens=len(request.prompt.text.split()), completion_tokens=1)

    @staticmethod
    def _topic(text: str) -> str:
        heard = text.casefold()
        return next((topic for topic, words in TOPICS.items() if any(word in heard for word in words)), "PARDON")
