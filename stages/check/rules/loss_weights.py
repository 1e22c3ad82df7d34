"""Weights of the parts of a loss that are slips, as far as published recipes tell: I-50."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from stages.check import facts
from stages.check.context import Context
from stages.check.findings import Finding
from stages.check.registry import static
from stages.check.rules.figures import Usual
from stages.contract.numbers import extremes
from stages.spec.language_model import LanguageModel
from stages.spec.nodes import Path
from stages.spec.numbers import of_phase
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase, Preference

BY_NAME = {  # `least` is for a weight that is not 0
    # arXiv 2408.15664 compares 1e-4 to 1e-2, at which the load is uneven again; 2412.19437 has 1e-3.
    "router.bias_update": Usual(1e-6, 0.01, "1e-4 to 1e-2, most 1e-3"),
    # arXiv 2101.03961, section 2.2, compares 1e-5 to 1e-1: at 1e-2 the loss of the words is not disturbed.
    "router.aux_loss": Usual(1e-6, 0.05, "1e-4 to 2e-2"),
    # The entropy of T exits is at most log T, 1.4 of four: above 1 it outweighs what the words lose.
    "loops.beta": Usual(1e-4, 1.0, "0.05 and 0.1"),
    # arXiv 2205.01917 and 2504.07491 have 2.
    "coca.caption_weight": Usual(0.01, 20.0, "2"),
    # arXiv 2204.02311 has 1e-4, 2501.00656 1e-5.
    "z_loss": Usual(1e-8, 1e-3, "1e-5 and 1e-4"),
}
# arXiv 2305.18290 has 0.1 and 0.5 for sums over an answer's tokens, other recipes 0.01 and more. A mean over them is
# smaller by the answer's length: arXiv 2411.15124 compares 2 to 15 there, and 2501.00656 has 5. arXiv 2406.11704,
# section 3.3.2, compares 3e-4 to 3e-3 for sums, with an nll of 1e-5 to 1e-3.
BETA = {"sum": Usual(0.0003, 1.0, "0.01 to 0.5"), "mean": Usual(1.0, 100.0, "2 to 15")}
NLL = Usual(1e-5, 5.0, "1e-5 to 1e-3 (arXiv 2406.11704), 0.2 (2407.21783) and 1 (2404.19733)")


@static(
    "I-50",
    title="The weights of a loss's parts are ones that some recipe has",
    rule="Where it is not 0, a router's bias_update lies between 1e-6 and 0.01, its aux_loss between 1e-6 and 0.05, "
    "the entropy's beta of loops between 1e-4 and 1, a caption_weight between 0.01 and 20, a z_loss between 1e-8 and "
    "1e-3, nll of preferences between 1e-5 and 5, and their beta between 3e-4 and 1 where an answer's tokens are "
    "summed, between 1 and 100 where they are averaged. While experts are new, one of bias_update and aux_loss is not "
    "0.",
    why="A beta for sums left beside a mean, or a digit too many, trains another loss: its curve looks like any other, "
    "and a model that is pulled nowhere, or apart, is seen in the end only.",
    threads=(),
)
def weights_are_plausible(context: Context) -> Iterator[Finding]:
    """I-50. Of a number that a schedule gives, its highest value."""
    for name, stage, number, phase in context.phases():
        weights = [(key, BY_NAME[key], extremes(one)[1], "") for key, one in of_phase(phase)]
        for key, usual, value, beside in [*weights, *_of_pairs(phase.preference)]:
            if value and not usual.least <= value <= usual.most:
                yield _finding(
                    context, name, number, key, f"{key.rpartition('.')[2]} {_written(value)}{beside}",
                    f"{_written(usual.least)} to {_written(usual.most)}{beside}; recipes have {usual.seen}",
                    "Correct it, or waive this with its reason.", _written(value),
                )  # fmt: skip
        yield from _unbalanced(context, name, stage, number, phase)


def _of_pairs(preference: Preference | None) -> Iterator[tuple[str, Usual, float, str]]:
    if preference is not None:
        yield "preference.beta", BETA[preference.answers], preference.beta, f" with answers: {preference.answers}"
        yield "preference.nll", NLL, preference.nll, ""


def _unbalanced(context: Context, name: str, stage: Stage, number: int, phase: Phase) -> Iterator[Finding]:
    """Experts that nobody has trained yet, in a phase in which nothing spreads the tokens over them."""
    if phase.router is None or extremes(phase.router.bias_update)[1] or extremes(phase.router.aux_loss)[1]:
        return
    for module in stage.trained:
        model = stage.modules[module]
        mixture = model.parts.mixture if isinstance(model, LanguageModel) else None
        if mixture is not None and mixture.active < mixture.experts and _new(context, stage, module):
            yield _finding(
                context, name, number, "router.aux_loss",
                f"bias_update 0 and aux_loss 0, while the experts of {module} are new", "one of the two above 0",
                "Give one of them a weight: without, a few experts get all tokens, and the others learn nothing.",
                "unbalanced",
            )  # fmt: skip


def _finding(
    context: Context, name: str, number: int, key: str, observed: str, expected: str, repair: str, fact: str
) -> Finding:
    path: Path = ("phases", number, *key.split("."))
    return context.finding(
        "I-50", name, path, observed=observed, expected=expected, repair=repair, found=fact
    )  # fmt: skip


def _written(value: float) -> str:
    return facts.write(Fraction(str(value)))


def _new(context: Context, stage: Stage, module: str) -> bool:
    """Whether no stage has trained the module's experts: it begins at random weights, or its parent made them."""
    init = stage.init[module]
    above = context.by_ref.get(init.parent) if init.parent is not None else None
    return init.weights == "fresh" or (above is not None and above.init[module].experts is not None)
