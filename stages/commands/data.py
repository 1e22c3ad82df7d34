"""`stages data NAME`: prepare one corpus, or the tokenizer."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from stages.commands.find_project import open_project
from stages.commands.waiting import Held, waited
from stages.data import spec
from stages.data.corpus.corpus_manifest import DataManifest
from stages.data.spec import CorpusSpec, Packed, TokenizerSpec
from stages.errors import InvalidSpecs
from stages.spec.loader import LoadedPipeline
from stages.spec.project import Project
from stages.spec.schema.corpora import UNDECLARED
from stages.spec.schema.phases import RawPhase
from stages.store import lease, markers
from stages.store.fingerprint import cpus
from stages.store.layout import Layout
from stages.store.lease import HeldError
from stages.sync.config import DEFAULT_SCALE
from stages.sync.verdicts import corpus_done, corpus_marker


def prepare(name: str, scale: str, awaited: Path | None = None, processes: int | None = None) -> None:
    """Prepare a corpus unless it is there as its spec declares, and set its marker.

    A user's own file is read again on every call, since it may have changed under its name. It waits for
    another preparation of the corpus at this scale. Raises UserError when the marker is not the `awaited` one.
    """
    root, _ = open_project(scale)
    layout = Layout(root, scale)
    marker = corpus_marker(root, layout, name)
    markers.expect(awaited, marker, name)
    own_file = name != spec.TOKENIZER and spec.load(root, name).own
    folder, held = layout.preparation(name), Held(name)
    read_anew = not waited(name, folder) and own_file  # one whose driver was killed may still be at it
    while read_anew or not corpus_done(root, layout, name):  # in full: it may be run to repair damage
        _tokenizer_first(root, layout, name)
        if (made := _once(root, layout, name, held, processes)) is None:
            read_anew = not waited(name, folder) and own_file
            continue
        vocabulary = name == spec.TOKENIZER
        size = f"a vocabulary of {made.size:,}" if vocabulary else f"{made.size:,} {spec.load(root, name).unit}"
        print(f"{name}: {made.documents:,} documents, {made.heldout:,} held out, {size}", file=sys.stderr)
        _say_left_out(layout, name, made)
        break
    else:
        print(f"{name}: prepared already, as specs/data/{name}.yaml declares", file=sys.stderr)
    markers.place(marker)


def print_declaration(name: str, processes: int | None = None, scale: str = DEFAULT_SCALE) -> None:
    """Prepare a corpus whatever its spec declares, and print the lines that would declare it, and nothing else.

    Where the spec has them already nothing is printed, so that `>>` to the spec may be typed twice.
    """
    from stages.data.corpus.prepared import Corpus
    from stages.data.preparing.measured import declaration, packed_rows

    root, project = open_project(scale)
    layout = Layout(root, scale)
    if name != spec.TOKENIZER:
        spec.load(root, name, declared=False)  # a mistake in the spec is reported before anything is prepared
    _tokenizer_first(root, layout, name)
    held = Held(name)
    waited(name, layout.preparation(name))
    while (made := _once(root, layout, name, held, processes, accept=True)) is None:
        waited(name, layout.preparation(name))
    _say_left_out(layout, name, made)
    packed = {} if name == spec.TOKENIZER else packed_rows(Corpus(layout.corpus(name)), contexts(project))
    known, path = _declares(root, name, made, packed), f"{spec.FOLDER}/{name}.yaml"
    if known:
        print(f"{name}: {path} declares this already", file=sys.stderr)
        return
    if known is False:
        print(f"{name}: {path} declares something else; put these lines in place of those there", file=sys.stderr)
    print(f"# for {path}, once you have read what changed:")
    print(declaration(made, packed), end="")


def _once(
    root: Path, layout: Layout, name: str, held: Held, processes: int | None, accept: bool = False
) -> DataManifest | None:
    """A corpus prepared as its files are now; None, after a moment, where another run was faster to begin."""
    from stages.data.preparing.prepare import prepare as prepare_corpus

    try:
        with lease.hold(layout.preparation(name), name):
            return prepare_corpus(root, name, layout.corpus(name), accept=accept, processes=processes or cpus())
    except HeldError as error:
        held.wait(error)
        return None
    except KeyboardInterrupt:
        print(f"\n{name}: stopped by Ctrl-C; the same command goes on with what is encoded of files", file=sys.stderr)
        raise


def _declares(root: Path, name: str, made: DataManifest, packed: Mapping[int, Packed]) -> bool | None:
    """Whether the spec declares what came out; None where it declares nothing yet."""
    if name == spec.TOKENIZER:
        there: CorpusSpec | TokenizerSpec = spec.load_tokenizer(root, declared=False)
    else:
        there = spec.load(root, name, declared=False)
    if there.digest == UNDECLARED:
        return None
    if not isinstance(there, CorpusSpec):
        return there.digest == made.digest
    fields = ("digest", "size", "documents", "longest", "heldout")
    return there.packed == packed and all(getattr(there, one) == getattr(made, one) for one in fields)


def contexts(project: Project) -> set[int]:
    """The contexts of all phases at all scales, as far as specs can be read: the corpus need not be declared yet."""
    found = set()
    for name in project.pipelines(variants=True):
        for scale in project.scales():
            with suppress(InvalidSpecs):
                if project.has(name, scale):
                    shrink = project.shrink(name, scale)
                    found |= {shrink.context(phase.context) for phase in _phases(project.loaded(name))}
    return found


def _phases(pipeline: LoadedPipeline) -> Iterator[RawPhase]:
    for stage in pipeline.stages.values():
        yield from stage.raw.training.phases if stage.raw.training is not None else ()


def _say_left_out(layout: Layout, name: str, made: DataManifest) -> None:
    from stages.commands.first_rows import notices
    from stages.commands.left_out import lines

    for line in (*lines(made), *(() if name == spec.TOKENIZER else notices(layout, name))):
        print(f"{name}: {line}", file=sys.stderr)


def _tokenizer_first(root: Path, layout: Layout, name: str) -> None:
    """Corpora are cut into the tokenizer's tokens: prepare it if it is not there as declared."""
    if name == spec.TOKENIZER or spec.TOKENIZER not in spec.names(root):
        return
    local = spec.load(root, name, declared=False).tokenizer is None
    if local and not corpus_done(root, layout, spec.TOKENIZER):
        prepare(spec.TOKENIZER, layout.scale)
