"""The domain of every number: outside it is refused at its line, inside it resolves, or is refused by name.

The numbers are found from the schemas (tests/unit/spec/numeric_leaves.py), their places in the shipped specs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError

from stages.check.run import run
from stages.cluster.site import RawSite
from stages.errors import InvalidSpecs, SpecError
from stages.spec import json_schema
from stages.spec.nodes import Document, Path, Tree, dotted
from stages.spec.project import Project
from stages.spec.validate import validate
from tests.unit.spec.numeric_leaves import AnyKey, Leaf, leaves, unshipped_families
from tests.unit.spec.numeric_values import drawn, inside, outside, outside_of_a_schema
from tests.unit.spec.spec_files import MODELS, ROOT, SpecFile, as_an_editor_reads, dump, shipped, unshipped

LEAVES = leaves()
FILES = (*shipped(), *unshipped(), unshipped_families(shipped()))
SCHEMAS = json_schema.json_schemas() | {"site": json_schema.json_schema(RawSite)}
VALIDATORS = {name: Draft202012Validator(schema) for name, schema in SCHEMAS.items()}
each_leaf = pytest.mark.parametrize("leaf", LEAVES, ids=str)


@cache
def place(leaf: Leaf) -> tuple[SpecFile, Path]:
    """The smallest file that holds the number, and where; where none does, one that might, and where it would."""
    files = sorted((one for one in FILES if one.schema == leaf.schema), key=lambda one: len(dump(one.value)))
    there = ((one, path) for one in files for path in leaf.instances(one.value))
    likely = max(files, key=lambda one: leaf.depth(one.value))
    file, path = next(there, (likely, leaf.somewhere(likely.value)))
    return file.changed(path, leaf.domain.example.split(" or ")[0]), path


@cache
def places(leaf: Leaf) -> Document:
    """The file with its lines, every leaf on one of its own."""
    return place(leaf)[0].document()


def refused(leaf: Leaf, value: Tree) -> list[SpecError]:
    """What the loader says at the number's line when it has another value."""
    file, path = place(leaf)
    document = replace(places(leaf), value=file.changed(path, value).value)
    try:
        validate(document, MODELS[leaf.schema])
    except InvalidSpecs as error:
        return [one for one in error.errors if (one.where, one.key) == (document.places[path], dotted(path))]
    return []


@each_leaf
def test_a_value_outside_is_refused_at_its_line_and_one_inside_is_not(leaf: Leaf) -> None:
    for value in outside(leaf.domain):
        errors = refused(leaf, value)
        assert len(errors) == 1, value
        (error,) = errors
        assert error.allowed == leaf.domain.allowed
    for value in inside(leaf.domain):
        assert refused(leaf, value) == [], value


@settings(max_examples=200)
@given(st.sampled_from(LEAVES).flatmap(lambda leaf: st.tuples(st.just(leaf), drawn(leaf.domain))))
def test_any_other_number_is_refused_exactly_where_the_domain_does_not_hold_it(case: tuple[Leaf, str]) -> None:
    leaf, text = case
    try:
        held = leaf.domain.contains(leaf.domain.form.read(text))
    except ValueError:
        held = False
    assert (refused(leaf, text) == []) == held


def marked(leaf: Leaf, value: Tree) -> bool:
    """Whether an editor marks the number."""
    file, path = place(leaf)
    tree = file.changed(path, value_of_an_editor(value)).value
    _leave_one_of_each_name(leaf, path, tree)
    return any(tuple(one.absolute_path)[: len(path)] == path for one in _complaints(leaf.schema, tree))


def _leave_one_of_each_name(leaf: Leaf, path: Path, tree: Tree) -> None:
    """Of mappings by name on the way to the number what is beside it goes: a validator reads one model, not six."""
    for part, key in zip([part for part in leaf.pattern if isinstance(part, str)], path, strict=True):
        if isinstance(part, AnyKey):
            for other in tree.keys() - {key}:
                del tree[other]
        tree = tree[key]


def value_of_an_editor(value: Tree) -> Tree:
    return as_an_editor_reads(dump({"value": value}))["value"]


def _complaints(schema: str, tree: Tree) -> Iterator[ValidationError]:
    """Complaints, and those of every alternative."""
    wanted = list(VALIDATORS[schema].iter_errors(tree))
    for error in wanted:  # grows on the way
        wanted += error.context or ()
        yield error


@pytest.mark.parametrize(
    "leaf", [pytest.param(leaf, marks=pytest.mark.nightly if at % 4 else ()) for at, leaf in enumerate(LEAVES)], ids=str
)
def test_an_editor_marks_what_is_outside_and_nothing_inside(leaf: Leaf) -> None:
    for value in outside_of_a_schema(leaf.domain):
        assert marked(leaf, value), value
    for value in inside(leaf.domain):
        assert not marked(leaf, value), value


@pytest.mark.slow
@settings(max_examples=20)
@given(st.sampled_from(LEAVES).flatmap(lambda leaf: st.tuples(st.just(leaf), st.sampled_from(inside(leaf.domain)))))
def test_with_a_value_inside_the_specs_resolve_or_are_refused_by_name(case: tuple[Leaf, str]) -> None:
    leaf, text = case
    file, path = place(leaf)
    project = Project.load(ROOT)
    project.files._documents[project.files.specs / file.name] = file.changed(path, text).document()
    for scale in ("mini", "paper"):
        assert all(finding.observed for finding in run(project, scale))
