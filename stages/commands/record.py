"""`stages record-dvc`: tell DVC about results that Snakemake made. `dvc commit -f` trusts the disk; this does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml

from stages.commands.find_project import find_root, open_project
from stages.errors import UserError
from stages.store.layout import Layout
from stages.sync import graph, write
from stages.sync.verdicts import judge, judge_corpora

ERROR = "ERROR: "  # how DVC's lines of errors begin
LOCK = "dvc.lock"
SHOWN = 3  # how many unfinished ones a message names


def record() -> None:
    """Commit in DVC every published stage and corpus of dvc.yaml's scale.

    Every digest is read again first: what is recorded is what others pull. Raises UserError unless all are done, where
    `results` is a link or dvc.lock is damaged, and where DVC fails.
    """
    scale = write.dvc_scale(find_root())
    root, project = open_project(scale)
    loaded = graph.load(root, project, scale)
    layout = Layout(root, scale)
    if layout.results.is_symlink():
        raise UserError(
            f"{layout.results}: is a link to {layout.results.resolve()}, and DVC records nothing outside of the "
            "project. Mount that folder at results/ instead (`mount --bind`)."
        )
    if not any((folder / ".dvc").is_dir() for folder in (root, *root.parents)):
        raise UserError(
            f"{root}: no DVC repository here or above, so nothing was recorded. Make one with `dvc init`; `--no-scm` "
            "where there is no git."
        )
    _refuse_damaged(root / LOCK)
    names = loaded.published_corpora
    verdicts = [
        *judge(layout, loaded.published, loaded.keys, deep=loaded.published).values(),
        *judge_corpora(root, layout, names, deep=names).values(),
    ]
    undone = [f"{verdict.ref} is {verdict.state}" for verdict in verdicts if not verdict.done]
    if undone:
        more = f" and {len(undone) - SHOWN} more" if len(undone) > SHOWN else ""
        raise UserError(f"nothing recorded: {'; '.join(undone[:SHOWN])}{more}. Run `snakemake` first.")
    words = [sys.executable, "-m", "dvc", "commit", "--force"]  # with --quiet, it would not say why it fails
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"dvc commit failed with exit code {done.returncode}: {_why(done.stderr)}")
    print(f"recorded in dvc.lock: {len(verdicts) - len(names)} stages and {len(names)} corpora at scale {scale}")


def _refuse_damaged(lock: Path) -> None:
    """Raise UserError where DVC could not add to its file of records, which a power cut may have emptied."""
    if not os.path.lexists(lock):
        return
    try:
        found = yaml.safe_load(lock.read_bytes())
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        found = None
    if not isinstance(found, dict) or "schema" not in found:
        raise UserError(
            f"{lock}: is damaged. Put back what was committed (`git checkout -- {lock.name}`), or move it away: it is "
            "made again from the results that are there. Nothing was recorded."
        )


def _why(printed: str) -> str:
    """DVC's own words for a failure: its lines of errors, or all that it printed."""
    found = [line.removeprefix(ERROR) for line in printed.splitlines() if line.startswith(ERROR)]
    return "; ".join(found) or printed.strip() or "it printed nothing"
