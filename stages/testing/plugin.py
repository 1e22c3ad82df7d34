"""The entry point of pytest: options, and what is written or reported at the end of a session.

Loaded in every session of an environment that has this package, so it imports pytest and the standard library alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

KINDS = {
    "spec": "what a stage is: every resolved field, in canonical form",
    "plan": "what it will take: budgets, steps, learning rates across each edge, RoPE, parameters, memory, cost",
    "emitted": "what is written for others: its Slurm script, and its engine's configuration where it has one",
    "steps": "its first steps: loss and gradient norm to the last bit, digests of weights, states and samples",
    "twin": "the same steps stopped twice and resumed twice: equal to the uninterrupted run, no golden needed",
    "layout": "the same steps on one rank and on two: equal to the last bit, no golden needed",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options and the setting stages_goldens."""
    group = parser.getgroup("stages", "snapshot tests of training stages (pytest-stages)")
    group.addoption("--stages", action="store_true", help="Test every stage of this project's specs.")
    group.addoption(
        "--stages-select", action="append", default=[], metavar="P[/S]",
        help="Only this pipeline or stage; repeatable. Kinds are markers: -m 'spec or plan or emitted'.",
    )  # fmt: skip
    group.addoption("--stages-update", action="store_true", help="Show what changed, ask for a reason, write goldens.")
    group.addoption("--stages-reason", metavar="TEXT", help="The reason for --stages-update, written in each golden.")
    group.addoption("--stages-seed", type=int, metavar="N", help="Where twins are cut; printed, and drawn if left out.")
    group.addoption("--stages-releases", type=Path, metavar="DIR", help="Folder with one folder per released model.")
    parser.addini("stages_goldens", "Folder of goldens, from the root of the project.", default="tests/stages")


def pytest_configure(config: pytest.Config) -> None:
    """Register what a session with --stages has. Raises UsageError for an update that is refused."""
    config.pluginmanager.register(Ending(config), "stages-ending")
    if config.getoption("stages_update"):
        from stages.testing import updating

        updating.refuse(config)
    if config.getoption("stages"):
        from stages.testing.collecting import Stages

        for kind, what in KINDS.items():
            config.addinivalue_line("markers", f"{kind}: {what} (pytest-stages)")
        config.pluginmanager.register(Stages(config), "stages-collecting")


class Ending:
    """Gathers what tests say about goldens, also those on other workers of xdist, and acts on it at the end."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.said: list[tuple[str, str, Any]] = []  # (node id, what of a golden, about it)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take down what a test left in its properties."""
        if report.when == "call" and not report.skipped:
            said = [(name, value) for name, value in report.user_properties if name.startswith("stages-")]
            self.said += [(report.nodeid, name, value) for name, value in said]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print what was said, and write goldens where an update was asked for."""
        if self.said:
            from stages.testing import updating

            updating.close(self.config, terminalreporter, self.said)
