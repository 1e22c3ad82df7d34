"""`stages record-dvc`: tell DVC about results that Snakemake made. `dvc commit -f` trusts the disk; this does not."""

from __future__ import annotations

import subprocess
import sys

from stages.commands.open import open_project
from stages.errors import UserError
from stages.store.layout import Layout
from stages.sync import graph, write
from stages.sync.verdicts import corpora_done, judge


def record() -> None:
    """Commit in DVC every published stage and corpus of dvc.yaml's scale; raises UserError unless all are done."""
    scale = write.dvc_scale(open_project("mini")[0])
    root, project = open_project(scale)
    loaded = graph.load(root, project, scale)
    layout = Layout(root, scale)
    verdicts = judge(layout, loaded.stages, loaded.keys, deep=False)
    published = [ref for ref in verdicts if ref.split("/")[0] not in loaded.readings]
    undone = [f"{ref} is {verdicts[ref].state}" for ref in published if not verdicts[ref].done]
    undone += [
        f"{name} is not prepared" for name, there in corpora_done(root, layout, loaded.corpora).items() if not there
    ]
    if undone:
        raise UserError(f"nothing recorded: {'; '.join(undone)}. Run `snakemake` first.")
    targets = [graph.rule_name(ref) for ref in published] + [f"data__{name}" for name in loaded.corpora]
    targets += [graph.rule_name(ref) for ref in verdicts if ref not in published and verdicts[ref].done]
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "commit", "--quiet", "--force", *targets], cwd=root, check=False
    )
    if done.returncode:
        raise UserError(f"dvc commit failed with exit code {done.returncode}; see its message above.")
