"""The checks of `pillm doctor`: each yields what it found, and the remedy where there is one."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from pillm import __version__
from pillm.cli.catalogue import clashes, failures
from pillm.cli.requirements import unmet
from pillm.devices.detection import facts_text, probe_machine
from pillm.errors import BackendError
from pillm.examination import Finding, State
from pillm.intake.asking import Size, look
from pillm.machines import LocalMachine
from pillm.plugins import PluginStatus, registry

PROBE_SECONDS = 120
LEAST_FREE = 2 * 1024**3
# A library that crashes when it is loaded must not take the doctor with it, so each is asked in a process of its own.
PROBES = {
    "torch": (
        "import json, torch; c = torch.cuda.is_available(); "
        "print(json.dumps({'version': torch.__version__, 'gpu': torch.cuda.get_device_name(0) if c else None, "
        "'bf16': bool(c and torch.cuda.is_bf16_supported()), 'threads': torch.get_num_threads()}))"
    ),
    "llama_cpp": (
        "import json, llama_cpp; print(json.dumps({'version': llama_cpp.__version__, "
        "'system': llama_cpp.llama_print_system_info().decode()}))"
    ),
}


def checks() -> Iterator[Finding]:
    """Yield every finding, this machine first, then what is installed."""
    yield _python()
    yield from _machine()
    yield _intake()
    yield from _plugins()
    yield from _names()
    yield from _libraries()
    yield from _converter()


def _python() -> Finding:
    found = f"{platform.python_implementation()} {platform.python_version()} in {sys.prefix}; pillm {__version__}"
    return Finding("python", "ok", found)


def _machine() -> Iterator[Finding]:
    facts = probe_machine(LocalMachine())
    found = f"{facts_text(facts)}; profile {facts.profile or 'none fits'}"
    yield Finding("machine", "ok", found)
    free = shutil.disk_usage(Path.cwd()).free
    state: State = "ok" if free > LEAST_FREE else "note"
    remedy = "" if state == "ok" else "Free some space: a run needs a few times the size of its models."
    yield Finding("disk", state, f"{free / 1024**3:.1f} GiB free in {Path.cwd()}", remedy)


def _intake() -> Finding:
    began = time.perf_counter()
    try:
        look([], Size())
    except BackendError as error:
        return Finding("file checks", "broken", str(error), "Free some memory, or run on a machine that can start processes.")
    took = (time.perf_counter() - began) * 1000
    return Finding("file checks", "ok", f"a limited process looks at models before any library opens them ({took:.0f} ms)")


def _plugins() -> Iterator[Finding]:
    statuses, failing = registry().statuses, failures()
    for status in statuses:
        if status.distribution != "pillm":
            yield _plugin(status, failing.get(status.name))
    if len(statuses) <= 1:
        remedy = "pip install ./plugins/pillm-hf ./plugins/pillm-llamacpp[convert] ./plugins/pillm-nano"
        yield Finding("plugins", "missing", "no plugin is installed, so there is no teacher and no trainer", remedy)


def _plugin(status: PluginStatus, failing: str | None) -> Finding:
    name = f"plugin {status.name}"
    wrong = status.error or failing
    if wrong:
        remedy = f"Repair or remove it: pip uninstall {status.distribution}"
        return Finding(name, "broken", f"{status.distribution} {status.version} was skipped: {wrong}", remedy)
    missing = unmet(status.distribution)
    if missing:
        remedy = f"pip install {' '.join(repr(one) for one in missing)}"
        return Finding(name, "missing", f"{status.distribution} needs {', '.join(missing)}", remedy)
    if status.warning:
        return Finding(name, "note", f"{status.distribution} {status.version} {status.warning}", "Tell its author.")
    hooks = ", ".join(hook.removeprefix("pillm_") for hook in status.hooks)
    return Finding(name, "ok", f"{status.distribution} {status.version}: {hooks}")


def _names() -> Iterator[Finding]:
    for kind, name, who in clashes():
        yield Finding(
            f"{kind} {name}", "note", f"{' and '.join(who)} both provide it", f"Write {who[0]}:{name}, or uninstall one."
        )
    owners = importlib.metadata.packages_distributions()
    for module in ("llama_cpp", "gguf", "torch", "openai"):
        several = sorted(set(owners.get(module, ())))
        if len(several) > 1:
            remedy = f"Keep one: pip uninstall {' '.join(several[1:])}"
            yield Finding(f"module {module}", "broken", f"{', '.join(several)} overwrite each other's files", remedy)


def _libraries() -> Iterator[Finding]:
    needed = {"torch": "pillm-hf", "llama_cpp": "pillm-llamacpp"}
    installed = {status.distribution for status in registry().statuses}
    for module, distribution in needed.items():
        if distribution in installed:
            yield _library(module, distribution)


def _library(module: str, distribution: str) -> Finding:
    code, out, err = _ask(sys.executable, "-c", PROBES[module])
    if code:
        last = (err.strip().splitlines() or [f"it ended with {code}"])[-1]
        state: State = "missing" if "ModuleNotFoundError" in last else "broken"
        return Finding(module, state, f"{distribution} needs it, and loading it failed: {last}", f"pip install {distribution}")
    try:
        facts = json.loads(out.strip().rpartition("\n")[2])
    except ValueError:
        said = f"{distribution} needs it, and it was loaded without saying its version"
        return Finding(module, "broken", said, f"pip install {distribution}")
    if module == "torch":
        gpu = f"{facts['gpu']}, bf16 {'yes' if facts['bf16'] else 'no'}" if facts["gpu"] else "no GPU, so the CPU is used"
        return Finding(module, "ok", f"{facts['version']}: {gpu}, {facts['threads']} threads")
    return Finding(module, "ok", f"{facts['version']}: {facts['system'].strip().rstrip('|').strip()}")


def _converter() -> Iterator[Finding]:
    """Ask pillm-llamacpp's own command whether llama.cpp's source, which holds the converter, is there."""
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    tool = shutil.which("pillm-llamacpp", path=search)
    if tool is None:
        return
    code, out, err = _ask(tool, "where")
    if code:
        said = err.strip().removeprefix("pillm-llamacpp: ")
        yield Finding("converter", "missing" if code > 0 else "broken", said, "pillm-llamacpp fetch")
    else:
        yield Finding("converter", "ok", f"llama.cpp's source is in {out.strip()}")


def _ask(*command: str) -> tuple[int, str, str]:
    """Run a command and return its exit code and what it said; one that hangs is killed, and that is what it said."""
    try:
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=PROBE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return -signal.SIGKILL, "", f"it said nothing for {PROBE_SECONDS} s"
    return done.returncode, done.stdout, done.stderr
