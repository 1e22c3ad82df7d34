"""`stages check` is typed before every commit: no torch, and nothing else that takes a tenth of a second to load."""

import gc
import subprocess
import sys

from stages.commands.collection import uncollected
from tests.unit.plan.conftest import ROOT

HEAVY = ("torch", "numpy", "pandas", "transformers")
CODE = f"""
import sys
from stages.commands.check import run_checks
code = run_checks(None, False)
sys.exit([name for name in {HEAVY} if name in sys.modules] or code)
"""


def test_nothing_heavy_is_loaded() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


JUDGED = "import sys; from stages.data.corpus import as_declared; from stages.sync import workflow; "


def test_what_every_snakemake_asks_about_corpora_loads_no_tokenizers() -> None:
    code = JUDGED + "sys.exit(bool({'tokenizers', 'jinja2', 'stages.data.tokens.encode'} & {*sys.modules}))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_garbage_is_collected_again_afterwards() -> None:
    with uncollected():
        assert not gc.isenabled()
    assert gc.isenabled()


KEPT = """
import gc
from stages.commands.collection import collect_seldom
loop = []
loop.append(loop)
collect_seldom()
there = gc.get_freeze_count()
del loop
assert gc.collect() == 0 and gc.get_freeze_count() == there > 0, "a search went through what is kept"
"""


def test_what_is_kept_until_the_end_is_searched_no_more() -> None:
    subprocess.run([sys.executable, "-c", KEPT], cwd=ROOT, check=True)
