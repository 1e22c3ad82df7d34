"""Building a corpus (or the tokenizer) from its spec, and holding the result against the declared digest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from stages.data import arithmetic, spec, text, tokenizer, vision
from stages.data.document import Document
from stages.data.draws import rank
from stages.data.encode import encode
from stages.data.packages import SourceFile, read_packages
from stages.data.prepared import MANIFEST, DataManifest, content_digest, contents, read_manifest, verify, write_folder
from stages.data.spec import Built, CorpusSpec
from stages.errors import UserError
from stages.store import files
from stages.store.manifest import Shard

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


def documents(corpus: CorpusSpec) -> Iterator[Document]:
    """The documents of a corpus as its builder makes them. Raises UserError for an unknown builder."""
    if corpus.builder in GENERATED:
        return GENERATED[corpus.builder](corpus)
    if corpus.builder in FROM_TEXT:
        return FROM_TEXT[corpus.builder](corpus, read_packages(corpus.package_sources()))
    allowed = ", ".join([*FROM_TEXT, *GENERATED])
    raise UserError(f"{spec.FOLDER / corpus.corpus}.yaml: builder: found {corpus.builder!r}; allowed: {allowed}")


def prepare(root: Path, name: str, out: Path, accept: bool = False) -> DataManifest:
    """Prepare specs/data/<name>.yaml of the project at `root` into the folder `out`, atomically.

    Corpora need the tokenizer, prepared in the folder beside `out`. Raises UserError, leaving nothing behind, when
    what came out is not what the spec declares; with `accept` the result is kept, for `declaration` to be pasted.
    """
    corpus = spec.load(root, name)
    if name == spec.TOKENIZER:
        return _prepare_tokenizer(root, corpus, out, accept)
    folder = out.parent / spec.TOKENIZER
    used = read_manifest(folder).digest
    wanted = spec.load(root, spec.TOKENIZER).digest
    if used != wanted and not accept:
        raise UserError(f"{folder}: tokenizer {used}, the spec declares {wanted}; run `stages data {spec.TOKENIZER}`")
    made = sorted(documents(corpus), key=lambda document: (document.heldout, rank(name, document.identity)))
    if not made:
        raise UserError(f"{spec.FOLDER / name}.yaml: the builder {corpus.builder} made no document")
    pictures = corpus.kind in ("multimodal", "pairs")
    cell = corpus.number("cell") if pictures else 0
    encoded = encode(made, tokenizer.Tokenizer(folder / tokenizer.FILE), cell if corpus.kind == "multimodal" else None)
    training = sum(not document.heldout for document in made)
    size = training if corpus.unit == "items" else int(encoded.lengths[:training].sum())

    def make(shards: list[Shard]) -> DataManifest:
        built = Built(
            content_digest(size, shards), size, training, int(encoded.lengths.max()), len(made) - training
        )
        if not accept:
            _compare(corpus, built)
        image = (cell, corpus.number("patch"), corpus.number("channels")) if pictures else (0, 0, 0)
        return _manifest(corpus, built, used, image, shards)

    return write_folder(out, contents(encoded, corpus.kind), make)


def is_prepared(root: Path, name: str, out: Path) -> bool:
    """Whether `out` holds what the spec declares now: same digest, every file there with its size."""
    if not (out / MANIFEST).is_file():
        return False
    return read_manifest(out).digest == spec.load(root, name).digest and not verify(out, deep=False)


def declaration(manifest: DataManifest) -> str:
    """The lines to put into the spec, after a reviewed change of builder, packages or tokenizer."""
    built = manifest.built
    return "".join(f"{field}: {getattr(built, field)}\n" for field in ("digest", "size", "documents", "longest", "heldout"))


def data_key(root: Path, name: str) -> str:
    """32 hex digits that name a preparation: what the spec declares, how it is built, and the tokenizer's digest."""
    corpus = spec.load(root, name)
    identity = corpus.model_dump_json(exclude={"sources"})
    tokens = spec.load(root, spec.TOKENIZER).digest
    return files.digest_bytes(f"{identity}\n{tokens}".encode())[:32]


def _prepare_tokenizer(root: Path, corpus: CorpusSpec, out: Path, accept: bool) -> DataManifest:
    texts = list(_training_texts(root, corpus))
    data = tokenizer.train(texts, corpus.number("vocab")).to_str().encode()

    def make(shards: list[Shard]) -> DataManifest:
        built = Built(content_digest(corpus.number("vocab"), shards), corpus.number("vocab"), len(texts), 0, 0)
        if not accept:
            _compare(corpus, built)
        return _manifest(corpus, built, built.digest, (0, 0, 0), shards)

    return write_folder(out, {tokenizer.FILE: data}, make)


def _training_texts(root: Path, corpus: CorpusSpec) -> Iterator[str]:
    """The first documents of each corpus that are not held out, up to a number of characters."""
    for name in corpus.words("corpora"):
        left = corpus.number("characters")
        for document in documents(spec.load(root, name)):
            if left <= 0:
                break
            if not document.heldout:
                said = "".join(part.content for part in document.parts if isinstance(part.content, str))[:left]
                left -= len(said)
                yield said


def _manifest(
    corpus: CorpusSpec, built: Built, tokens: str, image: tuple[int, int, int], shards: list[Shard]
) -> DataManifest:
    cell, patch, channels = image
    return DataManifest(
        schema_version=1, corpus=corpus.corpus, kind=corpus.kind, digest=built.digest, tokenizer=tokens,
        size=built.size, documents=built.documents, longest=built.longest, heldout=built.heldout,
        cell=cell, patch=patch, channels=channels, shards=shards,
    )  # fmt: skip


def _compare(corpus: CorpusSpec, built: Built) -> None:
    path = spec.FOLDER / f"{corpus.corpus}.yaml"
    different = [
        f"{path}: {field}: declared {getattr(corpus, field)}, built {getattr(built, field)}"
        for field in ("digest", "size", "documents", "longest", "heldout")
        if getattr(corpus, field) != getattr(built, field)
    ]
    if different:
        accept = f"If the change is wanted, run `stages data {corpus.corpus} --accept` and put its lines into the spec."
        raise UserError("\n".join([*different, accept]))
