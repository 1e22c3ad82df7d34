"""Guarantees, conversions and transformations of models: I-21 to I-23, I-31 to I-33."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction

from stages.check.context import Context
from stages.check.findings import Finding
from stages.check.registry import held_by_code, static
from stages.contract.parameters import parameters
from stages.spec.copies import is_written
from stages.spec.language_model import LanguageModel
from stages.spec.points import ALL
from stages.spec.resolved import Stage
from stages.spec.resolved_models import Model
from stages.spec.schema.stages import RawUpcycle

held_by_code(
    "I-21",
    "test",
    title="Every result says which guarantee it carries",
    rule="The tier (bit-exact, same-order, statistical) and its environment are written with every result.",
    why="Two runs of one configuration differ, and nobody can say whether that is a fault.",
    threads=("torchtitan#1720", "torchtitan#1136", "torchtitan#1702", "torchtitan#1213"),
    held_by=("stages/store/manifest.py", "tests/unit/store/test_files_and_manifest.py"),
)
held_by_code(
    "I-22",
    "test",
    title="A converted model computes the same",
    rule="Logits before and after a conversion agree in single precision on random weights to a stated maximum.",
    why="Cosine similarities of 0.6 to 0.9, or 99.73% of equal predictions, passed for a working conversion.",
    threads=("NVIDIA-NeMo/Megatron-Bridge#2381", "swiss-ai/Megatron-LM#52"),
    held_by=("tests/parity/test_hf.py", "tests/parity/test_llama.py", "tests/parity/test_moonlight.py"),
)


@static(
    "I-23",
    title="Upcycling changes the number of layers, or makes experts of feed-forward parts, and nothing else",
    rule="The parent is the shallower model, the child a whole number of times as deep (or as deep as the layers that "
    "the spec writes out), and every other figure of the architecture is the same; what the child computes differs "
    "from the parent by no more than is declared. With experts, layers are as many as before, and the child has the "
    "parent's parameters, one feed-forward part more for each further expert of a layer, and the routers' rows.",
    why="Arguments in the wrong order, or keys that neither side has, leave random layers in a model that trains.",
    threads=("NVIDIA/Megatron-LM#5442", "NVIDIA/Megatron-LM#3646"),
    held_by=(
        "stages/models/upcycle.py",
        "stages/models/upcycle_experts.py",
        "stages/spec/layer_maps.py",
        "tests/property/test_upcycled_experts.py",
        "tests/unit/models/test_upcycle.py",
    ),
)
def upcycling_deepens_only(context: Context) -> Iterator[Finding]:
    """I-23, as far as specs go."""
    for name, ref, parent, module, child in _upcycled(context):
        above = parent.modules.get(module)
        if above is None:
            yield context.finding(
                "I-23", name, ("modules", module), parent=ref, observed=f"{ref} has no module {module}",
                expected=f"one of {list(parent.modules)}", repair="Upcycle a module that the parent has.",
            )  # fmt: skip
            continue
        if context.pipeline.stages[name].init[module].experts is not None:
            yield from _experts(context, name, ref, module, above, child)
            continue
        mine, theirs = child.model_dump(), above.model_dump()
        differ = sorted(key for key in {*mine, *theirs} - {"layers"} if mine.get(key) != theirs.get(key))
        deep, shallow = _layers(child), _layers(above)
        fits = 0 < shallow < deep and (deep % shallow == 0 or _written(context, name, module))
        if differ or not fits:
            yield context.finding(
                "I-23", name, ("modules", module), parent=ref,
                observed=f"{shallow} layers becoming {deep}" + (f", other {', '.join(differ)}" if differ else ""),
                expected="a multiple of the parent's layers and nothing else changed",
                repair="Correct the child's model in pipeline.yaml, or under the scale's `models`.",
                at=(module,), found=", ".join([f"{Fraction(deep, max(shallow, 1))} times as deep", *differ]),
            )  # fmt: skip


def _experts(context: Context, name: str, ref: str, module: str, above: Model, child: Model) -> Iterator[Finding]:
    """Counted apart from what resolves and builds the child: (E - 1) parts of 3 D F and E rows of D more a layer."""
    mixture = child.parts.mixture if isinstance(child, LanguageModel) else None
    if mixture is not None and isinstance(above, LanguageModel):
        width = above.hidden
        more = (mixture.experts - 1) * 3 * width * above.ffn + mixture.experts * width
        expected = parameters(above).total + above.layers * more
        idle = above.layers * (mixture.experts - mixture.active) * 3 * width * above.ffn
        if (expected, idle) == (parameters(child).total, parameters(child).idle):
            return
        found = f"{parameters(child).total:,} parameters, {parameters(child).idle:,} in experts that a token leaves out"
        wanted = f"{expected:,} and {idle:,}: the parent's feed-forward parts as experts, and their routers"
    else:
        found, wanted = f"a {child.family} from a {above.family}", "a model with routed experts from a dense one"
    yield context.finding(
        "I-23", name, ("modules", module), parent=ref, observed=found, expected=wanted, at=(module,), found=found,
        repair="Correct the child's model in pipeline.yaml, or under the scale's `models`.",
    )  # fmt: skip


@static(
    "I-31",
    title="Upcycling accounts for every layer and every block call",
    rule="Every layer of the child is a copy of a named layer of the parent, each parent layer is copied equally "
    "often (at least once, where the spec writes the layers out, the first at the beginning and the last at the end), "
    "and loops x layers is the same before and after (24 x 8 = 48 x 4).",
    why="A layer that comes from nowhere is random; other loops are another depth of computation.",
    threads=(),
    held_by=(
        "stages/spec/copies.py",
        "tests/property/test_upcycle.py",
        "tests/unit/models/test_upcycle.py",
        "stages/guards/start.py",
    ),
)
def upcycling_accounts_for_layers(context: Context) -> Iterator[Finding]:
    """I-31."""
    for name, ref, parent, module, child in _upcycled(context):
        if module not in parent.modules:
            continue
        layers, above = _layers(child), _layers(parent.modules[module])
        chosen = context.pipeline.stages[name].init[module].layer_map or ()
        copies = Counter(chosen)
        unequal = len(set(copies.values())) != 1 and not _written(context, name, module)
        if len(chosen) != layers or set(chosen) != set(range(above)) or unequal:
            yield context.finding(
                "I-31", name, ("init", "weights"), parent=ref,
                observed=f"a map of {len(chosen)} layers that copies {dict(sorted(copies.items()))}",
                expected=f"{layers} layers, each of the parent's {above} copied equally often",
                repair="Write `weights: {upcycle: concatenate}`, `interleave`, or every layer at least once.",
            )  # fmt: skip
        elif context.shrink.shrink is None and (chosen[0], chosen[-1]) != (0, above - 1):
            yield context.finding(
                "I-31", name, ("init", "weights"), parent=ref,
                observed=f"a first layer that is a copy of layer {chosen[0]}, and a last one of layer {chosen[-1]}",
                expected=f"copies of layers 0 and {above - 1}, which read embeddings and are read by the head",
                repair="Write the layers in the order in which the parent computes them: 0-23 + 8-31.",
            )  # fmt: skip
        yield from _block_calls(context, name, ref, parent, above, layers)


def _written(context: Context, name: str, module: str) -> bool:
    """Whether the spec names the layers that are copied, so that it says how often each is."""
    raw = context.loaded.stages[name].raw
    ways = raw.init.weights if isinstance(raw, RawUpcycle) else {}
    return is_written(ways.get(module, ways.get(ALL, "")).removeprefix("upcycle:"))


def _block_calls(context: Context, name: str, ref: str, parent: Stage, above: int, layers: int) -> Iterator[Finding]:
    before = next((phase.loops.count for phase in reversed(parent.phases) if phase.loops), None)
    mine = context.pipeline.refs[name]
    for child, stage in context.pipeline.stages.items():
        if mine not in stage.parents or before is None:
            continue
        after = next((phase.loops.count for phase in stage.phases if phase.loops), None)
        if after is not None and layers * after != above * before:
            yield context.finding(
                "I-31", name, ("modules",), parent=ref,
                observed=f"{layers} layers x {after} loops in {child}",
                expected=f"as many block calls as {above} layers x {before} loops before",
                repair="Divide the loops by the factor by which the layers grow.",
                at=(child,), found=Fraction(layers * after, above * before),
            )  # fmt: skip


def _upcycled(context: Context) -> Iterator[tuple[str, str, Stage, str, Model]]:
    """(stage, the nearest ancestor that trained, that ancestor, module, the child's model) of every upcycled module."""
    for name, stage in context.own:
        for module, init in stage.init.items():
            if init.weights != "upcycle" or init.parent not in context.by_ref or module not in stage.modules:
                continue
            yield name, *context.trained_above(init.parent), module, stage.modules[module]


def _layers(model: Model) -> int:
    return int(getattr(model, "layers", 0))


held_by_code(
    "I-32",
    "test",
    title="The exit distribution is one",
    rule="Exit probabilities sum to 1, their entropy lies in [0, log T], and one loop equals the plain transformer.",
    why="A gate that saturates turns a logarithm into an infinity, and the loss hides which loop was trained.",
    threads=(),
    held_by=("tests/parity/test_ouro.py", "tests/unit/train/test_looped_loss.py", "stages/guards/end.py"),
)
held_by_code(
    "I-33",
    "test",
    title="The contrastive loss knows no order",
    rule="Swapping the two towers' batches, or permuting the pairs, does not change the contrastive loss.",
    why="A loss computed over parts of the batch, or with labels by rank, learns the order of the data.",
    threads=(),
    held_by=("stages/models/siglip.py", "tests/unit/models/test_coca.py"),
)
