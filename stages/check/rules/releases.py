"""Names of released models, and what they are models of: S-12."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from stages.check.context import Context
from stages.check.findings import Finding
from stages.check.registry import static
from stages.spec.language_model import LanguageModel
from stages.spec.schema import RawTrain

CLASS = re.compile(r"(?:For[A-Z]\w*|(?:Vision|Text)?Model)$")
CLOSE = 0.82  # difflib's ratio: one letter more, less or another, in names of six letters and more


@static(
    "S-12",
    title="A release goes by one name",
    rule="A release that is not called as its model is not almost called so, nor almost as another release of the "
    "project that is named more often. Where specs/releases says its architecture, it is that of the modules that "
    "start from it.",
    why="Scales without releases train a stand-in whatever the name is; where they are given, the folder of a misspelt "
    "one is not there, or is another model's, and the job ends after the queue.",
    threads=(),
)
def releases_go_by_one_name(context: Context) -> Iterator[Finding]:
    """S-12."""
    yield from _of_other_models(context)
    every = (found for one in (context.loaded, *context.others) for found in one.releases.values())
    named = Counter(release for found in every for _, release, _ in found)
    for name, _ in context.own:
        for module, release, model in context.loaded.releases.get(name, ()):
            if release in context.loaded.raw.models:
                continue
            others = [one for one in named if one != release and named[one] > named[release]]
            meant = next((one for one in (model, *others) if _almost(release, one)), None)
            if meant is not None:
                train = isinstance(context.loaded.stages[name].raw, RawTrain)
                path = ("init", "weights", module) if train else ("release",)
                yield context.finding(
                    "S-12", name, path, observed=f"release {release!r}", expected=f"{meant!r}, or quite another name",
                    repair=f"Did you mean {meant!r}? Else give the release a name of its own, or waive this.",
                )  # fmt: skip


def _almost(one: str, other: str) -> bool:
    """Whether two names differ as a slip does; a word more at the end (`_instruct`) is another name."""
    longer, shorter = sorted((one, other), key=len, reverse=True)
    if longer.startswith(shorter) and len(longer) - len(shorter) > 1:
        return False
    return difflib.SequenceMatcher(None, one, other).ratio() >= CLOSE


def _of_other_models(context: Context) -> Iterator[Finding]:
    """Modules whose release is declared as another architecture: at the declaration, where all that name it differ."""
    used: dict[str, list[tuple[str, str, str, str]]] = {}
    for name, _ in context.own:
        for module, release, _ in context.loaded.releases.get(name, ()):
            declared = context.data.releases.get(release)
            wanted = _family(context, name, module)
            if declared is not None and declared.architecture != "none":
                used.setdefault(release, []).append((name, module, declared.architecture, wanted))
    for release, modules in used.items():
        wrong = [one for one in modules if _base(one[2]) != one[3]]
        for name, module, architecture, wanted in wrong:
            train = isinstance(context.loaded.stages[name].raw, RawTrain)
            found = context.finding(
                "S-12", name, ("init", "weights", module) if train else ("release",),
                observed=f"{module} of release {release!r}, a {architecture} ({context.data.release_lines[release]})",
                expected=f"a release of {wanted}", found=architecture,
                repair="Name the release that is meant, or correct the model's `family` or that file's architecture.",
            )  # fmt: skip
            as_named = release in context.loaded.raw.models or len(modules) > 1
            whole = as_named and len(wrong) == len(modules)
            yield replace(found, where=context.data.release_lines[release]) if whole else found


def _family(context: Context, name: str, module: str) -> str:
    """The first word of transformers' classes for a module's model: towers come from SigLIP. `*` stands for all."""
    modules = context.pipeline.stages[name].modules
    models = [modules[module]] if module in modules else list(modules.values())
    model = next((one for one in models if isinstance(one, LanguageModel)), models[0])
    return _base(model.PUBLISHED.architecture) if isinstance(model, LanguageModel) else "Siglip"


def _base(architecture: str) -> str:
    """Llama of LlamaForCausalLM, Siglip of SiglipModel and SiglipVisionModel."""
    return CLASS.sub("", architecture)
