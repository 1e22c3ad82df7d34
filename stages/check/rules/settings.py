"""Settings of optimizers that are slips, as far as published recipes tell: I-48."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from stages.check.context import Context
from stages.check.facts import Fact
from stages.check.findings import Finding
from stages.check.registry import static
from stages.check.rules import averages, muon
from stages.check.rules.schedule_pieces import HIGHEST, LOWEST
from stages.check.rules.unused import names_of
from stages.contract import ledger
from stages.contract.numbers import extremes, settled
from stages.contract.schedule import lr, lr_before
from stages.contract.spikes import half
from stages.spec.groups import KEY
from stages.spec.resolved_training import Group, Muon, Optimizer, Schedule

# Pascanu, Mikolov & Bengio 2013 (arXiv 1211.5063), section 3.2: half to ten times the gradient's mean norm, which is
# below 2 once a language model trains, as the loss is a mean over tokens. Recipes have 0.1 and more: at a tenth of that
# every gradient is scaled, and eps is no longer small beside the parts of one of 1e10 parameters.
LOWEST_CLIP, HIGHEST_CLIP = 0.01, 20.0
# Recipes have a beta1 of 0.8 to 0.95, or none; a beta2 of 0.9 to 0.9999. An eps of 1e-5 is large, and reinforcement
# learning has 1.5e-4 (arXiv 1710.02298): from there on it hides the square of most gradients of a large model.
LOWEST_BETA, HIGHEST_EPS = 0.5, 1.5e-4
# Kingma & Ba 2015 (arXiv 1412.6980), section 6.4, compare a beta2 up to 0.9999, a mean over 10,000 squares; one that
# rises with the steps, as Adafactor's, may come to more.
HIGHEST_BETA = {"beta1": 0.99, "beta2": 0.99999}
# An average of weights has half of its weight on the last 0.7 / (1 - ema) steps: at 0.5, on the last two. Recipes have
# 0.99 and more; one that is warmed up may begin below (torch-ema: (1 + t) / (10 + t)).
LOWEST_AVERAGE = 0.5
# Of norms that are spread normally, one in 44 lies more than 2 standard deviations above the mean. OLMo-core has 6.
LOWEST_SIGMAS = 2.0
# Where norms vary by a tenth of their mean, 50 standard deviations above it are six times the mean. A limit that is
# further out is taken for the window in its place.
HIGHEST_SIGMAS = 50.0
# 0.8 a layer comes to 1/212 over 24 layers, 1/width to 1/256 from 64 to 16,384. A smaller multiple of a group is taken
# for a rate of its own, which other trainers have in this place.
LOWEST_MULTIPLE = Fraction(1, 500)
# Recipes have 0.01 to 0.4 (DINO, arXiv 2104.14294, section 3.2); on few data that are read often, 30 times the usual
# 0.1 is best (arXiv 2509.14786).
MOST_DECAY = Fraction(5)

OPTIMIZERS = "optimizers"

Fault = tuple[str, Fact, str, str, str]  # key, fact, found, expected, repair


@static(
    "I-48",
    title="An optimizer is one that some recipe has",
    rule="beta1 is at most beta2, at every count where schedules give them, neither lies between 0 and 0.5, beta1 is "
    "at most 0.99, beta2 at most 0.99999, and eps at most 1.5e-4; the decay is at most 5; gradients are clipped "
    "at a norm of 0.01 to 20, or `clip: none` says that they are not; Muon's momentum is at least 0.5, its "
    "update_rms between 0.05 and 1, or less where the highest rate times it is 1e-4 or more, and its steps bring"
    " singular values from 0.03 on to 0.5 to 1.5; an average of weights ends at 0.5 or more, and one that is "
    "taken with at most half of the weights that it began with; steps are skipped from 2 to 50 standard "
    "deviations on, in stages that have more steps than half of the window; and a group's multiples leave the "
    "highest rate at 1e-9 to 0.1 and at 1/500 of the schedule's or more, and the decay at 5 or less, or as much "
    "more as they lower the rate.",
    why="Two betas exchanged, a momentum of 0, a limit that no gradient meets, an average of one step or skips of "
    "every fourth step train, and the loss curve looks like a worse choice of the learning rate. Within half of the "
    "window nothing is skipped, whatever the rule says.",
    threads=(),
)
def optimizers_are_plausible(context: Context) -> Iterator[Finding]:
    """I-48. Once for an optimizer, at its line; a variant answers for what its own stages alone name."""
    mine, extended = context.loaded, context.extended.stages if context.extended is not None else {}
    above = [one.optimizer for one in extended.values()]
    used = {
        name: one.optimizer for stage, one in context.own if one.optimizer is not None
        for name in names_of(mine.stages[stage], OPTIMIZERS)
    }  # fmt: skip
    for name, optimizer in used.items():
        if optimizer in above and not context.writes(mine.document.where((OPTIMIZERS, name))):
            continue
        for key, fact, observed, expected, repair in _faults(optimizer, _highest(context, optimizer)):
            yield context.of_pipeline(
                "I-48", f"{OPTIMIZERS}.{name}.{key}", observed=observed, expected=expected, repair=repair,
                where=mine.document.where((OPTIMIZERS, name, *key.split("."))), found=fact,
            )  # fmt: skip
    yield from _of_groups(context)
    if context.shrink.shrink is None:  # a scale has fewer steps, and the same rule
        yield from _never_skip(context)
        yield from averages.as_it_began(context)


def _highest(context: Context, optimizer: Optimizer) -> Fraction:
    """The highest rate that the pipeline's own stages give an optimizer, at full size."""
    rates = [context.highest_rate(stage) for _, stage in context.own if stage.optimizer == optimizer]
    return max((rate for rate in rates if rate is not None), default=Fraction(0))


def _of_groups(context: Context) -> Iterator[Finding]:
    """What the multiples of groups come to with the stage's own rate and decay, in full-size figures."""
    for name, stage in context.own:
        rate = context.highest_rate(stage)
        if stage.optimizer is None or rate is None:
            continue
        decay = Fraction(extremes(stage.optimizer.weight_decay)[1])
        written = next(names_of(context.loaded.stages[name], OPTIMIZERS))
        for number, group in enumerate(stage.optimizer.groups or ()):
            if group.modules is not None and not set(group.modules) & set(stage.trained):
                continue
            for key, found, observed, expected in _multiplied(group, rate, decay):
                yield context.finding(
                    "I-48", name, ("optimizer",), observed=observed, expected=expected,
                    repair=f"Correct the group's `{key}`: it is a multiple.",
                    at=(f"groups.{group.name}.{key}",), found=found,
                    where=context.loaded.document.where((OPTIMIZERS, written, KEY, number, key)),
                )  # fmt: skip


def _multiplied(group: Group, rate: Fraction, decay: Fraction) -> Iterator[tuple[str, Fraction, str, str]]:
    """Key, fact, found and expected for a group whose highest rate or decay no optimizer would have.

    A decay may be as much larger as the group's rate is lower: a step takes their product from a weight, and some
    keep that product where they lower a rate.
    """
    lr, weight_decay = Fraction(group.lr), Fraction(group.weight_decay)
    highest, strength = rate * lr, decay * weight_decay * min(lr, Fraction(1))
    if highest > HIGHEST or 0 < highest < LOWEST:
        observed = f"a highest rate of {float(highest):g} for group {group.name!r}"
        yield "lr", highest, observed, f"{float(LOWEST):g} to {float(HIGHEST):g}, as of every rate"
    elif 0 < lr < LOWEST_MULTIPLE:
        observed = f"a highest rate of {float(highest):g} for group {group.name!r}, {float(lr):g} of the schedule's"
        yield "lr", lr, observed, f"a multiple of at least {LOWEST_MULTIPLE}: a rate of its own cannot be written here"
    if strength > MOST_DECAY:
        observed = f"a decay of {float(decay * weight_decay):g} for group {group.name!r}"
        expected = (
            f"at most {float(MOST_DECAY):g}, as of every decay, or as much more as the rate's multiple is below 1"
        )
        yield "weight_decay", strength, observed, expected


def _never_skip(context: Context) -> Iterator[Finding]:
    for name, stage in context.own:
        rule = stage.optimizer.skip if stage.optimizer is not None else None
        steps = sum(ledger.count(phase) for phase in stage.phases)
        if rule is not None and stage.phases and steps <= (least := half(rule)):
            yield context.finding(
                "I-48", name, ("optimizer",),
                observed=f"a window of {rule.window:,} steps in a stage of {steps:,}, of which none is ever skipped",
                expected=f"more than {least:,} steps, or a shorter window", repair="Correct `skip: {window: ...}`.",
                at=("skip.window",), found=Fraction(rule.window),
            )  # fmt: skip


def _faults(cfg: Optimizer, rate: Fraction) -> Iterator[Fault]:
    """What of an optimizer no recipe has; `rate` is the highest that it is given."""
    betas = {key: extremes(getattr(cfg, key))[1] for key in ("beta1", "beta2")}  # one that is warmed up begins below
    small = {key: beta for key in betas if 0 < (beta := settled(getattr(cfg, key))) < LOWEST_BETA}
    for key, beta in small.items():
        expected = f"0, or at least {LOWEST_BETA:g}: it is the share that a mean keeps at every step"
        yield key, f"{key} {beta:g}", f"{key} {beta:g}", expected, "Correct it; recipes have 0.9 and 0.95."
    for key, most in HIGHEST_BETA.items():
        if betas[key] > most:
            expected = f"at most {most:g}; recipes have 0.9 and 0.95, some a beta2 of 0.999"
            yield key, f"{key} {betas[key]:.12g}", f"{key} {betas[key]:.12g}", expected, "Correct it."
    low, high = next(((one, two) for one, two in _beside(cfg.beta1, cfg.beta2) if one > two), (0.0, 0.0))
    if low > high and not small:
        found = f"beta1 {low:g} above beta2 {high:g}"
        # Adam is known to converge for beta1 < sqrt(beta2) (arXiv 2208.09632); equal betas train well (2505.21829).
        expected = "a beta2 that is at least beta1: the square is averaged over as many steps as the gradient, or more"
        yield "beta1", found, found, expected, "Exchange them, if they are the wrong way round."
    if cfg.eps > HIGHEST_EPS:
        expected = f"at most {HIGHEST_EPS:g}; recipes have 1e-8, some 1e-5"
        yield "eps", f"{cfg.eps:g}", f"eps {cfg.eps:g}", expected, "Correct it: it is added to the root of the square."
    decay = extremes(cfg.weight_decay)[1]
    if decay > MOST_DECAY:
        expected = f"at most {float(MOST_DECAY):g}; recipes have 0.01 to 0.4, and 3 on few data that are read often"
        repair = "Correct it, or waive this with its reason."
        yield "weight_decay", f"{decay:g}", f"weight_decay {decay:g}", expected, repair
    if cfg.clip is not None and not LOWEST_CLIP <= cfg.clip <= HIGHEST_CLIP:
        expected = f"a norm of {LOWEST_CLIP:g} to {HIGHEST_CLIP:g}, which some gradients meet; recipes have 0.1 to 10"
        yield "clip", f"{cfg.clip:g}", f"clip: {cfg.clip:g}", expected, "Correct it, or write `clip: none`."
    yield from _of_averages_and_skips(cfg)
    if isinstance(cfg, Muon):
        yield from muon.faults(cfg, rate)


def _beside(one: float | Schedule, two: float | Schedule) -> Iterator[tuple[float, float]]:
    """Two numbers at every count where a piece of either begins or ends: pieces are monotonic in between."""
    schedules = [number for number in (one, two) if isinstance(number, Schedule)]
    end = min((number.pieces[-1].end for number in schedules), default=0)
    pieces = [piece for number in schedules for piece in number.pieces if piece.end <= end]
    if not isinstance(one, Schedule) and not isinstance(two, Schedule):
        yield one, two
    for read, clocks in ((lr_before, {piece.start for piece in pieces}), (lr, {piece.end for piece in pieces})):
        for clock in sorted(clocks):
            first, second = (read(number, clock) if isinstance(number, Schedule) else number for number in (one, two))
            yield first, second


def _of_averages_and_skips(cfg: Optimizer) -> Iterator[Fault]:
    if cfg.ema is not None:
        last = cfg.ema.pieces[-1].last if isinstance(cfg.ema, Schedule) else cfg.ema
        if last < LOWEST_AVERAGE:
            found, expected = f"ema {last:g}", f"at least {LOWEST_AVERAGE:g} where it ends; recipes have 0.99 and more"
            yield "ema", found, found, expected, "Correct it: it is the share that the average keeps at every step."
    if cfg.skip is not None and not LOWEST_SIGMAS <= cfg.skip.sigmas <= HIGHEST_SIGMAS:
        found = f"sigmas {cfg.skip.sigmas:g}"
        expected = f"{LOWEST_SIGMAS:g} to {HIGHEST_SIGMAS:g}: spikes are skipped, and no other steps"
        yield "skip.sigmas", found, found, expected, "Correct it; OLMo-core has 6, and a window of 128."
