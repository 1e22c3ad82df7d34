"""Whether a prepared corpus is what its spec declares, and the key that names a preparation.

Every Snakemake asks for both before its first job: nothing is loaded here that cuts text.
"""

from __future__ import annotations

from pathlib import Path

from stages.data import spec, tokenizer_files
from stages.data.corpus_manifest import read_manifest
from stages.data.prepared import verify
from stages.data.spec import CorpusSpec
from stages.store.digest import digest_bytes
from stages.store.manifest import NAME as MANIFEST


def is_prepared(root: Path, name: str, out: Path, deep: bool = False) -> bool:
    """Whether `out` holds what the spec declares now: same digest, cut with the tokenizer that is declared now, every
    file there with its size, or its digest.

    Raises UserError when the manifest is there and cannot be read.
    """
    if not (out / MANIFEST).is_file():
        return False
    found = read_manifest(out)
    if name == spec.TOKENIZER:
        same = found.digest == spec.load_tokenizer(root).digest
    else:
        declared = spec.load(root, name)
        same = (found.digest, found.tokenizer) == (declared.digest, _tokenizer(root, declared))
    return same and not verify(out, deep)


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
