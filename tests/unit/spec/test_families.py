"""A family of language models is one file: what it says is whole, and no other module knows it by name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.spec.families import FAMILIES
from stages.spec.language_model import LanguageModel
from tests.mutants.mutant import ROOT

PACKAGES = ("check", "cluster", "commands", "contract", "data", "diff", "engines", "evals", "export", "guards",
            "models", "plan", "report", "spec", "store", "sync", "train")  # fmt: skip
# The NeMo engine has code of its own for each family that it trains, and says so in the family's file; exports have
# modelling code for what transformers has no class of.
OWN = ("stages/spec/families/", "stages/engines/nemo/", "stages/export/hf_code/", "stages/export/names.py")
PIPELINES = {"stages/report/record.py": {"ouro"}}  # the pipeline of that name, whose picture the README has


def named(path: Path) -> Iterator[str]:
    """Families that a module names: as text, as a class, or by the module that declares them."""
    names = {*FAMILIES, *(one.__name__ for one in FAMILIES.values())}
    modules = {f"stages.spec.families.{name}" for name in FAMILIES}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Constant(value=str(found)) | ast.Name(id=found) | ast.Attribute(attr=found) if found in names:
                yield found
            case ast.ImportFrom(module=str(found)) if found in modules:
                yield found


@pytest.mark.parametrize("package", PACKAGES)
def test_no_other_module_names_a_family(package: str) -> None:
    found = {}
    for path in sorted((ROOT / "stages" / package).rglob("*.py")):
        where = path.relative_to(ROOT).as_posix()
        if not where.startswith(OWN) and (strangers := set(named(path)) - PIPELINES.get(where, set())):
            found[where] = strangers
    assert found == {}


def test_every_package_is_looked_at() -> None:
    assert set(PACKAGES) == {path.parent.name for path in (ROOT / "stages").glob("*/__init__.py")}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_declares_its_own_fields(name: str) -> None:
    """pydantic keeps what a class declares itself: a field that only the base mentions is in no spec and no key."""
    family = FAMILIES[name]
    assert {"family", "layers", "hidden", "ffn", "heads", "vocab", "norm_eps", "tied", "init_std"} <= set(
        family.model_fields
    )
    assert set(family.PUBLISHED.names) <= set(family.model_fields), "names of fields that there are"
    assert set(family.model_fields) == {"family", *family.PUBLISHED.names, *family.PUBLISHED.constants}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_in_a_file_of_its_own(name: str) -> None:
    assert FAMILIES[name].__module__.startswith("stages.spec.families.")
    modules = [one.__module__ for one in FAMILIES.values()]
    assert len(set(modules)) == len(modules)
    kinds = [one.PUBLISHED.model_type for one in FAMILIES.values()]
    assert len(set(kinds)) == len(kinds), "transformers' name says which family a folder is of"


def test_the_base_is_no_family() -> None:
    assert "family" not in LanguageModel.model_fields
