"""A project with a corpus of any size: made-up text, and a tokenizer that is trained on its beginning.

Words are drawn as in natural text (Zipf's law over 60,000 of them, frequent ones short), lengths of documents are
log-normal, and no document is another one. The same seed gives the same file under the same numpy.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import numpy as np
import yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from stages.data.tokens import tokenizer_files
from stages.data.tokens.roles import NAMES
from stages.data.tokens.tokenizer_declared import declared as declared_tokenizer

CORPUS = "made_up"
WORDS, VOCABULARY = 60_000, 32_000
SPREAD = 1.0  # standard deviation of the logarithm of a document's length
BLOCK = 4096  # documents drawn at once
TRAINED_ON = 4000  # documents


def project(root: Path, size: int, words: float = 300.0, seed: int = 1) -> Path:
    """Make the project at `root`: corpus `made_up` of at least `size` bytes. Returns its file.

    `words` is the mean length of a document.
    """
    file = root / f"{CORPUS}.jsonl"
    root.mkdir(parents=True)
    write(file, size, words, seed)
    _tokenizer(root, file)
    corpus = {"corpus": CORPUS, "kind": "text", "unit": "tokens", "builder": "file", "path": file.name}
    _spec(root, "data", CORPUS, {**corpus, "tokenizer": CORPUS})
    return file


def write(path: Path, size: int, words: float, seed: int) -> None:
    """Write rows {"text": ...} until the file has at least `size` bytes."""
    draw, vocabulary = np.random.Generator(np.random.PCG64(seed)), np.array(_vocabulary(seed), dtype=object)
    weights = np.cumsum(1 / (np.arange(WORDS) + 2.7))  # Mandelbrot's form of Zipf's law
    written = count = 0
    with path.open("wb") as file:
        while written < size:
            lengths = 1 + (words * draw.lognormal(-(SPREAD**2) / 2, SPREAD, BLOCK)).astype(np.int64)
            drawn = vocabulary[np.searchsorted(weights, draw.random(int(lengths.sum())) * weights[-1])]
            for text in np.split(drawn, np.cumsum(lengths)[:-1]):
                row = json.dumps({"text": f"{' '.join(text)} {count}"}, ensure_ascii=False).encode() + b"\n"
                file.write(row)
                written, count = written + len(row), count + 1
                if written >= size:
                    return


def _vocabulary(seed: int) -> list[str]:
    """Words of one to five syllables, the frequent ones short; some end a sentence, a line or a paragraph."""
    draw = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < WORDS:
        syllables = 1 + (len(found) > 150) + (len(found) > 4000) + draw.randrange(3) // 2
        word = "".join(draw.choice("bcdfghklmnprstvwz") + draw.choice("aeiouáöy") for _ in range(syllables))
        end = draw.choices(("", "n", "s", ",", ".", ".\n", ".\n\n", "!"), (60, 15, 12, 6, 5, 1, 0.5, 0.5))[0]
        found[(word.capitalize() if draw.random() < 0.08 else word) + end] = None
    return list(found)


def _tokenizer(root: Path, file: Path) -> None:
    """Byte-level BPE of 32,000 ids at most, in the form in which tokenizers are published, and its spec."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    with file.open("rb") as lines:
        texts = [json.loads(line)["text"] for line in islice(lines, TRAINED_ON)]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False,
    ))  # fmt: skip
    folder = root / "tokenizers" / CORPUS
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_text(made.to_str())
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>"}))
    roles = {**dict.fromkeys(NAMES, "none"), "bos": "<s>", "eos": "</s>"}
    spec = {"tokenizer": CORPUS, "source": "made here", "revision": "none", "licence": "none",
            "path": f"tokenizers/{CORPUS}", "roles": roles}  # fmt: skip
    _spec(root, "tokenizers", CORPUS, spec)
    declared = declared_tokenizer(root, tokenizer_files.load(root, CORPUS, declared=False), check=False)
    _spec(root, "tokenizers", CORPUS, {**spec, "digest": declared.digest, "vocab": declared.open().vocab})


def _spec(root: Path, kind: str, name: str, content: Mapping[str, object]) -> None:
    path = root / "specs" / kind / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content))
