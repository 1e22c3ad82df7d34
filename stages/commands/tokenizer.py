"""`stages tokenizer NAME`: a published tokenizer's files, checked against specs/tokenizers/NAME.yaml."""

from __future__ import annotations

import sys
from pathlib import Path

from stages.commands.find_project import find_root
from stages.data.tokens import tokenizer_files
from stages.data.tokens.tokenizer import Tokenizer
from stages.data.tokens.tokenizer_declared import declared
from stages.errors import UsageError
from stages.spec.schema.tokenizers import RawTokenizerFiles

# Capitals, accents, blanks, line breaks and signs, which normalizers change or leave out.
PROBE = "Caf\u00e9  1\u00bd \ufb01t:\n\tx = y\n\nEnd."


def check(name: str) -> None:
    """Raise UserError unless the files are those that the spec declares; say what they are."""
    root, spec = _load(name)
    made = declared(root, spec).open()
    print(f"{name}: {made.vocab:,} ids, {'with' if made.template else 'without'} a chat template, as declared")
    if (back := made.decode(made.encode(PROBE)).removeprefix(" ")) != PROBE:  # SentencePiece puts a blank before texts
        print(f"{name}: texts do not come back as they were, and a model writes them so: {PROBE!r} is {back!r}")
    if made.unknown is not None:
        print(
            f"{name}: texts become {made.word(made.unknown)!r} where it has no token for them; `stages data` counts it"
        )
    if said := _other_beginning(root, spec, made):
        print(f"{name}: {said}")


def print_declaration(name: str) -> None:
    """Print the lines that would declare what is in the folder, and nothing else."""
    root, spec = _load(name, declared=False)
    made = declared(root, spec, check=False)
    if said := _other_beginning(root, spec, made.open()):
        print(f"{name}: {said}", file=sys.stderr)
    print(f"# for specs/tokenizers/{name}.yaml, once you have read what changed:")
    print(f'vocab: {made.open().vocab}\ndigest: "{made.digest}"')


def _other_beginning(root: Path, spec: RawTokenizerFiles, made: Tokenizer) -> str:
    """That transformers puts another token before a text than documents begin with here; "" where it is the same.

    Where `add_bos_token` of tokenizer_config.json says something else than tokenizer.json does, it depends on the class
    and the version of transformers, and nothing is said.
    """
    bare, whole = (made.inner.encode(PROBE, add_special_tokens=added).ids for added in (False, True))
    put = whole[: len(whole) - len(bare)]
    added = tokenizer_files.beside(root, spec)[tokenizer_files.CONFIG].get("add_bos_token")
    wanted = [] if made.roles.bos is None else [made.roles.bos]
    if put + bare != whole or put == wanted or (isinstance(added, bool) and added != bool(put)):
        return ""
    here, there = (" ".join(repr(made.word(one)) for one in ids) or "no token of their own" for ids in (wanted, put))
    return (
        f"documents begin with {here}, and texts that transformers encodes with {there} (tokenizer.json), so an "
        "exported model is prompted otherwise than it was trained; correct `bos`, unless that is meant"
    )


def _load(name: str, declared: bool = True) -> tuple[Path, RawTokenizerFiles]:
    root = find_root()
    return root, tokenizer_files.load(root, name, declared, absent=UsageError)
