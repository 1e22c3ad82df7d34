"""What an edge restores, optimizer state, and what moves: I-06, I-15, I-16, I-34, I-49."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from stages.check.context import Context
from stages.check.findings import Finding
from stages.check.registry import held_by_code, static
from stages.contract.numbers import extremes
from stages.spec.language_model import LanguageModel
from stages.spec.resolved import Init, Stage


@static(
    "I-06",
    title="An edge says component by component what it restores",
    rule="For every module an edge states weights, their parent and the optimizer's state, and for the stage the clock "
    "and the data; it names no parent that hands over nothing.",
    why="Users need weights without optimizer, or data without clock; one flag for all restores too much or too "
    "little.",
    threads=("PrimeIntellect-ai/prime-rl#1095", "SkyRL#2010"),
    held_by=("stages/spec/inits.py",),
)
def edges_are_explicit(context: Context) -> Iterator[Finding]:
    """I-06."""
    for name, stage in context.own:
        silent = [module for module in stage.modules if module not in stage.init]
        strange = [module for module in stage.init if module not in stage.modules]
        if silent or strange:
            yield context.finding(
                "I-06", name, ("init",),
                observed=f"an edge that is silent about {silent} and speaks of {strange}",
                expected=f"exactly the modules {list(stage.modules)}",
                repair="State weights and optimizer of each module.",
            )  # fmt: skip
        for module, init in stage.init.items():
            if wrong := _incomplete(init):
                yield context.finding(
                    "I-06", name, ("init", "weights", module), observed=f"{module}: {wrong}",
                    expected="a parent for what is handed over, and only there", repair="Correct the edge.",
                )  # fmt: skip
        named = sorted({init.parent for init in stage.init.values() if init.parent is not None})
        named = named if stage.merge is None else [one.parent for one in stage.merge]
        if named != sorted(stage.parents):
            yield context.finding(
                "I-06", name, ("init", "from"),
                observed=f"parents {list(stage.parents)}, of which modules come from {named}",
                expected="parents that hand over at least one module each",
                repair="Take the others out of `from`.",
            )  # fmt: skip
        if not stage.parents and (stage.clock, stage.data) != ("reset", "restart"):
            yield context.finding(
                "I-06", name, ("init",),
                observed=f"clock: {stage.clock}, data: {stage.data} without a parent",
                expected="clock: reset, data: restart", repair="There is nothing to continue.",
            )  # fmt: skip


def _incomplete(init: Init) -> str | None:
    """What is contradictory in how one module is initialised."""
    handed = init.weights in ("inherit", "upcycle")
    if handed != (init.parent is not None):
        return f"weights: {init.weights} with parent {init.parent}"
    if (init.weights == "release" or init.stand_in) != (init.release is not None):
        return f"weights: {init.weights} with release {init.release}"
    if (init.weights == "upcycle") != (init.layer_map is not None):
        return f"weights: {init.weights} with layer map {init.layer_map}"
    if init.average and (init.weights, init.optimizer) != ("inherit", "reset"):
        return f"weights: average with optimizer: {init.optimizer}"
    if init.optimizer == "inherit" and not handed:
        return f"optimizer: inherit with weights: {init.weights}"
    return None


@static(
    "I-15",
    title="Inherited optimizer state exists and is the same afterwards",
    rule="A module inherits optimizer state only from a stage that trained it with the same kind of optimizer, and "
    "preferences only that of preferences; the restored moments are the saved ones and are not empty.",
    why="Moments are dropped on load, or a changed layout leaves them out: the run goes on as another model's. "
    "Gradients of preferences are of another size than those of words: under the old squares, the first thousand steps "
    "have another rate than the spec's.",
    threads=(
        "NVIDIA/Megatron-LM#6920", "KempnerForge#115", "NVIDIA-NeMo/Megatron-Bridge#3832",
        "Fast-LLM#436",
    ),
    held_by=("stages/engines/received.py", "tests/unit/train/test_engine.py", "stages/guards/start.py"),
)  # fmt: skip
def inherited_state_exists(context: Context) -> Iterator[Finding]:
    """I-15, as far as specs go."""
    for name, stage in context.own:
        for module, init in stage.init.items():
            if stage.optimizer is None or init.optimizer != "inherit" or init.parent not in context.by_ref:
                continue
            ref, source = trainer(context, init.parent, module)
            kind = source.optimizer.kind if source.optimizer and module in source.trained else "none"
            if kind != stage.optimizer.kind or source.kind == "import":
                yield context.finding(
                    "I-15", name, ("init", "optimizer"), parent=ref,
                    observed=f"{module}: state of {stage.optimizer.kind} from a stage that has {kind} for it",
                    expected=f"a parent that trained {module} with {stage.optimizer.kind}",
                    repair="Write `optimizer: reset` for this module, or hand it over from where it was trained.",
                    at=(module,), found=kind,
                )  # fmt: skip
            elif _prefers(stage) and not _prefers(source):
                yield context.finding(
                    "I-15", name, ("init", "optimizer"), parent=ref,
                    observed=f"{module}: preferences under the optimizer's state of {ref}, which has another loss",
                    expected="optimizer: reset, as in published recipes of preferences",
                    repair="Write `optimizer: reset`, or waive this with its reason.",
                    at=(module,), found="another loss",
                )  # fmt: skip


def _prefers(stage: Stage) -> bool:
    return any(phase.objective == "preference" for phase in stage.phases)


def trainer(context: Context, ref: str, module: str) -> tuple[str, Stage]:
    """The stage whose optimizer state a hand-over passes on: through keep, upcycle and export."""
    stage = context.by_ref[ref]
    above = stage.init[module].parent if module in stage.init else None
    if stage.phases or above is None or stage.init[module].optimizer != "inherit" or above not in context.by_ref:
        return ref, stage
    return trainer(context, above, module)


held_by_code(
    "I-16",
    "test",
    title="The first step after a resume is the uninterrupted one",
    rule="Loss, gradient norm and weights after a resume equal those of an uninterrupted run, step for step.",
    why="Mixture-of-experts and Muon runs jump after a resume; averages over many steps hide it.",
    threads=(
        "NVIDIA/Megatron-LM#761", "fairseq#2681", "NVIDIA-NeMo/Megatron-Bridge#4565",
        "NVIDIA/Megatron-LM#1842",
    ),
    held_by=("tests/faults/test_kill.py", "tests/unit/train/test_stops.py"),
)  # fmt: skip


@static(
    "I-34",
    title="Frozen means frozen, trained means trained",
    rule="Every module of a training stage is trained or frozen; what is trained has an optimizer and a schedule; what "
    "is frozen comes with weights; routers that give a token one expert, of weight 1, have an `aux_loss`, which "
    "alone moves them, and a trained caption decoder has a `caption_weight`. Frozen parameters keep their digest, "
    "trained ones change.",
    why="A module that nobody named is left out of the optimizer, or moves although the recipe froze it.",
    threads=(),
    held_by=("tests/unit/train/test_engine.py", "stages/guards/start.py", "stages/guards/end.py"),
)
def trained_or_frozen(context: Context) -> Iterator[Finding]:
    """I-34, as far as specs go."""
    for name, stage in context.own:
        if not stage.phases:
            if stage.trained or stage.optimizer is not None or stage.schedule is not None:
                yield context.finding(
                    "I-34", name, (), observed=f"{list(stage.trained)} trained in a stage without phases",
                    expected="nothing that moves", repair="Give the stage phases, or no `train`.",
                )  # fmt: skip
            continue
        if not stage.trained or not set(stage.trained) <= set(stage.modules):
            yield context.finding(
                "I-34", name, ("train",), observed=f"{list(stage.trained)} trained",
                expected=f"some of {list(stage.modules)}", repair="Name the modules that move.",
            )  # fmt: skip
        if stage.optimizer is None or stage.schedule is None:
            yield context.finding(
                "I-34", name, ("optimizer",), observed="training without an optimizer or a schedule",
                expected="both", repair="Name an optimizer and a schedule of pipeline.yaml.",
            )  # fmt: skip
        yield from _idle_routers(context, name, stage)
        yield from _idle_decoder(context, name, stage)
        for module in stage.modules:
            init = stage.init.get(module)
            if module not in stage.trained and init is not None and init.weights == "fresh":
                yield context.finding(
                    "I-34", name, ("frozen",), observed=f"{module} frozen at random weights",
                    expected="frozen modules that inherit or come from a release",
                    repair="No release is given at this scale. Waive this if random weights will do here: at scales "
                    f"with `releases: given`, {module} has those of {init.release}."
                    if init.stand_in
                    else f"Train {module}, or say where its weights come from.",
                    at=(f"frozen.{module}",), found=f"{init.release} not given" if init.stand_in else "fresh",
                )  # fmt: skip


held_by_code(
    "I-49",
    "guard",
    title="Preferences are measured from the parent",
    rule="The reference of preference training is the stage's parent, bit for bit (on the NeMo engine in bf16, rounded "
    "as the policy is): before the first step, after every resume, and at the end. At the first step, when the policy "
    "is the reference too, every margin is 0 and the loss is what the formula gives there: log 2 for DPO, 0 for "
    "APO-zero, and the likelihood's share beside it. Afterwards some margin is not 0, and after the last step the "
    "log-ratios are those of the policy over its reference.",
    why="A reference that is loaded from a checkpoint is the policy itself: the loss stays where it begins, or "
    "measures each stretch of the run from another model. One computed in another precision gives margins where there "
    "are none.",
    threads=(),
    held_by=(
        "stages/spec/preference.py", "stages/engines/torch_trainer.py", "stages/engines/nemo/frozen.py",
        "stages/guards/preference.py",
        "tests/unit/train/test_preference.py",
    ),
)  # fmt: skip


def _idle_decoder(context: Context, name: str, stage: Stage) -> Iterator[Finding]:
    """A caption decoder whose loss counts for nothing."""
    families = {one: stage.modules[one].family for one in stage.trained if one in stage.modules}
    decoder = next((one for one, family in families.items() if family == "caption_decoder"), None)
    for number, phase in enumerate(stage.phases if decoder is not None else ()):
        if phase.coca is not None and extremes(phase.coca.caption_weight)[1] == 0:
            yield context.finding(
                "I-34", name, ("phases", number, "coca", "caption_weight"),
                observed=f"{decoder} trained with caption_weight: 0: no loss reaches it",
                expected="a caption_weight above 0", found=Fraction(0),
                repair="Correct it; CoCa has 2 (arXiv 2205.01917).",
            )  # fmt: skip


def _idle_routers(context: Context, name: str, stage: Stage) -> Iterator[Finding]:
    """Routers that no gradient reaches: the weight of a token's one expert, divided by itself, is 1 whatever they say.

    Switch (arXiv 2101.03961, section 2.1) leaves that weight as it is, so that the router learns from the loss.
    """
    for module in stage.trained:
        model = stage.modules.get(module)
        mixture = model.parts.mixture if isinstance(model, LanguageModel) else None
        if mixture is None or mixture.active != 1 or not mixture.normalised:
            continue
        for number, phase in enumerate(stage.phases):
            if phase.router is not None and extremes(phase.router.aux_loss)[1] == 0:
                yield context.finding(
                    "I-34", name, ("phases", number, "router", "aux_loss"),
                    observed=f"{module}: one expert a token, of weight 1, and aux_loss: 0: no gradient for the routers",
                    expected="an aux_loss above 0, or two active experts or more",
                    repair="Correct `aux_loss`, or `active_experts` of the model in pipeline.yaml.",
                    found=Fraction(0),
                )  # fmt: skip
