"""A project that only plans published corpora needs no local ones in their place."""

from __future__ import annotations

from pathlib import Path

from stages.check.findings import SPEC
from stages.check.run import run
from stages.spec.project import Project
from tests.unit.spec import small_project


def test_without_local_corpora_the_published_scale_resolves_and_is_checked_as_with_them(tmp_path: Path) -> None:
    small_project.write(tmp_path)
    with_them = [str(one) for one in run(Project.load(tmp_path), "paper")]
    (tmp_path / "specs/scales/mini.yaml").unlink()
    for name in ("prose", "code", "tokenizer"):
        (tmp_path / f"specs/data/{name}.yaml").unlink()
    path = tmp_path / "specs/data/published.yaml"
    path.write_text(path.read_text().replace(", stand_in: prose", "").replace(", stand_in: code", ""))
    project = Project.load(tmp_path)
    read = {source.corpus for source in project.resolve("toy", "paper").stages["first"].phases[0].sources}
    assert read <= {"crawl", "books", "repos"}
    found = run(project, "paper")
    assert not [one for one in found if one.id == SPEC]
    assert [str(one) for one in found] == with_them
