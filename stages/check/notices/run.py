"""What a reader of `stages check` has to know, and need not correct."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import product

from stages.check.notices import bindings, devices
from stages.check.notices.batches import decayed, stepped
from stages.check.notices.budgets import implausible
from stages.check.notices.citations import to_come
from stages.check.notices.configurations import other_figures
from stages.check.notices.copied import copied
from stages.check.notices.decays import strong
from stages.check.notices.early_points import early
from stages.check.notices.endings import hardly_falls, hasty, unusual_figures
from stages.check.notices.executions import in_fp32, often_written, unheard_of
from stages.check.notices.held_out import few_or_many, otherwise, read_twice
from stages.check.notices.inherited import lost_settings
from stages.check.notices.lengths import as_before, cut_short, short_rows
from stages.check.notices.loose_ends import foreign_tokenizer, loose_ends
from stages.check.notices.losses import changed
from stages.check.notices.merges import reaching_back
from stages.check.notices.mixtures import leaping, whole_anyway
from stages.check.notices.multiples import multiples
from stages.check.notices.names import misnamed
from stages.check.notices.orders import the_same
from stages.check.notices.rates import highest, lowest
from stages.check.notices.reaches import high_bases, unneeded
from stages.check.notices.repeats import left_out, needless, often
from stages.check.notices.roles import unusual_roles
from stages.check.notices.scales import few_samples, floors_alone, idle_resolution, idle_rows, lower_rates, other_shapes
from stages.check.notices.shares import dropped, exchanged, out_of_proportion
from stages.check.notices.sizes import uncounted, unusual
from stages.check.notices.towers import unusual_towers
from stages.check.notices.unmeasured import unmeasured
from stages.check.notices.untuned import untuned
from stages.check.notices.variants import nearly_shared
from stages.check.notices.vocabularies import mistyped, other_sizes
from stages.check.rules import unused
from stages.check.rules.peaks import long_warm_ups
from stages.check.rules.siblings import differing
from stages.check.run import priced_on
from stages.contract import hardware
from stages.contract.engines import undivided
from stages.errors import InvalidSpecs
from stages.spec.project import Project
from stages.spec.resolved import Stage


def notices(project: Project, scales: Sequence[str]) -> list[str]:
    """All of them: of each scale, then of the specs as they are written."""
    of_scale = (
        planned_only, bindings.notice, shortened, unpriced, two_precisions, long_warm_ups, needless, left_out,
        lower_rates, idle_rows, idle_resolution, often, changed, as_before, highest, lowest, strong, early,
        implausible, leaping, whole_anyway, cut_short, hardly_falls, unheard_of, unneeded, other_shapes,
        few_samples, floors_alone, hasty, high_bases, unusual_towers, unmeasured, lost_settings, in_fp32,
        often_written, short_rows, the_same,
    )  # fmt: skip
    found: list[str] = []
    for scale, find in product(scales, of_scale):
        with suppress(InvalidSpecs):  # of a scale, or of specs/data: findings
            found += find(project, scale)
    return [*dict.fromkeys(found), *as_written(project)]  # of two full-size scales, what is written alike


def as_written(project: Project) -> list[str]:
    """Of the specs at no scale. A pipeline that extends another has its stages from there: only names are its own."""
    published = [one for one in project.loadable if one.raw.extends is None]
    found = [
        notice
        for find in (unread, devices.implausible, nearly_shared, few_or_many, read_twice, unusual_roles, to_come)
        for notice in find(project)
    ]
    found += [notice for one in project.loadable for notice in misnamed(one)]
    finders = (
        differing, stepped, decayed, unusual, uncounted, other_sizes, loose_ends, copied, unusual_figures, otherwise,
        reaching_back, mistyped, untuned, multiples,
    )  # fmt: skip
    found += [notice for find in finders for one in published for notice in find(one)]
    with suppress(InvalidSpecs):  # of the corpora: a finding
        found += [notice for one in published for notice in foreign_tokenizer(one, project.data)]
        found += [notice for one in published for notice in other_figures(one, project.data)]
        found += [notice for find in (exchanged, dropped, out_of_proportion) for notice in find(project.data)]
    return list(dict.fromkeys(found))


def planned_only(project: Project, scale: str) -> list[str]:
    """Stages of a published scale that are not run here: it is planned and checked only.

    Where a stage reads local corpora, what the engine does not do is a finding (I-45).
    """
    refused: list[Stage] = []
    with suppress(InvalidSpecs):
        if not project.scale(scale).has_corpora:
            return []
    for resolved in project.resolve_all(scale)[0].values():
        refused += [resolved.stages[own] for own in resolved.own if not resolved.stages[own].prepared]
    if not refused:
        return []
    hardware = priced_on(project, scale)
    larger = sum(hardware is not None and undivided(stage, hardware) is not None for stage in refused)
    several = f"{len(refused)} stages read" if len(refused) > 1 else "1 stage reads"
    divided = (
        f", and {larger} of them are planned with models divided over GPUs, which the torch engine does not do"
        if larger else ""
    )  # fmt: skip
    return [
        f"{scale}: {several} published corpora{divided}: they are planned and checked, and `stages run`, `stages emit` "
        "and Snakemake do not start them."
    ]


def shortened(project: Project, scale: str) -> Iterator[str]:
    """Stages that are evaluated on shorter rows than they read, and what that leaves unmeasured."""
    rows = None
    with suppress(InvalidSpecs):  # a finding
        rows = project.scale(scale).evaluation.context
    if rows is None:  # checks resolve no scale that differs in its seeds alone, and neither does this
        return
    cut, beyond = [], []
    for name, resolved in project.resolve_all(scale)[0].items():
        known = {one.ref: one.max_context for one in resolved.stages.values()}
        for stage in (resolved.stages[own] for own in resolved.own):
            if stage.evaluation.names and stage.evaluation.context < stage.longest:
                ref = f"{name}/{stage.name}"
                cut.append(ref)
                old = max((known[parent] for parent in stage.parents), default=stage.longest)
                beyond += [ref] if stage.evaluation.context <= old < stage.longest else []
    if cut:
        lost = (
            f" The loss beyond the old context, and its gate, is not there for {', '.join(beyond)}." if beyond else ""
        )
        yield (
            f"{scale}: evaluated on rows of {rows:,} tokens (`evaluation.context`), and not on their own: "
            f"{', '.join(cut)}. Conversations and documents with pictures that are longer are left out.{lost}"
        )


def unpriced(project: Project, scale: str) -> Iterator[str]:
    """That memory and time (I-42, I-44) are not checked, where the scale's device has no profile in specs/hardware."""
    with suppress(InvalidSpecs):  # of the scale's file, or the profile's: a finding
        name = hardware.usual(project.scale(scale).device)
        if project.machine(name) is None:
            yield (
                f"{scale}: specs/hardware/{name}.yaml is not there, so whether stages fit memory, disk and time limits "
                "(I-42, I-44) is not checked. A project that `stages init DIR --example ouro` makes has profiles."
            )


def two_precisions(project: Project, scale: str) -> Iterator[str]:
    """That the two engines of a scale compute in two precisions, which a lineage may pass from one to the other."""
    with suppress(InvalidSpecs):  # a finding
        raw = project.scale(scale)
        other = raw.torch_class
        if other is not None and other.partition("-")[2] != raw.engine_class.partition("-")[2]:
            yield (
                f"{scale}: {other} beside {raw.engine_class}: where a stage of one engine starts from one of the "
                "other's, the precision changes in the middle of the lineage."
            )


def unread(project: Project) -> list[str]:
    """Mixtures that no stage names, and published corpora that no mixture names.

    Nothing where a pipeline cannot be read, since what it names is not known.
    """
    found: list[str] = []
    with suppress(InvalidSpecs):
        everyone = [project.loaded(name) for name in project.pipelines(variants=True)]
        if names := unused.mixtures(project.data, everyone):
            found.append(f"specs/data/mixtures.yaml: no stage names {', '.join(names)}.")
        if names := unused.corpora(project.data):
            found.append(f"specs/data/published.yaml: no mixture names {', '.join(names)}.")
    return found
