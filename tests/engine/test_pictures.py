import cv2
import numpy as np
import pytest

from jaxmatte.engine import pictures

GAP, HEADER = pictures.GAP, pictures.HEADER


def plain(height, width, value=0):
    return np.full((height, width, 3), value, np.uint8)


def ink(strip):
    """Columns in which something is written."""
    return np.flatnonzero((strip < 128).any(axis=(0, 2)))


def test_columns_are_as_wide_as_their_widest_tile_in_every_row():
    rows = [({"a": plain(40, 40, 10), "b": plain(40, 80, 20)}, ""),
            ({"a": plain(40, 60, 30), "b": plain(40, 40, 40)}, "")]  # fmt: skip
    picture = pictures.table(rows, height=80)
    assert picture.shape == (HEADER + 2 * (80 + GAP), 120 + GAP + 144 + GAP, 3)
    upper, lower = picture[HEADER + 20], picture[HEADER + 80 + GAP + 20]
    assert (upper[:80] == 10).all()
    assert (upper[124 : 124 + 144] == 20).all()
    assert (lower[:120] == 30).all()
    assert (lower[124 : 124 + 80] == 40).all()
    assert (upper[80:124] == lower[210:230][:1]).all()  # paper


def test_a_tile_that_is_not_there_leaves_paper():
    rows = [({"a": None, "b": plain(40, 40)}, ""), ({"a": plain(40, 40), "b": None}, "")]
    picture = pictures.table(rows, height=70)
    assert (picture[HEADER : HEADER + 70, :70] == picture[-1, -1]).all()
    assert (picture[HEADER : HEADER + 70, 74:144] == 0).all()
    assert pictures.table([({"a": None}, "x")]).ndim == 3


@pytest.mark.parametrize("size", [(10, 1000), (1000, 10), (1, 5000), (1, 1)])
def test_extreme_shapes_stay_within_their_columns(size):
    tile = plain(*size)
    picture = pictures.table([({"a": tile, "b": tile}, "caption")], "title", height=50)
    assert picture.shape[0] <= 3 * HEADER + 50 + GAP
    assert picture.shape[1] <= 2 * (90 + GAP)
    assert (picture[-1] == picture[-1, 0]).all()


def test_long_captions_and_titles_are_broken_and_never_cut():
    words = "a_name_without_a_space_" * 8 + ".png   and numbers   12.345   6.789"
    row = ({"prediction": plain(60, 60)}, words)
    picture = pictures.table([row], height=60)
    width = picture.shape[1]
    lines = (picture.shape[0] - HEADER - 60 - GAP) / HEADER
    assert lines == int(lines) > 5
    below = picture[HEADER + 60 + GAP :]
    assert ink(below).max() < width - 1
    dark = (below < 128).any(axis=2)
    whole = np.full((HEADER, 4000, 3), picture[-1, -1], np.uint8)
    cv2.putText(whole, words, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (40, 40, 40), 1, cv2.LINE_AA)
    written = (whole < 128).any(axis=2).sum()
    assert abs(int(dark.sum()) - int(written)) < 0.05 * written
    titled = pictures.table([row], words, height=60)
    assert titled.shape[0] == picture.shape[0] + lines * HEADER


def test_headings_do_not_run_into_each_other():
    narrow = plain(100, 10)
    names = ("image", "prediction", "truth", "error", "cut-out", "trimap")
    picture = pictures.table([(dict.fromkeys(names, narrow), "")], height=50)
    wide = picture.shape[1] // len(names)
    for number in range(len(names)):
        columns = ink(picture[:HEADER, number * wide : (number + 1) * wide])
        assert columns.size
        assert columns.max() < wide - 2


def test_grid_leaves_out_what_is_not_given():
    matte = np.tile(np.linspace(0, 1, 80), (60, 1))
    image = plain(60, 80, 90)
    wide = 80 + GAP
    assert pictures.grid([image], [matte], [matte], height=60).shape[1] == 5 * wide
    assert pictures.grid([], [matte], [matte], height=60).shape[1] == 3 * wide
    trimap = np.full((60, 80), 128, np.uint8)
    shown = pictures.grid([image], [matte], [matte], ["x"], 60, [trimap])
    assert shown.shape == (HEADER + 60 + GAP + HEADER, 6 * wide, 3)
    assert (shown[HEADER + 30, 5 * wide : 5 * wide + 80] == 128).all()


def test_bytes_look_like_the_numbers_they_stand_for():
    rng = np.random.default_rng(0)
    matte, truth = rng.integers(0, 256, (2, 20, 30), dtype=np.uint8)
    image = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    before = matte.copy(), truth.copy(), image.copy()
    np.testing.assert_array_equal(pictures.to_grey(matte), pictures.to_grey(matte / 255))
    np.testing.assert_array_equal(
        pictures.error(matte, truth), pictures.error(matte / 255, truth / 255)
    )
    np.testing.assert_array_equal(
        pictures.cutout(image, matte), pictures.cutout(image, matte / 255)
    )
    for now, then in zip((matte, truth, image), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_error_says_how_much_is_wrong():
    shown = pictures.error(np.array([[0.75, 0.25]]), np.array([[0.25, 0.75]]))
    np.testing.assert_array_equal(shown[0, 0], [255, 128, 128])
    np.testing.assert_array_equal(shown[0, 1], [128, 128, 255])
