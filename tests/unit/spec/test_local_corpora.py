"""A mixture may name a local corpus itself, at every scale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.check.run import run_pipeline
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
    edit(own, "data/code.yaml", "size: 1_000_000", "size: 2_000")
    assert sources(own, "paper")["code"].end > 2_000
    with pytest.raises(SpecError, match="'code', of which 2000 are left of 2000"):
        sources(own, "mini")


WORDS = {
    "tokenizer": "words", "source": "toy/tokenizer", "revision": "none", "licence": "none", "path": "words",
    "vocab": "512", "digest": "e" * 64,
    "roles": {"bos": "none", "eos": "</s>", "pad": "none", "turn_begin": "none", "turn_end": "none"},
}  # fmt: skip


@pytest.fixture
def declared(own: Path) -> Path:
    """The pipeline's tokenizer is declared, and the corpus is cut with it."""
    (own / "specs/tokenizers").mkdir()
    (own / "specs/tokenizers/words.yaml").write_text(yaml.safe_dump(WORDS))
    edit(own, "data/code.yaml", "builder: file", "tokenizer: words\nbuilder: file")
    return own


def test_a_corpus_of_the_stages_declared_tokenizer_is_counted_at_full_size_too(declared: Path) -> None:
    """What is too little is a finding there, since the rest can be planned all the same."""
    edit(declared, "data/code.yaml", "size: 1_000_000", "size: 2_000")
    assert sources(declared, "paper")["code"].end > 2_000
    found = [one for one in run_pipeline(Project.load(declared), "toy", "paper") if one.id == "I-18"]
    assert any("code read to " in one.observed and "of which it has 2,000" in one.observed for one in found)


def alone(root: Path) -> None:
    """Without anything published, and without a tokenizer that is trained here."""
    for name in ("published", "tokenizer", "prose"):
        (root / f"specs/data/{name}.yaml").unlink()
    mixture: dict[str, Any] = {"mixtures": {"web": {"sources": [{"corpus": "code", "share": "100%", "group": "text"}]}}}
    mixture["sources"] = [{"covers": ["*"], "mark": "chosen"}]
    (root / "specs/data/mixtures.yaml").write_text(yaml.safe_dump(mixture))


def test_nothing_published_and_no_tokenizer_of_ones_own_is_needed(declared: Path) -> None:
    alone(declared)
    assert list(sources(declared, "paper")) == ["code"]
    assert Project.load(declared).resolve("toy", "paper").stages["first"].tokenizer == "e" * 64


def test_without_a_local_tokenizer_a_corpus_has_to_name_one(declared: Path) -> None:
    alone(declared)
    edit(declared, "data/code.yaml", "tokenizer: words\n", "")
    with pytest.raises(SpecError, match=r"specs/data/code.yaml:1: tokenizer: found nothing; allowed: words"):
        Project.load(declared).resolve("toy", "paper")
