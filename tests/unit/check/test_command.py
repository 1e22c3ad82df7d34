"""`stages check` as it is typed: what it prints and how it exits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stages.check import catalogue
from stages.check.run import run
from stages.commands.check import print_explanation, run_checks
from stages.errors import UsageError
from stages.spec.project import Project
from tests import shipped
from tests.unit.spec import small_project
from tests.unit.spec.small_project import edit


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shipped.copy(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_shipped_specs_exit_with_zero_and_a_sum(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_checks("mini", as_json=False) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    ids, shapes = catalogue.ordered("I-"), len(catalogue.ordered("S-"))
    checked = sum(one.check is not None for one in ids)
    assert last.startswith(
        f"{checked} of {len(ids)} invariants and {shapes} shapes checked on 6 pipelines at 1 scale: 0 findings ("
    )


def test_a_finding_exits_with_one_and_says_what_to_do(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(folder, "llama31_1m/cpt_1m.yaml", "document_mask: true", "document_mask: false")
    assert run_checks(None, as_json=False, only=["I-19"]) == 1
    out = capsys.readouterr().out
    assert "specs/llama31_1m/cpt_1m.yaml:" in out
    assert "I-19 Packed documents do not see each other" in out
    assert "repair    Mask documents, or waive this" in out
    assert out.count("I-19") == 1, "one fault at several scales is reported once"
    assert f"1 of {len(catalogue.ordered('I-'))} invariants checked on 6 pipelines at" in out
    assert "1 finding (0 waived)" in out


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("data/published.yaml", "stand_in: long_instruct}", "stand_in: long_instructions}"),
        ("data/mixtures.yaml", "\nmixtures:\n", "\nmixture:\n"),
        ("scales/mini.yaml", "\nthreads: 1\n", "\nthreads: one\n"),
    ],
)
def test_what_keeps_a_named_pipeline_from_being_checked_is_about_it(
    folder: Path, capsys: pytest.CaptureFixture[str], file: str, old: str, new: str
) -> None:
    """No rule was asked about it: "0 findings" would be said of what nobody looked at."""
    edit(folder, file, old, new)
    assert run_checks(None, as_json=False, named=["llama31_1m/cpt_1m"]) == 1
    assert f"specs/{file}:" in capsys.readouterr().out


def test_json_has_every_scale(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(folder, "llama31_1m/cpt_1m.yaml", "document_mask: true", "document_mask: false")
    assert run_checks(None, as_json=True, only=["I-19"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert {"mini", "paper", "small"} <= {one["scale"] for one in found}
    assert {one["stage"] for one in found} == {"llama31_1m/cpt_1m"}


def test_a_waived_finding_is_shown_and_exits_with_zero(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(folder, "llama31_1m/cpt_1m.yaml", "document_mask: true", "document_mask: false")
    edit(
        folder,
        "llama31_1m/cpt_1m.yaml",
        "\nsources:",
        "\nwaivers:\n  - {id: I-19, at: phases.main.document_mask, found: false, reason: books only}\nsources:",
    )
    assert run_checks("paper", as_json=False, only=["I-19"]) == 0
    out = capsys.readouterr().out
    assert "waived    books only" in out
    assert "do not see each other (waived)" in out
    assert "repair" not in out.partition("waived    books only")[0], "nothing is to be done"
    assert "0 findings (1 waived)" in out


def test_a_spec_that_cannot_be_read_is_a_finding(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(folder, "ouro/warmup.yaml", "context: 4Ki", "context: 4Ko")
    assert run_checks("mini", as_json=False) == 1
    assert "spec The spec cannot be used" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("data/mixtures.yaml", "share: 10%", "share: 11%",
         "specs/data/mixtures.yaml:3: spec The spec cannot be used\n  data/mixtures, at mini, paper\n"
         "  found     mixtures.web.sources: shares of the text group that sum to 101%\n"
         "  expected  exactly 100%\n  repair    Correct the shares."),
        ("data/prose.yaml", "kind: text", "kind: txt", "specs/data/prose.yaml:2: spec The spec cannot be used\n"
         "  data/prose, at mini, paper\n"),
        ("scales/mini.yaml", "device: cpu", "device: cpo", "spec The spec cannot be used\n  scales/mini, at mini\n"),
        ("data/roots.yaml", None, "rots: {}\n", "specs/data/roots.yaml:1: spec The spec cannot be used\n"),
    ],
)  # fmt: skip
def test_what_no_stage_can_be_read_without_is_a_finding_at_its_line_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    file: str, old: str | None, new: str, said: str,
) -> None:  # fmt: skip
    small_project.write(tmp_path)
    if old is None:
        (tmp_path / "specs" / file).write_text(new)
    else:
        edit(tmp_path, file, old, new)
    monkeypatch.chdir(tmp_path)
    assert run_checks(None, as_json=False) == 1
    assert said in capsys.readouterr().out


def test_every_mistake_of_the_mixtures_is_told_in_one_reading(tmp_path: Path) -> None:
    small_project.write(tmp_path)
    edit(tmp_path, "data/mixtures.yaml", "corpus: crawl", "corpus: crowl")
    edit(tmp_path, "data/mixtures.yaml", "corpus: repos", "corpus: books")
    found = run(Project.load(tmp_path), "mini")
    assert [one.where.line for one in found if one.where] == [4, 6]
    assert [one.repair for one in found] == ["Did you mean 'crawl'?", "Correct the name, or add up the shares."]


def test_unknown_words_are_usage_errors(folder: Path) -> None:
    with pytest.raises(UsageError, match="unknown invariant 'I-99'"):
        run_checks("mini", as_json=False, only=["I-99"])
    with pytest.raises(UsageError, match="--scale"):
        run_checks("tiny", as_json=False)
    with pytest.raises(UsageError, match="unknown invariant 'X'"):
        print_explanation("X")


def test_an_explanation_has_rule_reason_threads_and_what_ensures_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert print_explanation("I-10") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "I-10 Gradient accumulation is exact" in out
    assert "Reported in huggingface/trl#2175" in out
    assert "by tests (stages/train/reduce.py, tests/property/test_accumulation.py)." in out


def test_an_invariant_of_specs_alone_names_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert print_explanation("I-27") == 0
    assert capsys.readouterr().out.endswith("Ensured: decided from specs.\n\n")
