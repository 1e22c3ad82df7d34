"""docs/spec-format.md says of every number what it may be: the table is what the schemas say."""

from __future__ import annotations

from stages.spec.domain import Domain
from stages.spec.families import FAMILIES
from tests.unit.spec.numeric_leaves import Leaf, leaves
from tests.unit.spec.spec_files import ROOT

PAGE = ROOT / "docs/spec-format.md"
HEAD = ["| number | what it may be | example |", "|---|---|---|"]


def name(leaf: Leaf) -> str:
    """The last key, and the one above it: phases.budget."""
    return ".".join([part for part in leaf.pattern if isinstance(part, str) and part != "*"][-2:])


def table() -> list[str]:
    """One row for each domain, with the numbers that it is of."""
    rows: dict[Domain, list[str]] = {}
    for leaf in leaves():
        names = rows.setdefault(leaf.domain, [])
        names += [f"`{name(leaf)}`"] if f"`{name(leaf)}`" not in names else []
    return HEAD + [f"| {', '.join(names)} | {said(domain)} | `{domain.example}` |" for domain, names in rows.items()]


def said(domain: Domain) -> str:
    word = f"; or `{domain.word}`" if domain.word is not None else ""
    return f"{domain.form.what}, {domain.range}{word}"


def test_the_table_of_domains_is_what_the_schemas_say() -> None:
    text = PAGE.read_text(encoding="utf-8")
    lines = text.partition(HEAD[0])[2].splitlines()
    written = HEAD + [line for line in lines[2:] if line.startswith("|")][: len(table()) - 2]
    assert written == table(), "\n".join(table())


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
