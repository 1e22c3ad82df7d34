"""What may happen to a finished project, and what is run then: the rows of results/records/agreement.md, in order."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.agreement.project import Project, declare
from tests.agreement.verdicts import Names
from tests.edits import replaced

RATE = "joint: [{shape: constant, from: 1e-3, until: 2K}]"
WAIVED = "waivers:\n  - {id: I-36, at: schedule.0, found: 1e9, reason: it is to diverge}\n"
PIPELINE = "specs/toy/pipeline.yaml"
TEXT, JOINT, SCALE, TOY = "specs/toy/text.yaml", "specs/toy/joint.yaml", "specs/scales/mini.yaml", "results/mini/toy"
EVALUATIONS = "stages/evals/language.py"
NOTHING: Names = frozenset()
Happening = Callable[[Project], Project | None]


def boxes(*names: str) -> Names:
    return frozenset(f"toy__{name}" for name in names)


ALL = boxes("text", "vit", "kept", "joint", "chat", "release")
BELOW_TEXT = ALL - boxes("vit")
BELOW_JOINT = boxes("joint", "release")


@dataclass(frozen=True)
class Event:
    """`happen` does it to a copy of the finished project, and returns the project to look at if that is another one."""

    name: str
    happen: Happening
    run: Names = NOTHING  # what all three say
    put_back: Names = NOTHING  # of these, what is put back without training
    idle: Names = NOTHING  # what `dvc repro` calls only to hear that it is done
    deep: bool = False  # seen by `stages status --deep`, and from then on by everybody
    mend: Happening | None = None  # what a person does before a tool can succeed
    daily: str = ""  # the tool with which `make test` heals it; all the rest is by `make nightly`


def edit(file: str, old: str, new: str) -> Happening:
    return lambda project: project.edit(file, old, new)


def touch(*names: str) -> Happening:
    def happen(project: Project) -> None:
        for name in names:
            (project.root / name).touch()

    return happen


def remove(name: str) -> Happening:
    def happen(project: Project) -> None:
        path = project.root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return happen


def shard(project: Project, box: str) -> Path:
    return min((project.root / TOY / box / "model").rglob("*.safetensors"))


def lose_a_shard(project: Project) -> None:
    shard(project, "text").unlink()


def flip(path: Path) -> None:
    """Change one bit and leave size and times as they were: so does a disk, and nothing that looks at times sees it."""
    before, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


another_value = edit(JOINT, "micro_batch: 2 seq", "micro_batch: 4 seq")


def older_commit(project: Project) -> None:
    """The newer commit was never run."""
    another_value(project)
    project.commit("another value")
    project.type("git", "checkout", "--quiet", "HEAD~1")


def older_commit_of_a_run(project: Project) -> None:
    another_value(project)
    project.type("snakemake")
    project.type("stages", "record-dvc")
    project.commit("another value")
    project.type("git", "checkout", "--quiet", "HEAD~1")


def half_run_and_edited_back(project: Project) -> None:
    another_value(project)
    project.type("snakemake", "toy__joint")
    project.edit(JOINT, "micro_batch: 4 seq", "micro_batch: 2 seq")


def renamed(project: Project) -> None:
    (project.root / TEXT).rename(project.root / "specs/toy/words.yaml")
    project.edit("specs/toy/words.yaml", "stage: text\nbox: text\n", "stage: words\nbox: words\n")
    for child in ("kept", "chat"):
        project.edit(f"specs/toy/{child}.yaml", "from: text", "from: words")
    project.edit(PIPELINE, "stages: [text,", "stages: [words,")
    project.type("stages", "sync")


def clone_and_pull(project: Project) -> Project:
    fresh = Project(project.root.with_name("clone"))
    project.type("git", "clone", "--quiet", str(project.root), str(fresh.root))
    fresh.type("dvc", "pull", "--quiet")
    return fresh


def lose_all_and_pull(project: Project) -> None:
    for name in ("results", ".dvc/cache", ".snakemake"):
        shutil.rmtree(project.root / name)
    project.type("dvc", "pull", "--quiet")


def another_corpus(project: Project) -> None:
    """Fewer documents, declared as they come out, and not prepared yet."""
    project.edit("specs/data/reasoning.yaml", "count: 300", "count: 290")
    elsewhere = project.root / ".dvc/tmp/data"
    shutil.copytree(project.root / "results/mini/data/tokenizer", elsewhere / "tokenizer")
    declare(project.root, "reasoning", elsewhere / "reasoning")


def longer(project: Project) -> None:
    """A middle stage of 156 steps, to have the time to kill it."""
    project.edit(JOINT, "budget: 2K", "budget: 40K")
    project.edit(JOINT, "epochs: 1\n", "epochs: 40\n")
    project.edit(JOINT, "checkpoint_every: 2 steps", "checkpoint_every: 20 steps")
    project.edit(PIPELINE, RATE, replaced(RATE, "2K", "40K"))


def killed(*tool: str, everything: bool = False) -> Happening:
    """A stage is killed with SIGKILL between two checkpoints, as the kernel does when memory runs out.

    With `everything`, the tool and all that it started are.
    """

    def happen(project: Project) -> None:
        longer(project)
        with project.start(*tool) as driver:
            while driver.poll() is None and not list(project.root.glob("results/.runs/*/attempt-*/partial-*")):
                time.sleep(0.02)
            tree = psutil.Process(driver.pid)
            for process in [*([tree] if everything else []), *tree.children(recursive=True)]:
                if everything or process.cmdline()[1:5] == ["-m", "stages", "run", "toy/joint"]:
                    process.send_signal(signal.SIGKILL)
            said = driver.communicate()
        assert driver.returncode != 0, said

    return happen


def failed(*tool: str) -> Happening:
    """A learning rate that rises until the loss is no number."""

    def happen(project: Project) -> None:
        diverging(project)
        project.type(*tool, fails=True)

    return happen


def diverging(project: Project) -> None:
    """No check lets such a rate pass unless it is waived."""
    project.edit(PIPELINE, RATE, replaced(RATE, "constant, from: 1e-3", "linear, from: 1e-3, to: 1e9"))
    project.edit(JOINT, "\nsources:", f"\n{WAIVED}sources:")


def sane_again(project: Project) -> None:
    project.edit(PIPELINE, "to: 1e9", "to: 5e-4")
    project.edit(JOINT, WAIVED, "")


code = edit("stages/errors.py", "from __future__", "# changed\nfrom __future__")

EVENTS = (
    Event("a spec, a result and a corpus are touched", touch(JOINT, f"{TOY}/text/manifest.json",
          "results/mini/data/math/tokens.bin")),
    Event("a comment in a spec", edit(JOINT, "stage: joint\n", "stage: joint  # the middle one\n")),
    Event("a value is written otherwise (2K, 2000 tokens)", edit(JOINT, "budget: 2K", "budget: 2000 tokens"),
          idle=boxes("joint"), daily="dvc repro"),
    Event("another value in a middle stage", another_value, BELOW_JOINT, daily="dvc repro"),
    Event("another value in the second phase of the first stage", edit(TEXT, "budget: 1K", "budget: 900 tokens"),
          BELOW_TEXT),
    Event("execution only: checkpoint_every, ranks", edit(JOINT, "checkpoint_every: 2 steps",
          "checkpoint_every: 3 steps, ranks: 2"), idle=boxes("joint")),
    Event("the code: a comment in stages/", code),
    Event("an evaluation is added to a stage", edit("specs/toy/chat.yaml", "evaluate: [validation_loss]",
          "evaluate: [validation_loss, position_loss]"), boxes("chat"), put_back=boxes("chat")),
    Event("the code of evaluations: a comment", edit(EVALUATIONS, "from __future__", "# changed\nfrom __future__"),
          idle=boxes("chat")),
    Event("the code of evaluations: a statement", edit(EVALUATIONS, "import annotations\n",
          "import annotations\n\nCHANGED = 1\n"), boxes("chat"), put_back=boxes("chat"), daily="snakemake"),
    Event("an older commit is checked out, the newer one was not run", older_commit),
    Event("an older commit is checked out, the newer one was run", older_commit_of_a_run, BELOW_JOINT,
          put_back=BELOW_JOINT),
    Event("edited, run as far as the middle stage, edited back", half_run_and_edited_back, boxes("joint"),
          put_back=boxes("joint")),
    Event("a stage is renamed, with its references", renamed, boxes("words"), put_back=boxes("words"),
          idle=boxes("chat", "kept"), daily="snakemake"),
    Event("a fresh clone, and dvc pull", clone_and_pull),
    Event("results and DVC's cache are lost, and dvc pull", lose_all_and_pull, daily="snakemake"),
    Event("a shard is deleted", lose_a_shard, boxes("text"), daily="snakemake"),
    Event("a manifest is deleted", remove(f"{TOY}/joint/manifest.json"), boxes("joint")),
    Event("a result is deleted", remove(f"{TOY}/text"), boxes("text")),
    Event("a corpus is deleted", remove("results/mini/data/math"), frozenset({"data__math"})),
    Event("a flipped bit in a result", lambda project: flip(shard(project, "joint")), boxes("joint"), deep=True,
          daily="dvc repro"),
    Event("a flipped bit in a corpus", lambda project: flip(project.root / "results/mini/data/math/tokens.bin"),
          frozenset({"data__math"}), deep=True),
    Event("a stage is killed under snakemake", killed("snakemake"), BELOW_JOINT, daily="snakemake"),
    Event("a stage is killed under dvc repro", killed("dvc", "repro"), BELOW_JOINT),
    Event("a stage fails under snakemake, and its spec is mended", failed("snakemake"), BELOW_JOINT,
          mend=sane_again),
    Event("a stage fails under dvc repro, and its spec is mended", failed("dvc", "repro"), BELOW_JOINT,
          mend=sane_again),
    Event("another number of documents in a corpus", another_corpus, boxes("chat") | {"data__reasoning"}),
    Event("another seed in the scale", edit(SCALE, "seed: 1", "seed: 2"), ALL),
    Event("another time limit in the scale", edit(SCALE, "time_limit: 30 min", "time_limit: 40 min")),
)  # fmt: skip
