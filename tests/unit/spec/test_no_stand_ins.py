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
    for corpus, local in (("crawl", "prose"), ("books", "prose"), ("repos", "code")):
        own = f"{corpus}: {{kind: text, citation: somewhere"
        small_project.edit(tmp_path, "data/published.yaml", f"{own}, stand_in: {local}", own)
    project = Project.load(tmp_path)
    read = {source.corpus for source in project.resolve("toy", "paper").stages["first"].phases[0].sources}
    assert read <= {"crawl", "books", "repos"}
    found = run(project, "paper")
    assert not [one for one in found if one.id == SPEC]
    assert [str(one) for one in found] == with_them
