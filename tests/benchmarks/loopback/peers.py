"""Peers in environments of their own, made when a benchmark first needs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

PEERS = {
    # 1.5.3 asks for neither by itself, and does not start without them
    "distilabel": ["distilabel==1.5.3", "openai>=1,<2", "requests"],
    "curator": ["bespokelabs-curator==0.1.31"],
    # the versions that the trainers of pillm-hf run on, so that only the training loop differs
    "trl": ["trl==1.16.0", "peft==0.21.2", "torch==2.13.0", "transformers==5.23.0", "accelerate==1.15.0", "datasets==5.2.0"],
}


def folder() -> Path:
    """Return where peers are kept: `~/.cache/pillm/peers`, or under XDG_CACHE_HOME."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pillm" / "peers"


def python_of(peer: str) -> Path:
    """Return the Python of a peer's environment, which is made where it is missing or for other versions."""
    home = folder() / peer
    python, ready = home / "bin" / "python", home / "ready.json"
    if not ready.is_file() or json.loads(ready.read_text("utf-8")) != PEERS[peer]:
        print(f"making an environment for {peer} in {home}; this takes some minutes", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PEERS[peer]], check=True, stdout=sys.stderr)
        ready.write_text(json.dumps(PEERS[peer]), "utf-8")
    return python


def version_of(peer: str, distribution: str) -> dict[str, str]:
    """Return the version of a distribution in a peer's environment."""
    code = f"import importlib.metadata as m; print(m.version({distribution!r}))"
    told = subprocess.run([str(python_of(peer)), "-c", code], capture_output=True, text=True, check=True)
    return {distribution: told.stdout.strip()}
