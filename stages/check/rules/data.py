"""What is read, and in which shares: I-17, I-18, I-30."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from stages.check.context import Context
from stages.check.findings import Finding
from stages.check.registry import held_by_code, static
from stages.check.rules.multimodal_share import falling_shares
from stages.check.rules.rereads import undeclared_rereads
from stages.contract import ledger
from stages.contract.mixture import Mixture
from stages.spec.graph import reached
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase, ShareRamp, Source
from stages.spec.schema.phases import RawPhase
from stages.spec.stretches import packed, rows_in

held_by_code(
    "I-17",
    "test",
    title="The order of samples is a pure function",
    rule="Sample i is a function of seed and i alone: equal for every number of ranks and workers, and from any cut.",
    why="A changed number of ranks, or a loader's state that was not saved, repeats and skips samples.",
    threads=(
        "torchtitan#816", "torchtitan#811", "torchtitan#291", "torchtitan#409", "NVIDIA-NeMo/Megatron-Bridge#5637",
        "NVIDIA-NeMo/Megatron-Bridge#3503", "accelerate#2016", "accelerate#4071", "accelerate#4232", "ms-swift#10050",
        "verl#3457", "verl#7401",
    ),
    held_by=(
        "stages/contract/order.py", "tests/property/test_order.py", "tests/unit/data/test_loader.py",
        "stages/guards/end.py",
    ),
)  # fmt: skip


@static(
    "I-18",
    title="Nothing is read twice along a lineage",
    rule="Stages of a lineage read disjoint stretches of every corpus, and a stretch has what its phase reads in its "
    "declared epochs. What is read again after `data: restart` counts as an epoch more, and is declared by `reread`.",
    why="Changed mixture weights, packing ratios or stage lists shift offsets: documents are repeated or lost, and "
    "evaluations on them look better than they are.",
    threads=(
        "NVIDIA/Megatron-LM#457", "NVIDIA/Megatron-LM#725", "llm-foundry#1277", "mosaicml/streaming#725",
        "huggingface/nanotron#380", "kyutai-labs/pocket-tts#287",
    ),
    held_by=("stages/spec/ranges.py", "tests/unit/data/test_loader.py", "stages/guards/end.py"),
)  # fmt: skip
def nothing_is_read_twice(context: Context) -> Iterator[Finding]:
    """I-18."""
    yield from undeclared_rereads(context)
    for name, stage in context.own:
        before = _read_above(context, stage)
        for number, phase in enumerate(stage.phases):
            for source in phase.sources:
                yield from _overlap(context, name, number, source, before)
                yield from _too_small(context, stage, number, source)
            yield from _too_short(context, name, number, phase)
            before += [(f"phase {phase.name}", source) for source in phase.sources]


def _read_above(context: Context, stage: Stage) -> list[tuple[str, Source]]:
    """(who, source) of everything that the ancestors read, as far up as data is continued."""

    def read_on(one: Stage) -> list[str]:
        return [] if one.data == "restart" else [ref for ref, _ in context.parents(one)]

    refs = reached(read_on(stage), lambda ref: read_on(context.by_ref[ref]))
    return [(ref, source) for ref in refs for phase in context.by_ref[ref].phases for source in phase.sources]


def _overlap(
    context: Context, name: str, number: int, source: Source, before: list[tuple[str, Source]]
) -> Iterator[Finding]:
    for who, earlier in before:
        start, end = max(source.start, earlier.start), min(source.end, earlier.end)
        if source.corpus == earlier.corpus and start < end:
            yield context.finding(
                "I-18", name, ("phases", number, "data"), parent=who if "/" in who else None,
                observed=f"{source.corpus} [{start:,}, {end:,}) a second time, after {who}",
                expected="stretches that nothing above has read",
                repair="Let data continue, or declare epochs.",
                at=(f"phases.{context.pipeline.stages[name].phases[number].name}.data.{source.corpus}",),
                found=Fraction(end - start, source.end - source.start),
            )  # fmt: skip
            return


def _too_short(context: Context, name: str, number: int, phase: Phase) -> Iterator[Finding]:
    """Phases in tokens only: how many images a row of patches has is known when the row is packed."""
    if phase.unit != "tokens" or not phase.sources:
        return
    drawn = Mixture(phase).counts(ledger.samples(phase))
    for source, rows in zip(phase.sources, drawn, strict=True):
        there = _rows_held(context, phase, source)
        if source.start >= 0 and rows > there:
            yield context.finding(
                "I-18", name, ("phases", number, "data"),
                observed=f"{rows * phase.context:,} tokens of {source.corpus} from a stretch of "
                f"{int(there * phase.context):,}, epochs counted",
                expected="stretches that have what is read", repair="Declare more epochs, or lengthen the stretch.",
                at=(f"phases.{phase.name}.data.{source.corpus}",), found=rows / max(there, Fraction(1, phase.context)),
            )  # fmt: skip


def _too_small(context: Context, stage: Stage, number: int, source: Source) -> Iterator[Finding]:
    """A corpus that is bound to a published one, or cut with the stage's own tokenizer, and ends before the stretch."""
    figures = context.data.corpora.get(source.corpus)
    if figures is None or source.end <= figures.size:
        return
    own = figures.tokenizer is not None and context.data.tokenizer_of(source.corpus) == stage.tokenizer
    if not own and source.corpus not in context.data.bind.values():
        return
    short, unit = source.end - figures.size, figures.unit
    phase, name = stage.phases[number], stage.name
    yield context.finding(
        "I-18", name, ("phases", number, "data"),
        observed=f"{source.corpus} read to {source.end:,} {unit}, of which it has {figures.size:,}: {short:,} too few",
        expected="stretches within the corpus",
        repair="Take (or bind, in specs/data/bind.yaml) a larger corpus, declare more epochs, or lower the budget.",
        at=(f"phases.{phase.name}.data.{source.corpus}",), found=Fraction(source.end, figures.size or 1),
    )  # fmt: skip


def _rows_held(context: Context, phase: Phase, source: Source) -> Fraction:
    """Rows that a stretch has in all epochs: its tokens' or, where padding makes more of them, those measured."""
    length = (source.end - source.start) * phase.epochs
    rows = Fraction(length, phase.context)
    figures = context.data.corpora.get(source.corpus)
    known = packed(figures, phase.context) if figures is not None and phase.whole(source.kind) else None
    if figures is not None and known is not None:
        rows = max(rows, rows_in(figures, known, length))
    return rows


@static(
    "I-30",
    title="The multimodal share rises as declared",
    rule="The share of multimodal samples starts and ends where the spec says, never falls (nor from a joint "
    "phase to the next), never passes its cap, and the realised share of every prefix is within (nesting depth + 1) "
    "samples of its target.",
    why="A ramp that is cut short, overshoots or is never reached is another recipe with the same loss curve.",
    threads=(),
    held_by=("tests/property/test_mixture.py", "stages/guards/end.py"),
)
def share_rises_as_declared(context: Context) -> Iterator[Finding]:
    """I-30."""
    yield from falling_shares(context)
    for name, _, number, phase in context.phases():
        if phase.share is None:
            continue
        wrong = _not_a_ramp(phase.share, ledger.samples(phase))
        wrong = wrong or _undeclared(phase.share, context.raw_phase(name, number))
        wrong = wrong or _unrealised(phase, phase.share)
        if wrong:
            observed, expected = wrong
            yield context.finding(
                "I-30", name, ("phases", number, "multimodal"), observed=observed, expected=expected,
                repair="Correct `multimodal`: from, to and over.",
            )  # fmt: skip


def _not_a_ramp(ramp: ShareRamp, samples: int) -> tuple[str, str] | None:
    first, last = ramp.ends
    if not 0 <= first <= last <= 1:
        return f"a share from {float(first):.2%} to {float(last):.2%}", "a share between 0 and 1 that never falls"
    if ramp.over == 0 and first != last:
        found = f"a share from {float(first):.2%} to {float(last):.2%} over 0%: it begins at its end"
        return found, "`over` above 0%, or the same share throughout"
    if not 0 <= ramp.over <= samples:
        return f"a ramp over {ramp.over:,} of {samples:,} samples", "a ramp that ends within its phase"
    return None


def _undeclared(ramp: ShareRamp, raw: RawPhase | None) -> tuple[str, str] | None:
    if raw is None or raw.multimodal is None:
        return "a share that no spec declares", "`multimodal` in the phase"
    declared = (raw.multimodal.from_, raw.multimodal.to)
    if ramp.ends == declared:
        return None
    return " to ".join(f"{float(one):.2%}" for one in ramp.ends), " to ".join(f"{float(one):.2%}" for one in declared)


def _unrealised(phase: Phase, ramp: ShareRamp) -> tuple[str, str] | None:
    """The multimodal samples counted at the ramp's middle and end and at the phase's end, against the integral."""
    first, last = ramp.ends
    mixture, samples = Mixture(phase), ledger.samples(phase)
    counted = 0
    for n in sorted({0, ramp.over // 2, ramp.over, samples}):
        on_ramp = min(n, ramp.over)
        target = first * on_ramp + last * (n - on_ramp)
        if ramp.over:
            target += (last - first) * on_ramp * on_ramp / (2 * ramp.over)
        if abs(mixture.multimodal(n) - target) > 1 or mixture.multimodal(n) < counted:
            return f"{mixture.multimodal(n):,} multimodal of the first {n:,} samples", f"{float(target):,.1f}"
        counted = mixture.multimodal(n)
    return None
