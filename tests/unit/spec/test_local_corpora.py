"""A mixture may name a local corpus itself, at every scale."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.errors import SpecError
from stages.spec.project import Project
from stages.spec.resolved_phases import Source
from tests.unit.spec.small_project import edit


def sources(root: Path, scale: str) -> dict[str, Source]:
    return {
        source.corpus: source for source in Project.load(root).resolve("toy", scale).stages["first"].phases[0].sources
    }


@pytest.fixture
def own(root: Path) -> Path:
    """The toy's mixture with the local corpus `code` in the place of `repos`, whose stand-in it is anyway."""
    edit(root, "data/mixtures.yaml", "corpus: repos", "corpus: code")
    return root


def test_where_stand_ins_are_used_the_name_and_its_stand_in_are_the_same_work(root: Path) -> None:
    before = Project.load(root).keys("mini")
    edit(root, "data/mixtures.yaml", "corpus: repos", "corpus: code")
    assert Project.load(root).keys("mini") == before


def test_where_published_corpora_are_used_it_is_named_beside_them_with_its_own_digest(own: Path) -> None:
    found = sources(own, "paper")
    assert list(found) == ["crawl", "books", "code"]
    assert {name: source.digest for name, source in found.items()} == {"crawl": "", "books": "", "code": "b" * 64}


def test_its_digest_is_part_of_the_keys_at_every_scale(own: Path) -> None:
    before = {scale: Project.load(own).keys(scale)["toy/first"] for scale in ("mini", "paper")}
    edit(own, "data/code.yaml", "b" * 64, "d" * 64)
    after = {scale: Project.load(own).keys(scale)["toy/first"] for scale in ("mini", "paper")}
    assert not set(before.values()) & set(after.values())


def test_its_length_is_held_where_it_is_counted_with_the_tokenizer_in_use(own: Path) -> None:
    edit(own, "data/code.yaml", "size: 1_000_000", "size: 900")
    assert sources(own, "paper")["code"].end > 900
    with pytest.raises(SpecError, match="'code', of which 900 are left of 900"):
        sources(own, "mini")
