"""Figures that are said to be a published model's, beside its config.json: a digit that was lost, or another model's.

`parameters` sees a size alone, and no count sees heads, a rotary base or an epsilon.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from stages.spec import quantities
from stages.spec.families import FAMILIES
from stages.spec.loader import LoadedPipeline
from stages.spec.loader_data import LoadedData
from stages.spec.nodes import Document, Path, Tree
from stages.spec.released import Figures
from stages.spec.schema.stages import RawImport
from stages.spec.sources import figures, origins

FILE = "config.json"
ROPE = "rope"
WORD = re.compile(r"[\w./-]+")
# What a name may end in beside the same figures: tuned models that are not in the table by their own names, and towers
# that were trained on other resolutions.
TUNED = re.compile(r"-(Instruct|Base|hf|it|[2-5]\d\d)$")


def _towers(layers: int, hidden: int, ffn: int, heads: int, patch: int, vocab: int) -> Mapping[str, Figures]:
    """Both of a SigLIP's, and its head."""
    tower = {"layers": str(layers), "hidden": str(hidden), "ffn": str(ffn), "heads": str(heads)}
    head = {key: size for key, size in tower.items() if key != "layers"}
    text = {**tower, "vocab": str(vocab)}
    return {"moonvit": {**tower, "patch": str(patch)}, "text_tower": text, "contrastive": head}


# By the last part of the hub's id: the figures of its config.json, by the family of towers that has them here.
TOWERS: Mapping[str, Mapping[str, Figures]] = {
    "siglip-base-patch16": _towers(12, 768, 3072, 12, 16, 32_000),
    "siglip-large-patch16": _towers(24, 1024, 4096, 16, 16, 32_000),
    "siglip-so400m-patch14": _towers(27, 1152, 4304, 16, 14, 32_000),
    "siglip2-base-patch16": _towers(12, 768, 3072, 12, 16, 256_000),
    "siglip2-large-patch16": _towers(24, 1024, 4096, 16, 16, 256_000),
    "siglip2-so400m-patch14": _towers(27, 1152, 4304, 16, 14, 256_000),
    "Kimi-VL-A3B": {
        "moonvit": {"layers": "27", "hidden": "1152", "ffn": "4304", "heads": "16", "patch": "14", "table": "64"}
    },
}


def _published() -> Mapping[str, Mapping[str, Figures]]:
    """Of each model, those of its towers, and what the file of its family has: the family's fields, and positions."""
    models = {
        name: {family: one.model, ROPE: one.rope}
        for family, declared in FAMILIES.items()
        for name, one in declared.RELEASED.items()
    }
    return {name: {**TOWERS.get(name, {}), **models.get(name, {})} for name in (*models, *TOWERS)}


PUBLISHED = _published()


def other_figures(loaded: LoadedPipeline, data: LoadedData) -> Iterator[str]:
    """A notice for each figure of a model, or of its rotary positions, that its cited config.json does not have."""
    released = dict(_released(loaded, data))
    for name, model in loaded.raw.models.items():
        tree, cited = _leaves(loaded.document.value["models"][name]), _cited(loaded.document, ("models", name))
        for key, text in tree.items():
            taken = [released[name]] if name in released else []
            others = [one for one in cited.get(key, []) if one not in taken]
            differences = (
                list(_other(loaded.document, ("models", name), key, text, among, str(model.get("family"))))
                for among in (taken, others)  # a citation that was copied is of another model than the release
            )
            yield from next(filter(None, differences), [])
    for stage in loaded.stages.values():
        if ROPE not in stage.document.value:
            continue
        own = released.get(next(iter(stage.raw.modules.values()))) if isinstance(stage.raw, RawImport) else None
        cited = _cited(stage.document, (ROPE,))
        tree = _leaves(stage.document.value[ROPE])
        scaled = {key.partition(".")[0] for key in PUBLISHED[own][ROPE] if "." in key} if own else set()
        for key in scaled - {one.partition(".")[0] for one in tree}:
            where = stage.document.where((ROPE, key))
            yield f"{where}: {ROPE}.{key} is none, and the published {FILE} has it ({own})."
        for key, text in tree.items():
            yield from _other(stage.document, (ROPE,), key, text, [own] if own else cited.get(key, []), ROPE)


def _other(document: Document, at: Path, key: str, text: str, names: list[str], family: str) -> Iterator[str]:
    """Of a figure and the models in one of whose config.json it should be."""
    known = {name: PUBLISHED[name][family][key] for name in names if key in PUBLISHED[name].get(family, {})}
    if known and not any(quantities.same(text, one) for one in known.values()):
        figure = ".".join([*(str(part) for part in at), key])
        said = " and ".join(f"{own} ({name})" for name, own in known.items())
        yield f"{document.where((*at, *key.split('.')))}: {figure} is {text}, and the published {FILE} has {said}."


def _released(loaded: LoadedPipeline, data: LoadedData) -> Iterator[tuple[str, str]]:
    """(model, published name) of each model that comes from a release."""
    for found in loaded.releases.values():
        for _, release, model in found:
            source = data.releases[release].source if release in data.releases else ""
            if name := next(_names(source), None):
                yield model, name


def _cited(document: Document, below: Path) -> dict[str, list[str]]:
    """The published models whose config.json the source of each figure cites, by the figure's path below another."""
    found: dict[str, list[str]] = {}
    for path, entry in origins(document.value):
        if path[: len(below)] == below and entry["mark"] == "published" and FILE in str(entry.get("citation")):
            found[".".join(str(part) for part in path[len(below) :])] = list(_names(str(entry["citation"])))
    return found


def _names(text: str) -> Iterator[str]:
    for word in WORD.findall(text):
        name = word.rpartition("/")[2].removeprefix("Meta-")
        yield from [one for one in (name, TUNED.sub("", name)) if one in PUBLISHED][:1]


def _leaves(tree: Tree) -> dict[str, str]:
    """Every figure below a key, by its path with points."""
    return {".".join(str(part) for part in path): text for path, _, text in figures(tree)}
