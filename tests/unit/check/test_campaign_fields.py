"""The campaign on the specs that have what no shipped pipeline has: nothing of a spec's format escapes it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.contract import numbers
from stages.spec.numbers import OF_OPTIMIZER, OF_PHASE, named
from tests.mutants import unshipped
from tests.mutants.campaign.edits import Edit
from tests.mutants.campaign.rules import judge
from tests.mutants.campaign.trial import Bench
from tests.unit.spec.numeric_leaves import Kind, Leaf, leaves
from tests.unit.spec.spec_files import SpecFile, project_files, shipped


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(unshipped.write(tmp_path_factory.mktemp("fields") / "project"))


@pytest.fixture(scope="module")
def slips(bench: Bench) -> list[Edit]:
    return unshipped.slips(bench.root / "specs")


def test_these_specs_have_no_finding(bench: Bench) -> None:
    assert bench.findings(bench.shipped) == []


def test_every_number_that_may_follow_a_schedule_does(bench: Bench) -> None:
    stages = [one for context in bench.contexts.values() for one in context.pipeline.stages.values()]
    expected = {*OF_OPTIMIZER, *(named(block, key) for block, key in OF_PHASE)}
    assert {name for stage in stages for name in numbers.scheduled(stage)} == expected


def kinds(schema: str) -> str:
    """Files of which the campaign has one where it has the others: a stage is a stage, a variant is a pipeline."""
    return schema.partition("_")[0]


def tried(leaf: Leaf) -> bool:
    """Whether the campaign is to have the number. Not: families (tests/families), what says how a corpus is made,
    layouts and machines, whose keys are the same wherever they stand.
    """
    family = any(isinstance(part, Kind) and part.tag == "family" for part in leaf.pattern)
    elsewhere = kinds(leaf.schema) in ("corpus", "tokenizer", "site") or "models" in leaf.pattern
    return not family and not elsewhere and not {"execution", "executions"} & set(leaf.pattern)


def short(leaf: Leaf) -> Leaf:
    """A stand-in is trained as a stage is."""
    return Leaf(leaf.schema, tuple(part for part in leaf.pattern if part != "stand_in"), leaf.domain)


def missing(files: list[SpecFile]) -> Iterator[str]:
    for leaf in map(short, filter(tried, leaves())):
        mine = (file for file in files if kinds(file.schema) == kinds(leaf.schema))
        if not any(place for file in mine for place in leaf.instances(file.value)):
            yield str(leaf)


def test_every_number_of_a_spec_is_in_some_file_that_the_campaign_edits(bench: Bench) -> None:
    """A new field is named here: it wants a place in tests/mutants/fields, where slips of it are tried."""
    assert list(missing([*shipped(), *project_files(bench.root)])) == []


def test_no_slip_of_a_sample_crashes_or_is_silent_without_a_reason(bench: Bench, slips: list[Edit]) -> None:
    outcomes = [(edit, bench.try_out(edit)) for edit in random.Random(1).sample(slips, 80)]
    unexplained = [
        (edit.file, edit.place, edit.slip, edit.new, outcome.detail) for edit, outcome in outcomes
        if outcome.verdict == "crash"
        or (outcome.verdict == "silent" and not judge(edit.where, f"{edit.file}:{edit.place}", edit.slip)[1])
    ]  # fmt: skip
    assert unexplained == []
    assert sum(outcome.verdict in ("caught", "elsewhere") for _, outcome in outcomes) >= 50


@pytest.mark.parametrize(
    ("file", "place", "new", "id"),
    [
        ("dense/pipeline.yaml", "optimizers.stated.ema", "0.0999", "I-48"),
        ("dense/pipeline.yaml", "schedules.ema.0.to", "0.0999", "I-48"),
        ("dense/pipeline.yaml", "optimizers.adamw.skip.sigmas", "0.6", "I-48"),
        ("dense/pipeline.yaml", "schedules.beta2.0.from", "0.099", "I-48"),
        ("looped/further.yaml", "phases.0.loops.beta.schedule", "further", "I-36"),
        ("pictures/further.yaml", "phases.0.coca.caption_weight.schedule", "towers", "I-36"),
        ("dense/trunk.yaml", "phases.1.z_loss", "", "I-28"),
        ("dense/pipeline.yaml", "schedules", "", "spec"),
    ],
)
def test_what_passed_in_silence_once(bench: Bench, slips: list[Edit], file: str, place: str, new: str, id: str) -> None:
    (edit,) = (one for one in slips if (one.file, one.place, one.new) == (file, place, new))
    outcome = bench.try_out(edit)
    assert outcome.verdict in ("caught", "elsewhere")
    assert id in outcome.ids


def test_its_own_files_alone_are_edited(slips: list[Edit]) -> None:
    files = {Path(one.file) for one in slips}
    assert all((unshipped.FIELDS / file).exists() for file in files)
    assert len(files) == len([*unshipped.FIELDS.rglob("*.yaml")])
