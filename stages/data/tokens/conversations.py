"""Conversations to tokens by a published tokenizer's chat template, with the mask of what is learned.

The mask is checked by round trip: what is before an answer, cut into tokens alone, has to be the beginning of the
whole conversation's tokens, and so does what stands up to the answer's end. So every answer begins and ends between two
tokens, and the tokens before it are those that the model is prompted with later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, islice, pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from stages.data.document import Conversation, Document
from stages.data.tokens import separate_answers, token_boundaries
from stages.data.tokens.chat import ASSISTANT, ChatTemplate, Rendered
from stages.data.tokens.template import TemplateError
from stages.data.tokens.template_omissions import refuse_left_out
from stages.data.tokens.tokenizer import ENDING, Tokenizer

T = TypeVar("T")
Piece = tuple[NDArray[np.integer], NDArray[np.uint8]]  # tokens, and for each 1 where it may be a target
CHUNK = 512  # conversations rendered and cut at once
SHOWN = 80  # characters of a conversation in a message


def encode_conversations(documents: Sequence[Document], tokenizer: Tokenizer) -> Iterator[Piece | TemplateError]:
    """Tokens [n] and mask uint8 [n] of each document's conversation; a picture is one image token.

    In place of a conversation that cannot be used the reason, with its beginning: the template refuses it or leaves
    something of it out, its answers cannot be found, it has no answer, or it writes a special token as text.
    """
    for start in range(0, len(documents), CHUNK):
        some = documents[start : start + CHUNK]
        rendered = [_attempt(_render, document, tokenizer) for document in some]
        cuts = [None if isinstance(one, TemplateError) else _cut(one, tokenizer) for one in rendered]
        ids = iter(tokenizer.encode_rendered([text for one in cuts if one is not None for text in one.texts]))
        for document, one, cut in zip(some, rendered, cuts, strict=True):
            if isinstance(one, TemplateError):
                yield one
            else:
                assert cut is not None
                yield _attempt(_masked, document, tokenizer, one, *cut.joined(list(islice(ids, len(cut.texts)))))


def _attempt(step: Callable[..., T], *given: Any) -> T | TemplateError:
    """What a step makes of one conversation, or why it cannot: others are not affected by that."""
    try:
        return step(*given)
    except TemplateError as error:
        return error


def spread(piece: Piece, image: int | None, cells: Sequence[int]) -> Piece:
    """The same with each image token as often as its picture has cells, all of them unsupervised."""
    tokens, mask = piece
    if not cells:
        return piece
    counts = np.ones(len(tokens), dtype=np.int64)
    counts[tokens == image] = cells
    return np.repeat(tokens, counts), np.repeat(np.where(tokens == image, 0, mask).astype(np.uint8), counts)


def _render(document: Document, tokenizer: Tokenizer) -> Rendered:
    chat = document.conversation
    assert chat is not None
    assert tokenizer.template is not None
    _refuse_special(document, chat, tokenizer)
    try:
        try:
            rendered = _whole(chat, tokenizer, tokenizer.template.render)
        except TemplateError as error:
            if document.part_of is None:
                raise TemplateError(f"{error}{_advice(chat, tokenizer, str(error))}") from None
            rendered = _whole(chat, tokenizer, partial(_asked, tokenizer.template, error))
    except TemplateError as error:
        raise _bad(document, str(error)) from None
    if not rendered.answers:
        raise _bad(document, "no turn is the assistant's, so there is nothing to learn")
    return rendered


def _whole(chat: Conversation, tokenizer: Tokenizer, render: Callable[..., Rendered]) -> Rendered:
    """A conversation as `render` writes it. Raises TemplateError where that leaves something out."""
    end = tokenizer.roles.turn_end
    rendered = render(chat.messages, chat.tools, None if end is None else tokenizer.word(end), chat.first)
    refuse_left_out(chat.messages, chat.tools, rendered, chat.first, _end_of_reasoning(tokenizer))
    return rendered


def _asked(
    template: ChatTemplate, error: TemplateError, messages: Any, tools: Any, turn_end: str | None, _: int
) -> Rendered:
    """The last answer behind the text that asks for it, where the template cannot write it."""
    found = separate_answers.behind_what_asks(template, messages, tools, turn_end)
    if found is None:
        raise error
    return found


def _advice(chat: Conversation, tokenizer: Tokenizer, why: str) -> str:
    """What to write where the first answer could be learned as a document of its own."""
    answers = (place for place, one in enumerate(chat.messages) if place >= chat.first and one["role"] == ASSISTANT)
    if (place := next(answers, None)) is None or "answers: separate" in why:
        return ""
    first = replace(chat, messages=chat.messages[: place + 1], first=place)
    try:
        assert tokenizer.template is not None
        _whole(first, tokenizer, partial(_asked, tokenizer.template, TemplateError()))
    except TemplateError:
        return ""
    return (
        ". Write `answers: separate` into the corpus's spec (kind sft): each answer is then learned behind the text "
        "that asks for it"
    )


def _end_of_reasoning(tokenizer: Tokenizer) -> str:
    end = tokenizer.roles.end_think
    return "</think>" if end is None else tokenizer.word(end)


def _cut(rendered: Rendered, tokenizer: Tokenizer) -> token_boundaries.Cut:
    """What has to become ids: the whole text, and for each answer what is before it and up to its end."""
    return token_boundaries.cut(rendered.text, list(chain.from_iterable(rendered.answers)), tokenizer.border_words)


def _masked(
    document: Document, tokenizer: Tokenizer, rendered: Rendered, whole: list[int], found: list[int | None]
) -> Piece:
    edges = list[int]()
    for edge, at in zip(found, chain.from_iterable(rendered.answers), strict=True):
        if edge is None:
            raise _bad(
                document,
                f"a token of the chat template's text lies over the edge of an answer, at "
                f"{rendered.text[max(0, at - 10) : at]!r} {rendered.text[at : at + 10]!r}: what the model is prompted "
                "with would be other tokens than it learned from; separate the two in the template",
            )
        # Then those tokens are no longer than what is before it.
        if tokenizer.drops_end(rendered.text[max(0, at - ENDING) : at]):
            raise _bad(
                document,
                f"the tokenizer's normalizer leaves out what stands before the edge of an answer, at "
                f"{rendered.text[max(0, at - 10) : at]!r}, where a text ends there: it is unknown which tokens are "
                "the answer's; let the template end there with something that is kept",
            )
        edges.append(edge)
    mask = np.zeros(len(whole), dtype=np.uint8)
    for start, end in list(pairwise(edges))[::2]:
        mask[start:end] = 1
    _check_special(document, whole, tokenizer)
    return np.array(whole, dtype=tokenizer.dtype), mask


def _check_special(document: Document, ids: list[int], tokenizer: Tokenizer) -> None:
    """A BOS at the beginning alone, or where each question and its answer is a stretch of its own, as in Llama 2's; as
    many image tokens as pictures.
    """
    roles, chat = tokenizer.roles, document.conversation
    assert chat is not None
    ends = (roles.eos, roles.turn_end)
    twice = ids[:2] == [roles.bos, roles.bos]  # also where it is what ends a document
    stray = any(one == roles.bos and before not in ends for before, one in pairwise(ids))
    if roles.bos is not None and (twice or stray):
        raise _bad(
            document,
            f"the chat template writes {tokenizer.word(roles.bos)!r} inside the conversation, or twice; a document has "
            "one at its beginning, and another only behind the token that ends a turn: correct the template",
        )
    images = 0 if roles.image is None else ids.count(roles.image)
    if images != len(chat.pictures):
        raise _bad(document, f"the chat template wrote {images} image tokens for {len(chat.pictures)} pictures")


def _refuse_special(document: Document, chat: Conversation, tokenizer: Tokenizer) -> None:
    """A special token written in a message would be read as one: a user's text could end its own turn."""
    roles = tokenizer.roles
    allowed = {roles.think, roles.end_think}
    words = [word for word, number in tokenizer.special_words.items() if number not in allowed]
    for text in _texts([chat.messages, chat.tools]):
        found = next((word for word in words if tokenizer.reads(word, text)), None)
        if found is not None:
            raise _bad(document, f"a message has {found!r}, which is a special token of the tokenizer; take it out")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _texts([*value, *value.values()])
    elif isinstance(value, Iterable):
        for one in value:
            yield from _texts(one)


def _bad(document: Document, why: str) -> TemplateError:
    return TemplateError(f"{why} (the conversation that begins {document.identity[:SHOWN]!r})")
