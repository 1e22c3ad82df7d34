"""The small project with a second pipeline, `lone`, that is at the shrunk scale only, and a variant of it."""

from __future__ import annotations

from pathlib import Path

from tests.edits import replaced
from tests.unit.spec import small_project
from tests.unit.spec.small_project import edit

SECOND_STAGE = "  - {what: everything, tokens: 4B, lineage: second}\n"


def write(root: Path) -> Path:
    """Writes the project below `root` and returns it."""
    small_project.write(root)
    specs = root / "specs"
    (specs / "toy_variant/second.yaml").unlink()  # it leaves a schedule unread, which is a finding
    (specs / "lone").mkdir()
    pipeline = replaced((specs / "toy/pipeline.yaml").read_text(), "pipeline: toy", "pipeline: lone")
    pipeline = replaced(pipeline, "[first, second, release]", "[first]", f"claims:\n{SECOND_STAGE}", "")
    pipeline = replaced(
        pipeline, "until: 4B}\n  other:\n    - {shape: constant, from: current, until: 4B}", "until: 2B}"
    )
    (specs / "lone/pipeline.yaml").write_text(pipeline)
    (specs / "lone/first.yaml").write_text((specs / "toy/first.yaml").read_text())
    (specs / "lone_variant").mkdir()
    variant = (specs / "toy_variant/pipeline.yaml").read_text()
    (specs / "lone_variant/pipeline.yaml").write_text(replaced(variant, "toy", "lone", everywhere=True))
    edit(root, "toy/pipeline.yaml", "  other:\n    - {shape: constant, from: current, until: 4B}\n", "")
    edit(root, "scales/paper.yaml", "pipelines: identity", "pipelines:\n  toy: identity")
    mini = (specs / "scales/mini.yaml").read_text()
    entry = mini[mini.index("  toy:\n") : mini.index("sources:")]
    edit(root, "scales/mini.yaml", "sources:", f"{replaced(entry, '  toy:', '  lone:')}sources:")
    return root
