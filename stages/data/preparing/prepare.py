"""Building a corpus (or the tokenizer) from its spec, and comparing the result with the declared digest."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from stages.data import spec
from stages.data.corpus.adopted import ORDER, Adoption
from stages.data.corpus.corpus_manifest import DataManifest, Inputs, read_manifest
from stages.data.corpus.prepared import content_digest, contents, write_folder
from stages.data.document import Document
from stages.data.draws import rank
from stages.data.files import user
from stages.data.generated import arithmetic, text, vision
from stages.data.generated.packages import SourceFile, read_packages
from stages.data.preparing import adopt, measured, picture_corpus, stream
from stages.data.preparing.progress import Progress
from stages.data.spec import CorpusSpec, TokenizerSpec, preparing
from stages.data.tokens import tokenizer, tokenizer_files, tokenizer_use
from stages.data.tokens.encode import Encoded, encode
from stages.data.tokens.tokenizer_declared import declared as declared_tokenizer
from stages.errors import UserError
from stages.spec.files import Files
from stages.spec.schema.corpora import MASKED
from stages.store import trees
from stages.store.files import Data
from stages.store.shards import Shard

FromText = Callable[[CorpusSpec, Sequence[SourceFile]], Iterator[Document]]
FromNothing = Callable[[CorpusSpec], Iterator[Document]]

FROM_TEXT: dict[str, FromText] = {
    "prose": text.prose,
    "code": text.code,
    "long": text.long,
    "instruct": text.instruct,
    "long_instruct": text.long_instruct,
}
GENERATED: dict[str, FromNothing] = {
    "math": arithmetic.math,
    "reasoning": arithmetic.reasoning,
    "captions": vision.captions,
    "digit_qa": vision.digit_qa,
    "clips": vision.clips,
    "pairs": vision.pairs,
}


def documents(root: Path, corpus: CorpusSpec) -> Iterable[Document]:
    """The documents of a corpus as its builder makes them. Raises UserError for an unusable package or file."""
    if corpus.builder == "file":
        return user.documents(root, corpus)
    if corpus.builder == "pictures":
        raise UserError(f"{spec.FOLDER / corpus.corpus}.yaml: captions of pictures; name a corpus of text instead")
    if corpus.builder == "megatron":
        raise UserError(f"{spec.FOLDER / corpus.corpus}.yaml: has tokens and no text; name a corpus of text instead")
    if corpus.builder in GENERATED:
        return GENERATED[corpus.builder](corpus)
    return FROM_TEXT[corpus.builder](corpus, read_packages(corpus.package_sources()))


def prepare(root: Path, name: str, out: Path, accept: bool = False, processes: int = 1) -> DataManifest:
    """Prepare specs/data/<name>.yaml of the project at `root` into the folder `out`, atomically.

    Corpora need the tokenizer, prepared in the folder next to `out`. Raises UserError, leaving nothing behind, when
    what came out is not what the spec declares; with `accept` the result is kept, for `declaration` to be pasted.
    Raises OSError where `out` may not be read. `processes` encode a user's own files; what comes out does not depend on
    how many they are.
    """
    with suppress(FileNotFoundError, NotADirectoryError):  # a folder that may not be read cannot be replaced
        os.scandir(out).close()
    if name == spec.TOKENIZER:
        return _prepare_tokenizer(root, out, accept)
    corpus = spec.load(root, name, declared=not accept)
    words = opened(root, corpus, out.parent, accept)
    if corpus.builder == "file":
        return _prepare_files(root, corpus, words, out, accept, processes)
    if corpus.builder == "pictures":
        return _prepare_pictures(root, corpus, words, out, accept)
    if corpus.builder == "megatron":
        return _prepare_adopted(root, corpus, words, out, accept)
    made, training = in_order(name, documents(root, corpus))
    if not made:
        raise UserError(f"{spec.FOLDER / name}.yaml: the builder {corpus.builder} made no document")
    opened_words = words.open()
    encoded = encode(made, opened_words, corpus.number("cell") if corpus.kind == "multimodal" else None)
    files = contents(encoded, corpus.kind) | opened_words.files
    return _write(corpus, words, out, files, _counts(corpus, encoded, training), accept)


def opened(root: Path, corpus: CorpusSpec, data: Path, accept: bool) -> tokenizer.Source:
    """The tokenizer that a corpus is cut with; `data` contains what is prepared, the local tokenizer included.

    Raises UserError where it is not there, or not the one that its spec declares (of the local one, unless `accept`).
    """
    if corpus.tokenizer is not None:
        return declared_tokenizer(root, tokenizer_files.load(root, corpus.tokenizer))
    if spec.TOKENIZER not in spec.names(root):
        known = ", ".join(Files(root).names("tokenizers")) or "none is declared"
        raise UserError(
            f"{spec.FOLDER / corpus.corpus}.yaml: tokenizer: found nothing; allowed: {known}. Name one of "
            "specs/tokenizers, or write specs/data/tokenizer.yaml, which trains a local one."
        )
    folder = data / spec.TOKENIZER
    used, wanted = read_manifest(folder).digest, spec.load_tokenizer(root).digest
    if used != wanted and not accept:
        raise UserError(f"{folder}: tokenizer {used}, the spec declares {wanted}; run `{preparing(folder)}`")
    return tokenizer.Source(folder / tokenizer_use.FILE, used, None, None)


def _prepare_files(
    root: Path, corpus: CorpusSpec, words: tokenizer.Source, out: Path, accept: bool, processes: int
) -> DataManifest:
    """Prepare a user's own files, in memory that does not grow with them."""
    masked = corpus.kind in MASKED
    with (
        stream.merged(root, corpus, words, out, processes) as (merge, inputs),
        closing(Progress(corpus.corpus, merge.bytes(masked), did="written")) as progress,
    ):
        files = merge.contents(masked, progress) | words.kept
        lengths = partial(merge.length_blocks, merge.documents)
        counts = _Counts(merge.size, merge.documents, merge.longest, merge.heldout, lengths)
        return _write(corpus, words, out, files, counts, accept, inputs=inputs)


def _prepare_pictures(root: Path, corpus: CorpusSpec, words: tokenizer.Source, out: Path, accept: bool) -> DataManifest:
    """Prepare a user's own pictures, in memory that grows with their captions only."""
    opened_words = words.open()
    with picture_corpus.read(root, corpus, out, opened_words) as found:
        encoded = found.encoded()
        files = found.contents(encoded, corpus) | opened_words.files
        counts = _counts(corpus, encoded, found.training)
        return _write(corpus, words, out, files, counts, accept, inputs=found.inputs)


def _prepare_adopted(root: Path, corpus: CorpusSpec, words: tokenizer.Source, out: Path, accept: bool) -> DataManifest:
    """Prepare an order of the documents of Megatron datasets, which stay where they are."""
    opened_words, folder = words.open(), out.with_name(f".{out.name}.order")
    try:
        order = adopt.order(root, corpus, opened_words, folder)
        files: dict[str, Data] = {ORDER: order.blocks(), **opened_words.files}
        counts = _Counts(order.size, order.documents, order.longest, order.heldout, order.length_blocks)
        return _write(corpus, words, out, files, counts, accept, adoption=order.adoption)
    finally:
        trees.remove_tree(folder)


@dataclass(frozen=True)
class _Counts:
    """What the spec declares of a corpus besides its digest; `lengths` (tokens) are of the training documents."""

    size: int
    documents: int
    longest: int
    heldout: int
    lengths: measured.Lengths


def _counts(corpus: CorpusSpec, encoded: Encoded, training: int) -> _Counts:
    """The counts of encoded documents, of which the first `training` are trained on."""
    lengths = encoded.lengths[:training]
    size = training if corpus.unit == "items" else int(lengths.sum())
    return _Counts(
        size, training, int(encoded.lengths.max()), len(encoded.lengths) - training, lambda: iter((lengths,))
    )


def _write(
    corpus: CorpusSpec,
    words: tokenizer.Source,
    out: Path,
    files: Mapping[str, Data],
    counts: _Counts,
    accept: bool,
    inputs: Inputs | None = None,
    adoption: Adoption | None = None,
) -> DataManifest:
    """Write the files of a corpus and its manifest, which is compared with the spec unless `accept`."""
    image = dict.fromkeys(("cell", "patch", "channels"), 0)
    if corpus.kind in ("multimodal", "pairs"):
        image = {name: corpus.number(name) for name in image}

    def make(shards: list[Shard]) -> DataManifest:
        adopted = [] if adoption is None else adoption.shards()
        manifest = DataManifest(
            schema_version=1, corpus=corpus.corpus, kind=corpus.kind,
            digest=content_digest(counts.size, [*adopted, *shards]), tokenizer=words.digest,
            size=counts.size, documents=counts.documents, longest=counts.longest, heldout=counts.heldout, **image,
            pixels="rgb" if corpus.pixels == "rgb" else None, shards=shards, inputs=inputs, adopted=adoption,
        )  # fmt: skip
        if not accept:
            measured.compare(corpus, manifest, counts.lengths)
        return manifest

    return write_folder(out, files, make)


def in_order(name: str, documents: Iterable[Document]) -> tuple[list[Document], int]:
    """Documents by rank, the held-out ones last; and how many are not held out.

    Shuffling here makes every stretch of a corpus a fair sample of it, so stages may be given contiguous ranges.
    """
    made = sorted(documents, key=lambda document: (document.heldout, rank(name, document.identity)))
    return made, sum(not document.heldout for document in made)


def _prepare_tokenizer(root: Path, out: Path, accept: bool) -> DataManifest:
    declared = spec.load_tokenizer(root, declared=not accept)
    texts = list(_training_texts(root, declared))
    data = tokenizer.train(texts, declared.vocab).to_str().encode()

    def make(shards: list[Shard]) -> DataManifest:
        digest = content_digest(declared.vocab, shards)
        if not accept and digest != declared.digest:
            raise UserError(measured.difference(spec.TOKENIZER, {"digest": (declared.digest, digest)}))
        return DataManifest(
            schema_version=1, corpus=spec.TOKENIZER, kind="tokenizer", digest=digest, tokenizer=digest,
            size=declared.vocab, documents=len(texts), longest=0, heldout=0, cell=0, patch=0, channels=0, shards=shards,
        )  # fmt: skip

    return write_folder(out, {tokenizer_use.FILE: data}, make)


def _training_texts(root: Path, declared: TokenizerSpec) -> Iterator[str]:
    """The first documents of each corpus that are not held out, up to a number of characters."""
    for name in declared.corpora:
        left = declared.characters
        for document in documents(root, spec.load(root, name, declared=False)):  # its counts are in tokens of this one
            if left <= 0:
                break
            if not document.heldout:
                parts = (part.content for side in document.sides for part in side.parts)
                text = "".join(part for part in parts if isinstance(part, str))[:left]
                left -= len(text)
                yield text
