"""`stages tokenizer NAME`: a published tokenizer's files, checked against specs/tokenizers/NAME.yaml."""

from __future__ import annotations

from pathlib import Path

from stages.commands.find_project import find_root
from stages.data import tokenizer_files
from stages.data.tokenizer_declared import declared
from stages.errors import UsageError
from stages.spec.files import Files
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


def print_declaration(name: str) -> None:
    """Print the lines that would declare what is in the folder, and nothing else."""
    root, spec = _load(name, declared=False)
    made = declared(root, spec, check=False)
    print(f"# for specs/tokenizers/{name}.yaml, once you have read what changed:")
    print(f'vocab: {made.open().vocab}\ndigest: "{made.digest}"')


def _load(name: str, declared: bool = True) -> tuple[Path, RawTokenizerFiles]:
    root = find_root()
    if why := tokenizer_files.absent(Files(root), name):
        raise UsageError(why)
    return root, tokenizer_files.load(root, name, declared)
