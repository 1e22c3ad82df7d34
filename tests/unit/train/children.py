"""A stage that goes on from a finished one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stages.spec.resolved import Init, Stage
from stages.store import manifest
from stages.store.manifest import Parent
from tests.unit.train import tiny


def child(parent: Stage, root: Path, name: str, key: str, **changes: Any) -> tuple[Stage, Any]:
    """A stage that takes everything over from a finished one, and its inputs."""
    ref = f"tiny/{parent.name}"
    layout = tiny.inputs(root).layout
    found, digest = manifest.read_with_digest(layout.manifest(ref))
    init = Init(weights="inherit", parent=ref, release=None, optimizer="inherit", layer_map=None, stand_in=False)
    fields = {"name": name, "parents": (ref,), "init": dict.fromkeys(parent.modules, init)}
    built = tiny.inputs(root, key)
    built = type(built)(
        built.layout, key, built.phase_keys, {ref: Parent(key=found.key, manifest=digest)}, built.data_root, {}
    )
    return parent.model_copy(update=fields | changes), built
