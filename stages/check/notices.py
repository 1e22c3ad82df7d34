"""What a reader of `stages check` has to know of a scale, and need not correct."""

from __future__ import annotations

from contextlib import suppress

from stages.check import unused
from stages.contract.engines import prepared, refusal
from stages.errors import SpecError, SpecErrors
from stages.spec.project import Project
from stages.spec.resolved import Stage


def notices(project: Project, scale: str) -> list[str]:
    """Stages of a published scale that no engine trains here: it is planned and checked only.

    Where a stage reads local corpora, which are there to be trained on, the same is a finding (I-45).
    """
    refused: list[Stage] = []
    for name in project.pipelines(readings=True):
        with suppress(SpecError, SpecErrors):  # which are findings
            resolved = project.resolve(name, scale)
            own = [resolved.stages[stage] for stage in resolved.own]
            refused += [stage for stage in own if refusal(stage) is not None and not prepared(stage)]
    if not refused:
        return []
    several = f"{len(refused)} stages that train ask" if len(refused) > 1 else "1 stage that trains asks"
    return [
        f"{scale}: {several} for several GPUs and for published corpora. The torch engine trains on one GPU: they are "
        "planned and checked, and `stages run`, `stages emit` and Snakemake do not start them."
    ]


def unread(project: Project) -> list[str]:
    """Mixtures that no phase names; nothing where a pipeline cannot be read, since what it names is not known."""
    with suppress(SpecError, SpecErrors):
        everyone = [project.loaded(name) for name in project.pipelines(readings=True)]
        if names := unused.mixtures(project.data, everyone):
            return [f"specs/data/mixtures.yaml: no phase names {', '.join(names)}."]
    return []
