"""The tokenizer: byte-level BPE (Sennrich et al. 2016, arXiv 1508.07909), trained by Hugging Face `tokenizers`.

Every string can be encoded (the alphabet is all 256 bytes), so there is no unknown token. Digits stand alone, which
keeps arithmetic regular. Special tokens have fixed ids and never come out of text, whatever the text says.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Tokenizer as HfTokenizer
from tokenizers import decoders, models, pre_tokenizers, trainers

from stages.data.document import SPECIAL
from stages.errors import UserError

FILE = "tokenizer.json"


def train(texts: Iterable[str], vocab: int) -> HfTokenizer:
    """A tokenizer of exactly `vocab` tokens. Raises UserError if the texts are too few for that many merges."""
    tokenizer = HfTokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() != vocab:
        raise UserError(f"the tokenizer got {tokenizer.get_vocab_size()} tokens of {vocab}: more text is needed")
    return tokenizer


class Tokenizer:
    """A trained tokenizer, as read from a file."""

    def __init__(self, path: Path) -> None:
        """Read tokenizer.json. Raises UserError if it is missing or its special tokens are not at their ids."""
        if not path.is_file():
            raise UserError(f"{path}: no such file; prepare the tokenizer first (`stages data tokenizer`)")
        self._inner = HfTokenizer.from_str(path.read_text(encoding="utf-8"))
        found = [self._inner.token_to_id(token) for token in SPECIAL]
        if found != list(range(len(SPECIAL))):
            raise UserError(f"{path}: special tokens {', '.join(SPECIAL)} have ids {found}; allowed: 0 to 7")
        self._inner.encode_special_tokens = True  # "<eos>" written in a document is text like any other

    @property
    def vocab(self) -> int:
        """Number of ids."""
        return int(self._inner.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without BOS or EOS."""
        return list(self._inner.encode(text, add_special_tokens=False).ids)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` for many texts at once, in parallel inside the library."""
        encodings = self._inner.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; special tokens are written out."""
        return str(self._inner.decode(list(map(int, ids)), skip_special_tokens=False))
