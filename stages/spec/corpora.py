"""Reads specs/data/<corpus>.yaml and tokenizer.yaml: what a builder needs, makes, and can have come out with."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from stages.errors import SpecError
from stages.spec.builders import BUILDERS, COLUMNS, FILES_ONLY, PAIRED, PICTURE_ROWS
from stages.spec.nodes import Document, Path
from stages.spec.schema.corpora import MEASURED, UNDECLARED, RawCorpus, RawTokenizer
from stages.spec.validate import hint, several, unknown, unmeasured, validate

LIMITS = (("least_characters", "most_characters"), ("least_frames", "most_frames"))


def tokenizer(document: Document, declared: bool = True) -> RawTokenizer:
    """The local tokenizer's file; without `declared`, its digest may be missing. Raises InvalidSpecs."""
    measured, command = "what the tokenizer came out with", "stages data tokenizer --accept"
    blank = dict.fromkeys(unmeasured(document, ("digest",), declared, measured, command), UNDECLARED)
    return validate(Document({**document.value, **blank}, document.places), RawTokenizer)


def corpus(document: Document, declared: bool = True) -> RawCorpus:
    """A corpus's file, checked against its builder; without `declared`, what is measured may be missing, or wrong.

    Raises InvalidSpecs.
    """
    command = f"stages data {document.value.get('corpus')} --accept"
    missing = unmeasured(document, MEASURED, declared, "what the corpus came out with", command)
    strange = list(_strange_parameters(document))
    if strange:
        raise several(strange)
    blank: dict[str, Any] = {key: UNDECLARED if key == "digest" else "0" for key in missing}
    raw = validate(Document({**document.value, **blank}, document.places), RawCorpus)
    wrong = [*_against_builder(document, raw), *(impossible(document, raw) if declared else ())]
    if wrong:
        raise several(wrong)
    return raw


def _strange_parameters(document: Document) -> Iterator[SpecError]:
    """Parameters that the corpus's builder does not know, whatever another builder knows."""
    builder, parameters = BUILDERS.get(str(document.value.get("builder"))), document.value.get("parameters")
    if builder is not None and isinstance(parameters, dict):
        for key in parameters:
            if key not in builder.parameters:
                yield unknown(document, ("parameters", key), builder.parameters or ("none",))


def _against_builder(document: Document, raw: RawCorpus) -> Iterator[SpecError]:
    """Whatever the corpus's builder does not make, or lacks."""

    bad = document.error
    builder = BUILDERS.get(raw.builder)
    if builder is None:
        yield bad(("builder",), repr(raw.builder), ", ".join(BUILDERS), hint(raw.builder, BUILDERS))
        return
    what = f"builder {raw.builder}"
    if raw.kind not in builder.kinds:
        yield bad(("kind",), repr(raw.kind), " or ".join(builder.kinds), f"That is what {what} makes.")
    unit = "items" if raw.kind == "pairs" else "tokens"
    if raw.unit != unit:
        yield bad(("unit",), repr(raw.unit), unit, f"That is what corpora of {what} are counted in.")
    for key in builder.parameters:
        if key not in raw.parameters:
            yield bad(("parameters", key), "nothing", f"a whole number; {what} needs it", f"Add `{key}: ...`.")
    for least, most in LIMITS:
        if raw.parameters.get(least, 0) > raw.parameters.get(most, raw.parameters.get(least, 0)):
            found, allowed = str(raw.parameters[least]), f"at most {most}, {raw.parameters[most]}"
            yield bad(("parameters", least), found, allowed, "Exchange them, if they are the wrong way round.")
    yield from _against_files(document, raw)
    given_keys = (("packages", bool(raw.packages)), ("path", raw.path is not None), ("prefix", raw.prefix is not None))
    for key, given in given_keys:
        if given and builder.needs != key:
            yield bad((key,), "an entry", f"none; {what} reads no {key}", f"Remove `{key}`.")
        if not given and builder.needs == key:
            yield bad((key,), "nothing", f"{key}; {what} needs it", f"Add `{key}: ...`.")


def _against_files(document: Document, raw: RawCorpus) -> Iterator[SpecError]:
    """What a spec of a user's own files must declare, and what others must not."""
    for key, builders in FILES_ONLY.items():
        if getattr(raw, key) is not None and raw.builder not in builders:
            yield document.error((key,), "an entry", f"none; builder {raw.builder} has no {key}", f"Remove `{key}`.")
    if raw.builder == "megatron" and raw.tokenizer is None:
        yield document.error(
            ("tokenizer",), "nothing", "the tokenizer of specs/tokenizers that the datasets were cut with",
            "Declare it, and name it here: ids alone do not say which it was.",
        )  # fmt: skip
    if raw.builder == "pictures":
        yield from _sizes(document, raw)
        yield from _picture_rows(document, raw)
    elif raw.rows == "interleaved":
        yield document.error(("rows",), raw.rows, "rows of conversations", "Pictures are read by `builder: pictures`.")
    if raw.rows is not None and raw.kind == "text":
        yield document.error(("rows",), raw.rows, "none for kind text", "Remove `rows`, or correct `kind`.")
    if raw.answers is not None and raw.kind == "text":
        yield document.error(("answers",), raw.answers, "none for kind text", "Remove `answers`, or correct `kind`.")
    yield from _preference(document, raw)
    if raw.shape not in COLUMNS:
        return
    names = {key: (raw.columns or {}).get(key, key) for key in COLUMNS[raw.shape]}
    for key, name in (raw.columns or {}).items():
        if key not in names:
            yield unknown(document, ("columns", key), COLUMNS[raw.shape])
        elif (other := next((one for one in names if names[one] == name and one != key), None)) is not None:
            yield document.error(
                ("columns", key), name, f"a column of its own: {other} is read from this one", "Name another column."
            )


def _preference(document: Document, raw: RawCorpus) -> Iterator[SpecError]:
    """What rows of two answers cannot be, or have declared."""
    if raw.kind != "preference":
        return
    if raw.shape not in COLUMNS:
        allowed = ", ".join(name.removeprefix(PAIRED) for name in COLUMNS if name.startswith(PAIRED))
        yield document.error(("rows",), str(raw.rows), allowed, "That is what rows of two answers may look like.")
    if raw.answers is not None:
        yield document.error(("answers",), raw.answers, "none for kind preference", "A pair is always one document.")


def _picture_rows(document: Document, raw: RawCorpus) -> Iterator[SpecError]:
    """Rows of builder pictures that it cannot read, and colours that a model would not see."""
    if raw.rows is not None and (raw.rows not in PICTURE_ROWS or raw.kind != "multimodal"):
        yield document.error(
            ("rows",), raw.rows, f"{' or '.join(PICTURE_ROWS)}, of kind multimodal",
            "Without `rows` a row is a picture and its caption.",
        )  # fmt: skip
    if raw.rows is not None and raw.extensions is not None and raw.extensions.text != "json":
        yield document.error(
            ("extensions", "text"), raw.extensions.text, f"json: rows of {raw.rows} are JSON", "Write `text: json`."
        )
    if raw.pixels == "rgb" and raw.parameters.get("channels") != 3:
        yield document.error(
            ("parameters", "channels"), str(raw.parameters.get("channels")), "3 with `pixels: rgb`",
            "It is what the model's image encoder takes: correct one of the two.",
        )  # fmt: skip


def _sizes(document: Document, raw: RawCorpus) -> Iterator[SpecError]:
    """Sides of pictures that do not divide: cells into patches, pictures into cells."""
    for whole, part in (("cell", "patch"), ("side", "cell")):
        found, of = raw.parameters.get(whole), raw.parameters.get(part)
        if found and of and found % of:
            yield document.error(
                ("parameters", whole), str(found), f"a multiple of {part}, {of}", f"Correct `{whole}` or `{part}`."
            )


def impossible(document: Document, raw: RawCorpus) -> Iterator[SpecError]:
    """Counts of a corpus that contradict each other. `documents` are for training; `longest` is of all."""
    for key, found, allowed in list(_counts(raw)) or _rows(raw):
        repair = f"Copy all of what `stages data {raw.corpus} --accept` prints."
        yield document.error(key, found, allowed, repair)


def _counts(raw: RawCorpus) -> Iterator[tuple[Path, str, str]]:
    if raw.kind == "pairs":
        if raw.size != raw.documents:
            yield ("size",), f"{raw.size:,} items in {raw.documents:,} documents", "one item a document"
        return
    found = f"{raw.size:,} tokens in {raw.documents:,} documents, the longest of {raw.longest:,}"
    if raw.size > raw.documents * raw.longest:
        yield ("size",), found, f"at most {raw.documents * raw.longest:,} tokens: documents times longest"
    elif raw.size < raw.documents:
        yield ("size",), found, "at least one token a document"


def _rows(raw: RawCorpus) -> Iterator[tuple[Path, str, str]]:
    """Of documents that are put into rows one after the other (`data.packing`)."""
    measured = sorted(raw.packed.items())
    for context, one in measured:
        found, here = f"{one.tokens} tokens in {one.rows} rows", ("packed", str(context))
        least = one.rows // 2 * context + 1  # what begins a row did not fit into the one before it
        if not (one.tokens <= min(raw.size, one.rows * context) and one.rows <= raw.documents):
            yield here, found, (
                f"at most {context} tokens a row and the corpus's {raw.size}, and a document in every row of its "
                f"{raw.documents}"
            )  # fmt: skip
        elif context >= raw.longest and one.tokens != raw.size:
            yield here, found, f"all {raw.size} tokens: no document is longer than {raw.longest}"
        elif one.tokens < least:
            yield here, found, f"at least {least} tokens, since two neighbouring rows have more than {context}"
    for (shorter, one), (context, other) in pairwise(measured):
        if other.tokens < one.tokens:
            found, at_least = f"{other.tokens} tokens in rows of {context}", f"{one.tokens}, which fit into {shorter}"
            yield ("packed", str(context)), found, f"at least {at_least}"
