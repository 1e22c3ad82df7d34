"""What an author may paste by mistake: values that stand under the same key nearby, other names of the same kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tests.mutants.campaign.leaves import Entry, Path

Texts = Mapping[str, Sequence[Entry]]
Shape = tuple[str, ...]
NAMED = frozenset({"models", "optimizers", "schedules", "pipelines", "epochs", "corpora", "packages"})


def shape(file: str, path: Path) -> Shape:
    """The place of a value up to what is named or numbered: equal for values that could be exchanged."""
    folder = file.partition("/")[0]
    parts = [str(part) for part in (path[1:] if path[0] == "stand_in" and len(path) > 1 else path)]
    named = file != "data/mixtures.yaml"
    wild = [
        "*" if part.isdigit() or (named and number and parts[number - 1] in NAMED) else part
        for number, part in enumerate(parts)
    ]
    kind = kind_of_file(file)
    return (f"{kind} of {folder}" if kind in ("pipeline", "stage") else kind, *wild)


def kind_of_file(file: str) -> str:
    """pipeline, stage, scale, hardware, corpus, mixtures, published or tokenizer."""
    folder, _, name = file.removesuffix(".yaml").partition("/")
    if folder == "data":
        return name if name in ("mixtures", "published", "tokenizer") else "corpus"
    if folder in ("scales", "hardware"):
        return folder.removesuffix("s")
    return name if name == "pipeline" else "stage"


class Siblings:
    """All values of a project's specs by their shapes, and its names by their kinds."""

    def __init__(self, texts: Texts) -> None:
        self._values: dict[Shape, list[tuple[str, Path, str]]] = {}
        for file, found in texts.items():
            for entry in found:
                if entry.text is not None:
                    self._values.setdefault(shape(file, entry.path), []).append((file, entry.path, entry.text))
        self._names = {kind: list(names) for kind, names in _names(texts).items()}

    def values(self, file: str, entry: Entry) -> list[str]:
        """The nearest other values of the same shape: one before and one after."""
        pool = self._values[shape(file, entry.path)]
        at = pool.index((file, entry.path, entry.text or ""))
        before = next((text for _, _, text in reversed(pool[:at]) if text != entry.text), None)
        after = next((text for _, _, text in pool[at + 1 :] if text != entry.text), None)
        return list(dict.fromkeys(text for text in (before, after) if text is not None))

    def names(self, file: str, entry: Entry) -> list[str]:
        """For a reference, the names that stand beside the one it names; empty for other words."""
        kind = kind_of(file, entry.path)
        if kind is None:
            return []
        pipeline = file.partition("/")[0]
        names = self._names.get((pipeline, kind)) or self._names.get(("", kind)) or []
        if entry.text not in names:
            return names[:2]
        at = names.index(entry.text)
        return [names[place] for place in (at - 1, at + 1) if 0 <= place < len(names)]


def kind_of(file: str, path: Path) -> str | None:
    """What a word names, None where it names nothing."""
    words = [part for part in path if isinstance(part, str)]
    last, folder = words[-1], file.partition("/")[0]
    if folder == "data":
        return {"corpus": "published", "stand_in": "local", "corpora": "local"}.get(last)
    if folder in ("scales", "hardware"):
        return None
    if file.endswith("/pipeline.yaml"):
        return "stages" if last in ("stages", "lineage", "drop") else "pipelines" if last == "extends" else None
    if "init" in words:
        if last == "release":
            return "releases"
        return "stages" if "from" in words else None
    if "modules" in words:
        return "models"
    return {
        "schedule": "schedules", "optimizer": "optimizers", "data": "mixtures", "release": "releases",
        "train": "modules", "frozen": "modules", "evaluate": "evaluations",
    }.get(last)  # fmt: skip


def _names(texts: Texts) -> dict[tuple[str, str], Iterable[str]]:
    """Names by pipeline ("" for those that all share) and kind."""
    found: dict[tuple[str, str], dict[str, None]] = {}

    def add(pipeline: str, kind: str, name: str | None) -> None:
        if name is not None:
            found.setdefault((pipeline, kind), {})[name] = None

    for file, held in texts.items():
        folder, _, name = file.partition("/")
        for entry in held:
            path = entry.path
            if file == "data/mixtures.yaml" and len(path) == 2:
                add("", "mixtures", str(path[1]))
            elif file == "data/published.yaml" and len(path) == 2 and path[0] == "corpora":
                add("", "published", str(path[1]))
            elif folder == "data" and path == ("corpus",):
                add("", "local", entry.text)
            elif name == "pipeline.yaml" and path == ("pipeline",):
                add("", "pipelines", entry.text)
            elif name == "pipeline.yaml" and len(path) == 2 and path[0] in ("models", "schedules", "optimizers"):
                add(folder, str(path[0]), str(path[1]))
            elif path[0] == "stages" and len(path) == 2:
                add(folder, "stages", entry.text)
            elif path[-1] == "release":
                add("", "releases", entry.text)
            elif path[0] == "modules" and len(path) == 2:
                add(folder, "modules", str(path[1]))
            elif path[0] == "evaluate" and len(path) == 2:
                add("", "evaluations", entry.text)
    for (pipeline, kind), names in list(found.items()):
        for variant in {file.partition("/")[0] for file in texts}:
            if pipeline and variant.startswith(f"{pipeline}_"):
                found.setdefault((variant, kind), dict(names))
    return {key: list(names) for key, names in found.items()}
