"""What is evaluated on, and schedules that variants go on with: notices."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stages.check.notices.held_out import few_or_many, otherwise, read_twice
from stages.check.notices.losses import changed
from stages.check.notices.run import as_written
from stages.check.notices.variants import nearly_shared
from stages.spec.project import Project
from tests import shipped
from tests.edits import replaced
from tests.unit.check.reported import of_all
from tests.unit.data import published
from tests.unit.spec.small_project import edit

VARIANT, BASE = "kimi_vl_seed004/pipeline.yaml", "llama31_1m/base.yaml"


def test_the_shipped_specs_have_none() -> None:
    project = shipped.project()
    assert [*few_or_many(project), *nearly_shared(project), *of_all(project, otherwise)] == []
    assert list(changed(project, "paper")) == []


@pytest.mark.parametrize(
    ("heldout", "said"),
    [(0, "0 of 1,088 documents of prose are held out, 0.0%"),
     (800, "800 of 1,888 documents of prose are held out, 42.4%"), (20, ""), (120, "")],
)  # fmt: skip
def test_held_out_documents_that_are_far_from_their_share(tmp_path: Path, heldout: int, said: str) -> None:
    line = edit(shipped.copy(tmp_path), "data/prose.yaml", "heldout: 46", f"heldout: {heldout}")
    notice = f"specs/data/prose.yaml:{line}: {said}; a preparation holds out 4% of their origins."
    assert list(few_or_many(Project.load(tmp_path))) == [notice] * bool(said)
    assert (notice in as_written(Project.load(tmp_path))) == bool(said)


def test_of_few_documents_any_number_may_be_held_out(tmp_path: Path) -> None:
    edit(shipped.copy(tmp_path), "data/long.yaml", "heldout: 14", "heldout: 42")
    assert list(few_or_many(Project.load(tmp_path))) == []


@pytest.mark.parametrize(("also", "told"), [("", 1), ("prefix: Once", 0)])
def test_a_file_that_two_corpora_read(tmp_path: Path, also: str, told: int) -> None:
    """As a copy of a corpus's spec reads it; read otherwise, it is another corpus."""
    root = Path(shutil.copytree(shipped.ROOT / "examples/tiny", tmp_path / "tiny"))
    assert list(read_twice(Project.load(root))) == []
    text = (root / "specs/data/tales.yaml").read_text()
    digest = next(line for line in text.splitlines() if line.startswith("digest:"))
    text = replaced(text, "corpus: tales", "corpus: tales_b", digest, f'digest: "{"a" * 64}"')
    (root / "specs/data/tales_b.yaml").write_text(f"{text}{also}\n")
    line = next(number for number, one in enumerate(text.splitlines(), 1) if one.startswith("path: "))
    path = text.splitlines()[line - 1].removeprefix("path: ")
    said = (
        f"specs/data/tales_b.yaml:{line}: tales_b reads {path}, and so does tales: whoever reads both reads it twice."
    )
    assert list(read_twice(Project.load(root))) == [said] * told
    assert (said in as_written(Project.load(root))) == bool(told)


def test_token_files_that_two_corpora_read(tmp_path: Path) -> None:
    """Adopted files are named by `prefix`, and have no path."""
    root = Path(shutil.copytree(shipped.ROOT / "examples/tiny", tmp_path / "tiny"))
    published.write(root, vocab=307, digest="0" * 64)
    text = (root / "specs/data/tales.yaml").read_text()
    path, digest = (next(one for one in text.splitlines() if one.startswith(key)) for key in ("path:", "digest:"))
    for name, new in (("b", "prefix: [lake/a, lake/b]"), ("c", "prefix: lake/b")):
        adopted = ("builder: file", "builder: megatron\ntokenizer: mine", path, new, digest, f'digest: "{name * 64}"')
        (root / f"specs/data/tales_{name}.yaml").write_text(
            replaced(text, "corpus: tales", f"corpus: tales_{name}", *adopted)
        )
    line = 2 + [line.split(":")[0] for line in text.splitlines()].index("path")
    said = (
        f"specs/data/tales_c.yaml:{line}: tales_c reads lake/b, and so does tales_b: whoever reads both reads it twice."
    )
    assert list(read_twice(Project.load(root))) == [said]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("data: llama_long, context: 128Ki", "data: llama_long, context: 8Ki",
         "base is evaluated on rows of 8,192, and knows 131,072 (`max_context`)."),
        ("128Ki, document_mask: true}", "128Ki, document_mask: false}",
         "base is evaluated with document_mask other than what is trained from it."),
    ],
)  # fmt: skip
def test_a_release_that_is_evaluated_otherwise(tmp_path: Path, old: str, new: str, said: str) -> None:
    line = edit(shipped.copy(tmp_path), BASE, old, new)
    (notice,) = of_all(Project.load(tmp_path), otherwise)
    assert notice == f"specs/{BASE}:{line}: {said}"
    assert notice in as_written(Project.load(tmp_path))


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [("for: 2000 steps}", "for: 200 steps}", "`for` of piece 1"),
     ("to: 4.2e-5, until: 5.2T", "to: 4.2e-5, until: 5.0T", "`until` of piece 2")],
)  # fmt: skip
def test_a_variant_that_goes_on_with_nearly_the_same_schedule(tmp_path: Path, old: str, new: str, key: str) -> None:
    line = edit(shipped.copy(tmp_path), VARIANT, old, new)
    (notice,) = nearly_shared(Project.load(tmp_path))
    said = f"schedule 'text' goes on with kimi_vl's but for {key}: stages that both have are trained twice."
    assert notice == f"specs/{VARIANT}:{line}: {said}"
    assert notice in as_written(Project.load(tmp_path))


def test_the_same_rate_written_otherwise_is_the_same(tmp_path: Path) -> None:
    edit(shipped.copy(tmp_path), VARIANT, "to: 4.2e-5, until: 5.2T", "to: 0.000042, until: 5_200B")
    assert list(nearly_shared(Project.load(tmp_path))) == []


def test_a_variant_with_a_schedule_of_its_own_is_told_nothing(tmp_path: Path) -> None:
    root = shipped.copy(tmp_path)
    edit(root, VARIANT, "for: 2000 steps}", "for: 200 steps}")
    edit(root, VARIANT, "to: 4.2e-5, until: 5.2T", "to: 4.2e-5, until: 5.0T")
    assert list(nearly_shared(Project.load(root))) == []


def test_the_entropy_of_loops_that_weighs_more_again(tmp_path: Path) -> None:
    """Ouro's falls, from 0.1 to 0.05; a digit too many in both branches raises it in the next stage."""
    root = shipped.copy(tmp_path)
    for branch in ("1_4b", "2_6b"):
        edit(root, f"ouro/stable_2_{branch}.yaml", "beta: 0.05", "beta: 0.005")
    said = [one.partition(": ")[2] for one in changed(Project.load(root), "paper")]
    assert said == [
        f"ct_anneal_{branch} has beta 0.05 of its loops' entropy, after 0.005 of ouro/stable_2_{branch}: published "
        "ones fall (arXiv 2510.25741)."
        for branch in ("1_4b", "2_6b")
    ]
