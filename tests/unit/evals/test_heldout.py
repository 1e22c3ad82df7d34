import numpy as np
import pytest

from stages.data.document import IM_END, IMAGE
from stages.data.loading.sample import UNSUPERVISED
from stages.errors import UserError
from stages.evals.heldout import Heldout

CORPORA = ("text", "chats", "questions")


def test_only_held_out_documents_are_read(heldout: Heldout) -> None:
    for name in CORPORA:
        read = {span[1] for row in heldout.rows(name, 64, 99, True) for span in row.spans}
        assert read
        assert read <= set(heldout.documents(name))
        assert min(heldout.documents(name)) == 2


def test_text_rows_are_full_windows_that_continue_where_the_last_one_ended(heldout: Heldout) -> None:
    rows = heldout.rows("text", 40, 99, True)
    stream = np.concatenate([heldout.tokens("text", number) for number in heldout.documents("text")])
    assert all(len(row.tokens) == 40 for row in rows)
    assert np.array_equal(np.concatenate([row.tokens for row in rows]), stream[: 40 * len(rows)])
    assert len(stream) - 40 * len(rows) < 40


def test_a_label_is_the_next_token_of_the_same_document(heldout: Heldout) -> None:
    for row in heldout.rows("text", 40, 99, True):
        expected = []
        for name, document, start, end in row.spans:
            tokens = heldout.tokens(name, document)
            expected += [tokens[at + 1] if at + 1 < len(tokens) else UNSUPERVISED for at in range(start, end)]
        assert row.labels.tolist() == expected


def test_positions_restart_with_the_document_only_under_a_document_mask(heldout: Heldout) -> None:
    masked, joined = (heldout.rows("chats", 128, 1, mask)[0] for mask in (True, False))
    assert len(masked.spans) > 1
    assert joined.positions.tolist() == list(range(len(joined.tokens)))
    assert masked.positions.tolist() == [at for _, _, start, end in masked.spans for at in range(end - start)]


def test_conversations_are_whole_and_only_answers_are_targets(heldout: Heldout) -> None:
    for row in heldout.rows("chats", 64, 99, True):
        assert all(start == 0 and end == len(heldout.tokens(name, d)) for name, d, start, end in row.spans)
        said = "the cat "
        for segment in range(len(row.spans)):
            targets = row.labels[(row.segments == segment) & (row.labels != UNSUPERVISED)]
            text = heldout.tokenizer("text").decode(targets)
            assert text.startswith(said)
            assert text.replace(said, "") == "<|im_end|><eos>"


def test_every_image_token_has_its_pixels_and_is_no_target(heldout: Heldout) -> None:
    for row in heldout.rows("questions", 64, 99, True):
        cells = sum(image.pixels.shape[0] * image.pixels.shape[1] // 64 for image in row.images)
        assert (row.tokens == IMAGE).sum() == cells > 0
        assert IMAGE not in row.labels
        assert IM_END in row.labels


def test_stretches_lie_inside_one_document_where_one_is_long_enough(heldout: Heldout) -> None:
    documents = [heldout.tokens("text", number).tolist() for number in heldout.documents("text")]
    for stretch in heldout.stretches(["text"], 30, 5):
        wanted = stretch.tolist()
        assert any(wanted == doc[at : at + 30] for doc in documents for at in range(len(doc) - 29))


def test_documents_are_joined_when_none_is_long_enough(heldout: Heldout) -> None:
    stream = np.concatenate([heldout.tokens("text", number) for number in heldout.documents("text")])
    length = max(len(heldout.tokens("text", number)) for number in heldout.documents("text")) + 1
    [first, *_] = heldout.stretches(["text"], length, 3)
    assert np.array_equal(first, stream[:length])


def test_too_little_text_is_named(heldout: Heldout) -> None:
    with pytest.raises(UserError, match=r"text: [0-9]+ held-out tokens, an evaluation needs rows of 100000"):
        heldout.stretches(["text"], 100_000, 1)


def test_pairs_are_padded_as_in_training_and_know_their_digit(heldout: Heldout) -> None:
    pairs = heldout.pairs("pairs", 99, 32)
    assert len(pairs.images) == len(pairs.captions) == 10
    assert pairs.captions.shape[1] == heldout.corpus("pairs").manifest.longest
    assert pairs.digits.tolist() == [number % 4 for number in range(2, 12)]
    assert all(
        (row[length:] == 0).all() and row[length - 1] != 0
        for row, length in zip(pairs.captions, pairs.lengths, strict=True)
    )
