"""Plans and diffs are for reviews: no torch, and no waiting for it."""

import subprocess
import sys

from tests.unit.plan.conftest import ROOT

CODE = """
import sys
import stages.cli, stages.commands.plan, stages.commands.diff, stages.plan.table, stages.plan.measured
import stages.diff.semantic, stages.diff.render, stages.diff.screen, stages.diff.revision, stages.commands.compare
sys.exit("torch" in sys.modules or "pandas" in sys.modules)
"""


def test_neither_torch_nor_pandas_is_imported() -> None:
    assert subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, check=False).returncode == 0
