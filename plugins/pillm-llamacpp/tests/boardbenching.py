"""A llama-bench for boards without llama.cpp: it prints what it is told, or ends as it is told."""

from __future__ import annotations

import sys
from pathlib import Path

_PROGRAM = """#!{python} -SE
import json, os, signal, sys, time
if "--help" in sys.argv:
    print("version: 4589 (x)\\n  -h, --help\\n  -m, --model <filename>\\n  -d, --n-depth <n>   (default: 0)")
    sys.exit(0)
told = dict(zip(sys.argv[1::2], sys.argv[2::2]))
open(told["-m"]).close()
read, wrote, depth = (int(told.get(name, 0)) for name in ("-p", "-n", "-d"))
mode = os.environ.get("BENCH_MODE")
if mode == "slow":
    time.sleep(60)
if mode == "garbage":
    print("warming up")
    sys.exit(0)
if mode in ("ILL", "KILL"):
    os.kill(os.getpid(), getattr(signal, "SIG" + mode))
if depth > 1000:
    print("not enough memory for the context", file=sys.stderr)
    sys.exit(1)
time.sleep(float(os.environ.get("BENCH_SECONDS", "0")))
open(sys.argv[0] + ".ran", "w").close()
speed = 40.0 if read else 9.5
row = {{"build_commit": "abc", "cpu_info": "Cortex-A72", "n_threads": int(told["-t"]), "n_prompt": read, "n_gen": wrote,
       "n_depth": depth, "avg_ts": speed, "samples_ts": [speed] * int(told["-r"]), "new_column": 1, "repack": False}}
print(json.dumps([row]))
"""


def write_bench(path: Path) -> Path:
    """Write the program: 40 tokens/s read, 9.5 written; BENCH_MODE (slow, garbage, ILL, KILL) and BENCH_SECONDS steer it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_PROGRAM.format(python=sys.executable), "utf-8")
    path.chmod(0o755)
    return path
