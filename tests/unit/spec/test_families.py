"""A family of language models is one file: what it says is whole, and no other module knows it by name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from stages.contract import layouts
from stages.spec import objectives
from stages.spec.families import FAMILIES, declared, olmoe
from stages.spec.language_model import LanguageModel
from stages.spec.nodes import parse
from stages.spec.project import Project
from tests.families import test_qwen3, test_qwen3_moe
from tests.mutants.mutant import ROOT
from tests.parity import test_hf

PACKAGES = ("audit", "check", "cluster", "commands", "contract", "data", "diff", "engines", "evals", "export",
            "forensics", "guards", "models", "plan", "report", "scaffold", "spec", "store", "sync", "testing",
            "tracking", "train")  # fmt: skip
# The NeMo engine has code of its own for each family that it trains, and says so in the family's file; exports have
# modelling code for what transformers has no class of.
OWN = ("stages/spec/families/", "stages/engines/nemo/", "stages/export/hf_code/", "stages/export/names.py")
# The pipeline of that name, whose picture the README has, and with which a project may begin.
PIPELINES = {"stages/report/record.py": {"ouro"}, "stages/scaffold/contents.py": {"ouro"}}


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
    unnamed = set(family.model_fields) - {"family", *family.PUBLISHED.names}
    assert unnamed <= {"full_every", "post_norm_gain"}, "of which config.json has a list of layers, and nothing"


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_in_a_file_of_its_own(name: str) -> None:
    assert FAMILIES[name].__module__.startswith("stages.spec.families.")
    modules = [one.__module__ for one in FAMILIES.values()]
    assert len(set(modules)) == len(modules)
    kinds = [one.PUBLISHED.model_type for one in FAMILIES.values()]
    assert len(set(kinds)) == len(kinds), "transformers' name says which family a folder is of"


def test_the_nemo_engine_refuses_by_name_what_it_has_no_code_for() -> None:
    stage = Project.load(ROOT).resolve("llama31_1m", "mini_nemo").stages["cpt_256k"]
    assert list(layouts.unsupported(stage)) == []
    other = stage.model_copy(update={"modules": {"llm": test_qwen3.TestQwen3.MODEL}})
    (misfit,) = layouts.unsupported(other)
    assert (misfit.part, misfit.observed) == ("family", "qwen3")
    assert misfit.expected == "llama, moonlight, ouro"


@pytest.mark.parametrize(("model", "refused"), [(test_qwen3_moe.TestQwen3Moe.MODEL, 1), (test_hf.MOONLIGHT, 0)])
def test_a_router_without_a_bias_has_none_to_move(model: LanguageModel, refused: int) -> None:
    text = b"phases: [{router: {bias_update: 1e-3, aux_loss: 1e-4}}]"
    placed = objectives.Placed(parse(text, "one.yaml"), ("phases",), {"llm": model}, ("llm",))
    router = SimpleNamespace(bias_update=Fraction(1, 1000), aux_loss=Fraction(1, 10_000))
    phase: Any = SimpleNamespace(
        objective="next_token", loops=None, router=router, coca=None, preference=None, z_loss=None
    )
    errors = list(objectives._blocks(placed, 0, phase))
    assert len(errors) == refused
    assert all("phases.0.router.bias_update: found 0.001 for llm (qwen3_moe); allowed: 0" in str(one) for one in errors)


def test_a_copy_that_still_has_the_name_of_what_it_was_copied_from_is_refused() -> None:
    copied = ModuleType("stages.spec.families.mine")
    vars(copied)["MineModel"] = type("MineModel", (olmoe.OlmoeModel,), {"__module__": copied.__name__})
    with pytest.raises(ImportError, match=r"olmoe: family: found 'olmoe', which stages\.spec\.families\.mine declares"):
        declared([copied, olmoe])
    assert declared([olmoe, olmoe]) == {"olmoe": olmoe.OlmoeModel}, "one that another module imports is the same"


def test_the_base_is_no_family() -> None:
    assert "family" not in LanguageModel.model_fields
