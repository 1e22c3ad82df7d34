"""Pictures: CoCa's loss, zero-shot digits and retrieval on held-out pairs; questions about digits for the whole model.

The pictures show digits that no training picture shows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from stages.contract import numbers
from stages.contract.evaluated_rows import IMAGES_AT_ONCE, LEAST_PAIRS, LEAST_QUESTIONS
from stages.data.generated.digits import WORDS
from stages.data.generated.vision import BRIGHTNESS, TEMPLATES
from stages.data.tokens.roles import Roles
from stages.errors import UserError
from stages.evals.heldout import Pairs
from stages.evals.subject import Subject
from stages.models.coca import caption_loss, embed_images, embed_texts, siglip_loss
from stages.models.vision_packing import pack
from stages.spec.evaluations import EVALUATIONS
from stages.train.objectives.base import patch_size, precision


def pair_loss(subject: Subject) -> dict[str, Any]:
    """CoCa's loss on one batch of held-out pairs: siglip + weight * caption (nats a caption token)."""
    phase = subject.phases[-1]
    assert phase.coca is not None
    weight = numbers.value(phase.coca.caption_weight, phase.clock_start + phase.budget)  # the same before and after
    pairs = _pairs(subject, subject.samples)
    captions, lengths = torch.from_numpy(pairs.captions), torch.from_numpy(pairs.lengths)
    images, total, count = [], 0.0, 0
    for first in range(0, len(captions), IMAGES_AT_ONCE):
        part = slice(first, first + IMAGES_AT_ONCE)
        pixels, grids = pack([image.pixels for image in pairs.images[part]], _patch(subject))
        with precision(subject.stage):
            features, embedded = embed_images(subject.modules, pixels.to(subject.device), grids)
            told = captions[part].to(subject.device), lengths[part].to(subject.device)
            loss = caption_loss(subject.modules["decoder"], features, grids, *told)
        images.append(embedded.float())
        total, count = total + float(loss), count + int((lengths[part] - 1).clamp(min=0).sum())
    side = subject.modules["contrastive"]
    contrast = float(siglip_loss(torch.cat(images), _texts(subject, captions), side.logit_scale, side.logit_bias))
    caption = total / count
    return {"loss": contrast + weight * caption, "contrastive": contrast, "caption": caption}


def digits(subject: Subject) -> dict[str, Any]:
    """Zero-shot accuracy on held-out pictures of one digit: nearest of ten classes, each a mean of prompts (CLIP,
    arXiv 2103.00020, section 3.1.4). The prompts are all the captions that a picture of one digit can have.
    """
    pairs = _pairs(subject, max(subject.samples, LEAST_PAIRS))
    single = np.flatnonzero(pairs.digits >= 0)
    if not len(single):
        raise UserError(
            f"{subject.stage.ref}: evaluate: zero_shot needs held-out pictures of one digit, as builder pairs makes "
            f"them; found none in {subject.corpora(*EVALUATIONS['zero_shot'].kinds)[0]}. Leave it out: retrieval reads "
            "any pairs."
        )
    classes = []
    for word in WORDS:
        texts = [template.format(look=look, words=word) for look, _ in BRIGHTNESS for template in TEMPLATES]
        classes.append(F.normalize(_texts(subject, _prompts(subject, texts, pairs.captions.shape[1])).mean(0), dim=0))
    images = _images(subject, [pairs.images[row].pixels for row in single])
    found = (images @ torch.stack(classes).T).argmax(1).cpu().numpy()
    right = found == pairs.digits[single]
    return {"accuracy": float(right.mean()), "chance": 0.1, "pictures": len(single)}


def retrieval(subject: Subject) -> dict[str, Any]:
    """Recall@1 among held-out pairs in both directions; a pair with the very same caption counts as found."""
    pairs = _pairs(subject, subject.samples)
    similarity = (
        _images(subject, [image.pixels for image in pairs.images]) @ _texts(subject, torch.from_numpy(pairs.captions)).T
    )
    same = torch.from_numpy((pairs.captions[:, None] == pairs.captions[None]).all(-1))
    rows = torch.arange(len(same))
    return {
        "image_to_text": float(same[rows, similarity.argmax(1).cpu()].double().mean()),
        "text_to_image": float(same[rows, similarity.argmax(0).cpu()].double().mean()),
        "chance": float(same.double().mean()),
        "pairs": len(same),
    }


def questions(subject: Subject) -> dict[str, Any]:
    """Share of held-out digit questions whose answer the model finds likelier than the nine other number words.

    A word's score is the log-probability of its tokens and of the end of the turn. `most_frequent` is what always
    saying the commonest answer would score.
    """
    heldout, right, given = subject.heldout, [], Counter[tuple[int, ...]]()
    name = _question_corpus(subject)
    encode, roles = subject.tokenizer.encode, subject.roles
    words = [np.array([*encode(word), roles.turn_end], dtype=np.int64) for word in WORDS]
    for document in heldout.documents(name)[: max(subject.samples, LEAST_QUESTIONS)]:
        tokens = heldout.tokens(name, document)
        asked = _answer_start(tokens, roles, encode("assistant\n"))
        answer = tokens[asked : asked + int(np.argmax(tokens[asked:] == roles.turn_end)) + 1]
        rows = [np.concatenate([tokens[:asked], word]) for word in words]
        places = [range(asked - 1, len(row) - 1) for row in rows]
        logp = subject.logits(rows, places, heldout.images(name, document)).float().log_softmax(-1)
        said = logp.split([len(word) for word in words])
        scores = [
            float(one[torch.arange(len(word)), torch.from_numpy(word)].sum())
            for one, word in zip(said, words, strict=True)
        ]
        right.append(np.array_equal(words[int(np.argmax(scores))], answer))
        given[tuple(answer.tolist())] += 1
    most = given.most_common(1)[0][1] / len(right)
    return {"accuracy": float(np.mean(right)), "chance": 0.1, "most_frequent": most, "questions": len(right)}


def _question_corpus(subject: Subject) -> str:
    """The first multimodal corpus whose documents are conversations. Raises UserError if there is none."""
    names = subject.corpora(*EVALUATIONS["digit_questions"].kinds)
    for name in names:
        if (subject.heldout.tokens(name, subject.heldout.documents(name)[0]) == subject.roles.turn_begin).any():
            return name
    where = f"{subject.stage.pipeline}/{subject.stage.name}"
    raise UserError(f"{where}: evaluate: digit_questions needs a corpus of questions, found {', '.join(names)}.")


def _answer_start(tokens: NDArray[np.int64], roles: Roles, name: Sequence[int]) -> int:
    """Where what the assistant says begins: behind the last beginning of a turn and the tokens of the role's name."""
    return int(np.flatnonzero(tokens == roles.turn_begin)[-1]) + 1 + len(name)


def _patch(subject: Subject) -> int:
    patch = patch_size(subject.stage)
    assert patch is not None
    return patch


def _pairs(subject: Subject, count: int) -> Pairs:
    [name, *_] = subject.corpora(*EVALUATIONS["retrieval"].kinds)
    coca = subject.phases[-1].coca
    assert coca is not None
    return subject.heldout.pairs(name, count, coca.resolutions[-1].cap)


def _prompts(subject: Subject, texts: list[str], length: int) -> Tensor:
    """Prompts as captions are: BOS, text, EOS, padded to the same length."""
    roles = subject.roles
    before, behind = [roles.bos] if roles.bos is not None else [], [roles.eos] if roles.eos is not None else []
    tokens = torch.full((len(texts), length), roles.fill)
    for row, ids in enumerate(subject.tokenizer.encode_batch(texts)):
        caption = [*before, *ids, *behind][:length]
        tokens[row, : len(caption)] = torch.tensor(caption)
    return tokens


def _texts(subject: Subject, captions: Tensor) -> Tensor:
    with precision(subject.stage):
        return embed_texts(subject.modules, captions.to(subject.device)).float()


def _images(subject: Subject, pixels: list[NDArray[np.float32]]) -> Tensor:
    found = []
    for first in range(0, len(pixels), IMAGES_AT_ONCE):
        packed, grids = pack(pixels[first : first + IMAGES_AT_ONCE], _patch(subject))
        with precision(subject.stage):
            found.append(embed_images(subject.modules, packed.to(subject.device), grids)[1].float())
    return torch.cat(found)
