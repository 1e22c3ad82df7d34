"""`stages diff` of ten pull requests as teams make them: one screen each, which says what a reviewer has to know."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stages.commands.diff import between
from stages.diff import edit_lines, effects, render, screen
from stages.diff.fields import Field
from stages.diff.scalar_edits import Edit
from stages.diff.semantic import StageChange
from stages.errors import Where
from tests import edits, shipped
from tests.edits import substituted
from tests.unit.spec.small_project import edit

Change = Callable[[Path], None]


def edited(*each: tuple[str, str, str]) -> Change:
    def change(root: Path) -> None:
        for one in each:
            edit(root, *one)

    return change


def every(name: str, old: str, new: str) -> Change:
    """In all files of a pipeline that hold the text, of which there are some."""

    def change(root: Path) -> None:
        holding = [path for path in (root / "specs").glob(name) if old in path.read_text()]
        assert holding, old
        for path in holding:
            edits.edit(path, old, new, everywhere=True)

    return change


def fewer(root: Path) -> None:
    """The middle one of three long-context stages is left out."""
    edit(root, "llama31_1m/cpt_1m.yaml", "from: cpt_512k", "from: cpt_256k")
    edit(root, "llama31_1m/pipeline.yaml", "cpt_256k, cpt_512k, cpt_1m, sft_32k", "cpt_256k, cpt_1m, sft_32k")
    edit(root, "llama31_1m_seed001/pipeline.yaml", "cpt_256k, cpt_512k, cpt_1m", "cpt_256k, cpt_1m")
    (root / "specs/llama31_1m/cpt_512k.yaml").unlink()


def another_name(root: Path) -> None:
    """A stage, its references and those of the variant that has it too are renamed."""
    for pipeline, before, after in (("llama31_1m", "sft_32k", "sft_1m"), ("llama31_1m_seed001", "sft_1m", "sft_32k")):
        folder = root / "specs" / pipeline
        (folder / "sft_256k.yaml").rename(folder / "sft_mid.yaml")
        edits.edit(folder / "sft_mid.yaml", "stage: sft_256k", "stage: sft_mid")
        edits.edit(folder / f"{after}.yaml", "from: sft_256k", "from: sft_mid")
        edits.edit(folder / "pipeline.yaml", f"{before}, sft_256k, ", f"{before}, sft_mid, ")


def new_pipeline(root: Path) -> None:
    """A copy of a pipeline under a name of its own, with another rate of its first fine-tuning."""
    shutil.copytree(root / "specs/llama31_1m", root / "specs/mine")
    edit(root, "mine/pipeline.yaml", "pipeline: llama31_1m", "pipeline: mine")
    edit(root, "mine/pipeline.yaml", "to: 2e-5, for: 50M", "to: 1e-5, for: 50M")
    for path in (root / "specs/scales").glob("*.yaml"):
        text = path.read_text()
        if "\n  llama31_1m:\n" in text:
            begin = text.index("\n  llama31_1m:\n") + 1
            lines = text[begin:].splitlines(keepends=True)
            end = next(number for number, line in enumerate(lines[1:], 1) if not line.startswith("    "))
            path.write_text(text[:begin] + "  mine:\n" + "".join(lines[1:end]) + text[begin:])


LONGER = edited(
    ("ouro/longct_1_4b.yaml", "budget: 20B", "budget: 40B"),
    ("ouro/longct_2_6b.yaml", "budget: 20B", "budget: 40B"),
    ("ouro/pipeline.yaml", "{shape: constant, for: 20B}", "{shape: constant, for: 40B}"),
    ("ouro/pipeline.yaml", "1.4B branch is 7.72T, tokens: 7.72T", "1.4B branch is 7.74T, tokens: 7.74T"),
)
PULL_REQUESTS: dict[str, tuple[Change, list[str]]] = {
    "another peak": (
        edited(("llama31_1m/pipeline.yaml", "to: 1e-5, for: 25M", "to: 5e-6, for: 25M")),
        ["peak 1e-5 → 5e-6", "from the first step on"],
    ),
    "a long-context stage of both branches twice as long": (
        LONGER,
        ["budget 20B → 40B (+100%)", "ouro/longct_1_4b, longct_2_6b", "clock begins at 1.42T → 1.44T"],
    ),
    "another micro-batch everywhere": (
        every("ouro/*.yaml", "micro_batch: 1 seq", "micro_batch: 2 seq"),
        ["micro_batch: 1 seq → 2 seq (and in 9 more places)", "phases.main.micro_batch 1 seq → 2 seq"],
    ),
    "a rotary base": (
        edited(("kimi_vl/joint_longctx.yaml", "base: 800_000", "base: 1_000_000")),
        ["RoPE 800K → 1M", "RoPE: changed in"],
    ),
    "a mixture": (
        edited(
            ("data/mixtures.yaml", "{corpus: kimi_alt_text, share: 40%", "{corpus: kimi_alt_text, share: 45%"),
            (
                "data/mixtures.yaml",
                "{corpus: kimi_grounding_boxes, share: 10%",
                "{corpus: kimi_grounding_boxes, share: 5%",
            ),
        ),
        ["sources.kimi_alt_text.share: 40% → 45%", "phases.main.kimi_alt_text.share 40% → 45%", "stale downstream"],
    ),
    "a new pipeline": (
        new_pipeline,
        [
            "specs/mine  9 files new",
            "pipelines.mine: 15 values new",
            "the same work under another name, nothing is run (4):",
            "mine/base = llama31_1m/base, cpt_256k = llama31_1m/cpt_256k",
            "added (4):",
            "mine/sft_32k, sft_256k, sft_1m, instruct",
            "to be run again: 4 stages",
        ],
    ),
    "a stage is dropped": (
        fewer,
        [
            "removed (1):",
            "llama31_1m/cpt_512k",
            "specs/llama31_1m/cpt_512k.yaml  removed",
            "stages: -cpt_512k",
            "22.19T, -0.0135%",
        ],
    ),
    "a stage has another name": (
        another_name,
        [
            "the same work under another name, nothing is run (2):",
            "llama31_1m/sft_256k → sft_mid, llama31_1m_seed001/sft_256k → sft_mid",
            "to be run again: 0 stages, 0 GPU-hours; 54 stay as they are",
        ],
    ),
    "the optimizer of all stages": (
        edited(
            (
                "ouro/pipeline.yaml",
                "beta2: 0.95\n    eps: 1e-8\n    weight_decay: 0.1",
                "beta2: 0.98\n    eps: 1e-8\n    weight_decay: 0.05",
            )
        ),
        ["optimizers.adamw.beta2: 0.95 → 0.98", "optimizer.beta2 0.95 → 0.98", "and 5 more"],
    ),
    "how it is run": (
        every("kimi_vl/*.yaml", "keep_partials: 2", "keep_partials: 3"),
        ["how it is run and not what is computed", "(and in 5 more places)", "no semantic change"],
    ),
    "a guess where a paper was named, and a wider waiver": (
        edited(
            ("kimi_vl/joint_pretrain.yaml", "found: 1e-4 -> 4.2e-5", "found: 2e-4 -> 4.2e-5"),
            (
                "kimi_vl/joint_pretrain.yaml",
                "[rope], mark: published, citation: Moonlight-16B-A3B config.json",
                "[rope], mark: assumed, reason: a guess",
            ),
        ),
        [
            "widened specs/kimi_vl/joint_pretrain.yaml:34  I-28: 1e-4 -> 4.2e-5 → 2e-4 -> 4.2e-5, at vit_align -> vit",
            "published → assumed  specs/kimi_vl/joint_pretrain.yaml  rope.base",
        ],
    ),
}


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy(tmp_path_factory.mktemp("before"))


def copy(folder: Path) -> Path:
    """The shipped specs, all of whose pipelines are at full size."""
    paper = shipped.copy(folder) / "specs/scales/paper.yaml"
    paper.write_text(substituted(paper.read_text(), r"^pipelines: .*", "pipelines: identity"))
    return folder


@pytest.mark.parametrize("name", PULL_REQUESTS)
def test_a_pull_request_is_one_screen(before: Path, tmp_path: Path, name: str) -> None:
    change, told = PULL_REQUESTS[name]
    change(copy(tmp_path))
    found = between(("main", before), ("branch", tmp_path), "paper", None)
    text = screen.text(found)
    lines = text.splitlines()
    assert len(lines) <= screen.LINES, text
    assert max(map(len, lines)) <= screen.WIDTH, text
    assert [one for one in told if one not in text] == [], text
    assert not {one.old for one in found.shared} & {*found.removed}, "what has another name is not gone"
    assert render.markdown(found).startswith("### `stages diff` main → branch")


def test_everything_at_once_is_one_screen(before: Path, tmp_path: Path) -> None:
    """As between two releases of the project: every section has more to say than there is room for."""
    copy(tmp_path)
    fewer(tmp_path)
    for name in ("a long-context stage of both branches twice as long", "another micro-batch everywhere",
                 "a rotary base", "a mixture", "the optimizer of all stages", "how it is run",
                 "a guess where a paper was named, and a wider waiver"):  # fmt: skip
        PULL_REQUESTS[name][0](tmp_path)
    for scale in ("mini", "small"):
        every(f"scales/{scale}.yaml", "seed: 1", "seed: 5")(tmp_path)
    every("*/*.yaml", "mark: assumed", "mark: derived")(tmp_path)
    text = screen.text(between(("main", before), ("branch", tmp_path), "paper", None))
    assert len(text.splitlines()) <= screen.LINES, text
    assert max(map(len, text.splitlines())) <= screen.WIDTH
    for section in (
        "edited:",
        "edited, not read at paper:",
        "waivers:",
        "sources:",
        "changes (",
        "removed (1):",
        "stale",
    ):
        assert f"\n{section}" in text, text


def test_digests_are_shown_by_their_first_digits() -> None:
    one, other = "b37ad6562c85" + "0" * 52, "666f22f1a339" + "0" * 52
    assert effects.brief(f"tokenizer {one} → {other}") == "tokenizer b37ad6562c85 → 666f22f1a339"
    assert effects.brief("100000000000 tokens of deadbeef") == "100000000000 tokens of deadbeef"


@pytest.mark.parametrize(
    ("key", "old", "new", "said"),
    [
        ("train", "llm, vit", "llm", "-vit"),
        ("frozen", "", "vit", "+vit"),
        ("corpora", "prose, code, math", "prose, math", "-code"),
        ("corpora", "prose, code, math", "prose, math, code", "code, math → math, code"),
        ("path", "a.jsonl", "a.jsonl, b.jsonl", "+b.jsonl"),
        ("heldout", "46", "47", "46 → 47"),
        ("batch", "64 seq", "32 seq", "64 seq → 32 seq"),
        ("evaluate", None, "loss, needle", "added loss, needle"),
        ("evaluate", "loss, needle", None, "removed (was loss, needle)"),
    ],
)
def test_of_a_list_what_came_went_or_moved_is_told(key: str, old: str | None, new: str | None, said: str) -> None:
    assert edit_lines.pair(Edit(Where("specs/a/b.yaml", 1), f"x.{key}", old, new, "computed")) == said


def test_a_list_of_names_is_one_edit(before: Path, tmp_path: Path) -> None:
    edit(copy(tmp_path), "data/tokenizer.yaml", "[prose, code, math, captions]", "[code, math, captions]")
    (found,) = between(("main", before), ("branch", tmp_path), "mini", None).edits
    assert (found.key, found.old, found.new) == ("corpora", "prose, code, math, captions", "code, math, captions")


def test_values_of_a_phase_that_go_are_told_with_what_they_are_of(before: Path, tmp_path: Path) -> None:
    ramp = "[{after: 0, batch: 2048 seq}, {after: 200B, batch: 4096 seq}]"
    edit(copy(tmp_path), "kimi_vl/text_pretrain.yaml", ramp, "4096 seq")
    text = screen.text(between(("main", before), ("branch", tmp_path), "paper", None))
    assert (
        "phases.main.batch: added 4096 seq\n  specs/kimi_vl/text_pretrain.yaml:21  phases.main.batch: 4 values" in text
    )


def test_of_a_kind_that_is_longer_than_the_screen_what_fits_is_shown() -> None:
    fields = tuple(Field(f"f{number}", "1", "2") for number in range(9))
    one = StageChange("p/s", ("a", "b"), fields, None, None, (1, 1), (1, 1), (0, 0), (1.0, 2.0))
    other = replace(one, ref="p/t", fields=fields[1:])
    found: Any = SimpleNamespace(changed=(one, other), hours="GPU-hours")
    assert screen._changes(found, 7) == [
        "", "changes (2, in 2 ways):", "  p/s", "      f0 1 → 2", "      f1 1 → 2",
        "      and 4 more lines (--json has them)",
        "  and 1 more stage, in 1 more way (--json has them)",
    ]  # fmt: skip
    assert len(screen._changes(found, 40)) == 16


def test_names_leave_place_for_how_many_more_there_are() -> None:
    names = [f"stage_{number:02}" for number in range(60)]
    (line,) = screen._limited(screen._wrapped(names), 1)
    shown = line.count("stage_")
    assert len(line) <= screen.WIDTH
    assert line.endswith(f"stage_{shown - 1:02} and {60 - shown} more")
