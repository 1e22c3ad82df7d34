"""The text of a step's rows, as the loader hands them to the model, with what of it is learned."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

from stages.commands.data_shown import LEGEND, lines_of
from stages.data import document_view, spec
from stages.data.loader import PhaseData
from stages.data.readers import scope
from stages.data.sample import UNSUPERVISED, PairRow, Sample, Span
from stages.data.tokenizer import of_corpus
from stages.data.tokenizer_use import FILE
from stages.forensics.batch import Batch
from stages.store.layout import Layout
from stages.terminal import Console

Part = tuple[Span, NDArray[np.int64], NDArray[np.bool_]]  # tokens, and which of them are learned


def print_text(found: Batch, layout: Layout) -> None:
    """Print every row's documents, or its captions. Raises UserError as the loader does."""
    data = PhaseData(found.phase, found.stage.seed, scope(found.phase), layout.data)
    tokenizer = of_corpus(layout.corpus(found.phase.sources[0].corpus), layout.corpus(spec.TOKENIZER) / FILE)
    console = Console(soft_wrap=True, highlight=False)
    console.print(Text(LEGEND))
    last = found.step.sequences - 1
    for number, row in enumerate(found.rows):
        tail = found.step.tail if number == last else 0
        if found.phase.objective == "coca":
            parts = _captions(data.pairs(row.sample, 1, tail)[0])
        else:
            parts = _documents(data.samples(row.sample, 1, tail)[0])
        for (corpus, document, start, end), tokens, learned in parts:
            console.print(Text(f"--- row {number + 1}, {corpus} {document + 1} [{start}, {end})"))
            for line in lines_of(document_view.stretches(tokens, learned, tokenizer)):
                console.print(line)


def _documents(sample: Sample) -> Iterator[Part]:
    """The parts of a row: a token is learned where the position before it has it as its target."""
    learned = np.append(False, sample.labels[:-1] != UNSUPERVISED)
    at = 0
    for span in sample.spans:
        here = slice(at, at + span[3] - span[2])
        yield span, sample.tokens[here], learned[here]
        at = here.stop


def _captions(row: PairRow) -> Iterator[Part]:
    for (corpus, item), caption, length in zip(row.items, row.captions, row.caption_lengths.tolist(), strict=True):
        yield (corpus, item, 0, 1), caption[:length], np.arange(length) > 0
