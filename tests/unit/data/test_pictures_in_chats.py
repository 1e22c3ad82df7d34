"""Pictures in texts and chats: colours, several pictures of a row, the answers' mask; tars and JSONL."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.data import decode
from stages.data.corpus.prepared import Corpus
from stages.data.decode import Size
from stages.data.generated import digits
from stages.data.loading.loader import PhaseData
from stages.data.loading.sample import as_image
from stages.data.tokens.tokenizer import Tokenizer
from stages.data.tokens.tokenizer_use import FILE
from stages.errors import UserError
from tests.edits import replaced
from tests.unit.data import published
from tests.unit.data.chats_with_pictures import URL, ask, coloured, in_files, picture, publish, text, used
from tests.unit.data.own_files import run
from tests.unit.data.pictures_of_users import declare, grey, jsonl, png, saved, tar
from tests.unit.data.small import Small
from tests.unit.data.small import phase as phase_with


def kept(number: int, rgb: bool) -> NDArray[np.uint8]:
    return decode.pixels(saved(coloured(number)), Size(8, 16, rgb))


def words(project: Small) -> Tokenizer:
    return Tokenizer(project.data / "tokenizer" / FILE)


def chats(count: int) -> list[dict[str, Any]]:
    """Chats about two pictures, one, and none."""
    found = []
    for n in range(count):
        url = {"type": "image_url", "image_url": {"url": f"{n}.1.png"}}
        contents = ([text("Which? "), picture(f"{n}.0.png"), url, text("?")], [picture(f"{n}.0.png")], f"Sum {n}?")
        found.append(ask(n, contents[n % 3], f"answer {n}"))
    return found


def in_tar(path: Path, found: Sequence[dict[str, Any]]) -> None:
    members = []
    for n, row in enumerate(found):
        members += [(name, saved(coloured(int(name[:-6]) * 2 + int(name[-5])))) for name in used(row)]
        members.append((f"{n}.json", json.dumps(row).encode()))
    tar(path, members)


RGB: dict[str, Any] = {"pixels": "rgb", "parameters": {"cell": 8, "patch": 4, "channels": 3, "side": 16}}


def test_a_chat_has_its_pictures_in_place_and_only_answers_are_learned(project: Small) -> None:
    found = chats(30)
    in_tar(project.root / "a.tar", found)
    declare(project, "a.tar", "multimodal", rows="messages", **RGB)
    made = run(project)
    corpus = Corpus(project.data / "mine")
    assert corpus.supervised is not None
    seen = set()
    for document in range(30):
        where = slice(*corpus.offsets[document : document + 2].tolist())
        tokens, mask = np.asarray(corpus.tokens[where]).astype(int), np.asarray(corpus.supervised[where]) != 0
        said = words(project).decode(tokens[tokens != 3])
        number = int(said.rpartition("answer ")[2].partition("<")[0])
        assert words(project).decode(tokens[mask]) == f"answer {number}<|im_end|><eos>"
        pictures = corpus.raw_pictures(document)
        expected = [kept(number * 2 + k, rgb=True) for k in range((2, 1, 0)[number % 3])]
        assert [one.shape for one in pictures] == [one.shape for one in expected]
        assert all(np.array_equal(one, other) for one, other in zip(pictures, expected, strict=True))
        assert np.count_nonzero(tokens == 3) == sum(one.shape[0] * one.shape[1] // 64 for one in pictures)
        if number % 3 == 0:  # text, both pictures side by side, text
            first = int(np.flatnonzero(tokens == 3)[0])
            assert words(project).decode(tokens[:first]).endswith("user\nWhich? ")
            assert said.count("Which? ?") == 1
        seen.add(number)
    assert seen == set(range(30))
    in_files(project.root, found)
    declare(project, "rows.jsonl", "multimodal", rows="messages", **RGB)
    assert run(project).digest == made.digest


def test_texts_and_pictures_stand_as_the_row_has_them_and_all_text_is_learned(project: Small) -> None:
    found = [
        {"content": [text(f"begin {n} "), picture(f"{n}.0.png"), text("then "), picture(f"{n}.1.png"), text("end")]}
        for n in range(12)
    ]
    in_files(project.root, found)
    declare(project, "rows.jsonl", "multimodal", rows="interleaved")
    made = run(project)
    corpus = Corpus(project.data / "mine")
    assert (made.documents + made.heldout, corpus.supervised) == (12, None)
    tokens = np.asarray(corpus.tokens[slice(*corpus.offsets[:2].tolist())]).astype(int)
    runs = "".join("#" if one == 3 else words(project).decode([one]) for one in tokens)
    number = int(runs.split("begin ")[1].split("#")[0])
    cells = [kept(2 * number + k, rgb=False).size // 64 for k in (0, 1)]
    assert runs == f"<bos>begin {number} {'#' * cells[0]}then {'#' * cells[1]}end<eos>"
    in_tar(project.root / "a.tar", found)
    declare(project, "a.tar", "multimodal", rows="interleaved")
    assert run(project).digest == made.digest


def test_all_that_is_said_of_the_same_pictures_is_held_out_or_none_of_it(project: Small) -> None:
    found = [ask(n, [picture(f"{n // 4}.0.png"), text(f"question {n}")]) for n in range(120)]
    in_files(project.root, found)
    declare(project, "rows.jsonl", "multimodal", rows="messages")
    made = run(project)
    corpus = Corpus(project.data / "mine")
    seen = [corpus.raw_pictures(n)[0].tobytes() for n in range(120)]
    assert made.heldout % 4 == 0
    assert not set(seen[: made.documents]) & set(seen[made.documents :])


def test_a_published_template_writes_the_pictures_and_the_mask_is_exact(project: Small) -> None:
    """Its content is a list where pictures are, as the templates of vision models expect."""
    publish(project, published.CHATML)
    in_files(project.root, chats(12))
    declare(project, "rows.jsonl", "multimodal", rows="messages", tokenizer="mine")
    run(project)
    corpus = Corpus(project.data / "mine")
    assert corpus.supervised is not None
    image = corpus.roles.image
    for document in range(12):
        where = slice(*corpus.offsets[document : document + 2].tolist())
        tokens, mask = np.asarray(corpus.tokens[where]), np.asarray(corpus.supervised[where]) != 0
        cells = sum(one.shape[0] * one.shape[1] // 64 for one in corpus.raw_pictures(document))
        assert np.count_nonzero(tokens == image) == cells
        assert not np.any(mask & (tokens == image))
        assert mask.any()
    publish(project, replaced(published.CHATML, "<img>", ""))
    with pytest.raises(UserError, match=r"rows\.jsonl:1: the chat template wrote 0 image tokens for 2 pictures"):
        run(project)


@pytest.mark.parametrize("objective", ["sft", "next_token"])
def test_a_row_has_colours_as_the_encoder_takes_them_and_the_answers_as_targets(project: Small, objective: str) -> None:
    in_files(project.root, chats(30))
    declare(project, "rows.jsonl", "multimodal", rows="messages", **RGB)
    run(project)
    source = project.source("mine")
    phase = phase_with(source, objective=objective, context=128, packing="whole", budget=512)
    (row,) = PhaseData(phase, 1, "scope", project.data).samples(0, 1, 0)
    assert all(image.pixels.shape[2] == 3 for image in row.images)
    assert any(not np.array_equal(image.pixels[..., 0], image.pixels[..., 1]) for image in row.images)
    learned = words(project).decode(row.labels[row.labels >= 0])
    assert ("Which" in learned or "Sum" in learned) == (objective == "next_token")
    assert "answer" in learned
    assert 3 not in row.labels.tolist()


def test_a_grey_picture_is_the_same_with_and_without_colours() -> None:
    plain, three = (decode.pixels(png(1), Size(8, 16, rgb)) for rgb in (False, True))
    assert np.array_equal(as_image(plain, 3).pixels, as_image(three, 3).pixels)
    colour = decode.pixels(saved(coloured(3)), Size(8, 448, True))
    alone = np.stack([digits.shrink(np.ascontiguousarray(colour[..., k]), 16, 8) for k in range(3)], axis=2)
    assert np.array_equal(digits.shrink(colour, 16, 8), alone)


def test_a_picture_may_be_in_the_row_itself(project: Small) -> None:
    names = [f"{n}.0.png" for n in range(6)]
    in_files(project.root, [ask(n, [picture(name), text(f"{n}?")]) for n, name in enumerate(names)])
    declare(project, "rows.jsonl", "multimodal", rows="messages")
    made = run(project)
    inside = [URL + base64.b64encode((project.root / name).read_bytes()).decode() for name in names]
    jsonl(project.root / "rows.jsonl", [ask(n, [picture(one), text(f"{n}?")]) for n, one in enumerate(inside)])
    assert run(project).digest == made.digest


def test_a_grey_corpus_says_nothing_of_colours(project: Small) -> None:
    """So that digests and manifests of before stay as they were."""
    tar(project.root / "a.tar", [one for n in range(4) for one in ((f"{n}.png", saved(grey(n))), (f"{n}.txt", b"one"))])
    declare(project, "a.tar")
    run(project)
    assert "pixels" not in (project.data / "mine" / "manifest.json").read_text()
