"""Keys: changed by every identity field, by nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stages.spec.key import phase_keys, stage_key
from stages.spec.project import Project
from stages.spec.resolved import Waiver
from tests import shipped
from tests.edits import replaced
from tests.unit.spec.small_project import edit

FIRST, SECOND, PIPELINE, MINI = "toy/first.yaml", "toy/second.yaml", "toy/pipeline.yaml", "scales/mini.yaml"

# (file, old, new, the stages whose keys change)
EVERYTHING = {"first", "second", "release"}
IDENTITY = [
    (SECOND, "budget: 2B", "budget: 1.9B", {"second", "release"}),
    (SECOND, "batch: 64 seq", "batch: 640 seq", {"second", "release"}),
    (SECOND, "document_mask: true", "document_mask: false", {"second", "release"}),
    (SECOND, "packing: concatenate", "packing: whole", {"second", "release"}),
    (SECOND, "epochs: 1", "epochs: 2", {"second", "release"}),
    (SECOND, "optimizer: inherit", "optimizer: reset", {"second", "release"}),
    (SECOND, "data: continue", "data: restart", {"second", "release"}),
    (SECOND, "base: 10_000", "base: 20_000", {"second", "release"}),
    (SECOND, "interpolation: 1", "interpolation: 4", {"second", "release"}),
    (SECOND, "llama3: none", "llama3: {factor: 8, low: 1, high: 4, original: 4Ki}", {"second", "release"}),
    (PIPELINE, "to: 1e-4, until", "to: 2e-4, until", EVERYTHING),
    (PIPELINE, "beta2: 0.95", "beta2: 0.99", EVERYTHING),
    (PIPELINE, "clip: 1.0", "clip: none", EVERYTHING),
    (SECOND, "optimizer: adamw", "optimizer: adamw\nseed: 2", {"second", "release"}),
    (PIPELINE, "norm_eps: 1e-5", "norm_eps: 1e-6", EVERYTHING),
    (MINI, "lr: 10", "lr: 11", EVERYTHING),
    (MINI, "micro_batch: 128", "micro_batch: 256", EVERYTHING),
    (MINI, "engine_class: torch-fp32", "engine_class: torch-bf16", EVERYTHING),
    ("scales/paper.yaml", "seed: 1", "seed: 2", EVERYTHING),
    ("data/code.yaml", "digest: bb", "digest: cc", EVERYTHING),
    ("data/tokenizer.yaml", "digest: cc", "digest: dd", EVERYTHING),
    ("data/mixtures.yaml", "share: 20%, group: text}\n      - {corpus: repos, share: 10%",
     "share: 10%, group: text}\n      - {corpus: repos, share: 20%", EVERYTHING),
]  # fmt: skip
NOT_IDENTITY = [
    (SECOND, "box: Second", "box: The second"),
    (SECOND, "name: main", "name: chief"),
    (SECOND, "budget: 2B", "budget: 2_000_000K"),
    (SECOND, "optimizer: adamw", "optimizer: adamw\nseed: 1"),
    (SECOND, "mark: chosen}", "mark: assumed, reason: on reflection}"),
    (FIRST, "evaluate: [validation_loss]", "evaluate: []"),
    (FIRST, "execution: {nodes: 2}", "execution: {nodes: 3}"),
    (PIPELINE, "title: A toy", "title: Another"),
    (PIPELINE, "stages: [first, second, release]", "stages: [release, second, first]"),
    (PIPELINE, "from: current, until: 4B", "from: 1e-5, until: 9B"),
    (MINI, "threads: 1", "threads: 2"),
    (MINI, "memory: 1 GB", "memory: 2 GB"),
    ("data/prose.yaml", "documents: 9_000", "documents: 9_001"),
]


def keys(root: Path) -> dict[str, str]:
    return Project.load(root).resolve("toy", "mini").keys


@pytest.mark.parametrize(("file", "old", "new", "changed"), IDENTITY, ids=[f"{one[1][:20]}" for one in IDENTITY])
def test_identity_changes_the_keys_from_there_on(root: Path, file: str, old: str, new: str, changed: set[str]) -> None:
    before = keys(root)
    edit(root, file, old, new)
    after = keys(root)
    assert {stage for stage in before if before[stage] != after[stage]} == changed


@pytest.mark.parametrize(("file", "old", "new"), NOT_IDENTITY, ids=[f"{one[1][:20]}" for one in NOT_IDENTITY])
def test_nothing_else_does(root: Path, file: str, old: str, new: str) -> None:
    before = keys(root)
    edit(root, file, old, new)
    assert keys(root) == before


def test_names_are_not_in_keys(root: Path) -> None:
    before = keys(root)
    for name in ("stage: first", "box: First"):
        edit(root, FIRST, name, replaced(name, "irst", "oremost"))
    (root / "specs" / FIRST).rename(root / "specs/toy/foremost.yaml")
    edit(root, PIPELINE, "stages: [first,", "stages: [foremost,")
    edit(root, SECOND, "from: first", "from: foremost")
    after = keys(root)
    assert (after["foremost"], after["second"]) == (before["first"], before["second"])


def test_modules_are_in_keys_in_their_order() -> None:
    stage = shipped.project().resolve("kimi_vl", "mini").stages["joint_pretrain"]
    other = stage.model_copy(update={"modules": dict(reversed(stage.modules.items()))})
    parents = dict.fromkeys(stage.parents, "a" * 32)
    assert other.modules == stage.modules
    assert stage_key(other, parents) != stage_key(stage, parents)


def test_phases_are_chained(root: Path) -> None:
    before = Project.load(root).resolve("toy", "mini").stages["first"]
    edit(root, FIRST, "budget: 1B\n    context: 8Ki", "budget: 0.9B\n    context: 8Ki")
    after = Project.load(root).resolve("toy", "mini").stages["first"]
    assert phase_keys(before, {})[0] == phase_keys(after, {})[0]
    assert phase_keys(before, {})[1] != phase_keys(after, {})[1]
    assert stage_key(before, {}) != stage_key(after, {})


def test_keys_are_the_same_in_every_process(root: Path) -> None:
    code = f"""
from pathlib import Path
from stages.spec.project import Project
print(sorted(Project.load(Path({str(root)!r})).keys("mini").items()))
"""
    shown = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    ]
    assert shown[0] == shown[1] == f"{sorted(Project.load(root).keys('mini').items())}\n"


def test_a_reading_owns_only_what_differs(root: Path) -> None:
    variant = Project.load(root).resolve("toy_variant", "mini")
    assert variant.own == ("second", "release")
    assert variant.stages["second"].parents == ("toy/first",)
    assert variant.keys["first"] == keys(root)["first"]
    assert [(edge.parent, edge.child) for edge in variant.edges] == [
        ("toy/first", "toy_variant/second"),
        ("toy_variant/second", "toy_variant/release"),
    ]


def test_the_objective_is_part_of_the_key(root: Path) -> None:
    """Of a resolved stage: what a spec may say of it depends on the model and on the data."""
    stage = Project.load(root).resolve("toy", "mini").stages["first"]
    other = [phase.model_copy(update={"objective": "sft"}) for phase in stage.phases]
    assert stage_key(stage, {}) != stage_key(stage.model_copy(update={"phases": tuple(other)}), {})


@pytest.mark.parametrize(
    "written", ['{"id":"I-28","at":["a -> b","c"],"found":"1 -> 2","reason":"why"}', '["I-28","why"]']
)
def test_a_waiver_is_read_back_from_a_results_record(written: str) -> None:
    read = Waiver.model_validate_json(written, strict=True)
    assert (read.id, read.reason) == ("I-28", "why")
    assert Waiver.model_validate_json(read.model_dump_json(), strict=True) == read


RELEASE = """\
release: somebodys
source: somebody/model
revision: main
licence: mit
architecture: LlamaForCausalLM
digest: {digest}
"""


def test_a_releases_digest_is_in_the_key_once_it_is_declared_and_only_where_releases_are_given(root: Path) -> None:
    edit(root, "toy/first.yaml", "  weights: fresh\n", "  weights: {release: somebodys}\n")
    given = {scale: Project.load(root).scale(scale).has_releases for scale in ("mini", "paper")}
    assert given == {"mini": False, "paper": True}
    before = {scale: Project.load(root).keys(scale) for scale in given}
    path = root / "specs/releases/somebodys.yaml"
    path.parent.mkdir()
    path.write_text(RELEASE.format(digest="none"))
    assert {scale: Project.load(root).keys(scale) for scale in given} == before
    path.write_text(RELEASE.format(digest="a" * 64))
    assert Project.load(root).keys("mini") == before["mini"]
    first = Project.load(root).keys("paper")
    path.write_text(RELEASE.format(digest="b" * 64))
    other = Project.load(root).keys("paper")
    assert all(len({before["paper"][ref], first[ref], other[ref]}) == 3 for ref in first if ref.startswith("toy/"))
