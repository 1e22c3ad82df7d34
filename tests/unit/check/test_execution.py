"""Memory, ranks, time and engine of a stage, as `stages check` sees them: figures, lines, and what is left alone."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from stages.check.findings import SPEC, Finding, unwaived
from stages.check.gate import Gate
from stages.check.notices.run import planned_only, shortened, unread
from stages.check.rules.execution import _host
from stages.check.run import run, run_all
from stages.commands.check import run_checks
from stages.commands.emit import print_script
from stages.contract import hardware
from stages.errors import UserError
from stages.spec.project import Project
from stages.sync import graph

ROOT = Path(__file__).parents[3]
EXECUTION = frozenset({"I-42", "I-43", "I-44", "I-45"})
ON_ONE_NODE = r"nodes: 16, ranks: 128((?:.|\n)*?)cp: 16", r"nodes: 1, ranks: 8\1cp: 1"  # rows of a million positions


def edit(root: Path, file: str, old: str, new: str) -> int:
    """Replaces the first match of a regular expression; the line at which it stood, counted from 1."""
    path = root / "specs" / file
    text = path.read_text()
    match = re.search(old, text, re.MULTILINE)
    assert match is not None
    path.write_text(text[: match.start()] + match.expand(new) + text[match.end() :])
    return text[: match.start()].count("\n") + 1


def found(root: Path, scale: str) -> list[Finding]:
    return unwaived(run(Project.load(root), scale, EXECUTION))


def test_what_does_not_fit_is_told_with_its_size_at_the_line_of_its_ranks(root: Path) -> None:
    line = edit(root, "llama31_1m/cpt_1m.yaml", *ON_ONE_NODE)
    (finding,) = found(root, "paper")
    assert (finding.id, finding.stage) == ("I-42", "llama31_1m/cpt_1m")
    assert re.fullmatch(r"\d+ GB a device, with ranks: 8", finding.observed)
    assert finding.expected == "at most the 80 GB of h100"
    assert finding.where is not None
    assert (finding.where.file, finding.where.line) == ("specs/llama31_1m/cpt_1m.yaml", line)


def test_stages_that_are_evaluated_on_shorter_rows_than_their_own_are_a_notice(root: Path) -> None:
    assert list(shortened(Project.load(root), "paper")) == []
    edit(root, "scales/paper.yaml", "{samples: 1024}", "{samples: 1024, context: 128Ki}")
    (notice,) = shortened(Project.load(root), "paper")
    assert notice.startswith(
        "paper: evaluated on rows of 131,072 tokens (`evaluation.context`), and not on their own: "
    )
    assert "llama31_1m/sft_1m" in notice
    assert notice.endswith(
        " The loss beyond the old context, and its gate, is not there for llama31_1m/cpt_256k, llama31_1m/cpt_512k, "
        "llama31_1m/cpt_1m."
    )
    assert list(shortened(Project.load(root), "mini")) == []
    edit(root, "scales/paper.yaml", "context: 128Ki}", "context: 512Ki}")
    (notice,) = shortened(Project.load(root), "paper")
    assert notice.endswith(" is not there for llama31_1m/cpt_1m.")
    edit(root, "scales/paper.yaml", "context: 512Ki}", "context: 1Mi}")
    assert list(shortened(Project.load(root), "paper")) == []


def test_what_a_scale_says_of_every_stage_is_told_at_the_scales_line(root: Path) -> None:
    line = edit(root, "scales/mini.yaml", "memory: 1.5 GB", "memory: 0.4 GB")
    places = {str(one.where) for one in found(root, "mini")}
    assert places == {f"specs/scales/mini.yaml:{line}"}


def test_several_ranks_of_a_cpu_need_the_memory_of_each(root: Path) -> None:
    edit(root, "scales/mini.yaml", "    min_piece: 2 steps", r"\g<0>\n    execution: {ranks: 4}")
    first, *_ = found(root, "mini")
    assert (first.id, first.observed) == ("I-42", "1,500 MB a node")


def test_ranks_that_share_a_sequence_have_work(root: Path) -> None:
    """Context parallelism: 4 sequences on 128 GPUs, 32 GPUs for each."""
    project = Project.load(root)
    stage = project.resolve("llama31_1m", "paper").stages["sft_1m"]
    assert (stage.phases[0].batch[0].sequences, stage.execution.ranks) == (4, 128)
    assert run(project, "paper", ["I-43"]) == []


@pytest.mark.parametrize(("batch", "told"), [("16 seq", False), ("4 seq", True)])
def test_ranks_do_not_share_a_sequence_in_pieces_of_a_few_positions(root: Path, batch: str, told: bool) -> None:
    """256 GPUs, rows of 8,192: a batch without its last digits."""
    edit(root, "kimi_vl/vit_coca.yaml", "batch: 1024 seq", f"batch: {batch}")
    assert [one.observed for one in found(root, "paper") if one.id == "I-43"] == [
        "4 sequences a step in micro-batches of 4, for 256 ranks"
    ] * told


def test_ranks_of_cpus_do_not_share_a_sequence(root: Path) -> None:
    edit(root, "scales/mini.yaml", "memory: 1.5 GB", "memory: 60 GB")
    edit(root, "scales/mini.yaml", "    min_piece: 2 steps", r"\g<0>\n    execution: {ranks: 64}")
    (*_, last) = [one for one in found(root, "mini") if one.id == "I-43"]
    assert last.observed.endswith("for 64 ranks")
    assert last.repair == "Lower `micro_batch` or the number of ranks."


def test_a_short_stage_needs_no_checkpoint_of_its_own(root: Path) -> None:
    project = Project.load(root)
    short = project.resolve("llama31_1m", "mini").stages["sft_1m"]
    assert short.execution.checkpoint_every > 40
    assert run(project, "mini", ["I-44"]) == []


def test_a_project_without_profiles_of_machines_is_not_priced_and_is_told_so(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(root / "specs/hardware")
    edit(root, "llama31_1m/cpt_1m.yaml", *ON_ONE_NODE)
    assert found(root, "paper") == []
    monkeypatch.chdir(root)
    assert run_checks("paper", as_json=False) == 0
    said = capsys.readouterr().out
    assert "notice: paper: specs/hardware/h100.yaml is not there, so whether stages fit memory" in said
    assert run_checks("mini", as_json=True) == 0
    out, err = capsys.readouterr()
    assert "notice: mini: specs/hardware/laptop_cpu.yaml is not there" in err
    assert [one["id"] for one in json.loads(out) if one["waived"] is None] == []


def test_a_disk_that_is_too_small_for_the_pipelines_results_is_a_finding(root: Path) -> None:
    edit(root, "hardware/h100.yaml", r"disk: \S+ GB", "disk: 100 GB")
    by_pipeline = {one.stage: one for one in found(root, "paper")}
    assert {one.id for one in by_pipeline.values()} == {"I-42"}
    assert {"kimi_vl", "llama31_1m", "ouro", "ouro_seed003"} <= set(by_pipeline)
    one = by_pipeline["llama31_1m"]
    assert (one.at, one.expected) == (("stages",), "at most the 100 GB of disk of h100")
    assert re.fullmatch(r"[\d,]+ GB of results and checkpoints", one.observed)


def test_long_times_and_large_sizes_are_written_out(root: Path) -> None:
    edit(root, "kimi_vl/text_pretrain.yaml", "checkpoint_every: 1000 steps", "checkpoint_every: 100000 steps")
    edit(root, "kimi_vl/text_pretrain.yaml", "time_limit: 2880 min", "time_limit: 10 min")
    text = " ".join(str(one) for one in found(root, "paper"))
    assert re.search(r"more than the \d,\d\d\d min to the next checkpoint", text)
    assert "e+" not in text


def test_several_gpus_that_each_hold_the_model_are_no_finding(root: Path) -> None:
    edit(root, "scales/small.yaml", "^  kimi_vl:", r"\g<0>\n    execution: {ranks: 4}")
    assert Project.load(root).resolve("kimi_vl", "small").stages["text_pretrain"].execution.ranks == 4
    assert {one.id for one in found(root, "small")} <= {"I-43"}, "batches of this scale may be too small for so many"
    assert planned_only(Project.load(root), "small") == []


def test_ranks_of_gpus_do_not_share_a_sequence_of_a_local_corpus(root: Path) -> None:
    """Context parallelism is planned at full size; the torch engine has none."""
    edit(root, "scales/small.yaml", "^  llama31_1m:", r"\g<0>\n    execution: {ranks: 128, nodes: 16}")
    findings = [one for one in found(root, "small") if one.id == "I-43"]
    assert "8 sequences a step in micro-batches of 8, for 128 ranks" in {one.observed for one in findings}


def test_a_model_that_gpus_would_have_to_divide_is_a_finding_at_its_ranks(root: Path) -> None:
    large = "{layers: 40, hidden: 6144, ffn: 24_576, heads: 96, kv_heads: 2, head_dim: 64}"
    line = edit(root, "scales/small.yaml", "{layers: 12, hidden: 640, .*kv_heads: 2, .*}", large)
    line += edit(root, "scales/small.yaml", large, r"\g<0>\n    execution: {ranks: 4, memory: 900 GB}") - line + 1
    of_engine = [one for one in found(root, "small") if one.id == "I-45"]
    assert {str(one.where) for one in of_engine} == {f"specs/scales/small.yaml:{line}"}
    assert {(one.observed, one.expected) for one in of_engine} == {
        ("weights and gradients to be divided over 4 ranks", "what fits whole on each h100, by plan")
    }


def test_published_corpora_are_a_notice(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(root)
    assert run_checks("paper", as_json=False) == 0
    assert "notice: paper: 40 stages read published corpora: they are planned" in capsys.readouterr().out
    assert planned_only(Project.load(root), "mini") == []


def test_models_that_the_torch_engine_would_have_to_divide_are_told_in_the_notice(root: Path) -> None:
    edit(root, "scales/paper.yaml", r"engine: nemo\nengine_class: nemo-bf16\ntorch_class: torch-bf16",
         r"engine: torch\nengine_class: torch-bf16")  # fmt: skip
    edit(root, "scales/paper.yaml", r",\n +parallel: (?:.|\n)*?\}\}", "}")
    (notice,) = planned_only(Project.load(root), "paper")
    assert "40 stages read published corpora, and 5 of them are planned with models divided over" in notice


def test_what_no_engine_trains_is_refused_before_the_queue(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    with pytest.raises(UserError, match="ouro/warmup is not started: found published corpora"):
        print_script("ouro/warmup", "paper", None)
    project = Project.load(root)
    gate = Gate(project, "paper", graph.load(root, project, "paper").stages)
    with pytest.raises(UserError, match=r"llama31_1m/base is not started: found published corpora .*prolong_books"):
        gate.refuse("llama31_1m/base")  # which it is evaluated on
    with pytest.raises(UserError, match="planned and checked, and not run here"):
        gate.refuse("llama31_1m/cpt_256k")


def test_the_machine_that_scales_are_priced_on_has_their_device(root: Path) -> None:
    line = edit(root, "hardware/h100.yaml", "device: cuda", "device: cpu")
    (finding,) = [one for one in run_all(Project.load(root)) if one.id == SPEC]
    assert str(finding.where) == f"specs/hardware/h100.yaml:{line}"
    assert (finding.observed, finding.expected) == ("device: cpu", "cuda")


def unnamed(root: Path) -> set[str]:
    """Each file of a project and what of it nothing names; a person's own pipelines may be beside the shipped ones."""
    notices = [one.removesuffix(".").partition(" names ") for one in unread(Project.load(root))]
    return {f"{about} names {name}" for about, _, names in notices for name in names.split(", ")}


def test_a_mixture_that_no_phase_names_is_a_notice(root: Path) -> None:
    """Mixtures are shared: a project without one of the pipelines has those of the others."""
    before = unnamed(root)
    edit(root, "llama31_1m/sft_32k.yaml", "data: llama_sft_short", "data: llama_sft_long")
    assert unnamed(root) - before == {"specs/data/mixtures.yaml: no stage names llama_sft_short"}


def test_a_published_corpus_that_no_mixture_names_is_a_notice(root: Path) -> None:
    """It was lost from its mixture, whose shares were summed up again."""
    before = unnamed(root)
    edit(root, "data/mixtures.yaml", "      - {corpus: reasoning_science, share: 9.76%, group: text}\n", "")
    edit(root, "data/mixtures.yaml", "{corpus: reasoning_math, share: 42.30%", "{corpus: reasoning_math, share: 52.06%")
    assert unnamed(root) - before == {"specs/data/published.yaml: no mixture names reasoning_science"}


def test_evaluations_of_an_export_have_to_fit_whole_on_one_device(root: Path) -> None:
    """Its 8B parameters do; a row of a million positions beside them does not."""
    with (root / "specs/llama31_1m/instruct.yaml").open("a") as file:
        file.write("\nevaluate: [position_loss]\n")
    finding, *_ = found(root, "paper")
    assert (finding.id, finding.stage) == ("I-42", "llama31_1m/instruct")
    assert re.fullmatch(r"[0-9]{3} GB for evaluations, whole on one device", finding.observed)
    assert finding.expected == "at most the 80 GB of h100"
    assert str(finding.where).startswith("specs/llama31_1m/instruct.yaml:")
    edit(root, "scales/paper.yaml", "samples: 1024}", "samples: 1024, context: 8Ki}")
    assert found(root, "paper") == []


def test_evaluations_have_to_end_within_the_time_limit(root: Path) -> None:
    """Nothing is kept of one that is stopped."""
    line = edit(root, "ouro/upcycle_2_6b.yaml", "time_limit: 60 min", "time_limit: 2 min")
    finding, of_another_seed = found(root, "paper")
    assert (finding.id, finding.stage, finding.observed) == ("I-44", "ouro/upcycle_2_6b", "2 min")
    assert of_another_seed.stage == "ouro_seed003/upcycle_2_6b"
    assert finding.expected == "more than the 2.62 min that its evaluations take, by plan"
    assert finding.where is not None
    assert finding.where.line == line


@pytest.mark.parametrize("change", [{"extend": "mean"}, {"weights": "release"}])
def test_of_what_comes_in_a_node_needs_one_copy_whatever_the_engine(change: dict[str, str], root: Path) -> None:
    """Ranks of the NeMo engine read their own parts (tests/nemo/test_receiving.py); the first gathers the whole."""
    project = Project.load(root)
    stage, h100 = project.resolve("llama31_1m", "paper").stages["cpt_256k"], hardware.load(project.files, "h100")
    changed = {"llm": stage.init["llm"].model_copy(update=change)}
    small = stage.model_copy(update={"init": changed, "phases": ()})  # nothing is trained, or copied for a checkpoint
    assert _host(small, h100, 0) == 4 * 8_030_261_248
