"""Before a release comes in: the tokenizer that lies in its folder is the stage's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from stages.data.spec import TOKENIZER
from stages.data.tokens.tokenizer_files import TOKENS
from stages.spec.loader_data import LoadedData
from stages.spec.resolved import Stage
from stages.spec.resolved_models import LANGUAGE_MODELS
from stages.store.layout import Layout


def refuse_other(root: Path, layout: Layout, data: LoadedData, stage: Stage, releases: Mapping[str, Path]) -> None:
    """Raise UserError where a language model's folder has a tokenizer.json that cuts otherwise than the stage's."""
    inits = [init for name, init in stage.init.items() if stage.modules[name].family in LANGUAGE_MODELS]
    named = {init.release for init in inits if init.release is not None and not init.stand_in}
    folders = [releases[release] for release in sorted(named & releases.keys())]
    ours = _path(root, layout, data, stage.tokenizer)
    if not folders or ours is None or not ours.is_file():
        return
    from stages.data.tokens import tokenizer_of_release
    from stages.models import release_files

    for folder in folders:
        if (theirs := release_files.beside(folder, TOKENS)) is not None:
            tokenizer_of_release.refuse_other(theirs, ours)


def _path(root: Path, layout: Layout, data: LoadedData, digest: str) -> Path | None:
    """The tokenizer.json of a declared tokenizer, or of the local one; None for a published one that is only named."""
    if digest == data.local:
        return layout.corpus(TOKENIZER) / TOKENS
    spec = data.declared(digest)
    return None if spec is None else root / spec.path / TOKENS
