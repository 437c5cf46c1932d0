"""Label so many tiny rows with a teacher that costs nothing, and print what it took; run by `test_scale.py`.

`python -m tests.scale ROWS` prints rows, seconds and the most memory that the process ever had, in MB.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

from pillm.rows import PromptFile
from pillm.stages.labelling import label
from pillm.testing import EchoTeacher


def main(count: int) -> None:
    """Write the rows to a file, label them, and print the figures as one JSON object."""
    with tempfile.TemporaryDirectory() as name:
        prompts = Path(name, "prompts.jsonl")
        with prompts.open("w") as file:
            for number in range(count):
                file.write(f'{{"id": "row-{number}", "user": "question {number}"}}\n')
        began = time.monotonic()
        done = label(PromptFile(prompts), EchoTeacher(window=16), Path(name, "out"))
        seconds = time.monotonic() - began
    if done.counts.answered != count:
        raise SystemExit(f"{done.counts}")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"rows": count, "seconds": round(seconds, 1), "most_mb": round(most, 1)}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
