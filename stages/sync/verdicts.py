"""The verdict on every stage and corpus of a scale, and the markers that follow from them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

from stages.errors import UserError, of_machine
from stages.spec.resolved import Stage
from stages.spec.schema.corpora import is_digest
from stages.store import (
    damage,
    done,
    evaluated,
    lm_eval_tasks,
    manifest,
    markers,
    reevaluation,
    same_key,
    stage_record,
    unlisted,
)
from stages.store.done import State, Verdict
from stages.store.layout import Layout
from stages.sync.graph import Graph

Elsewhere = Mapping[str, list[tuple[str, manifest.Manifest]]]  # key -> results that may be shared, with their names
TAKES_OVER: tuple[State, ...] = ("missing", "stale")  # states in which a result of another name is of use


def judge(
    layout: Layout,
    stages: Mapping[str, Stage],
    keys: Mapping[str, str],
    deep: Collection[str] = (),
    tell_refused: bool = False,
) -> dict[str, Verdict]:
    """A verdict for each stage, parents first; those in `deep` are read in full.

    A child of a damaged or missing result stays done: the rebuilt parent has the bits that it was built on. It is stale
    when its parents' results are others, or are promised other bits than before by their tier. A result that is to be
    evaluated again is the same for its children.

    What the machine refuses to read (an OSError of `errors.of_machine`) is raised, for a rerun is no cure of it; with
    `tell_refused`, for who only looks, it is the verdict on that stage.
    """
    looked = _Look(layout, stages, keys, deep)
    for ref in stages:
        looked.verdicts[ref] = _refused(ref, keys[ref], tell_refused, partial(looked.at, ref))
    return looked.verdicts


def _refused(ref: str, key: str, tell: bool, look: Callable[[], Verdict]) -> Verdict:
    try:
        return look()
    except OSError as error:
        refused = of_machine(error)
        if not tell or refused is None:
            raise
        return Verdict(ref, key, "unreadable", str(refused))


@dataclass
class _Look:
    """What is known of stages while they are judged, parents first."""

    layout: Layout
    stages: Mapping[str, Stage]
    keys: Mapping[str, str]
    deep: Collection[str]
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)  # not done, and their result will be the one that there is
    others: set[str] = field(default_factory=set)  # their rerun gives another result than children were built on

    @cached_property
    def elsewhere(self) -> Elsewhere:
        """Results that may be shared; only read where one is of use."""
        return same_key.in_place(self.layout)

    def at(self, ref: str) -> Verdict:
        """The verdict on a stage whose parents have theirs."""
        layout, stage, key = self.layout, self.stages[ref], self.keys[ref]
        parents = {parent: self.keys[parent] for parent in stage.parents}
        verdict = done.is_done(layout, ref, key, parents, ref in self.deep)
        waiting = [parent for parent in stage.parents if not self.verdicts[parent].done and parent not in self.kept]
        if verdict.state in TAKES_OVER and (other := _equal(layout, ref, key, parents, self.elsewhere)):
            self.kept.add(ref)
            return replace(verdict, why=f"{other} has the same key: its result is taken over, no training")
        if not verdict.done:
            self.others |= {ref} if done.rebuilds_otherwise(layout, ref, key, parents) else set()
        elif waiting and (self.others & set(waiting) or manifest.read(layout.manifest(ref)).tier != "bit-exact"):
            self.others.add(ref)
            return replace(verdict, state="stale", why=f"{waiting[0]} is {self.verdicts[waiting[0]].state}")
        elif why := evaluated.outdated(layout.stage(ref), stage):
            self.kept.add(ref)
            return _unevaluated(layout, stage, verdict, why)
        elif tasks := lm_eval_tasks.missing(layout, ref, stage):
            verdict = _without(layout, stage, verdict, f"lm_eval: {', '.join(tasks)} not run")
            self.kept |= set() if verdict.done else {ref}
        return verdict


def _without(layout: Layout, stage: Stage, verdict: Verdict, why: str) -> Verdict:
    """A whole result that lm-evaluation-harness is to evaluate: done where it is not installed, with a note."""
    if lm_eval_tasks.installed(layout.root) is None:
        return replace(verdict, note=f"{why}, not installed")
    return _unevaluated(layout, stage, verdict, why)


def _unevaluated(layout: Layout, stage: Stage, verdict: Verdict, why: str) -> Verdict:
    """A whole result that is to be evaluated again, or whose evaluation failed as it is requested now."""
    command = layout.command(verdict.ref)
    failed = reevaluation.failure(layout, verdict.key, stage)
    if failed is None:
        return replace(verdict, state="unevaluated", why=why, command=command)
    reason = f"its result is whole, and could not be evaluated again ({why}): {failed.message}"
    log = layout.log(verdict.key)
    return replace(verdict, state="failed", why=reason, log=log, command=command, repeats=failed.repeats)


def _equal(layout: Layout, ref: str, key: str, parents: Mapping[str, str], elsewhere: Elsewhere) -> str | None:
    """Under which other name a result of the same key, built on the same parents, is in place."""
    found = ((name, record) for name, record in elsewhere.get(key, ()) if name != ref)
    return next((name for name, record in found if done.changed_parent(layout, record, parents) is None), None)


def judge_corpora(
    root: Path, layout: Layout, names: Iterable[str], deep: Collection[str], tell_refused: bool = False
) -> dict[str, Verdict]:
    """A verdict for each local corpus, by its name; those in `deep` are read in full. `tell_refused` as in `judge`."""
    looks = {name: partial(_judge_corpus, root, layout, name, name in deep) for name in names}
    return {name: _refused(f"data/{name}", corpus_key(root, name), tell_refused, look) for name, look in looks.items()}


def _judge_corpus(root: Path, layout: Layout, name: str, deep: bool) -> Verdict:
    folder = layout.corpus(name)
    state, why = _judge_prepared(root, name, folder, deep) if folder.exists() else ("missing", "not prepared yet")
    command = f"stages data {name} --scale {layout.scale}" if why else None
    others = _unlisted(folder) if deep and state == "done" else ()
    return Verdict(f"data/{name}", corpus_key(root, name), state, why, command=command, unlisted=others)


def _judge_prepared(root: Path, name: str, folder: Path, deep: bool) -> tuple[State, str]:
    """The state of a corpus that is there, and why it is not done."""
    from stages.data.corpus.as_declared import is_declared
    from stages.data.corpus.corpus_manifest import read_manifest
    from stages.data.corpus.prepared import verify

    try:
        broken = "; ".join(map(str, verify(folder, deep)))
    except UserError as error:  # the manifest itself
        return "damaged", str(error)
    if deep:
        damage.note(folder, broken)
    if found := broken or damage.noted(folder):
        return "damaged", found
    try:
        declared = is_declared(root, name, read_manifest(folder))
    except UserError as error:  # its spec
        return "stale", str(error)
    return ("done", "") if declared else ("stale", f"not what specs/data/{name}.yaml declares")


def _unlisted(folder: Path) -> tuple[Path, ...]:
    from stages.data.corpus.corpus_manifest import read_manifest

    return unlisted.files(folder, read_manifest(folder))


def corpus_done(root: Path, layout: Layout, name: str) -> bool:
    """Whether a local corpus is prepared as its spec declares; every digest is read again."""
    return judge_corpora(root, layout, (name,), (name,))[name].done


def corpus_key(root: Path, name: str) -> str:
    """The key of a corpus: what its spec and the tokenizer's declare."""
    from stages.data.corpus.as_declared import data_key

    return data_key(root, name)


def refuse_damaged_corpora(layout: Layout, stage: Stage) -> None:
    """What a stage reads is read in full before: a flipped bit must not be trained on, and not be evaluated on.

    Neither must ids of another tokenizer, which are valid and mean other words: a corpus may have been prepared before
    its tokenizer's spec was edited. Raises UserError naming every corpus that is missing, else every damaged file, and
    the commands that prepare them.
    """
    from stages.data.spec import TOKENIZER
    from stages.data.tokens.tokenizer_use import USE

    phases = stage.evaluated_on
    if not phases and stage.evaluation.names:  # it does not train, and is evaluated on what its ancestors were
        phases = stage_record.evaluated_on(layout, stage)
    names = {source.corpus for phase in phases for source in phase.sources}
    local = any(not (layout.corpus(name) / USE).exists() for name in names)
    read = sorted({*names, TOKENIZER} if local else names)
    missing = [name for name in read if not layout.corpus(name).is_dir()]
    found = [why for name in missing or read if (why := _unusable(layout, stage, name))]
    if found:
        raise UserError("\n".join(found))


def _unusable(layout: Layout, stage: Stage, name: str) -> str:
    """Why a stage cannot read a corpus; empty where it can. What is damaged is noted there."""
    from stages.data.corpus.corpus_manifest import read_manifest
    from stages.data.corpus.prepared import check

    folder = layout.corpus(name)
    try:
        check(folder)
        cut = read_manifest(folder).tokenizer
    except UserError as error:
        if folder.is_dir():  # else it is missing, not damaged
            damage.note(folder, str(error))  # so that the next `snakemake` rebuilds it
        return str(error)
    if cut == stage.tokenizer or not is_digest(stage.tokenizer):
        return ""
    return (
        f"{stage.ref}: corpus {name} was cut with tokenizer {cut}; allowed: {stage.tokenizer}, the stage's. Its spec "
        f"was edited since: run `stages data {name} --accept` and put its lines into the spec."
    )


def corpus_marker(root: Path, layout: Layout, name: str) -> Path:
    """The marker of a corpus, named by its key."""
    return layout.data_marker(name, corpus_key(root, name))


def look(root: Path, layout: Layout, graph: Graph, deep: Collection[str] = ()) -> dict[str, Verdict]:
    """The verdicts on stages and, by their names, on corpora; those in `deep` are read in full."""
    judged = judge(layout, graph.stages, graph.keys, deep)
    return {**judged, **judge_corpora(root, layout, graph.corpora, deep)}


def refresh(root: Path, layout: Layout, graph: Graph, deep: Collection[str]) -> dict[str, Verdict]:
    """`look`, and make exactly the markers of what is done exist."""
    found = look(root, layout, graph, deep)
    done_now = {name: one for name, one in found.items() if one.done}
    stages = [layout.marker(name, one.key) for name, one in done_now.items() if name in graph.stages]
    corpora = [layout.data_marker(name, one.key) for name, one in done_now.items() if name not in graph.stages]
    markers.refresh(layout, [*stages, *corpora])
    return found
