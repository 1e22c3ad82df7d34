"""DVC reads YAML in C, and finds the values that its slower reader in Python finds; what it is to pass over."""

import os
from pathlib import Path

import pytest
from dvc.ignore import DvcIgnorePatterns
from dvc.utils.serialize import parse_yaml
from ruamel.yaml import YAML

from stages.store import damage
from stages.store.layout import Layout

ROOT = Path(__file__).resolve().parents[3]


def test_dvc_has_the_reader_in_c() -> None:
    assert YAML(typ="safe").Parser is not YAML(typ="safe", pure=True).Parser


@pytest.mark.parametrize("file", ["scales/mini", "kimi_vl/pipeline", "data/tokenizer", "ouro/warmup", "hardware/h100"])
def test_both_readers_find_the_same_values(file: str) -> None:
    """`repr` shows types too: 0.10 of a spec is a number of the same bits, and 1Ki a text."""
    path = ROOT / f"specs/{file}.yaml"
    text = path.read_text(encoding="utf-8")
    assert repr(parse_yaml(text, path)) == repr(YAML(typ="safe", pure=True).load(text))


@pytest.mark.parametrize("file", [".dvcignore", "examples/base/dvcignore"])
def test_a_note_of_damage_is_no_file_of_a_result_which_dvc_would_refuse_to_replace(file: str) -> None:
    passes_over = DvcIgnorePatterns((ROOT / file).read_text().splitlines(), str(ROOT), os.sep)
    folder = str(Layout(ROOT, "mini").stage("toy/one"))
    assert passes_over.matches(folder, damage.NAME)
    assert not passes_over.matches(folder, "manifest.json")
