"""Label with curator, in its own environment: python curator_run.py URL ROWS CONCURRENCY."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from pathlib import Path

# it counts tokens with a vocabulary that it would download; one of its dependencies carries the same file
_LITELLM = importlib.util.find_spec("litellm")
if _LITELLM and _LITELLM.origin:
    os.environ["TIKTOKEN_CACHE_DIR"] = str(Path(_LITELLM.origin).parent / "litellm_core_utils" / "tokenizers")

from bespokelabs import curator  # noqa: E402


class Train(curator.LLM):
    """Asks the question of a row as it is."""

    def prompt(self, row: dict[str, str]) -> str:
        """Return what is asked."""
        return row["question"]

    def parse(self, row: dict[str, str], response: str) -> dict[str, str]:
        """Return the row with its answer."""
        return {"question": row["question"], "answer": response}


def main(url: str, rows: int, concurrency: int) -> None:
    """Answer every row and print the seconds of the run."""
    data = [
        {"question": f"Row {number}: when does the train to Québec leave, and from which platform?"} for number in range(rows)
    ]
    plenty = 10**9
    limits = {"max_requests_per_minute": plenty, "max_tokens_per_minute": plenty, "max_concurrent_requests": concurrency}
    asker = Train(
        model_name="loopback",
        backend="openai",
        backend_params={"base_url": url, "api_key": "none", **limits},
        generation_params={"temperature": 0.0},
    )
    began = time.perf_counter()
    made = asker(data)
    seconds = time.perf_counter() - began
    answered = sum(bool(row["answer"]) for row in getattr(made, "dataset", made))
    print(json.dumps({"seconds": seconds, "answered": answered}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
