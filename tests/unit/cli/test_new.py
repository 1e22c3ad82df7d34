"""`stages new`: a pipeline that resolves, changes nothing yet, and runs only what is then changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.commands.new import create
from stages.errors import UsageError
from stages.spec.project import Project
from stages.sync import graph, rules
from tests.unit.spec import small_project


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project, which is also the working directory."""
    monkeypatch.chdir(small_project.write(tmp_path))
    return tmp_path


def uncomment(path: Path) -> str:
    """The file with the comment at its end, from `# schedules:` on, taken out of its comment."""
    head, tail = path.read_text().split("# schedules:\n")
    return (
        head + "schedules:\n" + "".join(line.removeprefix("#").removeprefix(" ") + "\n" for line in tail.splitlines())
    )


def test_a_new_pipeline_is_the_other_one_until_something_is_changed(toy: Path) -> None:
    create("mine", "toy")
    project = Project.load(toy)
    assert project.resolve("mine", "mini").own == ()
    assert list(project.resolve("mine", "mini").refs.values()) == ["toy/first", "toy/second", "toy/release"]


@pytest.mark.parametrize("base", ["toy", "toy_variant"])
def test_its_comment_holds_the_schedules_as_they_are(toy: Path, base: str) -> None:
    create("mine", base)
    path = toy / "specs/mine/pipeline.yaml"
    path.write_text(uncomment(path))
    project = Project.load(toy)
    assert project.resolve("mine", "paper").own == ()
    assert project.loaded("mine").raw.schedules == project.loaded("toy").raw.schedules


def test_a_changed_stage_has_a_rule_and_so_have_its_children_and_the_target_asks_for_all(toy: Path) -> None:
    create("mine", "toy")
    (toy / "specs/mine/second.yaml").write_text("stage: second\nschedule: other\ninit: {clock: reset}\n")
    text = rules.pipeline_rules(graph.load(toy, Project.load(toy), "mini"), "mine")
    target = text.partition("\n\n\nuse rule")[0]
    assert [line.strip() for line in target.splitlines() if "done(" in line] == [
        'done("toy/first"),', 'done("mine/second"),', 'done("mine/release"),',
    ]  # fmt: skip
    assert text.count("use rule stage as") == 2


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../mine", "small letters"), ("/tmp/mine", "small letters"), ("a/b", "small letters"), (".", "small letters"),
        ("", "small letters"), ("Mine", "small letters"), ("a__b", "small letters"), ("_a", "small letters"),
        ("a_", "small letters"), ("1a", "small letters"), ("mine\n", "small letters"), ("data", "something else"),
        ("scales", "something else"), ("all", "something else"), ("common", "something else"),
        ("class", "something else"), ("toy", "there already"),
    ],
)  # fmt: skip
def test_names_that_cannot_be_are_refused_and_nothing_is_written(toy: Path, name: str, why: str) -> None:
    before = sorted(toy.rglob("*"))
    with pytest.raises(UsageError, match=f"^NAME: .*{why}"):
        create(name, "toy")
    assert sorted(toy.rglob("*")) == before


def test_an_unknown_base_is_refused_with_the_likeliest_one(toy: Path) -> None:
    with pytest.raises(UsageError, match=r"--from: found 'tou'; allowed: toy, toy_variant\. Did you mean 'toy'\?"):
        create("mine", "tou")


def test_a_project_without_the_usual_scale_needs_none(toy: Path) -> None:
    small_project.edit(toy, "scales/mini.yaml", "scale: mini", "scale: laptop")
    (toy / "specs/scales/mini.yaml").rename(toy / "specs/scales/laptop.yaml")
    create("mine", "toy")
    assert (toy / "specs/mine/pipeline.yaml").is_file()


def test_a_base_that_does_not_load_leaves_nothing_behind(toy: Path) -> None:
    small_project.edit(toy, "toy/second.yaml", "budget: 2B", "budget: two")
    with pytest.raises(Exception, match=r"second\.yaml:\d+: phases\.0\.budget"):
        create("mine", "toy")
    assert not (toy / "specs/mine").exists()
