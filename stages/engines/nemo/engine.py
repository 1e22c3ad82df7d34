"""The NeMo engine's entry: a training stage on Megatron-Core, by the same course as on the torch engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from stages import evals
from stages.engines import Inputs, evaluation, place, results
from stages.engines.nemo import absent, cpu, pinned, variables
from stages.engines.training import Training
from stages.errors import UserError
from stages.evals.heldout import Heldout
from stages.spec.resolved import Stage
from stages.store import attempts
from stages.train.determinism import FAST, denormals_flushed, deterministic
from stages.train.ranks import Ranks, together
from stages.train.stopping import stop_when_asked


@together
def run(stage: Stage, inputs: Inputs) -> None:
    """Run a stage in an attempt of its own and put the result in place.

    Raises UserError as the torch engine does, and where Megatron is not installed in this interpreter; LostRankError
    too, wherever in Core a rank waits for one that is gone.
    """
    ref = stage.ref
    _import(stage)
    from stages.engines.nemo.trainer import NemoTrainer

    with stop_when_asked() as stop, _prepared(stage) as ranks:
        if not stage.execution.exact and ranks.first:
            print(f"{ref}: {FAST}")
        held = (
            attempts.start(inputs.layout, ref, inputs.key, inputs.parents, on_lost=stop.ask)
            if ranks.first
            else nullcontext(None)
        )
        with held as attempt:
            Training(stage, inputs, attempt, stop, ranks, NemoTrainer).run()


@together
def evaluate(stage: Stage, inputs: Inputs) -> None:
    """Evaluate a finished result again, on as many ranks as a run has. Raises as `evaluation.again` and `run`."""
    _import(stage)
    from stages.engines.nemo.trainer import NemoTrainer

    with _prepared(stage) as ranks:

        def both(stage: Stage, inputs: Inputs) -> evaluation.Numbers:
            trainer, heldout = NemoTrainer(stage, inputs, ranks), Heldout(inputs.data_root)
            before = evaluation.before(stage, inputs, trainer.evaluated(), heldout)
            trainer.take_result()
            after = evals.run(trainer.evaluated(), stage, heldout)
            results.check_evaluations(stage, after, "after training", None)
            return {"before": before, "after": after}

        evaluation.again(stage, inputs, both, ranks)


@together
def found(stage: Stage, inputs: Inputs) -> evaluation.Numbers:
    """What the evaluation names, of a finished result, as eval.json has it under "after"; every rank has it.

    Raises UserError, and NonFiniteError.
    """
    _import(stage)
    from stages.engines.nemo.trainer import NemoTrainer

    with _prepared(stage) as ranks:
        model = NemoTrainer(stage, inputs, ranks, finished=True).evaluated()
        numbers = evals.run(model, stage, Heldout(inputs.data_root))
        results.check_evaluations(stage, numbers, "as it is", None)
        return numbers


@contextmanager
def _prepared(stage: Stage) -> Iterator[Ranks]:
    """Kernels as the stage wants them, and its ranks, which have met."""
    from stages.engines.nemo import groups

    with deterministic(stage.execution), denormals_flushed(), groups.met(stage, place.of(stage)) as ranks:
        yield ranks


def _import(stage: Stage) -> None:
    """Megatron, prepared for the stage's device. Raises UserError where it is not installed in this interpreter, or is
    another release.
    """
    variables.set_all(stage)
    try:
        if stage.execution.device == "cpu":
            cpu.install()
        else:
            absent.imported()
    except (ImportError, OSError) as error:  # a package whose libraries are of another CUDA raises either
        raise UserError(f"{stage.ref}: engine nemo: {absent.refusal(error)}") from error
    pinned.check(stage.ref)
