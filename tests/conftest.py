"""How the whole suite runs: Hypothesis's profiles, and goldens that CI may read but not write.

`ci` is the default: few examples, the same ones in every run, and no deadlines (a slow machine is no bug). `nightly`
draws many new ones; `mutation` those of `ci`, without a search for the smallest one that fails. Choose with
STAGES_HYPOTHESIS=nightly, or with Hypothesis's own --hypothesis-profile.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, settings

QUIET = (HealthCheck.too_slow, HealthCheck.function_scoped_fixture)
settings.register_profile(
    "ci", max_examples=40, derandomize=True, deadline=None, print_blob=True, database=None, suppress_health_check=QUIET
)
settings.register_profile("nightly", max_examples=1000, deadline=None, print_blob=True, suppress_health_check=QUIET)
settings.register_profile("mutation", settings.get_profile("ci"), phases=(Phase.explicit, Phase.generate))
settings.load_profile(os.environ.get("STAGES_HYPOTHESIS", "ci"))


def pytest_configure(config: pytest.Config) -> None:
    """Goldens are written by people who then read the difference: never by CI."""
    updates = ("update_snapshots", "update_new_snapshots_only")
    if os.environ.get("CI") and any(config.getoption(name, default=False) for name in updates):
        raise pytest.UsageError("--snapshot-update is refused where CI is set: update goldens by hand and review them.")


LIMIT = 900.0  # seconds: more than a wait may take (tests/waiting.py), and no test that hangs takes all of CI's time


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """No test of every day hangs for ever."""
    if config.pluginmanager.hasplugin("timeout") and config.getoption("timeout") is None:
        for item in items:
            if not any(map(item.get_closest_marker, ("timeout", "nightly"))):
                item.add_marker(pytest.mark.timeout(LIMIT))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests say about their goldens: environments not seen before, and what an update changed."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, ())]
    said = [text for report in reports for name, text in report.user_properties if name == "golden"]
    if said:
        terminalreporter.section("goldens")
        terminalreporter.write_line("\n".join(dict.fromkeys(map(str, said))))
