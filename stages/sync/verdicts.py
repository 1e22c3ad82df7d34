"""The verdict on every stage and corpus of a scale, and the markers that follow from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from stages.errors import UserError
from stages.spec.resolved import Stage
from stages.store import done, markers
from stages.store.done import Verdict
from stages.store.layout import Layout
from stages.sync.graph import Graph


def judge(layout: Layout, stages: Mapping[str, Stage], keys: Mapping[str, str], deep: bool) -> dict[str, Verdict]:
    """A verdict for each stage, parents first. A stage is done only when all before it are.

    A child of a stage that is to be rerun may still prove right, if the rerun gives the same bits; `stages run` looks
    again when its turn comes and does not train then.
    """
    verdicts: dict[str, Verdict] = {}
    for ref, stage in stages.items():
        parents = {parent: keys[parent] for parent in stage.parents}
        verdict = done.is_done(layout, ref, keys[ref], parents, deep)
        waiting = [parent for parent in stage.parents if not verdicts[parent].done]
        if verdict.done and waiting:
            verdict = replace(verdict, state="stale", why=f"{waiting[0]} is {verdicts[waiting[0]].state}")
        verdicts[ref] = verdict
    return verdicts


def corpora_done(root: Path, layout: Layout, names: tuple[str, ...]) -> dict[str, bool]:
    """For each local corpus, whether it is prepared as its spec declares."""
    from stages.data.prepare import is_prepared

    def prepared(name: str) -> bool:
        try:
            return is_prepared(root, name, layout.corpus(name))
        except UserError:
            return False  # damaged: its rule prepares it again

    return {name: prepared(name) for name in names}


def corpus_marker(root: Path, layout: Layout, name: str) -> Path:
    """The marker of a corpus, named by its key: what its spec and the tokenizer's declare."""
    from stages.data.prepare import data_key

    return layout.data_marker(name, data_key(root, name))


def refresh(root: Path, layout: Layout, graph: Graph) -> dict[str, Verdict]:
    """Make exactly the markers of what is done exist; the verdicts."""
    verdicts = judge(layout, graph.stages, graph.keys, deep=False)
    wanted = [layout.marker(ref, verdict.key) for ref, verdict in verdicts.items() if verdict.done]
    prepared = corpora_done(root, layout, graph.corpora)
    wanted += [corpus_marker(root, layout, name) for name, there in prepared.items() if there]
    markers.refresh(layout, wanted)
    return verdicts
