"""A pytest plugin for `make test`: a skip that nobody foresaw fails the run, so that no test falls asleep unseen."""

from __future__ import annotations

from typing import Any

import pytest

ALLOWED = (
    "not installed: ",  # a program or library of the system, which .ci/tools installs where apt knows it
    "not built: ",  # a program of llama.cpp; the reason ends with the command that builds it
    "no checkout of home-assistant/intents",
    "needs a GPU",
    "needs Linux",
    "needs transparent huge pages",
    "needs a machine that is not Arm",
    "needs a file system that drops its pages",
    "needs user namespaces",
    "needs root",
)
"""What a skip's reason may begin with. Add to it only what a machine may rightly lack."""

_unforeseen: list[str] = []


def _note(report: pytest.CollectReport | pytest.TestReport) -> None:
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not reason.startswith(ALLOWED):
        _unforeseen.append(f"{report.nodeid}: {reason}")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note a test that was skipped."""
    _note(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Note a module that was skipped."""
    _note(report)


class _Workers:
    """Where tests run in several processes: what each collected and skipped reaches the one that reports."""

    @pytest.hookimpl
    def pytest_testnodedown(self, node: Any) -> None:
        """Take over what a worker noted that the controller did not hear of."""
        _unforeseen.extend(line for line in getattr(node, "workeroutput", {}).get("unforeseen", ()) if line not in _unforeseen)


def pytest_configure(config: pytest.Config) -> None:
    """Listen to the workers where there are any."""
    if config.pluginmanager.has_plugin("dsession"):
        config.pluginmanager.register(_Workers())


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the session for skips that were not foreseen."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["unforeseen"] = _unforeseen
    if _unforeseen and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the skips that were not foreseen."""
    for line in _unforeseen:
        terminalreporter.write_line(f"UNFORESEEN SKIP {line}", red=True)
