"""What the engine does not run, in words, before anything is started."""

from __future__ import annotations

import dataclasses

import pytest

from stages.contract import engines, hardware, memory
from stages.contract.hardware import Hardware
from stages.spec.project import Project
from stages.spec.resolved import Stage
from tests.mutants.mutant import ROOT


@pytest.fixture(scope="module")
def project() -> Project:
    return Project.load(ROOT)


@pytest.fixture
def h100(project: Project) -> Hardware:
    return hardware.load(project.files, "h100")


def on(stage: Stage, ranks: int, device: str = "cuda") -> Stage:
    return stage.model_copy(update={"execution": stage.execution.model_copy(update={"ranks": ranks, "device": device})})


@pytest.fixture
def stage(project: Project) -> Stage:
    """A miniature, whose corpora are prepared ones."""
    return project.resolve("ouro", "mini").stages["stable_1"]


def too_small(stage: Stage, h100: Hardware, ranks: int) -> Hardware:
    """A device that lacks a byte for what a rank has whole."""
    (phase,) = stage.phases
    whole = memory.of(on(stage, ranks), phase, h100)
    assert whole.layout != memory.DIVIDED
    return dataclasses.replace(h100, memory=whole.total - 1)


def test_what_is_prepared_and_fits_is_run(stage: Stage, h100: Hardware) -> None:
    assert stage.prepared
    assert engines.refusal(stage, None) is engines.refusal(stage, h100) is engines.refusal(on(stage, 8), h100) is None


def test_published_corpora_are_named_each_once(project: Project, h100: Hardware) -> None:
    paper = project.resolve("ouro", "paper").stages["stable_1"]
    names = sorted(source.corpus for phase in paper.phases for source in phase.sources)
    assert not paper.prepared
    for machine in (None, h100):
        assert engines.refusal(paper, machine) == (
            f"published corpora ({', '.join(names)}); allowed: prepared ones, which specs/data declares with a digest; "
            "specs/data/bind.yaml binds published ones to them"
        )
    twice = paper.model_copy(update={"phases": paper.phases * 2})
    assert engines.refusal(twice, None) == engines.refusal(paper, None)


def test_one_corpus_that_is_not_prepared_is_named_alone(stage: Stage) -> None:
    first, *rest = stage.phases[0].sources
    published = first.model_copy(update={"digest": "", "corpus": "web"})
    mixed = stage.model_copy(update={"phases": (stage.phases[0].model_copy(update={"sources": (published, *rest)}),)})
    refusal = engines.refusal(mixed, None)
    assert refusal is not None
    assert refusal.startswith("published corpora (web); allowed:")


@pytest.mark.parametrize("ranks", [2, 8])
def test_weights_that_ranks_would_have_to_divide_are_refused(ranks: int, stage: Stage, h100: Hardware) -> None:
    machine = too_small(stage, h100, ranks)
    why = (
        f"weights and gradients that {ranks} ranks have to divide; allowed for the torch engine: what fits whole on "
        "each h100, by plan"
    )
    assert engines.undivided(on(stage, ranks), machine) == engines.refusal(on(stage, ranks), machine) == why
    assert engines.refusal(on(stage, ranks), None) is None, "whether it fits is not asked"


def test_one_rank_and_ranks_on_cpus_are_another_check_s_matter(stage: Stage, h100: Hardware) -> None:
    machine = too_small(stage, h100, 8)
    assert engines.undivided(on(stage, 1), machine) is None
    assert engines.undivided(on(stage, 8, "cpu"), machine) is None


def test_one_phase_that_does_not_fit_is_enough(stage: Stage, h100: Hardware) -> None:
    machine = too_small(stage, h100, 8)
    (phase,) = stage.phases
    whole = memory.of(on(stage, 8), phase, h100)
    roomy = dataclasses.replace(h100, memory=whole.total)
    large = phase.model_copy(update={"context": phase.context * 64})
    both = on(stage, 8).model_copy(update={"phases": (phase, large)})
    assert engines.undivided(on(stage, 8), roomy) is None
    assert engines.undivided(both, roomy) is not None
    assert engines.undivided(both, machine) is not None
