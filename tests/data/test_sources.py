import os
import pickle
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest

from jaxmatte.data import around, sources
from jaxmatte.errors import BrokenData, UserError
from tests.data import folders


def pairs(root):
    return sources.PairFolder(root / "AM-2k/train/original", root / "AM-2k/train/mask")


def test_pairs_come_in_order_of_their_names(tmp_path):
    source = pairs(folders.am2k(tmp_path))
    assert len(source) == 4
    assert [source.name(i) for i in range(4)] == [f"m_{i:08d}.jpg" for i in range(4)]
    row = source[2]
    assert row["image"].shape == (96, 128, 3)
    assert (row.index, row.name, row.size) == (2, "m_00000002.jpg", (96, 128))
    np.testing.assert_array_equal(row["alpha"], folders.matte(96, 128))
    difference = row["image"].astype(int) - folders.picture(2, 96, 128)
    assert np.abs(difference).mean() < 3  # JPEG


def test_cutouts_keep_colours_and_alpha_apart(tmp_path):
    rgba = np.dstack([folders.picture(1, 40, 50), folders.matte(40, 50)])
    folders.write(tmp_path / "a.png", rgba)
    row = sources.CutoutFolder(tmp_path)[0]
    np.testing.assert_array_equal(row["foreground"], rgba[..., :3])
    np.testing.assert_array_equal(row["alpha"], rgba[..., 3])


def test_sixteen_bit_and_three_channel_alphas_read_as_bytes(tmp_path):
    alpha = folders.matte(20, 30)
    folders.write(tmp_path / "a.png", alpha.astype(np.uint16) * 257)
    folders.write(tmp_path / "b.png", np.repeat(alpha[..., None], 3, axis=2))
    for name in ("a.png", "b.png"):
        np.testing.assert_array_equal(sources.read_grey(tmp_path / name), alpha)


def test_a_missing_folder_says_what_is_there(tmp_path):
    folders.am2k(tmp_path)
    with pytest.raises(UserError, match=r"config.data.alphas.*holds: mask, original"):
        sources.list_pictures(tmp_path / "AM-2k/train/masks", "data.alphas")


def test_an_empty_folder_is_named(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(UserError, match=r"images .*holds no pictures"):
        sources.list_pictures(tmp_path / "images", "data.images")


def test_pictures_without_partner_are_named(tmp_path):
    folders.am2k(tmp_path)
    (tmp_path / "AM-2k/train/mask/m_00000001.png").unlink()
    with pytest.raises(UserError, match=r"1 of 4 .*m_00000001.jpg"):
        pairs(tmp_path)


def test_unequal_sizes_are_named(tmp_path):
    folders.am2k(tmp_path)
    folders.write(tmp_path / "AM-2k/train/mask/m_00000003.png", folders.matte(90, 128))
    with pytest.raises(UserError, match=r"m_00000003.jpg is 128x96, m_00000003.png 128x90"):
        pairs(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.99])
def test_a_picture_that_does_not_decode_is_named(tmp_path, share):
    source = pairs(folders.am2k(tmp_path))
    path = tmp_path / "AM-2k/train/original/m_00000001.jpg"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(BrokenData, match=r"cannot (decode|read) .*m_00000001.jpg"):
        source[1].read("image")


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "bmp", "tif"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_no_format_is_made_up_where_it_is_cut_off(tmp_path, ending, share, capfd):
    path = tmp_path / f"a.{ending}"
    folders.write(path, folders.picture(3, 90, 120))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    for read in (sources.read_colour, sources.read_grey):
        with pytest.raises(BrokenData, match=rf"cannot decode .*a.{ending}"):
            read(path)
    assert "OpenCV" not in (told := capfd.readouterr().err)  # what there is to say is in the error
    assert "WARN" not in told


def bitmap(path, width, height):
    """A black PNG of a bit a pixel: hundreds of megapixels in some kilobytes."""
    packer = zlib.compressobj(9)
    lines = bytes(1 + (width + 7) // 8) * 100
    body = b"".join(packer.compress(lines) for _ in range(height // 100)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = [
        struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part))
        for name, part in ((b"IHDR", header), (b"IDAT", body), (b"IEND", b""))
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def test_pictures_of_hundreds_of_megapixels_are_pictures(tmp_path):
    bitmap(tmp_path / "a.png", 20_000, 10_000)
    assert sources.read_size(tmp_path / "a.png") == (10_000, 20_000)
    assert sources.read_grey(tmp_path / "a.png").shape == (10_000, 20_000)


def test_pictures_that_opencv_does_not_take_are_named(tmp_path):
    bitmap(tmp_path / "a.png", 60_000, 20_000)
    assert sources.read_size(tmp_path / "a.png") == (20_000, 60_000)
    with pytest.raises(BrokenData, match=r"cannot decode .*a.png"):
        sources.read_grey(tmp_path / "a.png")


def test_alphas_of_four_channels_and_of_floats(tmp_path):
    alpha = folders.matte(20, 30)
    opaque = np.dstack([alpha, alpha, alpha, np.full_like(alpha, 255)])
    folders.write(tmp_path / "a.png", opaque)
    np.testing.assert_array_equal(sources.read_grey(tmp_path / "a.png"), alpha)
    folders.write(tmp_path / "a.png", np.dstack([folders.picture(1, 20, 30), alpha]))
    with pytest.raises(BrokenData, match=r"a.png has 4 channels; .*is it a cut-out"):
        sources.read_grey(tmp_path / "a.png")
    assert cv2.imwrite(str(tmp_path / "a.tif"), alpha / np.float32(255))
    with pytest.raises(BrokenData, match=r"a.tif holds float32; 8 or 16 bits"):
        sources.read_grey(tmp_path / "a.tif")


def test_a_file_that_vanished_is_named(tmp_path):
    source = pairs(folders.am2k(tmp_path))
    row = source[1]
    (tmp_path / "AM-2k/train/mask/m_00000001.png").unlink()
    with pytest.raises(BrokenData, match=r"cannot read .*m_00000001.png"):
        row.read("alpha")
    (tmp_path / "AM-2k/train/original/m_00000001.jpg").unlink()
    with pytest.raises(BrokenData, match=r"cannot read .*m_00000001.jpg"):
        source[1]


def test_a_size_that_changed_after_the_start_is_found_when_it_is_read(tmp_path):
    source = pairs(folders.am2k(tmp_path))
    folders.write(tmp_path / "AM-2k/train/mask/m_00000001.png", folders.matte(90, 128))
    with pytest.raises(BrokenData, match=r"the alpha of m_00000001.jpg is 128x90 where 128x96"):
        source[1].read("alpha")


def test_binary_alphas_are_warned_of_with_their_share(tmp_path, capsys):
    folders.am2k(tmp_path)
    folders.write(
        tmp_path / "AM-2k/train/mask/m_00000000.png", (folders.matte(96, 128) > 99) * np.uint8(255)
    )
    pairs(tmp_path)
    assert "1 of 4 alphas" in (warning := capsys.readouterr().err)
    assert "25 %" in warning


def test_no_warning_for_mattes(tmp_path, capsys):
    pairs(folders.am2k(tmp_path))
    assert capsys.readouterr().err == ""


def test_fingerprint_follows_names_and_bytes_of_images_and_alphas(tmp_path):
    before = pairs(folders.am2k(tmp_path)).fingerprint
    assert before == pairs(tmp_path).fingerprint
    path = tmp_path / "AM-2k/train/mask/m_00000001.png"
    path.write_bytes(path.read_bytes() + b"0")
    (path.parent / "notes.txt").write_text("")  # a folder tells of what comes and goes in it
    changed = pairs(tmp_path).fingerprint
    assert changed != before
    folders.am2k(tmp_path, count=5)
    assert pairs(tmp_path).fingerprint not in (before, changed)


def test_cached_reads_each_row_once_and_travels_to_workers_empty(tmp_path):
    class Counting(sources.PictureFolder):
        reads = 0

        def __getitem__(self, index):
            self.reads += 1
            return super().__getitem__(index)

    counted = Counting(folders.backgrounds(tmp_path) / "BG-20k/train", "data.backgrounds")
    cached = around.Cached(counted)
    first, again = cached[1], cached[1]
    assert counted.reads == 1
    np.testing.assert_array_equal(first["background"], again["background"])
    assert cached.name(1) == "h_00000001.jpg"
    plain = around.Cached(sources.PictureFolder(tmp_path / "BG-20k/train", "data.backgrounds"))
    plain[0]
    assert len(pickle.dumps(plain)) < 20_000


def test_what_is_broken_can_be_left_to_the_reader(tmp_path, capsys):
    folders.am2k(tmp_path)
    base = tmp_path / "AM-2k/train"
    (base / "mask/m_00000000.png").write_bytes(b"no picture")
    folders.write(base / "mask/m_00000003.png", folders.matte(90, 128))
    with pytest.raises(BrokenData, match=r"cannot read .*mask/m_00000000.png"):
        pairs(tmp_path)
    source = sources.PairFolder(base / "original", base / "mask", skip_broken=True)
    assert capsys.readouterr().err == ""  # of binary alphas, too
    assert len(source) == 4
    for index in (0, 3):
        with pytest.raises(BrokenData):
            source[index].read("alpha")
    assert source[1].read("alpha").shape == (96, 128)


def test_denoised_pictures_come_with_their_rows(tmp_path):
    source = pairs(folders.am2k(tmp_path))
    for name in ("m_00000000.png", "m_00000002.jpg"):
        folders.write(tmp_path / "clean" / name, folders.picture(9, 96, 128))
    rows = around.Denoised(source, tmp_path / "clean", "foreground", "data.x")
    rows = pickle.loads(pickle.dumps(rows))
    assert (len(rows), rows.name(2), rows.size(2)) == (4, "m_00000002.jpg", (96, 128))
    assert not rows.has_trimaps
    assert [set(rows[index].planes) - {"image", "alpha"} for index in range(4)] == [
        {"denoised_foreground"},
        set(),
        {"denoised_foreground"},
        set(),
    ]
    np.testing.assert_array_equal(rows[0]["denoised_foreground"], folders.picture(9, 96, 128))
    np.testing.assert_array_equal(rows[0]["alpha"], source[0]["alpha"])
    assert rows.fingerprint.startswith(source.fingerprint)


MANY = 200_000
OPEN = """
import pathlib, pickle, sys, time
from jaxmatte.data import sources
root, start = pathlib.Path(sys.argv[1]), time.perf_counter()
if sys.argv[2] == "pairs":
    source = sources.PairFolder(root / "images", root / "alphas")
else:
    source = sources.PictureFolder(root / "images", "data.backgrounds")
assert len(source) == 200_000 and source.fingerprint
source[199_999].read("image" if sys.argv[2] == "pairs" else "background")
print(time.perf_counter() - start)
"""


@pytest.mark.slow
def test_two_hundred_thousand_files_open_in_seconds(tmp_path):
    for folder, ending, pixels in (
        ("images", "jpg", folders.picture(1, 24, 32)),
        ("alphas", "png", folders.matte(24, 32)),
    ):
        for number in range(MANY):
            path = tmp_path / folder / f"{number:07d}.{ending}"
            if number % 50_000 == 0:  # file systems count links by sixteen bits
                first = path
                folders.write(path, pixels)
            else:
                os.link(first, path)
        before = tmp_path.stat().st_mtime - 60  # not changed just now: the manifest is trusted
        os.utime(tmp_path / folder, (before, before))
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    for kind in ("pairs", "pairs", "pictures"):  # the first listing and remembered ones
        command = [sys.executable, "-c", OPEN, str(tmp_path), kind]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        seconds = float(done.stdout)
        print(f"{kind}: {seconds:.2f} s")
        assert seconds < 10
