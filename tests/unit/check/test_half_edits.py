"""Edits that an author made by half: each is reported at the line that has to be changed too, with its cause."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from stages.check.findings import Finding, unwaived
from stages.check.run import run, run_all
from stages.spec.project import Project
from tests import shipped
from tests.edits import edit
from tests.mutants import unshipped


class Half(NamedTuple):
    name: str
    file: str
    old: str
    new: str  # "" takes the file away where `old` is "" too
    told: str  # file:text of the line that is reported
    id: str
    says: str
    scale: str = "mini"


OF_SHIPPED = [
    Half("a scale that was copied, and kept its seed", "scales/mini_seed3.yaml", "seed: 3", "seed: 2",
         "scales/mini_seed3.yaml:seed: 2", "spec", "all that mini_seed2 says too", "mini_seed3"),
    Half("a scale that extends another one and changes nothing yet", "scales/mini_seed2.yaml",
         "seed: 2\nsources:\n  - {covers: [seed], mark: chosen, reason: one of three seeds that are recorded}",
         "sources: []", "scales/mini_seed2.yaml:scale: mini_seed2", "spec", "all that mini says too", "mini_seed2"),
    Half("a clock that begins again under a schedule that the parent reads", "ouro/stable_2_1_4b.yaml",
         "clock: continue", "clock: reset", "ouro/stable_2_1_4b.yaml:clock: reset", "spec",
         "where schedule 'stable' (specs/ouro/pipeline.yaml:63) begins again after warmup"),
    Half("a waiver of any fall of the rate", "kimi_vl/joint_pretrain.yaml", "found: 1e-4 -> 4.2e-5",
         "found: 1e-4 -> 4.2e-6", "kimi_vl/joint_pretrain.yaml:- id: I-28", "S-07", "excuses 1e-4 -> 4.2e-6"),
    Half("a jump for which the reason was to follow", "ouro/pipeline.yaml", "from: current, to: 3e-5, for: 1.4T",
         "from: 2e-4, to: 3e-5, for: 1.4T, jump: TODO", "ouro/pipeline.yaml:from: 2e-4", "spec", "'TODO'"),
    Half("pairs that were prepared with larger patches", "data/pairs.yaml", "patch: 4", "patch: 8",
         "kimi_vl/vit_coca.yaml:data: kimi_pairs", "S-08", "pictures of 'pairs' with patch 8"),
    Half("a release of another family, where its spec says so", "releases/llama31_8b.yaml", "LlamaForCausalLM",
         "MistralForCausalLM", "releases/llama31_8b.yaml:architecture", "S-12",
         "llm of release 'llama31_8b', a MistralForCausalLM", "paper"),
    Half("the release of the pipeline beside it", "llama31_1m/base.yaml", "release: llama31_8b", "release: siglip",
         "llama31_1m/base.yaml:release", "S-12", "llm of release 'siglip', a SiglipModel", "paper"),
    Half("limits of a corpus exchanged", "data/prose.yaml", "least_characters: 400\n", "least_characters: 400000\n",
         "data/prose.yaml:least_characters", "spec", "400000"),
    Half("captions that were prepared in grey", "data/captions.yaml", "channels: 3", "channels: 1",
         "kimi_vl/vit_align.yaml:data: kimi_align", "S-08", "pictures of 'captions' with channels 1"),
    Half("captions with a token for each patch", "data/captions.yaml", "cell: 8", "cell: 4",
         "kimi_vl/vit_align.yaml:data: kimi_align", "S-08", "pictures of 'captions' with cell 4"),
]  # fmt: skip
OF_FIELDS = [
    Half("a group's own rate in the place of a multiple", "dense/pipeline.yaml", "lr: 1/2", "lr: 3e-4",
         "dense/pipeline.yaml:name: inner", "I-48", "0.0003 of the schedule's", "full"),
    Half("a value of a sweep that lost the minus of its exponent", "dense/decay.yaml",
         "high: 1e-4", "high: 1e4", "dense/decay.yaml:values:", "I-36", "a learning rate of 10000", "full"),
    Half("a value of a sweep that raises what is to fall", "dense/decay.yaml",
         "high: 1e-4", "high: 7e-4", "dense/decay.yaml:values:", "I-36", "which ends the", "full"),
    Half("a window and a limit of skips exchanged", "dense/pipeline.yaml", "{window: 128, sigmas: 6}",
         "{window: 6, sigmas: 128}", "dense/pipeline.yaml:skip:", "I-48", "sigmas 128", "full"),
]  # fmt: skip


def found(project: Project, half: Half) -> list[Finding]:
    edit(project.root / "specs" / half.file, half.old, half.new)
    return unwaived(run_all(project) if half.id == "S-07" else run(project, half.scale))


def told(root: Path, half: Half, findings: list[Finding]) -> None:
    file, _, text = half.told.partition(":")
    lines = (root / "specs" / file).read_text().splitlines()
    places = {f"specs/{file}:{number}" for number, line in enumerate(lines, 1) if text in line}
    assert [one for one in findings if one.id == half.id and str(one.where) in places and half.says in one.observed]


@pytest.mark.parametrize("half", OF_SHIPPED, ids=[half.name for half in OF_SHIPPED])
def test_of_the_shipped_specs(half: Half, tmp_path: Path) -> None:
    told(tmp_path, half, found(Project.load(shipped.copy(tmp_path)), half))


@pytest.mark.parametrize("half", OF_FIELDS, ids=[half.name for half in OF_FIELDS])
def test_of_specs_with_groups_and_skips(half: Half, tmp_path: Path) -> None:
    told(tmp_path, half, found(Project.load(unshipped.write(tmp_path)), half))


def test_a_small_multiple_of_a_group_is_one(tmp_path: Path) -> None:
    half = Half("", "dense/pipeline.yaml", "lr: 1/2", "lr: 1/256", "", "I-48", "", "full")
    assert not [one for one in found(Project.load(unshipped.write(tmp_path)), half) if one.id == "I-48"]


@pytest.mark.parametrize("lost", ["joint_longctx", "joint_cooldown"])
def test_what_only_a_variant_makes_wrong_is_the_variants(lost: str, tmp_path: Path) -> None:
    shipped.copy(tmp_path)
    (tmp_path / f"specs/kimi_vl_seed004/{lost}.yaml").unlink()
    stages = {one.stage.partition("/")[0] for one in unwaived(run(Project.load(tmp_path), "mini"))}
    assert stages == {"kimi_vl_seed004"}


def test_what_is_wrong_with_a_pipeline_is_told_once_for_it_and_its_variants(tmp_path: Path) -> None:
    shipped.copy(tmp_path)
    path = tmp_path / "specs/ouro/longct_1_4b.yaml"
    edit(path, "schedule: anneal", "schedule: aneal")
    (finding,) = unwaived(run(Project.load(tmp_path), "mini"))
    assert (finding.stage, finding.id) == ("ouro/longct_1_4b", "spec")


def test_pipelines_that_extend_each_other_are_told(tmp_path: Path) -> None:
    shipped.copy(tmp_path)
    path = tmp_path / "specs/kimi_vl/pipeline.yaml"
    edit(path, "\ncitation:", "\nextends: kimi_vl_seed004\ncitation:")
    assert {one.id for one in run(Project.load(tmp_path), "paper")} >= {"spec"}
