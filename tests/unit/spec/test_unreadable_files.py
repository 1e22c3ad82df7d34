"""Whatever lies where a spec should: one error that names it, and soon; what is not read at all is named."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from stages.check.run import run
from stages.errors import InvalidSpecs, UserError
from stages.spec import nodes
from stages.spec.project import Project
from stages.spec.unread_files import strays
from tests.unit.spec.mistakes import SECOND, resolve_everything

SOON = 2  # times what PyYAML takes to read the largest file that may be a spec; what is quadratic takes 20 times that


def filled(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text) and None


def of_keys(before: str, line: str) -> str:
    """As many numbered lines as a spec may have bytes for."""
    return before + "".join(
        line.format(number) for number in range((nodes.MAX_BYTES - 500) // len(line.format(99_999)))
    )


SCALE_KEYS = "scale: mini\nextends: paper\n"
VARIANT = "stage: second\n"
UNREADABLE: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "a pipe": (SECOND, os.mkfifo, "found a pipe"),
    "an endless device": (SECOND, lambda path: path.symlink_to("/dev/zero"), "found a device"),
    "a directory": ("scales/mini.yaml", Path.mkdir, "found a directory"),
    "a link to nothing": (SECOND, lambda path: path.symlink_to("nothing"), "'second' without a file"),
    "a link to itself": (SECOND, lambda path: path.symlink_to(path.name), "'second' without a file"),
    "a hundred megabytes": (SECOND, lambda path: _sparse(path, 10**8), "more than 250,000 bytes"),
    "many unknown keys": (SECOND, filled(of_keys("stage: second\nkind: train\n", "k{}: 1\n")), "more mistakes"),
    "many unknown keys of a variant": ("toy_variant/second.yaml", filled(of_keys(VARIANT, "k{}: x\n")),
        "more mistakes"),
    "many figures without a source": ("toy_variant/pipeline.yaml", filled(of_keys(
        "pipeline: toy_variant\ntitle: x\ncitation: x\nfigure: x\nextends: toy\nclaims:\n",
        "  - {{what: c{}, tokens: 1B, lineage: second}}\n")), "without a source"),
    "many sources that cover nothing": ("toy_variant/second.yaml", filled(of_keys(
        VARIANT + "sources:\n", "  - {{covers: [a{}], mark: chosen}}\n")), "covers no figure"),
    "many mistaken sources": (SECOND, filled(of_keys("stage: second\nkind: train\nsources:\n", "  - {{a: {}}}\n")),
        "more mistakes"),
    "many unknown fields of a model": ("scales/mini.yaml", filled(of_keys(
        SCALE_KEYS + "pipelines:\n  toy:\n    models:\n      small:\n", "        k{}: x\n")), "required"),
    "deep nesting": (SECOND, filled("a: " + "[" * 100_000), "nesting deeper"),
    "nested aliases": (SECOND, filled("a: &a [x]\nb: &b [*a, *a]\n"), "the anchor &a"),
    "bytes that are no text": (SECOND, lambda path: path.write_bytes(b"stage: \xff\n") and None, "not UTF-8"),
}  # fmt: skip


def _sparse(path: Path, size: int) -> None:
    path.touch()
    os.truncate(path, size)


@pytest.fixture(scope="module")
def seconds_of_a_largest_file() -> float:
    began = time.process_time()
    yaml.safe_load(of_keys("", "k{}: 1\n"))
    return time.process_time() - began


@pytest.mark.parametrize("name", UNREADABLE)
def test_one_error_names_the_file_soon(root: Path, name: str, seconds_of_a_largest_file: float) -> None:
    file, make, says = UNREADABLE[name]
    path = root / "specs" / file
    path.unlink()
    make(path)
    began = time.process_time()
    with pytest.raises(InvalidSpecs) as caught:
        resolve_everything(root)
    assert time.process_time() - began < SOON * seconds_of_a_largest_file
    assert says in str(caught.value)
    assert f"specs/{file}" in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 21


def test_text_with_a_byte_order_mark_is_read(root: Path) -> None:
    path = root / "specs" / SECOND
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    resolve_everything(root)


STRAYS = {
    "toy/third.yml": "Rename it to third.yaml",
    "toy/first.yaml.bak": "files that end in .yaml",
    "scales/mini.YAML": "Rename it to mini.yaml",
    "data/mine.json": "files that end in .yaml",
    "hardware/h100.yml": "Rename it to h100.yaml",
    "toy.yaml": "directories of specs",
    "mine/pipeline.yml": "Rename it to pipeline.yaml",
}


@pytest.mark.parametrize("file", STRAYS)
def test_what_no_command_reads_is_named(root: Path, file: str) -> None:
    path = root / "specs" / file
    path.parent.mkdir(exist_ok=True)
    path.write_text("x: y\n")
    found = {error.where.file: str(error) for error in strays(Project.load(root).files)}
    assert STRAYS[file] in found[f"specs/{file}"]
    assert "specs/mine" in found or file != "mine/pipeline.yml", "a directory whose pipeline.yaml is missing"
    assert f"specs/{file}" in {one.where.file for one in run(Project.load(root), "paper") if one.where}


def test_notes_hidden_files_and_editors_copies_are_nobodys_specs(root: Path) -> None:
    for file in ("README.md", "toy/notes.md", "toy/.first.yaml.swp", "toy/first.yaml~", ".keep"):
        (root / "specs" / file).write_text("x")
    (root / "specs" / "empty").mkdir()
    assert list(strays(Project.load(root).files)) == []


def test_a_file_of_any_kind_is_no_traceback_for_a_site_either(root: Path) -> None:
    from stages.cluster import site

    (root / "slurm").mkdir()
    os.mkfifo(root / site.FILE)
    with pytest.raises(UserError, match=r"slurm/site\.yaml:1: the file: found a pipe"):
        site.load(root)
