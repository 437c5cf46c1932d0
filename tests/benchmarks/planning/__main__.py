"""Fit the speed model on the published rows and print, or with --write also write, the figures of the boards' profiles.

python -m tests.benchmarks.planning [--write]
"""

from __future__ import annotations

import sys

from tests.benchmarks.planning.writing import files

for path, text in files().items():
    print(f"== {path.name}\n{text}")
    if "--write" in sys.argv[1:]:
        path.write_text(text, "utf-8")
