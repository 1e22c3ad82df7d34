"""Published corpora are bound to a person's own: read in their place at every scale, or said to be missing or small."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.notices import bindings
from stages.check.run import run_pipeline
from stages.commands.check import run_checks
from stages.contract import engines
from stages.errors import SpecErrors, UserError
from stages.spec.project import Project
from stages.sync import params
from tests.unit.check.reported import only
from tests.unit.data.small import write_spec

OWN = {
    "corpus": "my_web", "kind": "text", "unit": "tokens", "builder": "file", "path": "web/*.parquet",
    "digest": "ab" * 32, "size": "6T", "documents": 5_000_000_000, "longest": 100_000, "heldout": 200_000_000,
}  # fmt: skip


def bind(root: Path, size: str = "6T", **names: str) -> Project:
    """A project with a corpus of a person's own, and these bindings."""
    write_spec(root, "my_web", {**OWN, "size": size})
    write_spec(root, "bind", {"bind": names})
    return Project.load(root)


def read(project: Project, scale: str, stage: str = "stable_1") -> set[str]:
    phases = project.resolve("ouro", scale).stages[stage].phases
    return {source.corpus for phase in phases for source in phase.sources}


def test_a_bound_corpus_is_read_in_the_place_of_the_published_one_and_of_its_stand_in(root: Path) -> None:
    project = bind(root, nemotron_cc="my_web")
    assert "my_web" in read(project, "paper")
    assert "my_web" in read(project, "mini")
    assert "nemotron_cc" not in read(project, "paper")
    assert "prose" not in read(bind(root, nemotron_cc="my_web", map_cc="my_web", ultra_fineweb_zh="my_web"), "mini")


def test_nothing_is_bound_where_nobody_says_so(root: Path) -> None:
    before = Project.load(root).keys("mini")
    write_spec(root, "bind", {"bind": {}})
    assert Project.load(root).keys("mini") == before
    assert Project.load(root).data.bind == {}


def test_the_key_follows_what_is_bound(root: Path) -> None:
    before = Project.load(root).keys("paper")
    after = bind(root, nemotron_cc="my_web").keys("paper")
    assert before["ouro/stable_1"] != after["ouro/stable_1"]
    assert before["kimi_vl/text_pretrain"] == after["kimi_vl/text_pretrain"]


def test_what_is_not_bound_is_said_with_how_much_is_read(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = bind(root, nemotron_cc="my_web")
    found = {one.corpus: one for one in bindings.unbound(project, "paper")}
    assert "nemotron_cc" not in found
    assert found["map_cc"].kind == "text"
    ends = [
        source.end
        for stage in project.resolve("ouro", "paper").stages.values()
        for phase in stage.phases
        for source in phase.sources
        if source.corpus == "map_cc"
    ]
    assert found["map_cc"].needed == max(ends)
    assert found["kimi_alt_text"].unit == "pairs"
    assert bindings.unbound(project, "mini") == []
    (line,) = bindings.notice(project, "paper")
    assert line.startswith(f"paper: {len(found)} published corpora are not bound")
    assert all(not one.strip().startswith("kimi") for one in bindings.table(project, "paper", ["ouro"]))


def test_a_stage_of_which_all_is_bound_is_run(root: Path) -> None:
    names = Project.load(root).data.published.corpora
    project = bind(root, size="60T", **{name: "my_web" for name, one in names.items() if one.kind == "text"})
    stage = project.resolve("ouro", "paper").stages["stable_1"]
    assert stage.prepared
    unbound = Project.load(root)
    assert bindings.unbound(unbound, "paper", ["ouro"]) != []


def test_a_corpus_that_is_too_small_is_a_finding_with_what_is_missing(root: Path) -> None:
    def short(size: str) -> list[str]:
        found = run_pipeline(bind(root, size, nemotron_cc="my_web"), "ouro", "paper")
        return [one.observed for one in only(found, "I-18")]

    assert short("6T") == []
    lines = short("4T")
    assert lines
    assert all(line.startswith("my_web read to 4,4") and line.endswith("too few") for line in lines)
    assert "of which it has 4,000,000,000,000" in lines[0]


def test_a_gate_names_what_could_be_bound(root: Path) -> None:
    stage = bind(root, nemotron_cc="my_web").resolve("ouro", "paper").stages["stable_1"]
    why = engines.refusal(stage, None)
    assert why is not None
    assert "my_web" not in why
    assert "map_cc" in why
    assert "specs/data/bind.yaml" in why


def test_whatever_is_wrong_with_bindings_is_named_by_its_line(root: Path) -> None:
    write_spec(root, "my_web", OWN)
    wrong = {"nemotron_c": "my_web", "map_cc": "my_wub", "reasoning_math": "my_web"}
    write_spec(root, "bind", {"bind": wrong})
    with pytest.raises(SpecErrors) as caught:
        _ = Project.load(root).data
    said = str(caught.value)
    assert "specs/data/bind.yaml:3: bind.nemotron_c: found the unknown published corpus" in said
    assert "bind.map_cc: found the unknown corpus 'my_wub'" in said
    assert "bind.reasoning_math: found 'my_web' of kind text; allowed: a corpus of kind sft" in said


def test_bindings_are_no_strays_and_check_says_one_line(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bind(root)
    monkeypatch.chdir(root)
    run_checks("paper", as_json=False)
    said = capsys.readouterr().out
    assert "bind.yaml`" not in said
    assert said.count("published corpora are not bound to local ones") == 1


def test_dvc_watches_the_binding_and_not_the_stand_in(root: Path) -> None:
    project = bind(root, nemotron_cc="my_web")
    loaded = project.loaded("ouro").stages["stable_1"].raw
    found = set(params._data(project, loaded, project.scale("mini")))
    assert ("data/bind.yaml", ("bind", "nemotron_cc")) in found
    assert ("data/published.yaml", ("corpora", "nemotron_cc", "stand_in")) not in found
    assert ("data/published.yaml", ("corpora", "map_cc", "stand_in")) in found


def test_a_binding_of_text_is_not_for_pairs(root: Path) -> None:
    with pytest.raises(UserError, match=r"bind\.kimi_alt_text: found 'my_web' of kind text; allowed: a corpus of kind"):
        _ = bind(root, kimi_alt_text="my_web").data
