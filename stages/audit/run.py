"""From paths to findings: files are read, hand-overs found, every rule run; the same files give the same findings.

The price of a finding: 6 operations a parameter and token, on an H100 at 40% of its dense bf16 peak.
"""

from __future__ import annotations

import os
from pathlib import Path

from stages.audit import order
from stages.audit.figures import settled
from stages.audit.finding import KINDS, RULES, Finding
from stages.audit.readers import conversions, deepspeed, formats, text, tree
from stages.audit.readers.text import Source
from stages.audit.recipe import Fault, Pipeline, Stage
from stages.audit.rules import MODULES
from stages.errors import UsageError, UserError
from stages.printable import printable

LONGEST = 300
FLOPS = 989e12 * 0.4  # a second: the H100's datasheet, and the share that specs/hardware/h100.yaml assumes
SHOWN = 12  # files without a recipe that are named
READ = (
    "Read are commands with at least three settings of Megatron-LM or of Hugging Face's Trainer in .sh, .bash, .sbatch",
    "and .slurm; TrainingArguments, LLaMA-Factory, axolotl, nanotron, Megatron-Bridge, OLMo, llm-foundry, Levanter and",
    "torchtune in .yaml, .yml and .json; OLMo-core, and TrainingArguments that are written out, in .py; torchtitan in",
    ".toml and .py. The format is found by its settings, not by the file's name.",
)


def read(paths: list[Path]) -> Pipeline:
    """The recipes at these paths, as one pipeline. Raises UserError where none can be read, or audit.yaml cannot."""
    sources = _sources(paths)
    files = [one.name for one in sources]
    found: dict[str, formats.Found] = {}
    lines: list[str] = []
    chosen: order.Order | None = None
    for source in sorted(sources, key=lambda one: not formats.is_script(one)):
        users = source.path.name == order.FILE and source.path.parent == source.root
        try:
            if users:
                chosen = order.read(tree.parse(text.text(source.path, source.name), source.name))
            elif formats.is_script(source):
                found[source.name] = formats.script(source, files)
            else:
                launches = [launch for one in found.values() for launch in one.launches]
                found[source.name] = formats.read(source, launches)
        except text.Unreadable as error:
            if users:  # what it says of the runs would be left out
                raise
            lines.append(str(error))
    lines += [line for one in found.values() for line in one.notes]
    launched = {one.where for each in found.values() for one in each.launches if _read(found, one.config)}
    stages = [one for name in files if name in found for one in found[name].stages if one.where not in launched]
    stages = conversions.loaded(stages, [made for one in found.values() for made in one.conversions])
    try:
        stages = deepspeed.named(stages, sources)
    except text.Unreadable as error:
        lines.append(str(error))
    if not stages:
        looked = [f"{name}: {one.idle}" for name, one in found.items()]
        more = [f"and {len(looked) - SHOWN} more files"] if len(looked) > SHOWN else []
        none = f"No recipe was found in {many(len(files), 'file')}."
        raise UserError("\n".join([*lines, none, *looked[:SHOWN], *more, *READ]))
    return pipeline(stages, chosen, lines)


def _read(found: dict[str, formats.Found], config: str) -> bool:
    """Whether a file that a command names is a recipe: the command is then a launch of it, and no run of its own."""
    return config in found and bool(found[config].stages)


def many(number: int, word: str) -> str:
    """A count with its word."""
    return f"{number:,} {word}" + ("" if number == 1 else "s")


def pipeline(found: list[Stage], chosen: order.Order | None, notes: list[str]) -> Pipeline:
    """Runs with what follows from their figures, and their hand-overs. Raises UserError for a wrong order."""
    done = [settled(stage) for stage in order.completed(found, chosen)]
    joined, circles = order.without_circles(order.edges(done, chosen), chosen)
    done, edges = order.arrived(done, joined)
    return Pipeline(order.sorted_by(done, edges), edges, (*notes, *circles))


def _sources(paths: list[Path]) -> list[Source]:
    """Every file at these paths once, each named below the folder that all of them are in."""
    files: dict[Path, Path] = {}
    for given in paths:
        if not given.exists():
            raise UsageError(f"{printable(str(given))}: no such file or folder; give a recipe, or a folder of them.")
        path = Path(os.path.abspath(given))
        root = path if path.is_dir() else path.parent
        for file in text.files(path, formats.suffixes()) if path.is_dir() else [path]:
            files.setdefault(file, root)
    base = Path(os.path.commonpath(sorted(set(files.values())))) if files else Path()
    return [Source(file, base, root) for file, root in files.items()]


def findings(pipeline: Pipeline) -> list[Finding]:
    """Every finding, in the order of files and lines; what several runs share is reported once, of the first."""
    assert MODULES  # importing them registers their rules
    found = [_priced(kind.id, fault) for kind, rule in RULES for fault in rule(pipeline)]
    once = {(one.kind, one.where, one.found, one.expected, one.tokens): one for one in reversed(found)}
    return sorted(once.values(), key=lambda one: (one.where, one.kind, one.found))


def _priced(kind: str, fault: Fault) -> Finding:
    hours = None if fault.tokens is None else gpu_hours(fault.stage, fault.tokens)
    found, expected, consequence = (_line(one) for one in (fault.found, fault.expected, fault.consequence))
    return Finding(kind, KINDS[kind].invariant, fault.stage.name, fault.where, found, expected, consequence,
                   fault.tokens, hours, fault.unless)  # fmt: skip


def _line(text: str) -> str:
    """Text of a recipe, in one line of at most LONGEST characters without control characters."""
    shown = printable(text).replace("\n", " ")
    return shown if len(shown) <= LONGEST else shown[:LONGEST] + " ..."


def gpu_hours(stage: Stage, tokens: int) -> float | None:
    """Hours of one GPU, None where the model's size is unknown; attention's own products are left out."""
    size = parameters(stage)
    return None if size is None else round(6 * size * tokens / FLOPS / 3600, 1)


def parameters(stage: Stage) -> int | None:
    """Parameters of a dense decoder without its vocabulary, None where a figure is unknown or experts are routed."""
    layers, hidden, ffn = (stage.count(one) for one in ("layers", "hidden", "ffn"))
    heads, dim = stage.count("heads"), stage.count("head_dim")
    if layers is None or hidden is None or ffn is None or heads is None or dim is None or "experts" in stage.values:
        return None
    kv = stage.count("kv_heads") or heads
    attention = 2 * hidden * dim * (heads + kv)
    return layers * (attention + (3 if stage.on("gated") else 2) * hidden * ffn)
