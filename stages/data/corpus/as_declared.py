"""Whether a prepared corpus is what its spec declares, and the key that names a preparation.

Every Snakemake asks for both before its first job: nothing is loaded here that cuts text.
"""

from __future__ import annotations

from pathlib import Path

from stages.data import spec
from stages.data.corpus.corpus_manifest import DataManifest
from stages.data.spec import CorpusSpec
from stages.data.tokens import tokenizer_files
from stages.store.digest import digest_bytes


def is_declared(root: Path, name: str, found: DataManifest) -> bool:
    """Whether a prepared folder is what the spec declares now: its digest, and cut with the tokenizer that is declared
    now. Raises UserError where the spec is not one.
    """
    if name == spec.TOKENIZER:
        return found.digest == spec.load_tokenizer(root).digest
    declared = spec.load(root, name)
    return (found.digest, found.tokenizer) == (declared.digest, _tokenizer(root, declared))


def _tokenizer(root: Path, corpus: CorpusSpec) -> str:
    """The digest of the tokenizer that a corpus is to be cut with, as its spec declares it."""
    if corpus.tokenizer is None:
        return spec.load_tokenizer(root).digest
    return tokenizer_files.load(root, corpus.tokenizer).digest


def data_key(root: Path, name: str) -> str:
    """32 hex digits that name a preparation: what the spec declares, how it is built, and the tokenizer's digest."""
    if name == spec.TOKENIZER:
        return digest_bytes(f"\n{spec.load_tokenizer(root).model_dump_json()}".encode())[:32]
    corpus = spec.load(root, name)
    identity = corpus.model_dump_json(exclude_none=True, exclude={"packed"})
    return digest_bytes(f"{identity}\n{_tokenizer(root, corpus)}".encode())[:32]
