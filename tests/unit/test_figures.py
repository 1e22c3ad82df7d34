"""The specs, the rules and dvc.yaml, held against the three published figures, whose edges are written here by hand.

Figures: MoBA report (arXiv 2502.13189) Fig. 6; Kimi-VL report (arXiv 2504.07491), pre-training stages; Ouro (arXiv
2510.25741) Fig. 4. Boxes are named by the figures' own words, stages by their files.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
import yaml

from stages.spec.project import Project

ROOT = Path(__file__).parents[2]

LLAMA31_1M = [
    ("LLama3.1 8B", "256K Continue Pretrain"),
    ("256K Continue Pretrain", "512K Continue Pretrain"),
    ("512K Continue Pretrain", "1M Continue Pretrain"),
    ("1M Continue Pretrain", "32K SFT"),
    ("32K SFT", "256K SFT"),
    ("256K SFT", "1M SFT"),
    ("1M SFT", "Instruct Model"),
]
KIMI_VL = [
    ("Text Pre-training", "Joint Pre-training"),
    ("ViT Training", "Joint Pre-training"),
    ("Joint Pre-training", "Joint Cooldown"),
    ("Joint Cooldown", "Joint Long-context"),
]
# The one named difference: the box "ViT Training 2.0T -> 0.1T" is two rules, because aligning needs the language
# model (as a frozen input) while CoCa training runs beside text pre-training.
KIMI_VL_DIFFERENCE = [("Text Pre-training", "ViT Training")]
KIMI_VL_TWO_RULES = {"vit_coca", "vit_align"}


def ouro_branch(size: str, start: str) -> list[tuple[str, str]]:
    """One branch of Ouro's figure; boxes that the figure draws once per branch carry the branch's size."""
    chain = ["Stable Training II", "CT Annealing", "LongCT", "Mid-Training"]
    boxes = [
        start,
        *(f"{box} ({size})" for box in chain),
        f"Ouro-{size}",
        f"Reasoning SFT ({size})",
        f"Ouro-{size}-Thinking",
    ]
    return list(itertools.pairwise(boxes))


OURO = [
    ("Warmup", "Stable Training I"),
    ("Stable Training I", "Keep 1.4B"),
    ("Stable Training I", "Upcycle 2.6B"),
    *ouro_branch("1.4B", "Keep 1.4B"),
    *ouro_branch("2.6B", "Upcycle 2.6B"),
]

BOX_OF = {
    "llama31_1m": {
        "base": "LLama3.1 8B",
        "cpt_256k": "256K Continue Pretrain",
        "cpt_512k": "512K Continue Pretrain",
        "cpt_1m": "1M Continue Pretrain",
        "sft_32k": "32K SFT",
        "sft_256k": "256K SFT",
        "sft_1m": "1M SFT",
        "instruct": "Instruct Model",
    },
    "kimi_vl": {
        "text_pretrain": "Text Pre-training",
        "vit_coca": "ViT Training",
        "vit_align": "ViT Training",
        "joint_pretrain": "Joint Pre-training",
        "joint_cooldown": "Joint Cooldown",
        "joint_longctx": "Joint Long-context",
    },
    "ouro": {
        "warmup": "Warmup",
        "stable_1": "Stable Training I",
        "keep_1_4b": "Keep 1.4B",
        "upcycle_2_6b": "Upcycle 2.6B",
    }
    | {
        f"{stage}_{size.lower().replace('.', '_')}": box.format(size)
        for size in ("1.4B", "2.6B")
        for stage, box in {
            "stable_2": "Stable Training II ({})",
            "ct_anneal": "CT Annealing ({})",
            "longct": "LongCT ({})",
            "midtrain": "Mid-Training ({})",
            "ouro": "Ouro-{}",
            "reasoning_sft": "Reasoning SFT ({})",
            "thinking": "Ouro-{}-Thinking",
        }.items()
    },
}
FIGURES = {"llama31_1m": LLAMA31_1M, "kimi_vl": KIMI_VL + KIMI_VL_DIFFERENCE, "ouro": OURO}
SCALES = ("paper", "small", "mini")


@pytest.fixture(scope="module")
def project() -> Project:
    return Project.load(ROOT)


def by_box(pipeline: str, edges: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Edges between stages as edges between boxes; the edge inside the ViT box disappears."""
    boxes = BOX_OF[pipeline]
    named = {(boxes[parent], boxes[child]) for parent, child in edges}
    return {(parent, child) for parent, child in named if parent != child}


def local(edges: set[tuple[str, str]], pipeline: str) -> set[tuple[str, str]]:
    """ "pipeline/stage" edges of one pipeline as edges between its stages."""
    split = [(parent.split("/"), child.split("/")) for parent, child in edges]
    return {(parent[1], child[1]) for parent, child in split if child[0] == parent[0] == pipeline}


def resolved_edges(project: Project, pipeline: str, scale: str) -> set[tuple[str, str]]:
    return {(edge.parent, edge.child) for edge in project.resolve(pipeline, scale).edges}


def test_the_vit_box_is_the_only_one_with_two_rules() -> None:
    for boxes in BOX_OF.values():
        doubled = {stage for stage, box in boxes.items() if list(boxes.values()).count(box) > 1}
        assert doubled in (set(), KIMI_VL_TWO_RULES)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("pipeline", FIGURES)
def test_the_specs_have_the_figures_edges(project: Project, pipeline: str, scale: str) -> None:
    edges = local(resolved_edges(project, pipeline, scale), pipeline)
    assert by_box(pipeline, edges) == set(FIGURES[pipeline])
    assert set(project.resolve(pipeline, scale).stages) == set(BOX_OF[pipeline])


@pytest.mark.parametrize("pipeline", FIGURES)
def test_both_rules_of_the_vit_box_and_the_frozen_language_model(project: Project, pipeline: str) -> None:
    edges = local(resolved_edges(project, pipeline, "paper"), pipeline)
    inside = {(parent, child) for parent, child in edges if {parent, child} <= KIMI_VL_TWO_RULES}
    assert inside == ({("vit_coca", "vit_align")} if pipeline == "kimi_vl" else set())
    if pipeline == "kimi_vl":
        assert ("text_pretrain", "vit_align") in edges
        assert "llm" not in project.resolve(pipeline, "paper").stages["vit_align"].trained


VARIANTS = {
    # Caption 001 reads the bottom row from left to right and enters it from 1M Continue Pretrain.
    "llama31_1m_seed001": {
        ("llama31_1m/cpt_1m", "llama31_1m_seed001/sft_1m"),
        ("llama31_1m_seed001/sft_1m", "llama31_1m_seed001/sft_256k"),
        ("llama31_1m_seed001/sft_256k", "llama31_1m_seed001/sft_32k"),
        ("llama31_1m_seed001/sft_32k", "llama31_1m_seed001/instruct"),
    },
    # Caption 004 has Joint Cooldown resume the scheduler: other schedules, the same boxes and arrows.
    "kimi_vl_seed004": {
        ("kimi_vl/joint_pretrain", "kimi_vl_seed004/joint_cooldown"),
        ("kimi_vl_seed004/joint_cooldown", "kimi_vl_seed004/joint_longctx"),
    },
    # Caption 003 drops the first Stable Training box: both branches leave straight from Warmup.
    "ouro_seed003": {
        ("ouro/warmup", "ouro_seed003/keep_1_4b"),
        ("ouro/warmup", "ouro_seed003/upcycle_2_6b"),
        *(
            (f"ouro_seed003/{parent}", f"ouro_seed003/{child}")
            for size, start in (("1_4b", "keep_1_4b"), ("2_6b", "upcycle_2_6b"))
            for parent, child in (
                (start, f"stable_2_{size}"),
                (f"stable_2_{size}", f"ct_anneal_{size}"),
                (f"ct_anneal_{size}", f"longct_{size}"),
                (f"longct_{size}", f"midtrain_{size}"),
                (f"midtrain_{size}", f"ouro_{size}"),
                (f"ouro_{size}", f"reasoning_sft_{size}"),
                (f"reasoning_sft_{size}", f"thinking_{size}"),
            )
        ),
    },
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_has_rules_for_what_its_caption_changes_and_no_more(project: Project, variant: str) -> None:
    resolved = project.resolve(variant, "mini")
    own = {f"{variant}/{stage}" for stage in resolved.own}
    assert {(edge.parent, edge.child) for edge in resolved.edges if edge.child in own} == VARIANTS[variant]
    assert own == {child for _, child in VARIANTS[variant]}


def budget(project: Project, pipeline: str, *stages: str) -> int:
    resolved = project.resolve(pipeline, "paper")
    return sum(phase.budget for stage in stages for phase in resolved.stages[stage].phases)


TRILLION = 10**12


def test_kimi_vl_totals(project: Project) -> None:
    assert budget(project, "kimi_vl", "text_pretrain") == 5_200_000_000_000
    rest = [stage for stage in BOX_OF["kimi_vl"] if stage != "text_pretrain"]
    assert budget(project, "kimi_vl", *rest) == 4_400_000_000_000


@pytest.mark.parametrize("size", ["1_4b", "2_6b"])
def test_ouro_totals(project: Project, size: str) -> None:
    branch = [f"{stage}_{size}" for stage in ("stable_2", "ct_anneal", "longct", "midtrain")]
    assert budget(project, "ouro", "warmup", "stable_1") == 3 * TRILLION
    assert budget(project, "ouro", "warmup", "stable_1", *branch) == 7_720_000_000_000
    assert budget(project, "ouro_seed003", *branch) == 4_720_000_000_000  # caption 003 gives the warm-up no tokens


def test_llama_contexts(project: Project) -> None:
    stages = project.resolve("llama31_1m", "paper").stages
    lengths = {name: stage.phases[0].context for name, stage in stages.items() if stage.phases}
    mebi = 1024 * 1024
    assert lengths == {
        "cpt_256k": mebi // 4, "cpt_512k": mebi // 2, "cpt_1m": mebi,
        "sft_32k": mebi // 32, "sft_256k": mebi // 4, "sft_1m": mebi,
    }  # fmt: skip


def rule_edges(pipeline: str) -> set[tuple[str, str]]:
    """Edges between stages as rules/<pipeline>.smk states them, read as text: what a rule asks to be done."""
    text = (ROOT / "rules" / f"{pipeline}.smk").read_text(encoding="utf-8")
    rules = re.findall(rf"^use rule stage as {pipeline}__(\w+) with:\n(.*?)(?=^\S|\Z)", text, re.M | re.S)
    assert {name for name, _ in rules} == set(BOX_OF[pipeline])
    return {(parent, name) for name, body in rules for parent in re.findall(rf'done\("{pipeline}/(\w+)", "', body)}


@pytest.mark.parametrize("pipeline", FIGURES)
def test_the_rules_have_the_figures_edges(pipeline: str) -> None:
    assert by_box(pipeline, rule_edges(pipeline)) == set(FIGURES[pipeline])


@pytest.mark.parametrize("pipeline", FIGURES)
def test_dvc_has_the_figures_edges(pipeline: str) -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    boxes = {name.split("__", 1)[1]: stage for name, stage in stages.items() if name.startswith(f"{pipeline}__")}
    assert set(boxes) == set(BOX_OF[pipeline])
    edges = {
        (found[1], name)
        for name, stage in boxes.items()
        for dependency in stage.get("deps", [])
        if (found := re.fullmatch(rf"results/mini/{pipeline}/(\w+)/manifest.json", dependency))
    }
    assert by_box(pipeline, edges) == set(FIGURES[pipeline])
