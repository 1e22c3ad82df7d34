"""A user's own files in a project: their spec, and the documents that were prepared of them."""

from __future__ import annotations

from itertools import pairwise

from stages.data.corpus.corpus_manifest import DataManifest
from stages.data.corpus.prepared import Corpus
from stages.data.preparing import prepare
from stages.data.tokens.tokenizer import Tokenizer
from stages.data.tokens.tokenizer_use import FILE
from tests.unit.data.small import ZERO, Small, write_spec

MEASURED = {"digest": ZERO, "size": 0, "documents": 0, "longest": 0, "heldout": 0}


def declare(project: Small, path: str | list[str], kind: str = "text", **more: object) -> None:
    """Write specs/data/mine.yaml as a user does before the first preparation."""
    write_spec(
        project.root,
        "mine",
        {"corpus": "mine", "kind": kind, "unit": "tokens", "builder": "file", "path": path, **more},
    )


def run(project: Small, processes: int = 1) -> DataManifest:
    """Prepare the corpus, whatever its spec declares."""
    return prepare.prepare(project.root, "mine", project.data / "mine", accept=True, processes=processes)


def texts(project: Small) -> list[str]:
    corpus, tokenizer = Corpus(project.data / "mine"), Tokenizer(project.data / "tokenizer" / FILE)
    return [tokenizer.decode(corpus.tokens[a:b]) for a, b in pairwise(corpus.offsets[:])]
