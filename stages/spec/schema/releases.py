"""What specs/releases/<name>.yaml may contain: a model that somebody has released, and the digest of its folder."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator

from stages.spec import quantities
from stages.spec.fields import Raw, Text
from stages.spec.names import Name
from stages.spec.nodes import Document
from stages.spec.schema.corpora import is_digest
from stages.spec.validate import unmeasured, validate

MEASURED = ("architecture", "digest")  # what `stages release NAME FOLDER --accept` prints


def _digest(value: object) -> object:
    if value == "none":
        return None
    if is_digest(value):
        return value
    raise quantities.BadQuantity(
        quantities.describe(value), "a blake3 digest in lower-case hex, or none",
        "`stages release NAME FOLDER --accept` prints it.",
    )  # fmt: skip


class RawReleaseFiles(Raw):
    """specs/releases/<name>.yaml: where a release is from, and what its folder contains.

    `digest` covers config.json, the index and every file of weights; none: no folder has been accepted yet, so nothing
    that starts from the release runs.
    """

    release: Name
    source: Text  # the hub's id
    revision: Text
    licence: Text
    architecture: Text  # the first of config.json's `architectures`
    digest: Annotated[str | None, BeforeValidator(_digest)]


def release(document: Document, declared: bool) -> RawReleaseFiles:
    """A release's spec; without `declared`, what its folder decides may still be missing. Raises InvalidSpecs."""
    command = f"stages release {document.value.get('release')} FOLDER --accept"
    otherwise = " Without the folder: `digest: none`, and the `architecture` that its published config.json names."
    missing = unmeasured(document, MEASURED, declared, "what the release's folder has", command, otherwise)
    return validate(Document({**document.value, **dict.fromkeys(missing, "none")}, document.places), RawReleaseFiles)
