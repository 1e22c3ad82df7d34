"""Commands in a project with 50 more pipelines, against an earlier commit: `python -m benchmarks.many [COMMIT]`.

The more are copies of the three published ones, at every scale that those are at. Of the commands, the processor time
is compared, as in `benchmarks.check`.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tarfile
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from benchmarks.check import children
from benchmarks.timing import Comparison, compare, show
from stages.scaffold.contents import PUBLISHED

MORE = 50
BEFORE = "1ebd546"  # the last commit at which checks looked at every pair of pipelines
REPETITIONS = 5
COMMANDS = {"stages check": ("stages", "check"), "snakemake -n": ("snakemake", "--dry-run", "--quiet", "all")}


def run(commit: str = BEFORE) -> list[Comparison]:
    """Both commands with all the copies, here and at an earlier commit, in turn; nothing of it has been run."""
    with tempfile.TemporaryDirectory() as ours, tempfile.TemporaryDirectory() as plain:
        for folder, of in ((ours, "HEAD"), (plain, commit)):
            checkout(Path(folder), of)
            add(Path(folder))
        return [
            compare(
                f"`{name}`, {MORE} more pipelines", f"one process; plain is commit {commit}",
                partial(call, Path(ours), words), partial(call, Path(plain), words), REPETITIONS, clock=children,
            )
            for name, words in COMMANDS.items()
        ]  # fmt: skip


def add(root: Path, number: int = MORE) -> None:
    """Put `number` copies of the published pipelines beside them, in turn, and write their rules."""
    names = {f"{PUBLISHED[one % len(PUBLISHED)]}_copy{one}": PUBLISHED[one % len(PUBLISHED)] for one in range(number)}
    for name, base in names.items():
        (root / "specs" / name).mkdir()
        for path in (root / "specs" / base).glob("*.yaml"):
            text = re.sub(rf"^pipeline: {base}$", f"pipeline: {name}", path.read_text(), flags=re.MULTILINE)
            (root / "specs" / name / path.name).write_text(text)
    for path in (root / "specs/scales").glob("*.yaml"):
        scale: dict[str, Any] = yaml.load(path.read_text(), Loader=yaml.BaseLoader)
        shrunk = scale.get("pipelines")
        if isinstance(shrunk, dict):
            more = {name: shrunk[base] for name, base in names.items() if base in shrunk}
            whole = {**scale, "pipelines": {**shrunk, **more}}
            path.write_text(yaml.dump(whole, Dumper=_Plain, sort_keys=False))
    subprocess.run([sys.executable, "-m", "stages", "sync"], cwd=root, check=True, stdout=subprocess.DEVNULL)


class _Plain(yaml.SafeDumper):
    """Scalars as they were read: all of them are texts, and words that are none have no quotes."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def plain(self, text: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:bool" if text in ("true", "false") else _TEXT, text)


_TEXT = "tag:yaml.org,2002:str"
_Plain.add_representer(str, _Plain.plain)


def call(root: Path, words: tuple[str, ...]) -> None:
    """A command as it is typed, with the code and the specs of `root`."""
    subprocess.run([sys.executable, "-m", *words], cwd=root, check=True, capture_output=True)


def checkout(root: Path, commit: str = "HEAD") -> None:
    """The files of a commit, in a git repository of their own."""
    archive = subprocess.run(["git", "archive", commit], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(root, filter="data")
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)


if __name__ == "__main__":
    show(run(*sys.argv[1:]))
