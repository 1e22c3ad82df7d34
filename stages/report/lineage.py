"""Where a result comes from: the tree of what it was built on, with keys, digests and data, from manifests alone."""

from __future__ import annotations

from stages.report.metrics import read_stage
from stages.report.words import count
from stages.spec.resolved import Stage
from stages.store import manifest
from stages.store.layout import Layout

SHOWN = 12  # digits of a key or digest
CHANGED = "  CHANGED SINCE: built on {}"


def lineage(layout: Layout, ref: str) -> str:
    """Text tree of a finished stage and everything upstream of it, ending in a line break.

    A parent whose manifest is no longer the one that was built on is marked: the result still holds, but rerunning
    it would start from other weights. A stage reached twice is expanded once. Raises ManifestError or ResultError
    where a result in the tree is absent or damaged.
    """
    lines: list[str] = []
    _walk(layout, ref, None, "", "", lines, set())
    return "\n".join(lines) + "\n"


def _walk(
    layout: Layout, ref: str, built_on: str | None, lead: str, branch: str, lines: list[str], seen: set[str]
) -> None:
    record, digest = manifest.read_with_digest(layout.manifest(ref))
    drift = "" if built_on in (None, digest, manifest.identity(record)) else CHANGED.format(str(built_on)[:SHOWN])
    again = "  (above)" if ref in seen else ""
    lines.append(f"{lead}{branch}{ref}  key {record.key[:SHOWN]}  manifest {digest[:SHOWN]}{drift}{again}")
    if again:
        return
    seen.add(ref)
    below = lead + {"": "", "├─ ": "│  ", "└─ ": "   "}[branch]
    parents = sorted(record.parents.items())
    stage = read_stage(layout.stage(ref) / "stage.json")
    for text in facts(stage, record):
        lines.append(f"{below}{'│  ' if parents else '   '}{text}")
    for number, (name, parent) in enumerate(parents):
        corner = "└─ " if number == len(parents) - 1 else "├─ "
        place = manifest.renamed(layout, name, parent.key)
        _walk(layout, place, parent.manifest, below, corner, lines, seen)


def facts(stage: Stage, record: manifest.Manifest) -> list[str]:
    """What a stage is and read, a line each: its title, the hand-over of each module, its corpora and their digests."""
    stand_in = ", descends from a stand-in" if record.stand_in else ""
    lines = [f'{stage.kind} "{stage.box}", {stage.scale}, seed {stage.seed}, {record.tier}{stand_in}']
    if record.points_to is not None:
        lines.append(f"points to {record.points_to}")
    for module, init in stage.init.items():
        origin = init.parent or init.release or ", ".join(stage.parents) or "nothing"
        lines.append(f"{module}: weights {init.taken} from {origin}, optimizer {init.optimizer}")
    if stage.phases:
        lines.append(f"consumed {count(stage.budget)} {stage.phases[0].unit}, clock {stage.clock}, data {stage.data}")
    digests = {source.corpus: source.digest for phase in stage.phases for source in phase.sources}
    lines += [f"read {corpus}, digest {digest[:SHOWN]}" for corpus, digest in sorted(digests.items())]
    size = sum(shard.size for shard in record.shards)
    return [*lines, f"holds {len(record.shards)} files, {size:,} bytes"]
