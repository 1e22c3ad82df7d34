"""Rows of pictures and texts that are refused, each by its file and line, and specs of them."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from typing import Any

import pytest

from stages.errors import SpecError, UserError
from tests.unit.data.chats_with_pictures import URL, ask, in_files, picture, text
from tests.unit.data.own_files import run
from tests.unit.data.pictures_of_users import declare, jsonl, png, tar
from tests.unit.data.small import Small

BAD: dict[str, tuple[object, str]] = {
    "an address": ([picture("https://somewhere/1.png")], "'https://somewhere/1.png': an address, and nothing is"),
    "no base64": ([picture(URL + "%%%")], "not base64"),
    "no picture": ([picture(URL + base64.b64encode(b"text").decode())], "not a picture that can be read"),
    "empty": ([picture(URL)], "not a picture that can be read"),
    "cut off": ([picture(URL + base64.b64encode(png(1)[:60]).decode())], "a damaged picture"),
    "a picture out of the project": ([picture("../a.png")], "not below the project"),
    "no such picture": ([picture("nothing.png")], "'nothing.png': no such file"),
    "a video": ([{"type": "video", "video": "a.mp4"}], r"messages\[0\]\.content\[0\] is of type 'video'"),
    "no name": ([{"type": "image"}], r"content\[0\]\.image is null instead of a string"),
    "too many": ([picture("0.0.png")] * 257, "more than 256 pictures in a row"),
    "no content": ([], r"messages\[0\]\.content is empty"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_picture_of_a_chat_is_named_with_its_line(project: Small, name: str) -> None:
    content, why = BAD[name]
    in_files(project.root, [ask(0, [picture("0.0.png")]), ask(1, [picture("1.0.png")]), ask(2, content)])
    declare(project, "rows.jsonl", "multimodal", rows="messages")
    with pytest.raises(UserError, match=rf"^rows\.jsonl:3: .*{why}"):
        run(project)


def test_a_picture_in_an_answer_is_refused(project: Small) -> None:
    row = {"messages": [{"role": "user", "content": "Draw."}, {"role": "assistant", "content": [picture("0.0.png")]}]}
    in_files(project.root, [row])
    declare(project, "rows.jsonl", "multimodal", rows="messages")
    with pytest.raises(UserError, match=r"rows\.jsonl:1: messages\[1\]\.content: a picture in an answer"):
        run(project)


def test_a_row_of_a_tar_names_each_of_its_pictures_and_no_others(project: Small) -> None:
    row = json.dumps(ask(0, [picture("0.0.png"), text("?")])).encode()
    for members, why in (
        (
            [("0.0.png", png(1)), ("0.1.png", png(2)), ("0.json", row)],
            r"pictures that the row does not name \('1.png'\)",
        ),
        ([("0.1.png", png(2)), ("0.json", row)], "0 members of the row are called so"),
        ([("0.0.png", png(1)), ("0.0.PNG", png(2)), ("0.json", row)], "2 members of the row are called so"),
        ([("0.0.png", png(1))], "0 members are its row"),
    ):
        tar(project.root / "a.tar", members)
        declare(project, "a.tar", "multimodal", rows="messages")
        with pytest.raises(UserError, match=rf"^a\.tar:1: member '0': .*{why}"):
            run(project)


def test_the_members_of_one_row_are_bounded_together(project: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.data.files.webdataset.MOST", 100)
    with tarfile.open(project.root / "a.tar", "w") as out:
        for number in range(50):
            info = tarfile.TarInfo("0.png")
            info.size = 60
            out.addfile(info, io.BytesIO(bytes([number]) * 60))
    declare(project, "a.tar")
    with pytest.raises(UserError, match=r"^a\.tar:1: member '0': its members have more than 100 bytes"):
        run(project)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"rows": "sharegpt"}, "rows: found sharegpt; allowed: interleaved or messages"),
        ({"rows": "messages", "kind": "pairs", "unit": "items"}, "of kind multimodal"),
        ({"pixels": "rgb"}, "channels: found 1; allowed: 3 with `pixels: rgb`"),
        ({"pixels": "blue"}, "pixels"),
        ({"rows": "messages", "extensions": {"image": ["png"]}}, "text: found txt; allowed: json"),
        ({"rows": "interleaved", "builder": "file", "kind": "sft", "parameters": {}}, "rows: found interleaved"),
        ({"rows": "messages", "columns": {"image": "a"}}, "columns.image|image"),
    ],
)
def test_a_spec_is_refused_by_its_own_line(project: Small, changes: dict[str, Any], why: str) -> None:
    jsonl(project.root / "rows.jsonl", [ask(0, [picture("0.0.png")])])
    declare(project, "rows.jsonl", **{"kind": "multimodal", "unit": "tokens", **changes})
    with pytest.raises((SpecError, UserError), match=why):
        run(project)
