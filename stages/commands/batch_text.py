"""The text of a step's rows, as the loader hands them to the model, with what of it is learned."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

from stages.commands.data_shown import LEGEND, lines_of, side_of
from stages.data import spec
from stages.data.loading import document_view
from stages.data.loading.loader import PhaseData
from stages.data.loading.readers import scope
from stages.data.loading.sample import UNSUPERVISED, PairRow, Sample, Span
from stages.data.tokens.preference import SIDES
from stages.data.tokens.tokenizer import of_corpus
from stages.data.tokens.tokenizer_use import FILE
from stages.forensics.batch import Batch
from stages.store.layout import Layout
from stages.terminal import Console

Part = tuple[Span, str, NDArray[np.int64], NDArray[np.bool_]]  # which answer of a pair, tokens, which are learned


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
            parts = documents(data.samples(row.sample, 1, tail)[0], found.phase.objective == "preference")
        for (corpus, document, start, end), side, tokens, learned in parts:
            if side != SIDES[1]:
                console.print(Text(f"--- row {number + 1}, {corpus} {document + 1} [{start}, {end})"))
            for line in (*side_of(side), *lines_of(document_view.stretches(tokens, learned, tokenizer))):
                console.print(line)


def documents(sample: Sample, paired: bool) -> Iterator[Part]:
    """The parts of a row: a token is learned where the position before it has it as its target. A pair of answers has
    two, the rejected one where the second of its segments begins.
    """
    learned = np.append(False, sample.labels[:-1] != UNSUPERVISED)
    at = 0
    for span in sample.spans:
        end = at + span[3] - span[2]
        segments = sample.segments[at:end]
        middle = at + int(np.argmax(segments != segments[0])) if paired else end
        yield span, SIDES[0] if paired else "", sample.tokens[at:middle], learned[at:middle]
        if paired:
            yield span, SIDES[1], sample.tokens[middle:end], learned[middle:end]
        at = end


def _captions(row: PairRow) -> Iterator[Part]:
    for (corpus, item), caption, length in zip(row.items, row.captions, row.caption_lengths.tolist(), strict=True):
        yield (corpus, item, 0, 1), "", caption[:length], np.arange(length) > 0
