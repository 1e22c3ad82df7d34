"""docs/spec-format.md: the fields of every family, and the bounds of a number as the loader says them."""

from __future__ import annotations

import json

import pytest

from stages.cluster.site import RawSite
from stages.spec import json_schema
from stages.spec.families import FAMILIES
from tests.unit.spec.numeric_leaves import leaves
from tests.unit.spec.spec_files import ROOT

PAGE = ROOT / "docs/spec-format.md"


def test_the_page_shows_the_bounds_of_a_number_as_they_are() -> None:
    """All bounds stand in stages/spec/domains.py; that loader and schemas have them: tests/property/test_domains.py."""
    domain = next(leaf.domain for leaf in leaves() if leaf.pattern[-1] == "beta1")
    expected = f"expected  {domain.form.what}, {domain.range}, such as {domain.example}\n"
    assert expected in PAGE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def schemas() -> dict[str, str]:
    made = json_schema.json_schemas() | {"site": json_schema.json_schema(RawSite)}
    return {name: json.dumps(schema, ensure_ascii=False) for name, schema in made.items()}


def test_the_bounds_of_every_number_are_to_be_read_in_its_schema(schemas: dict[str, str]) -> None:
    """In words, units too: the page sends there whoever wants to know them before there is an error."""
    assert [str(leaf) for leaf in leaves() if leaf.domain.allowed not in schemas[leaf.schema]] == []


SHARED = ("family", "layers", "hidden", "ffn", "heads", "vocab", "norm_eps", "tied", "init_std")
OF_FAMILIES = "| family | further fields of its models |"


def families() -> list[str]:
    """One row for each set of further fields, with the families that have it."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for family, model in FAMILIES.items():
        rows.setdefault(tuple(name for name in model.model_fields if name not in SHARED), []).append(f"`{family}`")
    return [f"| {', '.join(names)} | {', '.join(f'`{one}`' for one in further)} |" for further, names in rows.items()]


def test_the_table_of_families_has_the_fields_that_each_states() -> None:
    assert all(set(SHARED) <= set(model.model_fields) for model in FAMILIES.values())
    lines = PAGE.read_text(encoding="utf-8").partition(OF_FAMILIES)[2].splitlines()[2:]
    assert lines[: lines.index("")] == families(), "\n".join(families())
