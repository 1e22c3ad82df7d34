"""Local corpora in the place of published ones: S-09."""

from __future__ import annotations

from collections.abc import Iterator

from stages.check.context import Context
from stages.check.findings import Finding
from stages.check.registry import static


@static(
    "S-09",
    title="A stand-in is of its corpus's kind",
    rule="The local corpus that takes a published one's place is of the same kind: text, sft, multimodal or pairs.",
    why="Conversations in the place of text, or the reverse, are read by another rule: small scales test another "
    "recipe.",
    threads=(),
)
def stand_ins_are_of_their_kind(context: Context) -> Iterator[Finding]:
    """S-09, about the first stage of each lineage that reads the corpus, at every scale."""
    published, local = context.data.published.corpora, context.data.corpora
    stand_ins = {name: local[entry.stand_in] for name, entry in published.items() if entry.stand_in is not None}
    wrong = {name for name, one in stand_ins.items() if one.kind != published[name].kind}
    for name, _ in context.own if wrong else ():
        for corpus in sorted((wrong & _read(context, name)) - _read_above(context, name)):
            kind, stand_in = published[corpus].kind, stand_ins[corpus]
            yield Finding(
                "S-09", context.pipeline.scale, context.pipeline.refs[name], None,
                f"{corpus} of kind {kind} with the stand-in {stand_in.corpus} of kind {stand_in.kind}",
                f"a stand-in of kind {kind}", "Correct `kind`, or name another local corpus as `stand_in`.",
                context.data.published_document.where(("corpora", corpus)),
                at=(f"data.{corpus}",), found=f"{kind}, {stand_in.kind}",
            )  # fmt: skip


def _read(context: Context, name: str) -> set[str]:
    """The corpora that a stage reads, as they are written."""
    numbers = range(len(context.pipeline.stages[name].phases))
    return {source.corpus for number in numbers for source in context.mixture(name, number)}


def _read_above(context: Context, name: str) -> set[str]:
    found: set[str] = set()
    for ref in context.pipeline.stages[name].parents:
        parent = ref.rpartition("/")[2]
        found |= _read(context, parent) | _read_above(context, parent)
    return found
