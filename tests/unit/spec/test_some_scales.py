"""A pipeline that is at some scales only: everything works, and what is not there is said."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from stages.check.run import run, run_all
from stages.commands.check import run_checks
from stages.commands.listing import print_list
from stages.commands.plan import print_plan
from stages.commands.run import run_stage
from stages.commands.show import print_stages
from stages.commands.status import print_status
from stages.errors import SpecError, UsageError
from stages.spec.project import Project
from stages.sync import rules, saved_graph, workflow, write
from tests.unit.diff.conftest import GIT
from tests.unit.spec import lone
from tests.unit.spec.small_project import edit


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project, which is also the working directory, its rules written at the shrunk scale."""
    monkeypatch.chdir(lone.write(tmp_path))
    (tmp_path / "rules").mkdir()
    write.sync(tmp_path, Project.load(tmp_path), "mini")
    return tmp_path


def test_a_scale_has_the_pipelines_that_it_lists_and_what_extends_them(root: Path) -> None:
    project = Project.load(root)
    assert project.pipelines(variants=True, scale="mini") == ["lone", "toy", "lone_variant", "toy_variant"]
    assert project.pipelines(variants=True, scale="paper") == ["toy", "toy_variant"]
    assert project.absent("paper") == ["lone", "lone_variant"]
    assert project.scales_of("lone_variant") == ["mini"]
    assert {ref.partition("/")[0] for ref in project.keys("paper")} == {"toy"}


def test_a_pipeline_listed_as_identity_is_at_its_full_size(root: Path) -> None:
    before = Project.load(root).resolve("toy", "paper")
    edit(root, "scales/paper.yaml", "pipelines:\n  toy: identity", "pipelines: identity")
    assert Project.load(root).absent("paper") == []
    assert Project.load(root).resolve("toy", "paper") == before


def test_check_has_no_finding_and_says_what_is_not_there(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_all(Project.load(root)) == []
    assert run(Project.load(root), "paper") == []
    assert run_checks(None, as_json=False) == 0
    assert "not at scale paper: lone, lone_variant\n" in capsys.readouterr().out


def test_a_pipeline_at_no_scale_is_a_finding(root: Path) -> None:
    mini = root / "specs/scales/mini.yaml"
    text = mini.read_text()
    mini.write_text(text[: text.index("  lone:\n")] + text[text.index("sources:") :])
    found = [(one.where and one.where.file, one.observed) for one in run_all(Project.load(root))]
    assert found == [
        (f"specs/{name}/pipeline.yaml", f"pipeline: {name!r}, which no scale has an entry for")
        for name in ("lone", "lone_variant")
    ]


def test_an_entry_without_a_value_says_neither(root: Path) -> None:
    line = edit(root, "scales/paper.yaml", "  toy: identity", "  toy:")
    with pytest.raises(SpecError, match="found nothing; allowed: identity, or how the pipeline shrinks") as caught:
        Project.load(root).resolve("toy", "paper")
    assert caught.value.where.line == line


def test_plan_says_what_it_leaves_out(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(Path(__file__).resolve().parents[3] / "specs/hardware", root / "specs/hardware")
    print_plan((), "paper", None, measured=False, as_json_=False)
    said = capsys.readouterr().out
    assert "toy at paper" in said
    assert "notice: lone is not at this scale; at mini\n" in said
    with pytest.raises(UsageError, match="pipeline 'lone' is not at this scale; it is at mini"):
        print_plan(("lone",), "paper", None, measured=False, as_json_=False)


def test_list_show_and_status_say_where_it_is(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_list("paper", (), as_json=False)
    assert "lone: A toy\n  not at this scale; at mini\n" in capsys.readouterr().out
    print_list("mini", (), as_json=False)
    assert "not at this scale" not in capsys.readouterr().out
    assert print_status("paper", (), deep=False, failed=False, as_json=True) == 0
    assert "lone" not in capsys.readouterr().out
    for call in (
        lambda: print_stages("lone/first", "paper", as_json=False),
        lambda: print_status("paper", ("lone",), deep=False, failed=False, as_json=False),
        lambda: run_stage("lone/first", "paper", None),
    ):
        with pytest.raises(UsageError, match="pipeline 'lone' is not at this scale; it is at mini"):
            call()


@pytest.mark.parametrize("scale", ["mini", "paper"])
def test_rules_are_the_same_at_every_scale_and_snakemake_leaves_out_what_is_not_there(
    root: Path, monkeypatch: pytest.MonkeyPatch, scale: str
) -> None:
    monkeypatch.setenv(saved_graph.GRAPH, "graph.json")
    loaded = workflow.graph.load(root, Project.load(root), scale)
    texts = write.wanted(Project.load(root), loaded)
    assert {"rules/lone.smk", "rules/lone_variant.smk", "rules/toy.smk"} <= set(texts)
    del texts["dvc.yaml"]
    assert write.unsynced(root, texts) == []
    flow = workflow.open_main(root, {"scale": scale}, quiet=True)
    assert flow.absent == ([] if scale == "mini" else ["lone", "lone_variant"])
    assert workflow.open_job(root, {"scale": scale}).absent == flow.absent


def test_rules_of_a_pipeline_that_is_gone_are_removed_and_rules_of_the_users_own_stay(root: Path) -> None:
    project = Project.load(root)
    write.sync(root, project, "mini")
    (root / "rules/gone.smk").write_text(rules.HEAD.format(source="specs/gone"))
    mine = root / "rules/[mine].smk"
    mine.write_text("rule mine:\n    shell: 'true'\n")
    assert write.sync(root, project, "mini") == ["rules/gone.smk"]
    assert mine.is_file()


def test_a_pipeline_that_leaves_a_scale_is_removed_there_and_nothing_else_changes(root: Path) -> None:
    from stages.contract.hardware import load
    from stages.diff.semantic import compare, side

    subprocess.run([*GIT, "init", "-q", "."], cwd=root, check=True)
    before = Project.load(root)
    hardware = load(Project.load(Path(__file__).resolve().parents[3]).files, "laptop_cpu")
    old = side("old", before, "mini", hardware)
    mini = root / "specs/scales/mini.yaml"
    text = mini.read_text()
    mini.write_text(text[: text.index("  lone:\n")] + text[text.index("sources:") :])
    found = compare(old, side("new", Project.load(root), "mini", hardware), "mini")
    assert (found.removed, found.added, found.changed) == (("lone/first",), (), ())
