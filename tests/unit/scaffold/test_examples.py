"""The published pipelines as projects: the same keys as here, nothing that no stage reads, and no finding."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from stages.errors import SpecError
from stages.scaffold import contents, init, published
from stages.scaffold.cut import cut
from stages.spec.names import NOT_PIPELINES
from stages.spec.project import Project
from tests.edits import replaced
from tests.examples import tales
from tests.unit.scaffold.test_upgrade import stages

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", contents.PUBLISHED)
def test_every_stage_has_the_key_that_it_has_here(tmp_path: Path, name: str) -> None:
    made, here = Project.load(init.create(tmp_path / "x", name)), Project.load(ROOT)
    assert made.pipelines(True) == [name]
    for scale in published.SCALES:
        keys = made.keys(scale)
        assert keys == {ref: key for ref, key in here.keys(scale).items() if ref.startswith(f"{name}/")}
        assert keys


@pytest.mark.parametrize("name", contents.examples())
def test_no_check_has_a_finding_and_nothing_is_there_that_no_stage_reads(tmp_path: Path, name: str) -> None:
    made = init.create(tmp_path / "x", name)
    done = stages(made, "check", "--json")
    assert done.returncode == 0, done.stdout
    data = Project.load(made).data
    read = _mixtures(made)
    assert set(data.mixtures.mixtures) == set(read)
    named = {source.corpus for mixture in data.mixtures.mixtures.values() for source in mixture.sources}
    assert set(data.published.corpora) == named & set(Project.load(ROOT).data.published.corpora)
    for path in (made / "specs/scales").glob("*.yaml"):
        assert (
            yaml.safe_load(path.read_text()).get("pipelines", "identity") in ("identity", None)
            or name in path.read_text()
        )


def _mixtures(root: Path) -> set[str]:
    """What the files of stages name under `data:`, by their text alone."""
    texts = [path.read_text() for path in (root / "specs").glob("*/*.yaml") if path.parent.name not in NOT_PIPELINES]
    return {name for text in texts for name in re.findall(r"\bdata: (\w+)", text)} - {"continue", "restart"}


def test_what_is_kept_is_kept_word_by_word() -> None:
    for name in contents.PUBLISHED:
        for path, content in published.specs(ROOT, name).items():
            theirs = (ROOT / path).read_text().splitlines()
            lines = iter(theirs)  # a mapping in one line is written again
            kept = [line for line in content.decode().splitlines() if not line.startswith("pipelines: {")]
            assert all(line in lines for line in kept), path


def test_every_example_is_offered() -> None:
    assert contents.examples() == ("tiny", "llama31_1m", "kimi_vl", "ouro")
    assert {path.name for path in (ROOT / "examples").iterdir()} == {"base", contents.TINY}


def test_the_extra_has_the_exact_packages_that_the_corpora_are_made_of() -> None:
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["mini"]
    wanted: dict[str, str] = {}
    for path in (ROOT / "specs/data").glob("*.yaml"):
        found = yaml.safe_load(path.read_text()).get("packages") or {}
        wanted |= {package.lower(): one["version"] for package, one in found.items()}
    assert {line.partition("==")[0]: line.partition("==")[2] for line in extra} == wanted
    pins = (ROOT / "constraints.txt").read_text().lower().splitlines()
    assert {f"{package}=={version}" for package, version in wanted.items()} <= set(pins)


def test_the_first_pipelines_text_is_what_its_grammar_writes() -> None:
    for name, text in tales.files().items():
        assert (ROOT / "examples/tiny/data" / name).read_text() == text


TEXT = """\
# the file
one:  # first
  a: {x: 1}
  # about b
  b:
    - 1

  # about c
  c: 3
two:
  - {covers: [one.a]}
  - covers: [one.b]
    why: b
"""


def test_an_entry_goes_with_the_comments_above_it_and_leaves_all_else() -> None:
    found = cut(TEXT, ("one",), lambda entry: entry[-1] == "b")
    assert found == replaced(TEXT, "  # about b\n  b:\n    - 1\n\n", "")
    assert cut(TEXT, ("one",), lambda entry: entry[-1] == "c") == replaced(TEXT, "  # about c\n  c: 3\n", "")
    assert cut(TEXT, ("two",), lambda entry: entry[-1] == 1) == replaced(TEXT, "  - covers: [one.b]\n    why: b\n", "")


def test_where_all_entries_go_what_holds_them_goes() -> None:
    assert cut(TEXT, ("two",), lambda entry: True) == TEXT[: TEXT.index("two:")]
    assert cut(TEXT, ("three",), lambda entry: True) == TEXT


def test_a_mapping_in_one_line_is_written_without_them() -> None:
    text = "# about\none: {a: identity, b: {x: 1/2}}\n\ntwo: 2\n"
    assert cut(text, ("one",), lambda entry: entry[-1] == "a") == "# about\none: {b: {x: 1/2}}\n\ntwo: 2\n"
    assert cut(text, ("one",), lambda entry: True) == "\ntwo: 2\n"


def test_entries_that_share_lines_otherwise_are_refused() -> None:
    with pytest.raises(SpecError, match="entries that share lines"):
        cut("one: {a: 1, b: 2,\n  c: 3}\n", ("one",), lambda entry: entry[-1] == "a")
