"""Pictures, tars and rows as crawlers, editors and attackers make them: each refused by its own message, or taken."""

from __future__ import annotations

import gc
import gzip
import io
import os
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stages.data import decode
from stages.data.decode import Size
from stages.data.files import webdataset
from stages.data.files.pieces import Input
from stages.data.turns import RowError
from stages.errors import UserError
from tests.edits import replaced
from tests.unit.data.own_files import run
from tests.unit.data.pictures_of_users import (
    declare,
    grey,
    info,
    jsonl,
    members,
    png,
    rows,
    saved,
    tar,
)  # fmt: skip
from tests.unit.data.small import Small

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))


def header(width: int, height: int, bits: int = 8, colours: int = 0) -> bytes:
    """A PNG that says it is so large, and has a few bytes of pixels."""
    sizes = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0)
    parts = [(b"IHDR", sizes), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    chunks = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def frames(kind: str) -> bytes:
    return saved(grey(1), kind, save_all=True, append_images=[grey(2), grey(3)])


PICTURES: dict[str, tuple[bytes, str]] = {
    "a jpeg cut off": (saved(PHOTO, "JPEG")[:-900], "a damaged picture"),
    "a jpeg of which a power cut left zeros": (
        saved(PHOTO, "JPEG")[:-900] + bytes(900),
        r"a damaged picture \(it has no end\)",
    ),
    "a png cut off": (saved(PHOTO)[:-900], "a damaged picture"),
    "a png cut off before its end": (saved(PHOTO)[:-12], r"a damaged picture \(it has no end\)"),
    "a png of which a power cut left zeros": (
        saved(PHOTO)[:6000] + bytes(len(saved(PHOTO)) - 6000),
        r"the checksum of its chunk b'IDAT' is wrong",
    ),
    "a png with a hole at its end": (saved(PHOTO)[:-300] + bytes(288) + saved(PHOTO)[-12:], "checksum of its chunk"),
    "a webp cut off": (saved(PHOTO, "WEBP")[:-900], "a damaged picture"),
    "a png with a changed bit": (png(1)[:60] + bytes([png(1)[60] ^ 1]) + png(1)[61:], "a damaged picture"),
    "nothing": (b"", "not a picture that can be read"),
    "text": (b"this is no picture", "not a picture that can be read"),
    "a page of HTML, as a server answers": (b"<!DOCTYPE html><html>404</html>", "not a picture that can be read"),
    "a gif": (saved(grey(1), "GIF"), "not a picture that can be read"),
    "a tiff": (saved(grey(1), "TIFF"), "not a picture that can be read"),
    "an EPS file, which Pillow gives to Ghostscript": (saved(grey(1), "EPS"), "not a picture that can be read"),
    "no pixel wide": (header(0, 8), "not a picture that can be read"),
    "a bomb below Pillow's limit": (header(9000, 9000), "a picture of 9000 x 9000 pixels"),
    "a bomb of which Pillow warns": (header(12000, 12000), "a picture of 12000 x 12000 pixels"),
    "a bomb that Pillow refuses": (header(60000, 60000), "a picture of too many pixels"),
    "a png that moves": (frames("PNG"), "a picture of 3 frames"),
    "a webp that moves": (frames("WEBP"), "a picture of 3 frames"),
    "CMYK": (saved(PHOTO.convert("CMYK"), "JPEG"), "pixels of mode CMYK"),
    "16 bits a pixel": (saved(Image.fromarray(np.full((8, 8), 40000, dtype=np.uint16))), "pixels of mode I;16"),
    "16 bits a colour, which Pillow would halve": (header(8, 8, 16, 2), "pixels of mode RGB, of 16 bits a channel"),
    "16 bits of grey and of transparency": (header(8, 8, 16, 4), "of 16 bits a channel"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_refused_by_its_own_message(name: str) -> None:
    data, why = PICTURES[name]
    with pytest.raises(RowError, match=why) as found:
        decode.pixels(data, Size(8, 16))
    assert found.value.allowed


def pair(key: str, data: bytes | None = None) -> list[tuple[str, bytes]]:
    return [(f"{key}.png", png(7) if data is None else data), (f"{key}.txt", b"said")]


ESC = "\x1b[2Jb"
SAMPLES: dict[str, tuple[list[tuple[str, bytes]], str]] = {
    "no caption": (pair("b")[:1], r"member 'b': 0 members are its caption \(none\)"),
    "no picture": (pair("b")[1:], r"member 'b': 0 members are its picture"),
    "two captions": ([*pair("b"), ("b.txt", b"else")], r"2 members are its caption \('b.txt', 'b.txt'\)"),
    "two pictures": ([*pair("b"), ("b.webp", png(1))], r"2 members are its picture \('b.png', 'b.webp'\)"),
    "a caption in capitals too": ([*pair("b"), ("b.TXT", b"else")], r"2 members are its caption \('b.txt', 'b.TXT'\)"),
    "an empty caption": ([("b.png", png(7)), ("b.txt", b" \n")], "the caption is empty"),
    "a caption in Latin-1": ([("b.png", png(7)), ("b.txt", b"\xe9")], "the caption is not UTF-8"),
    "a picture that is text": (pair("b", b"text"), "member 'b': not a picture that can be read"),
    "a name that acts on a terminal": (pair(ESC)[:1], r"member '\\x1b\[2Jb': 0 members"),
    "a key that comes apart": ([pair("b")[0], *pair("c"), pair("b")[1]], r"member 'b': 0 members are its caption"),
    "the same name in another folder": ([("x/b.png", png(7)), ("y/b.txt", b"a")], r"member 'x/b': 0 members"),
    "a picture of 17 MiB": (pair("b", bytes(17 << 20)), r"'b.png' has more than 16,777,216 bytes"),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_bad_sample_is_named_with_tar_and_member(project: Small, name: str) -> None:
    found, why = SAMPLES[name]
    tar(project.root / "a.tar", [*members(rows(3)), *found])
    declare(project, "a.tar")
    with pytest.raises(UserError, match=rf"^a\.tar:4: .*{why}") as said:
        run(project)
    assert "\x1b" not in str(said.value)
    assert not (project.data / "mine").exists()


def built(*special: tarfile.TarInfo) -> bytes:
    """A good tar with a member more."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        for name, data in members(rows(3)):
            made.addfile(info(name, size=len(data)), io.BytesIO(data))
        for one in special:
            made.addfile(one)
    return out.getvalue()


def shortened(data: bytes, zeros: int) -> bytes:
    """Without its end but for some zeros."""
    last = len(data.rstrip(b"\0"))
    return data[: last + (-last) % 512 + zeros]


def long_header(size: int) -> bytes:
    """A header of pax attributes that says it is so long."""
    return info("x", type=tarfile.XHDTYPE, size=size).tobuf(tarfile.USTAR_FORMAT) + bytes(2048)


GOOD = built()
TARS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "a.tar: empty"),
    "text": (b"text" * 400, r"a\.tar: damaged, or no tar"),
    "compressed": (gzip.compress(GOOD), r"a\.tar: damaged, or no tar"),
    "an absolute name": (built(info("/etc/b.png")), "member '/etc/b.png': a name that leads out"),
    "a name with two dots": (built(info("x/../../b.png")), "member 'x/../../b.png': a name that leads out"),
    "a link": (built(info("b.png", type=tarfile.SYMTYPE, linkname="/etc/passwd")), "member 'b.png': a link, a device"),
    "a hard link": (
        built(info("b.png", type=tarfile.LNKTYPE, linkname="0001.png")),
        "member 'b.png': a link, a device",
    ),
    "a device": (built(info("b.png", type=tarfile.CHRTYPE)), "member 'b.png': a link, a device"),
    "a pipe": (built(info("b.png", type=tarfile.FIFOTYPE)), "member 'b.png': a link, a device"),
    "cut off in a member": (GOOD[:700], r"a\.tar: damaged, or no tar"),
    "cut off between members": (shortened(GOOD, 0), r"a\.tar: cut off: the end of the archive is missing"),
    "one block of zeros": (shortened(GOOD, 512), r"a\.tar: cut off: the end of the archive is missing"),
    "two tars that were joined": (GOOD + GOOD, r"a\.tar: what lies behind byte [\d,]+ is no member"),
    "a damaged header": (
        replaced(GOOD, b"0001.txt\0", b"0009.txt\0"),
        r"a\.tar: what lies behind byte [\d,]+ is no mem",
    ),
    "a header of 4 GiB": (long_header(1 << 32), r"damaged, or no tar \(a header of 4,294,967,296 bytes"),
    "a name that acts on a terminal": (built(info(f"/{ESC}.png")), r"member '/\\x1b\[2Jb\.png': a name"),
}


@pytest.mark.parametrize("name", TARS)
def test_a_tar_is_refused_as_a_whole_whatever_rows_may_be_bad(project: Small, name: str) -> None:
    data, why = TARS[name]
    (project.root / "a.tar").write_bytes(data)
    declare(project, "a.tar", on_bad_row={"skip": 100})
    with pytest.raises(UserError, match=why) as said:
        run(project)
    assert "\x1b" not in str(said.value)
    assert [path.name for path in project.data.iterdir()] == ["tokenizer"]


def test_nothing_of_a_tar_is_unpacked_and_other_members_are_passed_over(project: Small) -> None:
    others = [("b.json", b"{}"), ("b.cls", b"1"), ("._b.png", b"x"), (".hidden.png", b"x"), ("./c.png", png(8))]
    tar(project.root / "a.tar", [*members(rows(3)), *pair("b"), *others, ("./c.txt", b"c\r\n")])
    before = sorted(path.name for path in project.root.rglob("*"))
    declare(project, "a.tar")
    made = run(project)
    assert made.documents + made.heldout == 5
    after = sorted(path.name for path in project.root.rglob("*") if (project.data / "mine") not in path.parents)
    assert after == sorted([*before, "mine", "mine.yaml"])


def test_long_names_as_gnu_and_pax_write_them_are_read(project: Small) -> None:
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(project.root / "a.tar", "w", format=form) as out:
            for name, data in [*members(rows(3)), *pair("\u00e9" * 90 + "/" + "n" * 90)]:
                out.addfile(info(name, size=len(data)), io.BytesIO(data))
        declare(project, "a.tar")
        made = run(project)
        assert made.documents + made.heldout == 4


def test_a_tar_is_streamed(tmp_path: Path) -> None:
    """What was read is not kept, as tarfile keeps the header of each member by itself."""
    tar(tmp_path / "a.tar", members(rows(50)))
    file = Input("a.tar", tmp_path / "a.tar", 0)
    reading = webdataset.samples(file, lambda extension: extension in ("png", "txt"))
    found = [next(reading).read]
    before = headers()
    found += [next(reading).read for _ in range(48)]
    assert headers() - before < 5
    found += [sample.read for sample in reading]
    assert len(found) == 50
    assert found == sorted(found)


def headers() -> int:
    """Members of tars that are in memory."""
    return sum(issubclass(type(one), tarfile.TarInfo) for one in gc.get_objects())


def fifo(path: Path) -> None:
    os.mkfifo(path)


def big(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate((16 << 20) + 1)


ROWS: dict[str, tuple[dict[str, Any], Callable[[Path], object] | None, str]] = {
    "an absolute path": ({"image": "/etc/passwd", "text": "a"}, None, "'/etc/passwd': not below the project"),
    "a path with two dots": ({"image": "x/../../b.png", "text": "a"}, None, "not below the project or the root"),
    "a path with a NUL": ({"image": "b.png\0", "text": "a"}, None, r"'b.png\\x00': not below the project"),
    "no such file": ({"image": "b.png", "text": "a"}, None, "'b.png': no such file"),
    "a folder": ({"image": "b.png", "text": "a"}, Path.mkdir, "'b.png': picture: not a regular file"),
    "a pipe": ({"image": "b.png", "text": "a"}, fifo, "'b.png': picture: not a regular file"),
    "a file of 17 MiB": ({"image": "b.png", "text": "a"}, big, "a picture of more than 16,777,216 bytes"),
    "a text file named .png": ({"image": "b.png", "text": "a"}, lambda path: path.write_text("a") and None,
                               "'b.png': not a picture that can be read"),
    "a name that acts on a terminal": ({"image": f"{ESC}.png", "text": "a"}, None, r"'\\x1b\[2Jb\.png': no such file"),
    "no caption": ({"image": "pictures/0001.png"}, None, "the key 'text' is missing .found: 'image'"),
    "no picture": ({"text": "a"}, None, "the key 'image' is missing .found: 'text'; `columns: {image: NAME}` in its"),
    "a conversation": ({"image": "a", "conversations": []}, None, "the key 'text' is missing .*; `llava` in docs/know"),
    "parts": ({"content": []}, None, "the key 'text' is missing .*, as builder pictures with rows: interleaved has it"),
    "two captions": ({"image": "b.png", "text": ["a", "b"]}, None, "text is a list instead of a string"),
    "pixels in the row": ({"image": {"bytes": "iVBOR"}, "text": "a"}, None, "image is an object instead of a string"),
    "an address": ({"image": "https://example.org/b.png", "text": "a"}, None, "an address, and nothing is downloaded"),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_a_bad_row_of_jsonl_is_named_with_its_line(project: Small, name: str) -> None:
    row, make, why = ROWS[name]
    (project.root / "a.png").write_bytes(png(1))
    jsonl(project.root / "rows.jsonl", [{"image": "a.png", "text": "a"}, row])
    if make is not None:
        make(project.root / "b.png")
    declare(project, "rows.jsonl")
    with pytest.raises(UserError, match=rf"^rows\.jsonl:2: .*{why}") as said:
        run(project)
    assert "\x1b" not in str(said.value)
    assert not (project.data / "mine").exists()


def test_one_picture_with_several_captions_has_nothing_to_hold_out(project: Small) -> None:
    tar(project.root / "a.tar", members([(f"{n}", png(1), f"caption {n}") for n in range(5)]))
    declare(project, "a.tar")
    with pytest.raises(UserError, match=r"a\.tar: 1 different pictures, as they are scaled; allowed: at least two"):
        run(project)
