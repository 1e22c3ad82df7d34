"""Conversations in rows of each shape: what of them is learned, and what is wrong with a row, by its line."""

from __future__ import annotations

import pytest

from stages.data.document import Document
from stages.errors import UserError
from tests.unit.data.files_of_users import CHATS, alpaca, call, declare, jsonl, lines, read, said, turn
from tests.unit.data.own_files import run
from tests.unit.data.small import Small


def supervised(document: Document) -> list[object]:
    return [part.content for part in document.parts if part.supervised]


def test_a_completion_alone_is_learned(project: Small) -> None:
    jsonl(project.root / "a.jsonl", [{"prompt": "1 + 1 =", "completion": " 2"}])
    declare(project, "a.jsonl", "sft", rows="prompt_completion")
    (found,) = read(project)
    assert [part.content for part in found.parts] == ["1 + 1 =", " 2"]
    assert supervised(found) == [" 2"]


def test_of_messages_in_a_prompt_no_answer_is_learned(project: Small) -> None:
    ask, answer = {"role": "user", "content": "?"}, {"role": "assistant", "content": "first"}
    last = {"role": "assistant", "content": "second"}
    jsonl(project.root / "a.jsonl", [{"prompt": [ask, answer, ask], "completion": [last]}])
    declare(project, "a.jsonl", "sft", rows="prompt_completion")
    (found,) = read(project)
    assert supervised(found) == ["second", 5]  # and the <|im_end|> that closes it


def test_parts_of_text_are_joined_and_calls_are_for_a_chat_template(project: Small) -> None:
    call = {"type": "function", "id": "1", "function": {"name": "add", "arguments": '{"a": 1}'}}
    chat = [
        {"role": "user", "content": [{"type": "text", "text": "what is "}, {"type": "text", "text": "1 + 1?"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "2", "tool_call_id": "1"},
        {"role": "assistant", "content": "It is 2."},
    ]
    jsonl(project.root / "a.jsonl", [{"messages": chat}])
    declare(project, "a.jsonl", "sft")
    (found,) = read(project)
    assert found.conversation is not None
    asked, called, answered, told = found.conversation.messages
    assert asked["content"] == "what is 1 + 1?"
    assert called["tool_calls"] == [{"type": "function", "id": "1", "function": {"name": "add", "arguments": {"a": 1}}}]
    assert '"id"' not in found.identity, "drawn, and no part of what is said"
    assert (called["content"], answered["tool_call_id"], told["content"]) == ("", "1", "It is 2.")
    with pytest.raises(UserError, match=r"^a\.jsonl:1: found tools, .*allowed: role and content"):
        run(project)


@pytest.mark.parametrize("tools", [[{"name": "add"}], '[{"name": "add"}]'])
def test_schemas_of_tools_are_objects_or_their_json(project: Small, tools: object) -> None:
    jsonl(project.root / "a.jsonl", [{"messages": CHATS[0], "schemas": tools}])
    declare(project, "a.jsonl", "sft", columns={"tools": "schemas"})
    (found,) = read(project)
    assert found.conversation is not None
    assert found.conversation.tools == ({"name": "add"},)


def test_an_alpaca_input_stands_below_its_instruction_and_history_before(project: Small) -> None:
    jsonl(project.root / "a.jsonl", [alpaca(history=[["hi", "hello"]])])
    declare(project, "a.jsonl", "sft", rows="alpaca")
    (found,) = read(project)
    assert [part.content for part in found.parts if part.content not in (4, 5, "\n")][1::2] == [
        "hi", "hello", "add\n1, 1", "2",
    ]  # fmt: skip


EMPTY_SYSTEM = {
    "messages": ("messages", [{"role": "system", "content": ""}, *CHATS[0][1:]]),
    "parts": ("messages", [{"role": "system", "content": []}, *CHATS[0][1:]]),
    "sharegpt": ("sharegpt", [{"from": "system", "value": ""}, {"from": "human", "value": CHATS[0][1]["content"]},
                              {"from": "gpt", "value": CHATS[0][2]["content"]}]),
}  # fmt: skip


@pytest.mark.parametrize("shape", EMPTY_SYSTEM)
def test_a_system_that_says_nothing_is_a_turn_of_its_own(project: Small, shape: str) -> None:
    """As many data sets have it in every row; what a template writes of it is the template's to say."""
    rows, chat = EMPTY_SYSTEM[shape]
    jsonl(project.root / "a.jsonl", [{"messages" if rows == "messages" else "conversations": chat}])
    declare(project, "a.jsonl", "sft", rows=rows)
    (found,) = read(project)
    assert found.conversation is not None
    assert found.conversation.messages == ({"role": "system", "content": ""}, *CHATS[0][1:])
    assert [part.content for part in found.parts][:4] == [4, "system\n", "", 5]


def test_a_tool_may_give_nothing_back_and_nobody_else(project: Small) -> None:
    asks = [
        {"role": "user", "content": "run it"},
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "run", "arguments": {}}}]},
    ]
    jsonl(project.root / "a.jsonl", [{"messages": [*asks, {"role": "tool", "content": ""}, CHATS[0][2]]}])
    declare(project, "a.jsonl", "sft")
    (found,) = read(project)
    assert found.conversation is not None
    assert found.conversation.messages[2] == {"role": "tool", "content": ""}
    for role, place in (("user", 0), ("assistant", 1)):
        silent = [{**one, "content": ""} if one["role"] == role else one for one in CHATS[0][1:]]
        jsonl(project.root / "a.jsonl", [{"messages": silent}])
        with pytest.raises(UserError, match=rf"messages\[{place}\]\.content is empty"):
            read(project)


BAD_ROWS: dict[str, tuple[str, dict[str, object], str]] = {
    "an unknown key": ("messages", turn(role="user", content="x", wait=0), r"messages\[2\] has the unknown key 'wait'"),
    "an answer that is not learned": (
        "messages",
        turn(role="assistant", content="x", weight=0),
        r"messages\[2\]\.weight: found 0, and every answer is learned; .*_completion",
    ),
    "an answer with a mask": ("messages", turn(role="assistant", content="x", mask=1), r"\.mask: found 1, and every"),
    "reasoning of a question": (
        "messages",
        turn(role="user", content="x", reasoning_content="y"),
        r"messages\[2\]\.reasoning_content: only a turn of role assistant has it",
    ),
    "ShareGPT's keys": (
        "messages",
        {"messages": [{"from": "human", "value": "x"}]},
        r"(?=.*allowed: `rows: sharegpt` with `columns: \{conversations: messages\}`)",
    ),
    "OpenAI's keys": (
        "sharegpt",
        {"conversations": [{"role": "user", "content": "x"}]},
        r"(?=.*allowed: `rows: messages` with `columns: \{messages: conversations\}`)",
    ),
    "a picture": ("messages", turn(role="user", content=[{"type": "image_url"}]), "is of type 'image_url'"),
    "a part without text": ("messages", turn(role="user", content=[{"type": "text"}]), r"content\[0\]\.text is null"),
    "a bare part": ("messages", turn(role="user", content=["x"]), r"content\[0\] is of type 'str'"),
    "no parts": ("messages", turn(role="user", content=[]), r"messages\[2\]\.content is empty"),
    "a call by a user": ("messages", turn(role="user", content="x", tool_calls=[]), "only a turn of role assistant"),
    "an id of an assistant": ("messages", turn(role="assistant", content="x", tool_call_id="1"), "only .* role tool"),
    "a call of nothing": ("messages", call(arguments="{}"), r"tool_calls\[0\] does not name a function"),
    "arguments of text": ("messages", call(name="f", arguments="{"), r"arguments is not JSON"),
    "arguments with a key twice": (
        "messages",
        call(name="f", arguments='{"a": 1, "a": 2}'),
        r"arguments: the key 'a' is there 2 times",
    ),
    "arguments of a list": ("messages", call(name="f", arguments=[1]), "arguments is a list instead of an object"),
    "a call's id of a number": (
        "messages",
        turn(role="assistant", tool_calls=[{"id": 3, "function": {"name": "f", "arguments": {}}}]),
        r"tool_calls\.id is a number instead of a string",
    ),
    "a result of no call": (
        "messages",
        {
            "messages": [
                {"role": "user", "content": "?"},
                {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": {}}}]},
                {"role": "tool", "content": "2", "tool_call_id": "b"},
                {"role": "assistant", "content": "!"},
            ]
        },
        r"messages\[2\]\.tool_call_id: found 'b', the calls before it are a",
    ),
    "a key of any length": ("sharegpt", said(**{"from": "x" * 9999, "value": "!"}), r"from: found 'x{400,490}\.\.\."),
    "a number as role": ("messages", turn(role=1, content="x"), r"role: found 1"),
    "a new role": ("messages", turn(role="developer", content="x"), "role: found 'developer'"),
    "no value": ("sharegpt", said(**{"from": "human"}), "does not have the keys 'from' and 'value'"),
    "nobody": ("sharegpt", said(**{"from": "bob", "value": "x"}), r"from: found 'bob'"),
    "a call that is no JSON": ("sharegpt", said(**{"from": "function_call", "value": "x"}), "value is not JSON"),
    "no answer": ("sharegpt", {"conversations": [{"from": "human", "value": "?"}]}, "no turn is the assistant's"),
    "no output": ("alpaca", {"instruction": "x"}, "the key 'output' is missing"),
    "an empty output": ("alpaca", alpaca(output=""), "output is empty"),
    "a picture that is named beside the turns": (
        "sharegpt",
        {
            "image": "1.png",
            "conversations": [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "one"}],
        },
        r"<image> in the text, and pictures in 'image', which this kind does not read",
    ),
    "pictures beside messages": (
        "messages",
        {"images": ["1.png"], **turn(role="user", content="What is <image>?")},
        "pictures in 'images'",
    ),
    "a number as input": ("alpaca", alpaca(input=3), "input is a number"),
    "half of a pair": ("alpaca", alpaca(history=[["x"]]), r"history\[0\] is not a question and its answer"),
    "no completion": ("prompt_completion", {"prompt": "x"}, "the key 'completion' is missing"),
    "text and messages": ("prompt_completion", {"prompt": "x", "completion": [{}]}, "completion is a list"),
    "a completion of the user": (
        "prompt_completion",
        {"prompt": [{"role": "user", "content": "x"}], "completion": [{"role": "user", "content": "x"}]},
        "no turn is the assistant's",
    ),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_conversation_is_named(project: Small, case: str) -> None:
    rows, row, why = BAD_ROWS[case]
    (project.root / "a.jsonl").write_bytes(b"\n" + lines([row]))
    declare(project, "a.jsonl", "sft", rows=rows)
    with pytest.raises(UserError, match=rf"^a\.jsonl:2: .*{why}.*; allowed: "):
        read(project)
