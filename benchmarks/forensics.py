"""Cold starts of `stages batch` and `stages where`: `python -m benchmarks.forensics`, inside the project.

Each repetition is a new process, at a step or document drawn at random. `where` and the last row need the corpora of
`make mini`; scale paper has none, so that its rows are known and their documents are not.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from stages.contract import ledger
from stages.data.corpus.corpus_manifest import read_manifest
from stages.spec.project import Project
from stages.store.layout import Layout

REPETITIONS = 15


def main() -> None:
    root, draw = Path.cwd(), random.Random(1)
    project = Project.load(root)
    for scale in ("paper", "mini"):
        stages = [one for one in project.resolve("ouro", scale).stages.values() if one.phases]
        asked = []
        for stage in draw.choices(stages, k=REPETITIONS):
            step = draw.randint(1, sum(map(ledger.count, stage.phases)))
            asked.append(["batch", f"ouro/{stage.name}", "--step", str(step), "--scale", scale])
        _print(f"batch, any step of ouro, {scale}", asked)
    documents = read_manifest(Layout(root, "mini").corpus("prose")).documents
    for more in ([], ["--pipeline", "ouro"]):
        asked = [["where", "prose", str(draw.randint(1, documents)), *more] for _ in range(REPETITIONS)]
        _print(" ".join(["where, any document of prose, mini", *more]), asked)


def _print(what: str, commands: list[list[str]]) -> None:
    seconds = sorted(_seconds(command) for command in commands)
    print(f"{what}: median {median(seconds):.3f} s, {seconds[0]:.3f} to {seconds[-1]:.3f} s")


def _seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "stages", *command], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
