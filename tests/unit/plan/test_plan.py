"""`stages plan`: published totals, the small project exactly, and errors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from inline_snapshot import snapshot

from stages.commands.plan import print_plan
from stages.contract import cost, hardware
from stages.contract.cost_phase import equal_length, operations
from stages.errors import SpecError, UsageError
from stages.plan.pipeline import PipelinePlan, plan_pipeline
from stages.spec.files import Files
from stages.spec.language_model import LanguageModel
from stages.spec.project import Project
from tests.edits import edit
from tests.unit.plan.conftest import ROOT
from tests.unit.spec import small_project

Price = Callable[..., PipelinePlan]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small project with the shipped hardware profiles."""
    small_project.write(tmp_path)
    shutil.copytree(ROOT / "specs" / "hardware", tmp_path / "specs" / "hardware")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def price(project: Project) -> Price:
    def run(pipeline: str, scale: str = "paper", device: str = "h100") -> PipelinePlan:
        return plan_pipeline(project, pipeline, scale, hardware.load(project.files, device))

    return run


@pytest.mark.parametrize(
    ("pipeline", "totals"),
    [
        ("ouro", [3_000_000_000_000, *[7_720_000_000_000] * 4]),
        ("kimi_vl", [5_200_000_000_000, 4_400_000_000_000, 2_100_000_000_000, 2_300_000_000_000]),
    ],
)
def test_published_totals_are_met(price: Price, pipeline: str, totals: list[int]) -> None:
    claims = price(pipeline).claims
    assert [claim.planned for claim in claims] == totals
    assert all(claim.met for claim in claims)


def test_totals_are_published_of_the_full_size_alone(price: Price) -> None:
    assert price("ouro").claims
    assert price("ouro", "mini", "laptop_cpu").claims == ()


def test_every_pipeline_fits_the_devices_it_is_for(price: Price) -> None:
    for pipeline, scale, device in [
        *((name, "paper", "h100") for name in ("llama31_1m", "kimi_vl", "ouro")),
        *((name, "mini", "laptop_cpu") for name in ("llama31_1m", "kimi_vl", "ouro")),
    ]:
        plan = price(pipeline, scale, device)
        peaks = [phase.memory.total for stage in plan.stages for phase in stage.phases]
        assert max(peaks) <= plan.hardware.memory, (pipeline, scale)
        assert plan.disk <= plan.hardware.disk


def test_device_hours_are_operations_by_speed(price: Price) -> None:
    stage = next(stage for stage in price("llama31_1m").stages if stage.ref.endswith("cpt_1m"))
    per_token = 3 * 2 * (32 * (4096 * 4096 * 2 + 4096 * 1024 * 2 + 3 * 4096 * 14_336) + 4096 * 128_256)
    per_token += 3 * 2 * 32 * 2 * 4096 * 2**19  # half of 1Mi keys
    assert stage.flops == pytest.approx(1.8e9 * per_token, rel=1e-12)
    assert stage.device_hours == pytest.approx(1.8e9 * per_token / (989e12 * 0.4) / 3600, rel=1e-12)


def test_a_frozen_language_model_saves_its_weights_gradient(project: Project) -> None:
    stage = project.resolve("kimi_vl", "paper").stages["vit_align"]
    assumed = hardware.load(project.files, "h100").assumed({})
    moving = stage.model_copy(update={"trained": ("vit", "projector", "llm")})
    (phase,) = stage.phases
    model = stage.modules["llm"]
    assert isinstance(model, LanguageModel)
    matrices = cost.language_model(model, phase.context).weights
    saved = operations(moving, phase, assumed) - operations(stage, phase, assumed)
    assert saved == pytest.approx(2 * matrices * phase.budget, rel=1e-9)


def test_masks_between_documents_make_attention_cheaper(project: Project) -> None:
    stage = project.resolve("llama31_1m", "mini").stages["sft_1m"]
    lengths = {source.corpus: 100.0 for source in stage.phases[0].sources}
    assert equal_length(stage.phases[0], lengths) == 200.0
    assert equal_length(stage.phases[0], {}) == stage.phases[0].context
    unmasked = stage.phases[0].model_copy(update={"document_mask": False})
    assert equal_length(unmasked, lengths) == stage.phases[0].context


def test_the_table_of_the_small_project(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_plan(("toy",), "paper", None, False, False)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 120
    assert "\n".join(line.rstrip() for line in lines[:9]) == snapshot("""\
toy at paper: A toy

 stage       tokens steps seq/step ctx LR               RoPE params  FLOP  GPU-h   GB  ckpt
 ──────────────────────────────────────────────────────────────────────────────────────────
 first short     1B  2862   64→128 4Ki 1e-5→1e-3→8.7e-4 10K  139.6K 3.78P 0.0155 4 z1 1.68M
       long      1B  1908       64 8Ki 8.7e-4→5.5e-4                6.93P 0.0193 4 z1
 second          2B  3815       64 8Ki 5.5e-4→1e-4      10K  139.6K 13.9P 0.0386 4 z1 1.68M
 release     export                                     10K  139.6K
""")


def test_tables_of_all_pipelines_fit_120_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    print_plan((), "paper", None, False, False)
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 120
    assert "…" not in text
    assert "does not fit" not in text


def test_json_is_complete(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_plan(("toy",), "paper", "h200", False, True)
    (plan,) = json.loads(capsys.readouterr().out)
    phase = plan["stages"][0]["phases"][0]
    assert plan["claims"] == [{"what": "everything", "published": 4 * 10**9, "planned": 4 * 10**9, "met": True}]
    assert (phase["steps"], phase["batch"], phase["context"]) == (2862, [64, 128], 4096)
    assert phase["lr"] == {"first": 1e-5, "last": phase["lr"]["last"], "peak": 1e-3}
    assert plan["totals"]["tokens"] == 4 * 10**9


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((("nothing",), "paper", None), r"no pipeline 'nothing'; there are: toy, toy_variant"),
        ((("toy",), "paper", "h10"), r"--hardware: found 'h10'; allowed: h100, h200, h200_flash4, laptop_cpu"),
    ],
)
def test_wrong_words(root: Path, words: tuple[tuple[str, ...], str, str | None], said: str) -> None:
    names, scale, machine = words
    with pytest.raises(UsageError, match=said):
        print_plan(names, scale, machine, False, False)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "mfu: 40%",
            "mfu: 0.4",
            r"hardware/h100.yaml:7: mfu: found '0.4'; allowed: a share, above 0% and at most 100%",
        ),
        ("mfu: 40%", "mufu: 40%", r"hardware/h100.yaml:7: mufu: found the unknown key 'mufu'"),
        ("hardware: h100", "hardware: h1000", r"hardware/h100.yaml:2: hardware: found 'h1000'; allowed: 'h100'"),
        ("covers: [mfu]", "covers: [mf]", r"h100.yaml:7: mfu: found 40% without a source"),
    ],
)
def test_mistakes_in_a_profile(root: Path, old: str, new: str, said: str) -> None:
    path = root / "specs" / "hardware" / "h100.yaml"
    edit(path, old, new)
    with pytest.raises(Exception, match=said) as caught:
        hardware.load(Files(root), "h100")
    assert isinstance(caught.value, SpecError) or hasattr(caught.value, "errors")
