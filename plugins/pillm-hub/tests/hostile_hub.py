"""Twelve ways in which a hub can be hostile or out of order, each met by `pillm fetch`; prints what became of them as JSON.

Run as a script, also under `python -O`: an audit hook counts every execution of what came from the hub.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

HOME = Path(sys.argv[1])
os.environ |= {"HF_HOME": str(HOME), "HF_TOKEN_PATH": str(HOME / "token"), "PILLM_PLUGINS": "hub", "NO_COLOR": "1"}
STARTED = {"os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "pickle.find_class", "ctypes.dlopen"}
executed: list[str] = []
watching = False


def watch(event: str, args: tuple[Any, ...]) -> None:
    """Note what is executed: programs, pickles, and Python code that lies in the cache."""
    if not watching:
        return
    if event in STARTED:
        executed.append(event)
    elif event in ("exec", "import") and any(str(HOME) in str(getattr(each, "co_filename", each)) for each in args):
        executed.append(f"{event} {args}")


sys.addaudithook(watch)

from pillm.testing import FakeHub  # noqa: E402
from pillm.testing.hubstate import SAMPLE, FakeRepository  # noqa: E402

EVIL = b"import os; os.system('echo the code of the hub ran')"
INDEX = "model.safetensors.index.json"


class Moving(FakeRepository):
    """A repository whose branch moves as soon as somebody asked where it is."""

    def told(self, commit: str) -> dict[str, Any]:
        """Return what was asked for, and be another one afterwards."""
        found = super().told(commit)
        self.commit({**SAMPLE, "config.json": b'{"trust_remote_code": true}', "model.safetensors": b"evil" * 500})
        return found


def config(**more: Any) -> dict[str, bytes]:
    """Return the sample with more in its configuration."""
    return {**SAMPLE, "config.json": json.dumps({"model_type": "moon", **more}).encode(), "modeling.py": EVIL}


def prepare(hub: FakeHub) -> dict[str, int]:
    """Put the twelve on the hub; return the exit code that each must have."""
    hub.put("acme/gated", SAMPLE, gated=True)
    hub.moved["acme/moved"] = "acme/plain"
    hub.put("acme/plain", SAMPLE)
    hub.repositories["acme/branch"] = Moving("acme/branch")
    hub.put("acme/branch", SAMPLE)
    hub.put("acme/cut", {**SAMPLE, "model.safetensors": b"c" * 5000})
    hub.put("acme/forged", {**SAMPLE, "forged.txt": b"as listed"})
    hub.forge["forged.txt"] = b"as forged"
    hub.put("acme/python", {**SAMPLE, "modeling.py": EVIL, "setup.py": EVIL})
    hub.put("acme/auto", config(auto_map={"AutoModelForCausalLM": "modeling.Evil"}))
    hub.put("acme/flag", config(layers=[{"text_config": {"trust_remote_code": True}}]))
    hub.put("acme/pickle", {"config.json": SAMPLE["config.json"], "pytorch_model.bin": b"cos\nsystem\n(S'echo ran'\ntR."})
    hub.put("acme/outside", {**SAMPLE, INDEX: b'{"weight_map": {"a": "../../../../outside.safetensors"}}'})
    commit = hub.put("acme/pipe", SAMPLE)
    place = HOME / "hub" / "models--acme--pipe" / "snapshots" / commit
    place.mkdir(parents=True)
    os.mkfifo(place / "config.json")
    return {
        "gated": 5, "gone": 2, "moved": 2, "branch": 0, "cut": 5, "forged": 6, "python": 0, "auto": 6, "flag": 6, "pickle": 6,
        "outside": 6, "pipe": 6,
    }  # fmt: skip


def fetch(name: str) -> int:
    """Return the exit code of `pillm fetch`."""
    from pillm.cli import main

    try:
        main(["fetch", f"acme/{name}", "--json"])
    except SystemExit as ended:
        return int(ended.code or 0)


def play() -> dict[str, Any]:
    """Play all of it."""
    global watching
    with FakeHub() as hub:
        os.environ["HF_ENDPOINT"] = hub.endpoint
        from pillm_hub import download

        download.PAUSE_SECONDS = 0.01
        wanted = prepare(hub)
        import huggingface_hub.hf_api  # noqa: F401 - what it starts when it is loaded is not the hub's doing

        watching = True
        codes = {}
        for name in wanted:
            hub.cut = [1000, *[0] * 20] if name == "cut" else []
            codes[name] = fetch(name)
        watching = False
        read = hub.read()
        first = {name: next(iter(repository.commits)) for name, repository in hub.repositories.items()}
    parts = [path.split("/") for path in read]
    unpinned = ["/".join(path) for path in parts if path[4] != first["/".join(path[1:3])]]
    links = [path for path in (HOME / "hub").rglob("*") if "snapshots" in path.parts and path.is_symlink()]
    return {
        "codes": codes,
        "wanted": wanted,
        "executed": executed,
        "unpinned": unpinned,
        "read": len(read),
        "kinds": sorted({path.suffix for path in links}),
        "optimised": not __debug__,
    }


if __name__ == "__main__":
    told = play()
    print(json.dumps(told), file=sys.stderr)
