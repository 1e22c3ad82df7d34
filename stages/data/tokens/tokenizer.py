"""Tokenizers: the local one, trained here, and published ones, read from Hugging Face's tokenizer.json.

The local one is byte-level BPE (Sennrich et al. 2016, arXiv 1508.07909): every string can be encoded (the alphabet is
all 256 bytes), so there is no unknown token, and digits stand alone, which keeps arithmetic regular. Of any tokenizer,
special tokens never come out of text, whatever the text says.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer as HfTokenizer
from tokenizers import decoders, models, pre_tokenizers, trainers

from stages.data.document import SPECIAL
from stages.data.tokens import (
    special_tokens,
    token_boundaries,
    tokenizer_json,
    tokenizer_use,
    unknown_token,
    word_cache,
)
from stages.data.tokens.chat import ChatTemplate
from stages.data.tokens.roles import LOCAL, Roles
from stages.data.tokens.tokenizer_files import TokenizerFiles
from stages.data.tokens.tokenizer_json import TokenizerJson
from stages.data.tokens.word_cache import WordCache
from stages.errors import UserError

SHORT = np.dtype("<u2")  # Megatron-Core's code 8: vocabularies up to 65,536
SLICE = 1 << 14  # characters for one thread at once: what the library makes of more does not stay in the CPU's cache
ENDING = 32  # characters at the end of a text
LONG = np.dtype("<i4")  # its code 4: larger ones; it has no unsigned type of 32 bits, and ids stay below 2^31


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


def read_tokens(text: str, at: Path) -> HfTokenizer:
    """A tokenizer.json of this text; `at` is what the message calls it. Raises UserError for what is none."""
    try:
        return HfTokenizer.from_str(text)
    except BaseException as error:  # what tokenizers raises has no class of its own, and its panics are no Exception
        if not (isinstance(error, Exception) or type(error).__name__ == "PanicException"):
            raise
        raise UserError(f"{at}: not a tokenizer.json that `tokenizers` can read ({error})") from None


def prefixed(tokens: HfTokenizer) -> bool | None:
    """`add_prefix_space` of a pre-tokenizer that has it."""
    found = getattr(tokens.pre_tokenizer, "add_prefix_space", None)
    return None if found is None else bool(found)


class Tokenizer:
    """A tokenizer as read from its files. `vocab` is one more than its largest id; `roles` are its special tokens'.

    `unknown` is what texts become that it has no token for; None where it has one for everything. A published one has
    its `file` too.
    """

    file: TokenizerJson

    def __init__(self, path: Path) -> None:
        """The local tokenizer. Raises UserError if the file is missing or its special tokens are not at their ids."""
        if not path.is_file():
            raise UserError(f"{path}: no such file; prepare the tokenizer first (`stages data tokenizer`)")
        self._open(path.read_text(encoding="utf-8"), path)
        found = [self.inner.token_to_id(token) for token in SPECIAL]
        if found != list(range(len(SPECIAL))):
            raise UserError(f"{path}: special tokens {', '.join(SPECIAL)} have ids {found}; allowed: 0 to 7")
        self.roles = LOCAL
        self.template: ChatTemplate | None = None
        self.unknown: int | None = None  # it has all bytes
        self.files: dict[str, bytes] = {}  # what a corpus keeps of it: the local one is prepared next to the corpora

    @classmethod
    def published(cls, files: TokenizerFiles, roles: Roles, at: Path) -> Tokenizer:
        """A published tokenizer from its files; `at` is what messages call it. Raises UserError for what is none."""
        made = cls.__new__(cls)
        made._open(files.tokens, at)
        made.file = tokenizer_json.read(files.tokens, at)
        special_tokens.refuse_other_ids(made.inner, made.file, at)
        special_tokens.keep_apart(made.inner, roles)
        made.roles = roles
        made.unknown = unknown_token.of(made.inner, made.file)
        made.template = None if files.template is None else ChatTemplate(files.template, files.words)
        made.files = tokenizer_use.kept(files, roles)
        return made

    def using(self, files: TokenizerFiles, roles: Roles) -> Tokenizer:
        """This one, opened without roles, with those of its spec."""
        special_tokens.keep_apart(self.inner, roles)
        self.roles, self.files = roles, tokenizer_use.kept(files, roles)
        return self

    def _open(self, text: str, at: Path) -> None:
        self.inner = read_tokens(text, at)
        self.inner.no_truncation()  # some are published with a length at which texts are cut
        self.inner.no_padding()
        self.inner.encode_special_tokens = True  # "<eos>" written in a document is text like any other

    @cached_property
    def vocab(self) -> int:
        """One more than the largest id."""
        return 1 + max(self.inner.get_vocab(with_added_tokens=True).values())

    @cached_property
    def dtype(self) -> np.dtype[np.generic]:
        """What ids are stored as."""
        return SHORT if self.vocab <= 1 << 16 else LONG

    @cached_property
    def special_words(self) -> dict[str, int]:
        """The texts of the tokens that are marked as special: those that no text may turn into."""
        added = self.inner.get_added_tokens_decoder()
        return {token.content: number for number, token in added.items() if token.special}

    def reads(self, word: str, text: str) -> bool:
        """Whether a text has a token's word in it, also where only the tokenizer's normalizer makes it that word."""
        if word in text:
            return True
        normalizer = self._normalizer
        return normalizer is not None and normalizer.normalize_str(word) in normalizer.normalize_str(text)

    def drops_end(self, text: str) -> bool:
        """Whether the normalizer leaves something out at the end of a text that it keeps where the text goes on."""
        normalizer, end = self.inner.normalizer, text[-ENDING:]
        return normalizer is not None and normalizer.normalize_str(f"{end}x") != f"{normalizer.normalize_str(end)}x"

    @cached_property
    def border_words(self) -> re.Pattern[str] | None:
        """Words of tokens with a role before which a rendered text may be cut."""
        ids = self.roles.by_name().values()
        return token_boundaries.words(self.inner, {self.word(number) for number in ids if number is not None})

    @cached_property
    def _normalizer(self) -> Any:
        return special_tokens.normalizer(self.inner)

    def word(self, number: int) -> str:
        """The text of one token."""
        return str(self.inner.id_to_token(number))

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without BOS or EOS."""
        return list(self.inner.encode(text, add_special_tokens=False).ids)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` for many texts at once, in parallel inside the library."""
        batches = (self.inner.encode_batch_fast(some, add_special_tokens=False) for some in _slices(texts))
        return [encoding.ids for batch in batches for encoding in batch]

    def encode_stored(self, texts: Sequence[str]) -> list[bytes]:
        """`encode_batch`, each text's ids as bytes of `dtype`; `words` keeps words of a tokenizer it supports."""
        if self._cache is None:
            return word_cache.to_bytes(self.encode_batch(texts), self.dtype)
        return self._cache.encode(texts)

    @cached_property
    def _cache(self) -> WordCache | None:
        return WordCache(self.encode_batch, self.dtype) if word_cache.supports(self.inner) else None

    def encode_rendered(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of texts that a chat template wrote, in which the special tokens' texts are the special tokens."""
        self.inner.encode_special_tokens = False
        try:
            return self.encode_batch(texts)
        finally:
            self.inner.encode_special_tokens = True

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; special tokens are written out."""
        return str(self.inner.decode(list(map(int, ids)), skip_special_tokens=False))


def _slices(texts: Sequence[str]) -> Iterator[list[str]]:
    """Texts in slices of `SLICE` characters for each of the library's threads, or one text more."""
    threads = 1 if os.environ.get("TOKENIZERS_PARALLELISM") == "false" else os.cpu_count() or 1
    some, size, enough = list[str](), 0, SLICE * threads
    for text in texts:
        some.append(text)
        size += len(text)
        if size >= enough:
            yield some
            some, size = [], 0
    if some:
        yield some


@dataclass(frozen=True)
class Source:
    """What any process needs to open a tokenizer: the local one's file, or what was read of a published one.

    `opened` is that tokenizer, where this process has it; another process opens its own.
    """

    path: Path
    digest: str
    files: TokenizerFiles | None
    roles: Roles | None
    opened: Tokenizer | None = field(default=None, compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "opened": None}

    def open(self) -> Tokenizer:
        """The tokenizer. Raises UserError as its constructors do."""
        if self.opened is not None:
            return self.opened
        if self.files is None or self.roles is None:
            return Tokenizer(self.path)
        return Tokenizer.published(self.files, self.roles, self.path)

    @property
    def kept(self) -> dict[str, bytes]:
        """`files` of the tokenizer, without opening it."""
        return {} if self.files is None or self.roles is None else tokenizer_use.kept(self.files, self.roles)


def of_corpus(folder: Path, local: Path) -> Tokenizer:
    """The tokenizer that a prepared corpus was cut with: the one it keeps, or the local one at `local`."""
    kept = tokenizer_use.files_of_corpus(folder)
    return Tokenizer(local) if kept is None else Tokenizer.published(*kept, folder / tokenizer_use.FILE)
