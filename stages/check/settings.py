"""Settings of optimizers that are slips, as far as published recipes tell: I-48."""

from __future__ import annotations

from collections.abc import Iterator

from stages.check.context import Context
from stages.check.facts import Fact
from stages.check.findings import Finding
from stages.check.registry import static
from stages.check.unused import names_of
from stages.contract.numbers import extremes
from stages.spec.resolved_training import Muon, Optimizer

# Pascanu, Mikolov & Bengio 2013 (arXiv 1211.5063), section 3.2: half to ten times the gradient's mean norm, which is
# below 2 once a language model trains, as the loss is a mean over tokens.
HIGHEST_CLIP = 20.0
# Muon's momentum is 0.95 (Jordan et al. 2024; arXiv 2502.16982, section 2.1), 0.85 where it is warmed up.
LOWEST_MOMENTUM = 0.5
# arXiv 2502.16982, section 2.2: updates of AdamW have a root mean square of 0.2 to 0.4, and Muon's are made as large.
# One of 1 is that of signs alone.
LOWEST_RMS, HIGHEST_RMS = 0.05, 1.0

OPTIMIZERS = "optimizers"

Fault = tuple[str, Fact, str, str, str]  # key, fact, found, expected, repair


@static(
    "I-48",
    title="An optimizer is one that some recipe has",
    rule="beta1 is at most beta2; gradients are clipped at a norm of at most 20, or `clip: none` says that they are "
    "not; Muon's momentum is at least 0.5 and its update_rms between 0.05 and 1.",
    why="Two betas exchanged, a momentum of 0 or a limit that no gradient meets train, and the loss curve looks like "
    "a worse choice of the learning rate.",
    threads=(),
)
def optimizers_are_plausible(context: Context) -> Iterator[Finding]:
    """I-48. Once for an optimizer, at its line; a variant answers for what its own stages alone name."""
    mine, extended = context.loaded, context.extended.stages if context.extended is not None else {}
    above = [one.optimizer for one in extended.values()]
    used = {
        name: one.optimizer for stage, one in context.own() if one.optimizer is not None
        for name in names_of(mine.stages[stage], OPTIMIZERS)
    }  # fmt: skip
    for name, optimizer in used.items():
        if mine.document.where((OPTIMIZERS, name)).file != f"specs/{mine.name}/pipeline.yaml" and optimizer in above:
            continue
        for key, fact, observed, expected, repair in _faults(optimizer):
            yield context.of_pipeline(
                "I-48", f"{OPTIMIZERS}.{name}.{key}", observed=observed, expected=expected, repair=repair,
                where=mine.document.where((OPTIMIZERS, name, key)), found=fact,
            )  # fmt: skip


def _faults(cfg: Optimizer) -> Iterator[Fault]:
    (low, _), (_, high) = extremes(cfg.beta1), extremes(cfg.beta2)
    if low > high:
        found = f"beta1 {low:g} above beta2 {high:g}"
        # Adam is known to converge for beta1 < sqrt(beta2) (arXiv 2208.09632); equal betas train well (2505.21829).
        expected = "a beta2 that is at least beta1: the square is averaged over as many steps as the gradient, or more"
        yield "beta1", found, found, expected, "Exchange them, if they are the wrong way round."
    if cfg.clip is not None and cfg.clip > HIGHEST_CLIP:
        expected = f"a norm of at most {HIGHEST_CLIP:g}, which a gradient may meet; recipes have 0.1 to 10"
        yield "clip", f"{cfg.clip:g}", f"clip: {cfg.clip:g}", expected, "Correct it, or write `clip: none`."
    if isinstance(cfg, Muon):
        yield from _of_muon(cfg)


def _of_muon(cfg: Muon) -> Iterator[Fault]:
    _, highest = extremes(cfg.momentum)  # one that is warmed up may begin below
    if highest < LOWEST_MOMENTUM:
        found = f"momentum {highest:g}"
        expected = f"at least {LOWEST_MOMENTUM:g}: what is orthogonalised is a mean of gradients; recipes have 0.95"
        yield "momentum", found, found, expected, "Correct it."
    if not LOWEST_RMS <= cfg.update_rms <= HIGHEST_RMS:
        found = f"update_rms {cfg.update_rms:g}"
        expected = (
            f"{LOWEST_RMS:g} to {HIGHEST_RMS:g}: AdamW's updates have 0.2 to 0.4, so that its rate serves Muon too"
        )
        yield "update_rms", found, found, expected, "Correct it; how far a step goes is the learning rate's."
