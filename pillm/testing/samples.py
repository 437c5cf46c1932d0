"""A few labelled rows to try backends on."""

from __future__ import annotations

from pillm.records import Answer, Example, Prompt, Reference


def sample_examples() -> list[Example]:
    """Return a few labelled rows: French and English, one with a JSON schema."""
    schema = {"type": "object", "properties": {"room": {"type": "string"}}, "required": ["room"], "additionalProperties": False}
    texts = [
        ("Allume la lumière du salon, s'il te plaît.", '{"room": "salon"}', schema),
        ("Turn off the kitchen light.", '{"room": "kitchen"}', schema),
        ("Ça va bien à soir?", "Oui, merci!", None),
        ("What is two and two?", "Four.", None),
    ]
    return [
        Example(
            prompt=Prompt(
                id=f"sample-{number}",
                messages=({"role": "user", "content": asked},),
                schema=wanted,
                reference=Reference(message={"role": "assistant", "content": said}),
            ),
            answer=Answer(said),
        )
        for number, (asked, said, wanted) in enumerate(texts, 1)
    ]
