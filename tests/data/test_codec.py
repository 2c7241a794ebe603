"""Coded planes: what comes back, what a window costs, and what damage does."""

import numpy as np
import pytest

from jaxmatte.data import codec, regions
from jaxmatte.errors import BrokenData, UserError
from tests.data import folders

SIZES = [(1, 1), (5, 300), (256, 256), (257, 255), (300, 520)]


def soft(height, width):
    return folders.matte(height, width, soft=30.0)


def windows(height, width):
    yield slice(0, height), slice(0, width)
    yield slice(height // 3, height // 3 + 1), slice(width // 2, width)
    yield slice(0, max(height // 2, 1)), slice(width - 1, width)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("field", ["alpha", "image", "trimap_5", "dilation_9"])
def test_every_window_is_cut_from_the_whole_and_nothing_is_lost(field, size):
    pixels = folders.picture(1, *size) if field == "image" else soft(*size)
    if "_" in field:
        pixels = regions.trimap(pixels, 5)
    plane = codec.plane(codec.encode(field, pixels, "png"))
    np.testing.assert_array_equal(plane.read(), pixels)
    for window in windows(*size):
        np.testing.assert_array_equal(plane.read(window), pixels[window])


@pytest.mark.parametrize("width", [65535, 65536, 70001])
def test_runs_of_wide_pictures(width):
    pixels = np.zeros((2, width), np.uint8)
    pixels[0, -3:] = pixels[1, 7:65530] = 128
    plane = codec.plane(codec.encode("trimap_5", pixels))
    np.testing.assert_array_equal(plane.read(), pixels)
    window = slice(0, 2), slice(65520, width)
    np.testing.assert_array_equal(plane.read(window), pixels[window])
    assert plane.pick(128, 1, width, np.random.default_rng(0))[1] >= width - 3


def test_windows_of_jpegs_are_cut_from_the_whole_which_is_near():
    pixels = folders.picture(3, 300, 520)
    plane = codec.plane(codec.encode("image", pixels, "jpeg95"))
    whole = plane.read()
    assert 10 * np.log10(255**2 / np.mean((whole.astype(float) - pixels) ** 2)) > 38
    for window in windows(300, 520):
        np.testing.assert_array_equal(plane.read(window), whole[window])


def test_a_file_is_kept_as_it_is(tmp_path):
    folders.write(tmp_path / "a.jpg", folders.picture(2, 40, 50))
    content = (tmp_path / "a.jpg").read_bytes()
    coded = codec.original(content, (40, 50))
    assert content in coded
    from jaxmatte.data.sources import read_colour

    np.testing.assert_array_equal(codec.plane(coded).read(), read_colour(tmp_path / "a.jpg"))
    with pytest.raises(BrokenData, match=r"\(40, 50\) where \(41, 50\)"):
        codec.plane(codec.original(content, (41, 50))).read()


def test_a_window_decodes_only_the_tiles_it_touches(monkeypatch):
    decoded = []
    original = codec.cv2.imdecode
    monkeypatch.setattr(codec.cv2, "imdecode", lambda *given: decoded.append(1) or original(*given))
    plane = codec.plane(codec.encode("image", folders.picture(1, 600, 1100)))
    plane.read((slice(10, 250), slice(260, 500)))
    assert len(decoded) == 1
    plane.read((slice(250, 260), slice(500, 520)))
    assert len(decoded) == 1 + 4


def test_the_same_window_again_costs_nothing(monkeypatch):
    plane = codec.plane(codec.encode("image", folders.picture(1, 300, 300)))
    window = (slice(10, 200), slice(20, 90))
    first = plane.read(window)
    monkeypatch.setattr(codec.cv2, "imdecode", None)
    assert plane.read((slice(10, 200), slice(20, 90))) is first
    with pytest.raises(ValueError, match="read-only"):
        first[0, 0] = 0


def test_flat_tiles_of_an_alpha_cost_a_byte():
    alpha = np.zeros((1024, 1024), np.uint8)
    alpha[300:310, 300:310] = 7
    assert len(codec.encode("alpha", alpha)) < 64 * 5 + 200


@pytest.mark.parametrize("field", ["alpha", "image", "trimap_5"])
def test_bytes_that_are_cut_off_are_never_pixels(field):
    pixels = folders.picture(1, 300, 300) if field == "image" else soft(300, 300)
    pixels = regions.trimap(pixels, 5) if field == "trimap_5" else pixels
    whole = codec.encode(field, pixels)
    for length in (0, 3, 12, 30, len(whole) // 2, len(whole) - 1):
        with pytest.raises(BrokenData):
            codec.plane(whole[:length]).read()


@pytest.mark.parametrize(
    "damage", [b"", b"not a plane at all, but long", b"JXMTZ" + bytes(40), b"JXMTJ" + bytes(40)]
)
def test_what_is_no_plane_is_refused(damage):
    with pytest.raises(BrokenData):
        codec.plane(damage).read()


def test_a_tile_of_zeros_in_the_middle_does_not_decode():
    coded = bytearray(codec.encode("alpha", soft(300, 300)))
    coded[-40:] = bytes(40)
    with pytest.raises(BrokenData):
        codec.plane(bytes(coded)).read()


def test_mistakes_are_named():
    with pytest.raises(UserError, match="jpeg90, jpeg95, png, original"):
        codec.encode("image", folders.picture(0, 8, 8), "webp")
    with pytest.raises(ValueError, match="uint8"):
        codec.encode("alpha", np.zeros((4, 4), np.float32))
    plane = codec.plane(codec.encode("alpha", soft(20, 30)))
    with pytest.raises(ValueError, match="window"):
        plane.read((slice(0, 21), slice(0, 30)))
