"""Checkpoints that are gone, written over, not whole models, or passed over by the run that should go on from them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping

from stages.audit import tuning
from stages.audit.figures import last_step, saved_every
from stages.audit.finding import edge_rule, rule
from stages.audit.frameworks import TRAINERS
from stages.audit.loads import goes_on_by_itself
from stages.audit.recipe import HOLE, Edge, Fault, Pipeline, Stage

_NEAR = 0.85  # of difflib's ratio between two paths
_STEP = re.compile(  # of a checkpoint in a run's folder
    r"/(?:(?:step|iter|checkpoint|global_step|epoch)?[-_]?\d+(?:-unsharded)?|latest(?:-rank\d+(?:\.pt)?)?"
    r"|[\w.-]+\.(?:bin|pth?|safetensors))$"
)
_ALIKE = str.maketrans("lIoO", "1100")  # letters that are read as digits
_NUMBER = re.compile(r"\d+")


@edge_rule("checkpoint-deleted", "I-26", "The step that is loaded was deleted by the parent")
def deleted(edge: Edge) -> Iterator[Fault]:
    """A limit of checkpoints keeps the newest ones."""
    most, every, last = edge.parent.count("keep"), saved_every(edge.parent), last_step(edge.parent)
    if edge.step is None or not most or most < 1 or not every or last is None or not edge.step <= last:
        return
    newer = last // every - edge.step // every + bool(last % every)
    if newer >= most and edge.parent.on("best") is False:
        yield edge.fault(
            f"step {edge.step:,} of {edge.parent.name}, which keeps {most} of its checkpoints"
            f" ({edge.parent.at('keep')})",
            f"one of the last {most} up to step {last:,}",
            "there is no such checkpoint once the parent has ended",
            unless="it was copied before",
        )


@rule("saves-over-parent", "I-26", "The run writes over the model that it begins from")
def over_parent(pipeline: Pipeline) -> Iterator[Fault]:
    """The same folder for the model that is read and the one that is written, or for the parent's and one's own."""
    for stage in pipeline.stages:
        edge, target = pipeline.parent(stage), stage.folder("save")
        parent = edge.parent.folder("save") if edge is not None and "load" not in stage.values else ""
        source = stage.folder("pretrained") if stage.folder("pretrained") == target else parent
        if stage.framework in TRAINERS and source and source == target and not HOLE.fullmatch(source):
            yield stage.fault(
                "save",
                f"{target} for both",
                "a folder of its own",
                "the parent is gone when the run ends, and a restart begins from what is half trained",
                unless="the parent is kept elsewhere",
            )


@edge_rule("adapter-as-model", "I-06", "The parent saves an adapter, which is loaded as a model")
def adapter(edge: Edge) -> Iterator[Fault]:
    """LoRA's folder has no weights of the base; transformers itself finds the base by the adapter's configuration."""
    child = edge.child
    tuned = tuning.adapter(edge.parent)
    made = edge.parent.folder("save")
    itself = re.fullmatch(re.escape(made) + r"(/checkpoint-\d+)?", child.folder("pretrained")) is not None
    if tuned is None or tuned.value == "freeze" or child.framework == "transformers":
        return
    if itself and not {"load", "adapter_path"} & set(child.values):
        yield child.fault(
            "pretrained",
            f"{child.folder('pretrained')}, an adapter of {edge.parent.name}",
            "the merged model, or the base with the adapter beside it",
            "the launch stops, or goes on from the base alone",
            unless="it was merged into this folder",
        )


@rule("parent-passed-over", "I-38", "Nothing goes on from the run before")
def passed_over(pipeline: Pipeline) -> Iterator[Fault]:
    """Numbered files, or runs of one script, of which one goes on from the last but one, and nothing from the last.

    Or preferences that are learned next to a run that is tuned on answers, instead of from it. Two runs of one kind
    from one parent are branches, as of an ablation: one objective, of files one length of rows.
    """
    named = by_number(pipeline)
    for edge in pipeline.edges:
        before = _numbered_before(edge, named) or _tuned_before(edge, pipeline)
        if before is None or pipeline.children(before):
            continue
        above = pipeline.parent(before)
        if above is not None and above.parent.name == edge.parent.name and _of_another_kind(before, edge):
            yield edge.fault(
                f"a checkpoint of {edge.parent.name}",
                f"one of {before.name}, which goes on from it",
                f"nothing that {before.name} trains is used",
                before.count("tokens"),
                f"{before.name} is a branch of its own",
            )


def _numbered_before(edge: Edge, named: Mapping[tuple[str, int], Stage]) -> Stage | None:
    mine, parent = numbered(edge.child), numbered(edge.parent)
    return None if mine is None or parent != (mine[0], mine[1] - 2) else named.get((mine[0], mine[1] - 1))


def _tuned_before(edge: Edge, pipeline: Pipeline) -> Stage | None:
    """The one run on answers that goes on from text, next to a run of preferences that does so too."""
    if edge.parent.get("objective") != "pt" or edge.child.get("objective") in {"pt", "sft", None}:
        return None
    tuned = [one.child for one in pipeline.children(edge.parent) if one.child.get("objective") == "sft"]
    return tuned[0] if len(tuned) == 1 else None


def _of_another_kind(before: Stage, edge: Edge) -> bool:
    child = edge.child
    rows = "#" not in child.name  # a script may start one run for each of several lengths
    kinds = [(one.get("objective"), one.get("context") if rows else None, one.framework) for one in (before, child)]
    return kinds[0] != kinds[1] and before.folder("save") != child.folder("save")


def loaded(stage: Stage) -> str:
    """The folder that a run begins from, where it is known whole and is not its own; else empty."""
    path = stage.folder("load") if "load" in stage.values and not goes_on_by_itself(stage) else ""
    path = path or stage.folder("pretrained")
    return "" if HOLE.search(path) else path


def numbered(stage: Stage) -> tuple[str, int] | None:
    """A script and the number of its run, or the first number in a file's name; None where there is none."""
    script, _, run = stage.name.partition("#")
    if run:
        return script, int(run)
    found = _NUMBER.search(script.rsplit("/", 1)[-1])
    return ("", int(found[0])) if found and len(found[0]) <= 2 else None


def by_number(pipeline: Pipeline) -> dict[tuple[str, int], Stage]:
    """The runs that have a number, by script and number."""
    return {place: stage for stage in pipeline.stages if (place := numbered(stage)) is not None}


@rule("parent-misspelt", "I-06", "The run begins from a folder that is nearly one that is made here")
def misspelt(pipeline: Pipeline) -> Iterator[Fault]:
    """A path that differs by letters from the folder that another run saves to; numbers name other runs."""
    for stage in pipeline.stages:
        adapter = stage.folder("adapter_path")
        path = adapter if adapter and not HOLE.search(adapter) else loaded(stage)
        if not path or pipeline.parent(stage) is not None or "result" in stage.values:
            continue
        made = {one.folder("save"): one for one in pipeline.stages if one is not stage and one.folder("save")}
        pushed = _pushed(path, pipeline)
        made |= {name: one for name, one in pushed.items() if name not in made}
        near = next(iter(pushed), None) or nearest_folder(path, made)
        if near is not None:
            verb = "saves to" if near == made[near].folder("save") else "is pushed as"
            yield stage.fault(
                "adapter_path" if adapter else ("load", "pretrained"),
                _STEP.sub("", path),
                f"{near}, which {made[near].name} {verb}?",
                "the launch stops, or another model is loaded",
                unless="it was made elsewhere",
            )


def _pushed(path: str, pipeline: Pipeline) -> dict[str, Stage]:
    """The runs that are pushed to the hub under a name of which this is a slip: one word has a letter less, or two
    letters the other way round. Other words and versions name other models."""
    owner, slash, name = path.partition("/")
    if not slash or "/" in name or not owner[:1].isalpha():
        return {}
    hubs = {one.folder("hub").rpartition("/")[2]: one for one in pipeline.stages if one.folder("hub")}
    return {f"{owner}/{hub}": one for hub, one in hubs.items() if name not in hubs and _slip(hub, name)}


def _slip(one: str, other: str) -> bool:
    words = one.lower().split("-"), other.lower().split("-")
    unlike = [pair for pair in zip(*words, strict=False) if pair[0] != pair[1]]
    if len(words[0]) != len(words[1]) or len(unlike) != 1 or any(not word.isalpha() for word in unlike[0]):
        return False
    short, long = sorted(unlike[0], key=len)
    fewer = len(long) - len(short) == 1 and any(long[:at] + long[at + 1 :] == short for at in range(len(long)))
    return len(short) > 2 and (sorted(short) == sorted(long) or fewer)


def nearest_folder(path: str, made: Iterable[str]) -> str | None:
    """The folder of these that a path is nearly, by letters; None where there is none."""
    path = _STEP.sub("", path)
    found = difflib.get_close_matches(path, made, n=1, cutoff=_NEAR)
    same = [one for one in found if _NUMBER.sub("", one) != _NUMBER.sub("", path) and _close(one, path)]
    alike = [one for one in found if one != path and one.translate(_ALIKE) == path.translate(_ALIKE)]
    return next(iter([*same, *alike]), None)


def _close(near: str, path: str) -> bool:
    """Whether each part of a path is nearly that of the other one: a letter or two, as in a slip of the hand."""
    parts = near.split("/"), path.split("/")
    if len(parts[0]) != len(parts[1]):
        return False
    other = [(one, two) for one, two in zip(*parts, strict=True) if one != two]
    return (len(other) == 1 and sorted(other[0][0]) == sorted(other[0][1])) or all(
        difflib.SequenceMatcher(None, one, two).ratio() >= _NEAR for one, two in other
    )  # fmt: skip
