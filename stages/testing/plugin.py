"""The entry point of pytest: options, fixtures, and what is written or reported at the end of a session.

Loaded in every session of an environment that has this package, so it imports pytest and the standard library alone.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from stages.testing.fixtures import Curve, Layout, Twin

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
    """Register what a session with --stages has. Raises UsageError for an update, or an option, that is refused."""
    if config.option.stages_seed is None:
        drawn = random.SystemRandom().randrange(10**6)
        config.option.stages_seed = getattr(config, "workerinput", {}).get("stages_seed", drawn)
    config.pluginmanager.register(Ending(config), "stages-ending")
    if config.getoption("stages_update"):
        from stages.testing import updating

        updating.refuse(config)
    elif config.getoption("stages_reason") is not None:
        raise pytest.UsageError(
            "--stages-reason: found without --stages-update, so that no golden is written. Add --stages-update."
        )
    if config.getoption("stages"):
        from stages.testing.collecting import Stages

        for kind, what in KINDS.items():
            config.addinivalue_line("markers", f"{kind}: {what} (pytest-stages)")
        config.pluginmanager.register(Stages(config), "stages-collecting")
        return
    for option in ("--stages-select", "--stages-releases"):
        if config.getoption(option):
            raise pytest.UsageError(f"{option}: found without --stages, so that no stage is tested. Add --stages.")


@pytest.fixture
def curve(request: pytest.FixtureRequest, tmp_path: Path) -> Curve:
    """Compare a training loop with its golden, step by step: `curve(train, steps=6)`."""
    from stages.testing.fixtures import Curve

    return Curve(request, tmp_path / "curve")


@pytest.fixture
def twin(request: pytest.FixtureRequest, tmp_path: Path) -> Twin:
    """Compare a training loop that is stopped and resumed twice with an uninterrupted one: `twin(train, steps=6)`."""
    from stages.testing.fixtures import Twin

    return Twin(request, tmp_path / "twin")


@pytest.fixture
def layout(request: pytest.FixtureRequest, tmp_path: Path) -> Layout:
    """Compare two ways of computing the same run, such as one rank and two: `layout(one, other, steps=3)`."""
    from stages.testing.fixtures import Layout

    return Layout(request, tmp_path / "layout")


class Ending:
    """Gathers what tests say about goldens, also those on other workers of xdist, and acts on it at the end."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.reported: list[tuple[str, str, Any]] = []  # (node id, what of a golden, about it)
        self.files: dict[str, bool] = {}  # files of tests -> whether every test in it passed
        self.deselected = False
        self.no_stage = False

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Give a worker of xdist the seed that was drawn: options that were not typed are parsed again there."""
        node.workerinput["stages_seed"] = node.config.option.stages_seed

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Record whether a worker left tests out."""
        self.deselected |= getattr(node, "workeroutput", {}).get("stages_deselected", True)

    def pytest_deselected(self) -> None:
        """Record that tests were left out, by -k, -m, --lf or another plugin."""
        self.deselected = True

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Record whether -m left no test of a stage: a slip in a kind passes beside other tests."""
        marked = [{mark.name for mark in item.iter_markers()} for item in session.items]
        chosen = bool(self.config.getoption("stages") and self.config.getoption("markexpr"))
        self.no_stage = chosen and not any(names & KINDS.keys() for names in marked)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Find goldens of fixtures that no test used; they fail the session."""
        if hasattr(self.config, "workeroutput"):
            self.config.workeroutput["stages_deselected"] = self.deselected
        elif self.files and not (self.deselected or session.shouldstop or session.shouldfail):
            from stages.testing import unused

            self.reported += unused.found(self.config, self.reported, self.files)
            failed = any(name == "stages-unused" for _, name, _ in self.reported)
            if failed and session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record what a test left in its properties."""
        file = report.nodeid.partition("::")[0]
        self.files[file] = self.files.get(file, True) and report.passed
        if report.when == "call" and not report.skipped:
            properties = [(name, value) for name, value in report.user_properties if name.startswith("stages-")]
            self.reported += [(report.nodeid, name, value) for name, value in properties]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
        """Print what was reported, and write goldens where an update was requested."""
        if self.no_stage and exitstatus != pytest.ExitCode.USAGE_ERROR:
            found = self.config.getoption("markexpr")
            terminalreporter.write_line(f"--stages: -m {found!r} leaves no test of a stage; kinds: {', '.join(KINDS)}")
        if self.reported or self.config.getoption("stages_update"):
            from stages.testing import updating

            updating.close(self.config, terminalreporter, self.reported)
