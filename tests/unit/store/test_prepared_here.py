"""`stages check` on a machine where corpora were prepared, and one of their files was cut or removed since."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from stages.commands.check import run_checks
from stages.spec.project import Project
from stages.store.prepared_here import changed_sources, lost
from tests import shipped
from tests.edits import edit, replaced

BLAKE3 = "0" * 64
SCALES = ("mini", "small")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The shipped specs, with prose prepared at scale mini as it is declared, from a file of the project."""
    shipped.copy(tmp_path)
    spec = tmp_path / "specs/data/prose.yaml"
    text = "".join(
        line for line in spec.read_text().splitlines(True) if not line.startswith((" ", "packages", "param"))
    )
    spec.write_text(replaced(text, "builder: prose", "builder: file\npath: texts/prose.jsonl"))
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/prose.jsonl").write_bytes(b"x" * 1000)
    prepared(tmp_path, shards={"tokens.bin": 400, "tokens.idx": 90}, inputs={"files": 1, "bytes": 1000})
    return tmp_path


def prepared(root: Path, name: str = "prose", *, shards: dict[str, int], **more: object) -> Path:
    """A prepared folder, as far as `stages check` looks at it."""
    folder = root / "results/mini/data" / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, size in shards.items():
        (folder / file).write_bytes(b"0" * size)
    listed = [{"file": file, "size": size, "blake3": BLAKE3} for file, size in shards.items()]
    digest = Project.load(root).data.corpora[name].digest
    (folder / "manifest.json").write_text(json.dumps({"digest": digest, "shards": listed, **more}))
    marker = root / "results/.markers/mini/data" / f"{name}.{'a' * 32}"
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()
    return folder


def told(root: Path) -> list[str]:
    return [f"{one.observed}; {one.expected}" for one in lost(Project.load(root), root, SCALES)]


def notices(root: Path) -> list[str]:
    return list(changed_sources(Project.load(root), root, SCALES))


def test_a_whole_corpus_is_no_finding(root: Path) -> None:
    assert told(root) == notices(root) == []


def test_a_file_that_was_cut_is_a_finding_with_both_sizes_and_the_command(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "results/mini/data/prose/tokens.bin").write_bytes(b"0" * 399)
    with contextlib.chdir(root):
        assert run_checks("mini", as_json=False) == 1
    said = capsys.readouterr().out
    assert "files A prepared corpus is not whole\n  data/prose, at mini\n" in said
    assert "found     results/mini/data/prose/tokens.bin: 399 bytes\n  expected  400 bytes\n" in said
    assert "repair    Prepare it again: `stages data prose --scale mini`." in said


def test_a_file_that_was_removed_is_one_and_so_is_the_folder(root: Path) -> None:
    folder = root / "results/mini/data/prose"
    (folder / "tokens.idx").unlink()
    assert told(root) == ["results/mini/data/prose/tokens.idx: nothing; a file of 90 bytes"]
    for one in folder.iterdir():
        one.unlink()
    folder.rmdir()
    assert told(root) == ["results/mini/data/prose/manifest.json: nothing; what was prepared here"]


def test_nothing_is_said_where_nothing_was_prepared(root: Path) -> None:
    """A clone has no results; whoever removes all of a scale's corpora means to."""
    (root / "results/mini/data").rename(root / "results/mini/elsewhere")
    assert told(root) == notices(root) == []
    (root / "results").rename(root / "elsewhere")
    assert told(root) == notices(root) == []


def test_what_was_prepared_under_another_declaration_is_read_by_nothing(root: Path) -> None:
    spec = root / "specs/data/prose.yaml"
    digest = Project.load(root).data.corpora["prose"].digest
    edit(spec, digest, "b" * 64)
    (root / "results/mini/data/prose/tokens.bin").unlink()
    assert told(root) == []


def test_a_manifest_that_cannot_be_read_is_a_finding(root: Path) -> None:
    (root / "results/mini/data/prose/manifest.json").write_bytes(b"{")
    assert told(root)[0].startswith("results/mini/data/prose/manifest.json: ")


def test_adopted_files_are_looked_for_where_they_lie(root: Path) -> None:
    lake = root / "lake"
    (root / "specs/data/roots.yaml").write_text(f"roots: {{lake: {lake}}}\n")
    dataset = {"prefix": "a/b", "dtype": 4, "bin": {"size": 8, "blake3": BLAKE3}, "idx": {"size": 2, "blake3": BLAKE3}}
    prepared(root, shards={"order.bin": 16}, adopted={"root": "lake", "datasets": [dataset]})
    assert told(root) == [], "this machine does not have the folder that roots.yaml names"
    (lake / "a").mkdir(parents=True)
    (lake / "a/b.bin").write_bytes(b"0" * 7)
    assert told(root) == ["lake/a/b.bin: 7 bytes; 8 bytes", "lake/a/b.idx: nothing; a file of 2 bytes"]


def test_a_source_that_was_cut_is_a_notice_and_one_that_was_removed_is_not(root: Path) -> None:
    source = root / "texts/prose.jsonl"
    source.write_bytes(b"x" * 600)
    (notice,) = notices(root)
    assert "specs/data/prose.yaml:" in notice
    assert "prose was prepared here from 1,000 bytes, and its files have 600 now" in notice
    source.unlink()
    assert notices(root) == [], "texts may be removed once they are prepared"


def test_specs_that_cannot_be_read_are_findings_of_their_own(root: Path) -> None:
    (root / "specs/data/mixtures.yaml").unlink()
    assert told(root) == notices(root) == []


def test_neither_numpy_nor_a_corpus_is_loaded() -> None:
    code = "import sys, stages.commands.check; "
    code += "sys.exit(bool({'numpy', 'stages.data.corpus.prepared'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
