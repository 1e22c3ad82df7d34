"""Conversations before tokenisation: what is supervised is decided by who speaks, whatever was said."""

from hypothesis import given
from hypothesis import strategies as st

from stages.data.document import IM_END, IM_START, Part, chat, plain

SPEAKERS = ("system", "user", "assistant", "tool")
TURNS = st.lists(st.tuples(st.sampled_from(SPEAKERS), st.text(max_size=5), st.booleans()), min_size=1, max_size=6)


@given(TURNS)
def test_only_what_the_assistant_says_is_supervised_with_the_token_that_closes_it(
    turns: list[tuple[str, str, bool]],
) -> None:
    made = chat("a conversation", [(who, (Part(text, marked),)) for who, text, marked in turns], heldout=False)
    expected: list[Part] = []
    for who, text, _ in turns:
        answer = who == "assistant"
        expected += [Part(IM_START, False), Part(f"{who}\n", False), Part(text, answer), Part(IM_END, answer)]
        expected.append(Part("\n", False))
    assert made.parts == tuple(expected[:-1])


def test_a_system_turn_is_never_supervised() -> None:
    said = [("system", (Part("Answer in one word.", True),)), ("user", (Part("2 + 2?", True),))]
    assert not any(part.supervised for part in chat("a conversation", said, heldout=False).parts)


def test_a_document_of_plain_text_is_supervised_throughout() -> None:
    document = plain("a name", "some text", heldout=True)
    assert (document.identity, document.parts, document.heldout) == ("a name", (Part("some text", True),), True)
