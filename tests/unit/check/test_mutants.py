"""Every mutant is seen by the invariant that is meant for it, and by no other than those declared."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from stages.check import catalogue
from stages.check.findings import SPEC
from stages.guards import run as guards
from tests.mutants.campaign.trial import Bench
from tests.mutants.matrix import MUTANTS, Row, markdown
from tests.mutants.mutant import ROOT, Edited, Mutant

WRITTEN = tuple(one for one in MUTANTS if isinstance(one.made, Edited))


@pytest.mark.parametrize(
    "mutant", [one for one in MUTANTS if not one.refused], ids=lambda one: f"{one.invariant}: {one.defect}"
)
def test_caught_by_its_own_check_and_by_no_undeclared_one(mutant: Mutant, tmp_path: Path) -> None:
    assert mutant.seen_by(tmp_path) == {mutant.invariant} | mutant.also


@pytest.mark.parametrize(
    "mutant",
    [pytest.param(one, marks=() if at % 3 == 0 else pytest.mark.nightly) for at, one in enumerate(WRITTEN)],
    ids=lambda one: f"{one.invariant}: {one.defect}",
)
def test_stages_check_refuses_an_edit_of_yaml(mutant: Mutant, bench: Bench) -> None:
    """Every pipeline at every scale, as the command does (test_campaign.py compares the two, and the test below): what
    a rule says of a resolved stage proves nothing of what reaches it.
    """
    assert isinstance(mutant.made, Edited)
    text = (bench.root / "specs" / mutant.made.file).read_text()
    with bench.edited(mutant.made.file, mutant.made.edited(text)) as project:
        found = {one.rule: one.id for one in bench.unwaived(project)}
    assert (found[mutant.invariant] == SPEC) == mutant.refused


@pytest.mark.parametrize("mutant", WRITTEN[::12], ids=lambda one: f"{one.invariant}: {one.defect}")
def test_the_command_in_a_process_of_its_own_says_the_same(mutant: Mutant, tmp_path: Path) -> None:
    assert isinstance(mutant.made, Edited)
    mutant.made.project(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "stages", "check", "--json"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if not line.startswith("notice: ")] == []
    assert mutant.invariant in {one["invariant"] for one in json.loads(done.stdout) if one["waived"] is None}


def test_every_rule_that_specs_decide_has_two_mutants_written_in_yaml() -> None:
    counts = Counter(mutant.invariant for mutant in WRITTEN)
    assert {one.id for one in catalogue.ordered() if one.check is not None and counts[one.id] < 2} == set()


@pytest.mark.parametrize("id", sorted({mutant.invariant for mutant in WRITTEN if mutant.refused}))
def test_what_the_loader_holds_says_so_in_the_catalogue(id: str) -> None:
    assert any(file.startswith("stages/spec/") for file in catalogue.find(id).held_by)


def test_the_page_says_which_invariants_no_line_of_a_spec_can_break() -> None:
    page = (ROOT / "docs/invariants.md").read_text().partition("## Where each can speak")[2].partition("\n## ")[0]
    listed = [set(re.findall(r"[IS]-\d+", line)) for line in page.splitlines() if line.startswith("| ")][2:]
    found = {one.invariant for one in WRITTEN if not one.refused}
    unseen = [one for one in catalogue.ordered() if one.id not in found]
    assert listed == [
        {one.id for one in unseen if one.check is not None},
        {one.id for one in unseen if one.check is None and guards.names(one.id)},
        {one.id for one in unseen if one.check is None and not guards.names(one.id)},
    ]


def test_every_rule_that_specs_decide_has_at_least_two_mutants() -> None:
    counts = Counter(mutant.invariant for mutant in MUTANTS)
    assert {one.id for one in catalogue.ordered() if one.check is not None and counts[one.id] < 2} == set()
    assert set(counts) <= {one.id for one in catalogue.ordered() if one.check is not None}


def test_the_table_has_a_line_a_mutant_and_says_what_was_missed() -> None:
    first = Row("I-03", "seen by two", "the resolved stage", frozenset({"I-03", "I-99"}))
    text = markdown([first, Row("I-03", "seen by none", "the resolved stage", frozenset())])
    assert text.count("\n| I-03") == 2
    assert "| yes | I-99 |" in text
    assert "| **no** |" in text
    assert text.endswith("1 of 2 mutants caught by the invariant that is meant for them.\n")
