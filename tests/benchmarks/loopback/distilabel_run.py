"""Label with distilabel, in its own environment: python distilabel_run.py URL ROWS CONCURRENCY."""

from __future__ import annotations

import json
import sys
import time

from distilabel.models.llms import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps.tasks import TextGeneration


def main(url: str, rows: int, concurrency: int) -> None:
    """Answer every row and print the seconds of the run."""
    data = [
        {"instruction": f"Row {number}: when does the train to Québec leave, and from which platform?"}
        for number in range(rows)
    ]
    with Pipeline(name="label") as pipeline:
        TextGeneration(
            llm=OpenAILLM(
                model="loopback", base_url=url, api_key="none", max_retries=20, generation_kwargs={"temperature": 0.0}
            ),
            input_batch_size=concurrency,
            add_raw_input=False,
            add_raw_output=False,
        )
    began = time.perf_counter()
    made = pipeline.run(dataset=data, use_cache=False)
    seconds = time.perf_counter() - began
    answered = sum(bool(row["generation"]) for row in made["default"]["train"])
    print(json.dumps({"seconds": seconds, "answered": answered}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
