"""The harness's own commands, whole processes, against an earlier commit: `python -m benchmarks.many [COMMIT]`.

As shipped, with results/mini as it is here, and with 50 more pipelines, of which nothing has been run: copies of the
three published ones, at every scale that those are at. Times are on the clock: measure on a machine that does nothing
else. Takes about five minutes.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from benchmarks.timing import Comparison, compare, show
from stages.scaffold.contents import PUBLISHED

MORE = 50
BEFORE = "09a10c6"  # the last commit at which Python searched the specs for reference cycles in every dry run
REPETITIONS = 5
CHECK, DRY_RUN, STATUS = ("stages", "check"), ("snakemake", "--dry-run", "--quiet", "all"), ("dvc", "status")
SHIPPED = {"stages check": CHECK, "snakemake -n": DRY_RUN, "dvc status": STATUS}
RESULTS = Path("results/mini")


def run(commit: str = BEFORE) -> list[Comparison]:
    """Every command as shipped and with all the copies, here and at an earlier commit, in turn."""
    with tempfile.TemporaryDirectory() as ours, tempfile.TemporaryDirectory() as plain:
        roots = Path(ours), Path(plain)
        for root, of in zip(roots, ("HEAD", commit), strict=True):
            checkout(root, of)
            if RESULTS.is_dir():
                shutil.copytree(RESULTS, root / RESULTS)
        found = [_timed(name, words, commit, roots) for name, words in SHIPPED.items()]
        for root in roots:
            shutil.rmtree(root / RESULTS, ignore_errors=True)
            add(root)
        more = f", {MORE} more pipelines"
        return [
            *found,
            *(_timed(name + more, SHIPPED[name], commit, roots) for name in ("stages check", "snakemake -n")),
        ]


def _timed(name: str, words: tuple[str, ...], commit: str, roots: tuple[Path, Path]) -> Comparison:
    ours, plain = (partial(call, root, words) for root in roots)
    return compare(f"`{name}`", f"one process; plain is commit {commit}", ours, plain, REPETITIONS)


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
