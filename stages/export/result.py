"""The finished result that is exported, sampled or evaluated, with what is known of its tokenizer and its lineage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stages.errors import UserError
from stages.spec.loader_data import LoadedData
from stages.spec.resolved import Stage
from stages.spec.resolved_models import LANGUAGE_MODELS, Model
from stages.store import manifest, stage_record
from stages.store.layout import Layout


@dataclass(frozen=True)
class Result:
    """A finished stage. `folder` is where its weights lie: a `keep` stage's are its parent's.

    `stage` is the record of that folder, and `data` the tokenizers and releases that the specs declare.
    """

    ref: str
    root: Path
    layout: Layout
    folder: Path
    stage: Stage
    record: manifest.Manifest
    data: LoadedData

    @classmethod
    def open(cls, ref: str, root: Path, layout: Layout, data: LoadedData) -> Result:
        """A stage that is done. Raises UserError where the record of what was run cannot be read."""
        folder = manifest.payload(layout, ref)
        return cls(ref, root, layout, folder, stage_record.read(folder), manifest.read(layout.manifest(ref)), data)

    @property
    def llm(self) -> str:
        """The name of the module that reads and writes tokens. Raises UserError where there is none, or two."""
        found = [name for name, cfg in self.stage.modules.items() if cfg.family in LANGUAGE_MODELS]
        if len(found) != 1:
            raise UserError(
                f"{self.ref}: found the modules {families(self.stage.modules)}; allowed: one language model, alone or "
                "with a `vit` and a `projector`. Name a stage that has one."
            )
        return found[0]

    def shards(self, module: str) -> list[Path]:
        """The files of a module's weights."""
        return manifest.weights(self.folder, module)


def families(modules: Mapping[str, Model]) -> str:
    """Modules with their families, for messages."""
    return ", ".join(f"{name} ({cfg.family})" for name, cfg in modules.items())
