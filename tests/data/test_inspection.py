"""Files of every broken kind, and names of any bytes: each is listed, and none stops the check."""

import json
import os
import shutil
import struct
import zlib

import numpy as np
import pytest

from jaxmatte.data import layouts
from jaxmatte.data.__main__ import main
from jaxmatte.data.check import check
from jaxmatte.data.inspection import inspect
from jaxmatte.errors import BrokenData
from tests.data import lookalikes


def chunk(kind, content):
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def vast(side):
    """A PNG that claims to have so many rows and columns, of which nothing is there."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_no_kind_of_broken_file_stops_the_check(tmp_path):
    lookalikes.pairs(tmp_path, ["0", "1"], "images", "alphas")
    whole = (tmp_path / "images/0.png").read_bytes()
    noise = np.random.default_rng(0).bytes(3000)
    bad = {
        "empty.png": b"",
        "noise.jpg": noise,
        "text.png": b"hello",
        "page.jpg": b"<html>" + bytes(99),
        "cut.png": whole[:-90],
        "head.png": whole[:20],
        "middle.png": whole[:70] + noise[:50] + whole[120:],
        "vast.png": vast(65535),
        "vaster.png": vast(2**31 - 1),
        "tiff.tif": b"II*\0" + noise,
        "riff.webp": b"RIFF" + noise[:4] + b"WEBPVP8 " + noise,
        "bitmap.bmp": b"BM" + noise,
        "jpeg.jpg": b"\xff\xd8\xff\xe0" + noise + b"\xff\xd9",
    }
    for name, content in bad.items():
        (tmp_path / "images" / name).write_bytes(content)
        lookalikes.alpha(tmp_path / f"alphas/{name.partition('.')[0]}.png")
    (tmp_path / "images/nowhere.png").symlink_to("gone")
    lookalikes.alpha(tmp_path / "alphas/nowhere.png")
    (tmp_path / "images/loop.png").symlink_to("loop.png")
    lookalikes.alpha(tmp_path / "alphas/loop.png")
    (tmp_path / "images/folder.png").mkdir()
    result = check("pairs", tmp_path)
    assert result.kinds(wrong=True) == ["unreadable"]
    names = sorted(line.partition(":")[0] for line in result.findings["unreadable"])
    assert names == sorted(f"images/{name}" for name in [*bad, "nowhere.png", "loop.png"])
    assert all(line.partition(": ")[2] for line in result.findings["unreadable"])


def vast_bitmap(side):
    """A BMP that claims to have so many rows and columns."""
    head = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 99, 0, 0, 54) + head + bytes(99)


@pytest.mark.parametrize("holds", [layouts.COLOUR, layouts.ALPHA, layouts.CUTOUT, layouts.LABEL])
@pytest.mark.parametrize("content", [vast_bitmap(2**31 - 1), vast(2**31 - 1), b"II*\0" + bytes(99)])
def test_what_claims_to_be_vast_is_broken_and_no_more(tmp_path, holds, content):
    path = tmp_path / "a.bmp"
    path.write_bytes(content)
    facts = inspect(str(path), holds)
    assert facts.size is None
    assert facts.error
    with pytest.raises(BrokenData):
        layouts.read_label(path)


def test_names_of_any_bytes_are_printed_in_one_line(tmp_path, capsys):
    lookalikes.pairs(tmp_path, ["0"], "images", "alphas")
    for name in ("new\nline", os.fsdecode(b"\xff")):
        (tmp_path / "images" / f"{name}.png").write_bytes(b"")
    for number in range(9):  # all alike: one line, which would be endless
        name = f"{number}" * 200
        lookalikes.pairs(tmp_path, [name], "images", "alphas")
        shutil.copy(tmp_path / "images/0.png", tmp_path / f"images/{name}.png")
    assert main(["check", "pairs", str(tmp_path), f"--report={tmp_path / 'r.json'}"]) == 1
    out = capsys.readouterr().out
    assert "images/new\\nline.png: " in out
    assert "images/\\udcff.png: " in out
    assert max(map(len, out.splitlines())) < 400
    assert len(json.loads((tmp_path / "r.json").read_text())["problems"]["unreadable"]) == 2
