"""What `stages list`, `show` and `status` tell a person, within a hundred columns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from stages.cluster import site
from stages.commands.listing import print_list, print_schema
from stages.commands.show import print_stages
from stages.commands.status import print_status
from stages.spec.project import Project
from tests.unit.spec import small_project

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project, which is also the working directory."""
    monkeypatch.chdir(small_project.write(tmp_path))
    return tmp_path


def test_list_names_every_pipeline_and_what_each_stage_takes(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_list("paper", (), as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "toy: A toy"
    assert lines[3].split() == ["second", "train", "2B", "tokens", "8K", "first"]
    assert lines[5] == "toy_variant: A toy, read otherwise (extends toy)"
    assert "  and 1 stage as in toy" in lines


def test_list_of_a_pipeline_that_changes_nothing_says_so(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (toy / "specs/toy_variant/second.yaml").unlink()
    print_list("mini", (), as_json=False)
    assert "  every stage comes out as toy's does\n" in capsys.readouterr().out


def test_list_as_json_holds_budgets_and_contexts(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_list("paper", (), as_json=True)
    first = json.loads(capsys.readouterr().out)[0]["stages"][0]
    assert first["budgets"] == [{"phase": "short", "tokens": 10**9}, {"phase": "long", "tokens": 10**9}]
    assert first["contexts"] == [4096, 8192]


def test_show_says_that_a_stage_has_its_own_seed_and_no_clip(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small_project.edit(toy, "toy/second.yaml", "optimizer: adamw", "optimizer: adamw\nseed: 7")
    small_project.edit(toy, "toy/pipeline.yaml", "clip: 1.0", "clip: none")
    print_stages("toy/second", "mini", as_json=False)
    said = " ".join(capsys.readouterr().out.split())
    assert "train, torch-fp32, a seed of its own: 7, key" in said
    assert "adamw, gradients not clipped" in said


def test_show_prices_a_stage_on_the_device_of_its_scale(capsys: pytest.CaptureFixture[str]) -> None:
    print_stages("ouro/warmup", "paper", as_json=False)
    assert "GPU-hours on h100; see stages plan ouro" in " ".join(capsys.readouterr().out.split())
    print_stages("ouro_seed003/stable_2_1_4b", "mini", as_json=False)
    assert "s of one core on laptop_cpu; see stages plan ouro_seed003" in " ".join(capsys.readouterr().out.split())


def test_show_tells_the_peak_between_the_ends(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_stages("toy/first", "paper", as_json=False)
    said = " ".join(capsys.readouterr().out.split())
    assert "learning rate 0 -> 1e-3 (the peak, at clock 26.2M) -> 5.55e-4 (1e-5 at the first step)" in said
    print_stages("toy/second", "paper", as_json=False)
    assert "5.55e-4 -> 1e-4 (5.54e-4 at the first step)" in " ".join(capsys.readouterr().out.split())


def test_show_tells_the_edge_in_words(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_stages("toy/second", "paper", as_json=False)
    said = " ".join(capsys.readouterr().out.split())
    assert "llm llama: weights from toy/first, optimizer state too" in said
    assert "clock goes on at 2B tokens" in said
    assert "data read from where its ancestors stopped" in said
    assert "-> 1e-4" in said
    assert "schedule main, adamw" in said
    assert "RoPE base 10,000; contexts up to 8K" in said
    assert "3,815 steps of 64 x 8K" in said
    assert "reads crawl 70%, books 20%, repos 10%" in said
    assert "numbers of specs/toy/second.yaml chosen all the rest" in said


def test_show_as_json_is_every_value_and_the_key(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_stages("toy/second", "mini", as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert shown.pop("key") == Project.load(toy).keys("mini")["toy/second"]
    assert shown == Project.load(toy).resolve("toy", "mini").stages["second"].model_dump(mode="json")


def test_show_of_an_unchanged_stage_shows_the_one_that_is_run(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_stages("toy_variant/first", "mini", as_json=False)
    assert capsys.readouterr().out.startswith("toy_variant/first comes out as toy/first does, and is not run twice.\n")


def test_status_ends_with_the_counts_and_what_to_type(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert print_status("mini", (), deep=False, failed=False, as_json=False) == 0
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "8 missing",
        "`stages upgrade && snakemake -n --config scale=mini` lists what would run;",
        "PIPELINE in the place of -n runs it.",
    ], "specs alone need a Snakefile first"
    (toy / "Snakefile").touch()
    assert print_status("mini", (), deep=False, failed=False, as_json=False) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "8 missing",
        "`snakemake -n` lists what would run, `snakemake PIPELINE` runs it.",
    ]
    assert print_status("mini", (), deep=False, failed=True, as_json=False) == 0
    assert capsys.readouterr().out == "no stage has failed or was stopped; not prepared: tokenizer, code, prose\n"


SHIPPED = [
    "kimi_vl/vit_coca", "kimi_vl/joint_longctx", "llama31_1m/base", "ouro/upcycle_2_6b", "ouro/thinking_1_4b",
    "ouro_seed003/keep_1_4b",
]  # fmt: skip


def test_what_ships_fits_a_hundred_columns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    print_list("paper", (), as_json=False)
    for ref in SHIPPED:
        print_stages(ref, "mini", as_json=False)
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 100
    assert all(f"{name}: " in said for name in Project.load(ROOT).pipelines(variants=True))


def test_editors_get_a_schema_of_every_kind_of_file_that_people_edit(capsys: pytest.CaptureFixture[str]) -> None:
    print_schema()
    schemas = json.loads(capsys.readouterr().out)
    assert {"pipeline", "stage_train", "scale", "mixtures", "corpus", "hardware", "site"} <= set(schemas)
    shipped = yaml.safe_load((ROOT / site.FILE).read_text())
    assert set(schemas["site"]["properties"]) == set(shipped)
    assert schemas["site"]["additionalProperties"] is False


def test_a_stage_of_the_nemo_engine_says_how_it_is_divided(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(Path(__file__).parents[3])
    print_stages("llama31_1m/cpt_1m", "paper", as_json=False)
    text = " ".join(capsys.readouterr().out.split())
    layout = "128 ranks, 1 replicas; a model tp 8, cp 16, sequence_parallel, distributed_optimizer, recompute full"
    assert f"layout {layout}" in text
