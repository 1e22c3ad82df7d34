"""`stages record-dvc`: tell DVC about results that Snakemake made. `dvc commit -f` trusts the disk; this does not."""

from __future__ import annotations

import subprocess
import sys

from stages.commands.find_project import open_project
from stages.errors import UserError
from stages.store.layout import Layout
from stages.sync import graph, write
from stages.sync.verdicts import judge, judge_corpora

SHOWN = 3  # how many unfinished ones a message names


def record() -> None:
    """Commit in DVC every published stage and corpus of dvc.yaml's scale.

    Every digest is read again first: what is recorded is what others pull. Raises UserError unless all are done.
    """
    scale = write.dvc_scale(open_project("mini")[0])
    root, project = open_project(scale)
    loaded = graph.load(root, project, scale)
    layout = Layout(root, scale)
    names = loaded.published_corpora
    verdicts = [
        *judge(layout, loaded.published, loaded.keys, deep=loaded.published).values(),
        *judge_corpora(root, layout, names, deep=names).values(),
    ]
    undone = [f"{verdict.ref} is {verdict.state}" for verdict in verdicts if not verdict.done]
    if undone:
        more = f" and {len(undone) - SHOWN} more" if len(undone) > SHOWN else ""
        raise UserError(f"nothing recorded: {'; '.join(undone[:SHOWN])}{more}. Run `snakemake` first.")
    done = subprocess.run([sys.executable, "-m", "dvc", "commit", "--quiet", "--force"], cwd=root, check=False)
    if done.returncode:
        raise UserError(f"dvc commit failed with exit code {done.returncode}; see its message above.")
    print(f"recorded in dvc.lock: {len(verdicts) - len(names)} stages and {len(names)} corpora at scale {scale}")
