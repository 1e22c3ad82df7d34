"""Pictures and what reads them: S-08."""

from __future__ import annotations

from collections.abc import Iterator

from stages.check.context import Context
from stages.check.findings import Finding
from stages.check.registry import static
from stages.check.rules.shapes import of_family
from stages.contract import ledger
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase


@static(
    "S-08",
    title="Images fit their row and their tower",
    rule="At every resolution cap an image gives at least one patch that can be merged, and no more patches than a "
    "packed row holds; caps rise, and at full size a step begins at each. Pictures of local corpora have the tower's "
    "patches and channels, and cells of as many pixels as the projector merges into one token.",
    why="An image larger than the row is cut or dropped without a word. One that was cut otherwise than the tower "
    "reads it gives another number of tokens than its text keeps free, and the run ends at its first batch.",
    threads=(),
)
def images_fit(context: Context) -> Iterator[Finding]:
    """S-08."""
    yield from _caps(context)
    for name, stage, number, phase in context.phases():
        wanted = _as_read(stage)
        for source in phase.sources if wanted else ():
            corpus = context.data.corpora.get(source.corpus)
            if corpus is None or source.kind not in ("multimodal", "pairs"):
                continue
            for key, size in wanted.items():
                found = corpus.parameters.get(key)
                if found is not None and found != size and not (key == "cell" and source.kind == "pairs"):
                    file = f"specs/data/{source.corpus}.yaml"
                    yield context.finding(
                        "S-08", name, ("phases", number, "data"), expected=f"{key} {size}, the model's",
                        observed=f"pictures of {source.corpus!r} with {key} {found}",
                        repair=f"Correct {file} and prepare it again, or the model, also under the scale's `models`.",
                    )  # fmt: skip


def _as_read(stage: Stage) -> dict[str, int]:
    """Of the pictures that a stage's vision tower reads: pixels of a patch and of what becomes a token, channels."""
    vit, projector = of_family(stage, "moonvit"), of_family(stage, "projector")
    if vit is None:
        return {}
    read = {"patch": vit[1].patch, "channels": vit[1].channels}
    return read if projector is None else {**read, "cell": vit[1].patch * projector[1].merge}


def _caps(context: Context) -> Iterator[Finding]:
    for name, stage, number, phase in context.phases():
        vit = of_family(stage, "moonvit")
        if phase.coca is None or vit is None:
            continue
        caps = [one.cap for one in phase.coca.resolutions]
        sides = [cap // vit[1].patch for cap in caps]
        if sorted(set(caps)) != caps or not all(side > 0 and side * side <= phase.context for side in sides):
            yield context.finding(
                "S-08", name, ("phases", number, "coca", "resolutions"),
                observed=f"caps of {caps} pixels, {[side * side for side in sides]} patches",
                expected=f"rising caps of at least one and at most {phase.context:,} patches",
                repair="Correct the resolutions, or the scale's `resolution`.",
            )  # fmt: skip
        yield from _unseen(context, name, number, phase)


def _unseen(context: Context, name: str, number: int, phase: Phase) -> Iterator[Finding]:
    """Resolutions that no step reads; a smaller scale has fewer steps, and the same shares of them."""
    if phase.coca is None or context.shrink.shrink is not None:
        return
    begins = [one.after for one in phase.coca.resolutions]
    for index, (begin, end) in enumerate(zip(begins, [*begins[1:], phase.budget], strict=True)):
        step = ledger.step_at(phase, begin)
        if (begin if step.start == begin else step.end) >= end:
            cap = phase.coca.resolutions[index].cap
            yield context.finding(
                "S-08", name, ("phases", number, "coca", "resolutions", index),
                observed=f"a cap of {cap} from {begin:,} to {end:,}, where no step begins",
                expected="a step at least at every resolution", repair="Correct `after` of the resolutions.",
            )  # fmt: skip
