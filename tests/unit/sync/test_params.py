"""DVC calls every stage whose key an edit of a spec changes: what it watches covers every leaf of every spec file."""

import random
from pathlib import Path

import pytest

from stages.spec.project import Project
from stages.sync import params
from tests import shipped
from tests.unit.spec import small_project
from tests.unit.sync.leaves import Edit, Specs, leaves

SCALES = ("mini", "paper")
SAMPLE = 60  # leaves that `make test` tries; all of them, about 3,000, take seven minutes


@pytest.fixture(scope="module", params=SCALES)
def specs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Specs:
    return Specs(shipped.copy(tmp_path_factory.mktemp("shipped")), request.param)


def missed(specs: Specs, places: list[tuple[str, tuple[str | int, ...]]]) -> tuple[list[str], int]:
    """Edits after which a stage has another key and DVC does not call it; and how many edits were tried."""
    found, tried = [], 0
    for file, path in places:
        for edit in specs.edits(file, path):
            tried += 1
            found += [f"{file}: {path}: {ref}" for ref in sorted(edit.changed - edit.called)]
    return found, tried


def test_dvc_calls_every_stage_that_an_edit_changes(specs: Specs) -> None:
    places = [(file, path) for file in specs.files for path in leaves(specs.tree(file))]
    found, tried = missed(specs, random.Random(1).sample(places, SAMPLE))
    assert found == []
    assert tried > SAMPLE


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_dvc_calls_every_stage_that_any_edit_changes(specs: Specs) -> None:
    found, _ = missed(specs, [(file, path) for file in specs.files for path in leaves(specs.tree(file))])
    assert found == []


def called(specs: Specs, file: str, *path: str | int) -> frozenset[str]:
    """What DVC calls after any of the edits of a leaf."""
    return frozenset[str]().union(*(edit.called for edit in specs.edits(file, path)))


def test_an_edit_calls_those_who_read_what_it_edits_and_what_is_built_on_them(tmp_path: Path) -> None:
    mini = Specs(shipped.copy(tmp_path), "mini")
    built = {f"ouro/{box}_{size}" for box in ("reasoning_sft", "thinking") for size in ("1_4b", "2_6b")}
    assert called(mini, "ouro/pipeline.yaml", "schedules", "reasoning_sft", 1, "to") == built
    assert called(mini, "data/mixtures.yaml", "mixtures", "ouro_sft", "sources", 0, "share") == built
    of_kimi = {ref for ref in mini.graph.published if ref.startswith("kimi_vl/")}
    assert called(mini, "scales/mini.yaml", "pipelines", "kimi_vl", "batch") == of_kimi
    assert called(mini, "scales/mini.yaml", "execution", "time_limit") == frozenset()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return small_project.write(tmp_path)


def watched(root: Path, ref: str, scale: str) -> params.Watched:
    return params.watched(Project.load(root), ref, scale)


def test_a_continued_schedule_is_laid_along_budgets_of_stages_before_whose_own_keys_may_stay(root: Path) -> None:
    """At a small scale, the phase before has its least number of steps either way."""
    constant = ("linear, from: 0, to: 1e-3, for: 100 steps", "constant, from: 1e-3, until: 2B")
    small_project.edit(root, "toy/pipeline.yaml", *constant)
    path = root / "specs/toy/first.yaml"
    path.write_text("1M".join(path.read_text().rsplit("1B", 1)))
    edits = list(Specs(root, "mini").edits("toy/first.yaml", ("phases", 1, "budget")))
    assert (
        Edit(frozenset({"toy/second", "toy/release"}), frozenset({"toy/first", "toy/second", "toy/release"})) in edits
    )


def test_a_file_that_lacks_a_key_is_watched_as_a_whole_for_the_key_may_be_added(root: Path) -> None:
    assert watched(root, "toy/first", "paper")["specs/scales/paper.yaml"] is None  # has no `vocab`
    assert watched(root, "toy/first", "mini")["specs/scales/mini.yaml"] is None  # leaves out what it extends
    small_project.edit(root, "scales/paper.yaml", "seed: 1\n", "seed: 1\nvocab: 512\n")
    keys = ["engine_class", "seed", "corpora", "releases", "vocab", "evaluation", "pipelines"]
    assert watched(root, "toy/first", "paper")["specs/scales/paper.yaml"] == keys
