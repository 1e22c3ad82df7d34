"""Document masks and supervised tokens: I-19, I-20."""

from __future__ import annotations

from collections.abc import Iterator

from stages.check.context import Context
from stages.check.findings import Finding
from stages.check.registry import static
from stages.spec.resolved_phases import Phase
from stages.spec.schema.stages import RawImport
from stages.spec.sources import published


@static(
    "I-19",
    title="Packed documents do not see each other",
    rule="Where documents share a row, they are masked from each other and their positions restart, unless the spec "
    "cites where it is published that they are not; changing one document changes nothing in another's logits.",
    why="Reset masks do nothing under a fused attention, or a packed mask is ignored when a padding mask comes along; "
    "state of one document leaks into the next.",
    threads=(
        "NVIDIA/Megatron-LM#415", "flash-attention#161", "transformers#46634", "nanoVLM#201", "nanoVLM#204",
        "SkyRL#2056",
    ),
    held_by=("tests/unit/models/test_llama.py", "tests/unit/data/test_loader.py"),
)  # fmt: skip
def documents_are_masked(context: Context) -> Iterator[Finding]:
    """I-19, as far as specs go: a phase without the mask needs a citation, or a waiver with its reason."""
    for name, _, number, phase in context.phases():
        keys = _keys(context, name, number, phase)
        if not phase.document_mask and not _published(context, name, number, keys):
            yield context.finding(
                "I-19", name, ("phases", number, "document_mask"),
                observed=f"rows of {phase.context:,} positions in which documents see each other",
                expected="document_mask: true",
                repair="Mask documents, or waive this with the reason for letting them see each other. Where that is "
                f"published, add {{covers: [{keys[0]}], mark: published, citation: ...}} to `sources`.",
                found="false",
            )  # fmt: skip


def _keys(context: Context, name: str, number: int, phase: Phase) -> tuple[str, str]:
    """How `sources` of the stage's file name the mask of a phase."""
    below = "stand_in." if isinstance(context.loaded.stages[name].raw, RawImport) else ""
    return f"{below}phases.{phase.name}.document_mask", f"{below}phases.{number}.document_mask"


def _published(context: Context, name: str, number: int, keys: tuple[str, str]) -> bool:
    """Whether the file that leaves the mask out cites, of this key itself, where that is published."""
    entries = context.loaded.stages[name].sources.get(context.where(name, "phases", number, "document_mask").file, [])
    return any(published(entries, key) for key in keys)


@static(
    "I-20",
    title="Exactly the answers are supervised",
    rule="Fine-tuning packs whole documents under a document mask, so that no answer is cut from its question, and a "
    "phase that reads conversations alone, or as a document for each answer, supervises their answers alone; an "
    "independent count of supervised tokens agrees, each reply begins once and its end is supervised.",
    why="Masks that are off by one drop an answer's first token, padding that equals the end token hides it, and a "
    "template adds a second beginning.",
    threads=(
        "NVIDIA/NeMo#6409", "OpenRLHF#973", "swiss-ai/Megatron-LM#91", "Qwen3-ASR#212", "trl#3091", "OpenRLHF#393",
        "MakazhanAlpamys/Soup#785",
    ),
    held_by=("tests/unit/data/test_conversations.py", "tests/unit/train/test_objectives.py", "stages/guards/end.py"),
)  # fmt: skip
def replies_are_whole(context: Context) -> Iterator[Finding]:
    """I-20, as far as specs go."""
    for name, _, number, phase in context.phases():
        if phase.objective == "sft" and (phase.packing == "concatenate" or not phase.document_mask):
            yield context.finding(
                "I-20", name, ("phases", number, "packing"),
                observed=f"packing: {phase.packing}, document_mask: {str(phase.document_mask).lower()}",
                expected="packing: whole and document_mask: true where only answers are supervised",
                repair="Windows of concatenated documents begin in the middle of answers: pack whole documents.",
                found=f"{phase.packing}, {'masked' if phase.document_mask else 'not masked'}",
            )  # fmt: skip
        yield from _repeated(context, name, number, phase)
        kinds = {context.data.kinds[source.corpus] for source in context.mixture(name, number)}
        if kinds == {"sft"} and phase.objective != "sft":
            yield context.finding(
                "I-20", name, ("phases", number, "objective"),
                observed=f"objective: {phase.objective}, on corpora of kind sft alone",
                expected="objective: sft where all that is read are conversations",
                repair="Write `objective: sft`, or waive this with the reason for learning the questions too.",
                found=phase.objective,
            )  # fmt: skip


def _repeated(context: Context, name: str, number: int, phase: Phase) -> Iterator[Finding]:
    """Conversations of which each answer is a document, read as text: what is before answers is learned again."""
    for source in phase.sources:
        figures = context.data.corpora.get(source.corpus)
        if figures is not None and figures.answers == "separate" and phase.objective != "sft":
            yield context.finding(
                "I-20", name, ("phases", number, "objective"),
                observed=f"objective: {phase.objective}, on {source.corpus}, of which each answer is a document: turns "
                "are learned once for every answer that comes after them",
                expected="objective: sft where a corpus has `answers: separate`",
                repair=f"Write `objective: sft`, or leave `answers` out of specs/data/{source.corpus}.yaml.",
                found=f"{phase.objective}, separate",
            )  # fmt: skip
