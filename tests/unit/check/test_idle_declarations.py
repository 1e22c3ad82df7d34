"""What excuses a fault names one that is there: jumps, second readings; and what an entry says, it does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stages.check.findings import Finding, unwaived
from stages.check.run import run, run_all
from stages.errors import SpecError
from stages.spec.project import Project

KIMI, LLAMA = "kimi_vl/pipeline.yaml", "llama31_1m/pipeline.yaml"
FIRST_OF_SFT = r"^(  sft_32k:\n    - \{.*from: )current(.*?)\}"


def edit(root: Path, file: str, old: str, new: str) -> None:
    path = root / "specs" / file
    text, times = re.subn(old, new, path.read_text(), count=1, flags=re.MULTILINE)
    assert times == 1, f"{file} does not hold {old!r}"
    path.write_text(text)


def found(root: Path, scale: str | None = None) -> list[Finding]:
    project = Project.load(root)
    return unwaived(run_all(project) if scale is None else run(project, scale))


def line_of(root: Path, finding: Finding) -> str:
    assert finding.where is not None
    return (root / finding.where.file).read_text().splitlines()[finding.where.line - 1]


# ------------------------------------------------------------------ jumps


def test_a_jump_that_is_declared_and_is_none(root: Path) -> None:
    edit(root, LLAMA, FIRST_OF_SFT, r"\1current\2, jump: a higher rate}")
    (one,) = {(each.id, each.stage, line_of(root, each)) for each in found(root)}
    assert one[:2] == ("S-07", "llama31_1m/sft_32k")
    assert "jump: a higher rate" in one[2]


def test_a_jump_between_two_pieces_that_is_none(root: Path) -> None:
    edit(root, LLAMA, r"^(  sft_32k:\n    - .*\n    - \{.*?)\}", r"\1, jump: to the decay}")
    assert {each.id for each in found(root)} == {"S-07"}


def test_a_jump_that_is_one(root: Path) -> None:
    edit(root, LLAMA, FIRST_OF_SFT, r"\g<1>0\2, jump: a warm-up from nothing}")
    assert found(root) == []


def test_a_jump_excuses_the_lineage_that_the_schedule_goes_on_from_and_no_other_module(root: Path) -> None:
    """The tower comes from alignment, the language model from text pre-training, at another rate."""
    edit(root, "kimi_vl/joint_pretrain.yaml", "schedule: text", "schedule: joint")
    edit(root, "kimi_vl/joint_pretrain.yaml", "clock: continue", "clock: reset")
    edit(root, "kimi_vl/joint_pretrain.yaml", r"^waivers:\n(  .*\n)+", "")
    joint = "  joint:\n    - {shape: constant, from: 2e-5, until: 1.4T, jump: the report says so}\n"
    edit(root, KIMI, "^  coca:\n", f"{joint}  coca:\n")
    edit(root, KIMI, r"\[schedules\.coca\]", "[schedules.coca, schedules.joint]")
    trained = re.search(r"^train: \[(\w+)", (root / "specs/kimi_vl/joint_pretrain.yaml").read_text(), re.MULTILINE)
    assert trained is not None
    jumps = [one for one in found(root, "paper") if one.id == "I-28" and one.stage == "kimi_vl/joint_pretrain"]
    assert len(jumps) == 1
    assert not any(trained[1] in at for at in jumps[0].at)


# ------------------------------------------------------------------ second readings


@pytest.mark.parametrize("data", ["continue", "restart"])
def test_a_second_reading_that_is_declared_and_is_none(root: Path, data: str) -> None:
    """Reasoning is fine-tuned on conversations, which nothing before it has read."""
    file = "ouro/reasoning_sft_1_4b.yaml"
    edit(root, file, "  data: restart", f"  data: {data}\n  reread: the same again")
    assert ("S-07", "ouro/reasoning_sft_1_4b") in {(each.id, each.stage) for each in found(root, "paper")}


def test_what_continues_reads_nothing_again_whatever_a_release_has_read(root: Path) -> None:
    edit(root, "llama31_1m/cpt_512k.yaml", "  data: continue", "  data: continue\n  reread: the books again")
    assert [(each.id, each.stage) for each in found(root, "paper")] == [("S-07", "llama31_1m/cpt_512k")]


@pytest.mark.parametrize(("new", "at"), [("restart", "init.data"), ("continue\n  reread: twice", "init.reread")])
def test_an_upcycling_reads_no_data_that_it_could_restart(root: Path, new: str, at: str) -> None:
    edit(root, "ouro/upcycle_2_6b.yaml", "data: continue", f"data: {new}")
    assert {(each.id, each.stage, each.at) for each in found(root)} == {("S-07", "ouro/upcycle_2_6b", (at,))}


# ------------------------------------------------------------------ what says nothing


def test_a_scale_with_the_seed_of_what_it_extends(root: Path) -> None:
    edit(root, "scales/mini_seed2.yaml", "^seed: 2", "seed: 1")
    (one,) = {(each.id, each.scale, line_of(root, each)) for each in found(root)}
    assert one == ("spec", "mini_seed2", "seed: 1")


def test_two_steps_of_a_ramp_with_one_batch(root: Path) -> None:
    edit(root, "kimi_vl/text_pretrain.yaml", r"\{after: 200B, batch: \d+ seq\}", "{after: 200B, batch: 2048 seq}")
    with pytest.raises(
        SpecError, match=r"text_pretrain.yaml:\d+: phases\.0\.batch\.1\.batch: found 2048 seq, as before"
    ):
        Project.load(root).resolve("kimi_vl", "paper")


def test_a_single_loop_whose_exits_are_weighed(root: Path) -> None:
    edit(root, "ouro/midtrain_1_4b.yaml", "loops: {count: 4, beta: 0.05}", "loops: {count: 1, beta: 0.05}")
    with pytest.raises(SpecError, match=r"midtrain_1_4b.yaml:\d+: phases\.0\.loops: found count: 1 with beta: 0\.05"):
        Project.load(root).resolve("ouro", "paper")
    edit(root, "ouro/midtrain_1_4b.yaml", "loops: {count: 1, beta: 0.05}", "loops: {count: 1, beta: 0}")
    Project.load(root).resolve("ouro", "paper")


# ------------------------------------------------------------------ names of releases


@pytest.mark.parametrize("name", ["llama31_8b_instruct", "meta_llama31_8b_base", "qwen", "llama31_8b"])
def test_another_release_of_a_model_has_another_name(root: Path, name: str) -> None:
    edit(root, "llama31_1m/base.yaml", "^release: llama31_8b", f"release: {name}")
    edit(root, "releases/llama31_8b.yaml", "^release: llama31_8b", f"release: {name}")
    (root / "specs/releases/llama31_8b.yaml").rename(root / f"specs/releases/{name}.yaml")
    assert found(root) == []


@pytest.mark.parametrize("name", ["llama31_8b", "siglip"])
def test_a_release_without_a_file_is_one_of_unknown_weights(root: Path, name: str) -> None:
    (root / f"specs/releases/{name}.yaml").unlink()
    (finding,) = found(root)
    assert (finding.id, finding.scale) == ("S-12", "paper"), "elsewhere a stand-in is trained"
    assert finding.observed == f"release {name!r}, and no specs/releases/{name}.yaml"
    assert name in line_of(root, finding)


@pytest.mark.parametrize("name", ["llama31_8", "llama3_8b", "lama31_8b", "llama31_b8", "llama_31_8b"])
def test_a_release_whose_name_is_almost_its_models(root: Path, name: str) -> None:
    edit(root, "llama31_1m/base.yaml", "^release: llama31_8b", f"release: {name}")
    assert {(each.id, line_of(root, each)) for each in found(root)} == {("S-12", f"release: {name}")}


def test_a_module_that_no_release_has_is_drawn_anew(root: Path) -> None:
    edit(root, "kimi_vl/vit_coca.yaml", "decoder: fresh", "decoder: {release: siglip}")
    finding = next(one for one in found(root) if one.id == "S-12")
    assert finding.observed == "decoder of release 'siglip', a caption_decoder"
    assert finding.at == ("init.weights.decoder",)
