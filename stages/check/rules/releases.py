"""Names of released models, and what they are models of: S-12."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterator

from stages.check.context import Context
from stages.check.findings import Finding
from stages.check.registry import static
from stages.errors import page
from stages.spec.language_model import LanguageModel
from stages.spec.nodes import Path
from stages.spec.schema.stages import RawTrain

CLASS = re.compile(r"(?:For[A-Z]\w*|(?:Vision|Text)?Model)$")
ONLY_HERE = ("caption_decoder", "projector")  # families of modules that begin at random weights or come from a stage
CLOSE = 0.82  # difflib's ratio: one letter more, less or another, in names of six letters and more


@static(
    "S-12",
    title="A release goes by one name",
    rule="A release that is not called as its model is not almost called so, nor almost as another release of the "
    "project that is named more often. Where specs/releases says its architecture, it is that of the modules that "
    "start from it; at a scale that is given releases, it has a file there. Caption decoders and projectors are in "
    "none.",
    why="Scales without releases train a stand-in whatever the name is; where they are given, the folder of a misspelt "
    "one is not there, or is another model's, and the job ends after the queue.",
    threads=(),
)
def releases_go_by_one_name(context: Context) -> Iterator[Finding]:
    """S-12."""
    yield from _of_other_models(context)
    yield from _in_no_release(context)
    every = (found for one in (context.loaded, *context.others) for found in one.releases.values())
    named = Counter(release for found in every for _, release, _ in found)
    for name, _ in context.own:
        without_a_file: set[str] = set()
        for module, release, model in context.loaded.releases.get(name, ()):
            others = [one for one in named if one != release and named[one] > named[release]]
            meant = None
            if release not in context.loaded.raw.models:
                meant = next((one for one in (model, *others) if _almost(release, one)), None)
            if meant is not None:
                yield context.finding(
                    "S-12", name, _named_at(context, name, module), observed=f"release {release!r}",
                    expected=f"{meant!r}, or quite another name",
                    repair=f"Did you mean {meant!r}? Else give the release a name of its own, or waive this.",
                )  # fmt: skip
            elif _comes_in(context, name, release) and release not in {*context.data.releases, *without_a_file}:
                without_a_file.add(release)
                yield _without_a_file(context, name, module, release)


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
        as_named = release in context.loaded.raw.models or len(modules) > 1
        whole = as_named and len(wrong) == len(modules)
        for name, module, architecture, wanted in wrong:
            yield context.finding(
                "S-12", name, _named_at(context, name, module),
                observed=f"{module} of release {release!r}, a {architecture} ({context.data.release_lines[release]})",
                expected=f"a release of {wanted}", found=architecture,
                repair="Name the release that is meant, or correct the model's `family` or that file's architecture.",
                where=context.data.release_lines[release] if whole else None,
            )  # fmt: skip


def _in_no_release(context: Context) -> Iterator[Finding]:
    """Modules of families that no released folder is read for."""
    for name, stage in context.own:
        for module, release, _ in context.loaded.releases.get(name, ()):
            for one in [module] if module in stage.modules else stage.modules:
                family = stage.modules[one].family
                if family in ONLY_HERE:
                    yield context.finding(
                        "S-12", name, _named_at(context, name, module),
                        observed=f"{one} of release {release!r}, a {family}",
                        expected="a language model, or a part of SigLIP: moonvit, text_tower or contrastive",
                        repair=f"Write `{one}: fresh`, or name the stage that has trained it.",
                    )  # fmt: skip


def _comes_in(context: Context, name: str, release: str) -> bool:
    """Whether a stage is given the weights of a release at this scale, and no stand-in's."""
    return any(
        one.release == release and one.weights == "release" for one in context.pipeline.stages[name].init.values()
    )


def _without_a_file(context: Context, name: str, module: str, release: str) -> Finding:
    """A release that specs/releases does not declare: nothing says which weights they are."""
    return context.finding(
        "S-12", name, _named_at(context, name, module),
        observed=f"release {release!r}, and no specs/releases/{release}.yaml",
        expected="a file that says where its weights are from, and the digest of their folder",
        repair=f"Put the file back, correct the name, or write it (specs/releases in {page('spec-format')}); without "
        "the folder, with `digest: none`. Nothing that starts from it is run before it has a digest.",
    )  # fmt: skip


def _named_at(context: Context, name: str, module: str) -> Path:
    """Where a stage names the release that a module comes from."""
    return ("init", "weights", module) if isinstance(context.loaded.stages[name].raw, RawTrain) else ("release",)


def _family(context: Context, name: str, module: str) -> str:
    """The first word of transformers' classes for a module's model: towers come from SigLIP. `*` stands for all."""
    modules = context.pipeline.stages[name].modules
    models = [modules[module]] if module in modules else list(modules.values())
    model = next((one for one in models if isinstance(one, LanguageModel)), models[0])
    return _base(model.PUBLISHED.architecture) if isinstance(model, LanguageModel) else "Siglip"


def _base(architecture: str) -> str:
    """Llama of LlamaForCausalLM, Siglip of SiglipModel and SiglipVisionModel."""
    return CLASS.sub("", architecture)
