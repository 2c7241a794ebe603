"""Rows: planes of one size, read when they are asked for."""

import numpy as np
import pytest

from jaxmatte.data import codec
from jaxmatte.data.rows import File, Pixels, Row
from jaxmatte.errors import BrokenData

ALPHA = np.arange(48, dtype=np.uint8).reshape(6, 8)
WINDOW = (slice(1, 4), slice(2, 7))


def test_a_row_of_arrays():
    row = Row.of(3, "a", alpha=ALPHA, image=np.dstack([ALPHA] * 3))
    assert (row.index, row.name, row.size) == (3, "a", (6, 8))
    assert "alpha" in row
    assert "trimap" not in row
    np.testing.assert_array_equal(row["alpha"], ALPHA)
    np.testing.assert_array_equal(row.read("image", WINDOW)[..., 1], ALPHA[WINDOW])


def test_a_row_cannot_be_written_to():
    given = ALPHA.copy()
    row = Row.of(0, "a", alpha=given)
    with pytest.raises(ValueError, match="read-only"):
        row["alpha"][0, 0] = 9
    given[0, 0] = 7  # whoever made the array still may


def test_a_file_is_decoded_once_and_only_if_asked_for(tmp_path):
    asked = []

    def decode(path):
        asked.append(path)
        return ALPHA

    row = Row(0, "a", (6, 8), {"alpha": File(tmp_path / "a", decode)})
    assert not asked
    np.testing.assert_array_equal(row.read("alpha", WINDOW), ALPHA[WINDOW])
    np.testing.assert_array_equal(row["alpha"], ALPHA)
    assert asked == [tmp_path / "a"]


@pytest.mark.parametrize("window", [None, (slice(0, 6), slice(0, 9))])
def test_planes_of_another_size_are_broken(window):
    row = Row(0, "a", (6, 9), {"alpha": Pixels(ALPHA)})
    with pytest.raises(BrokenData, match="the alpha of a is 8x6 where 9x6 was expected"):
        row.read("alpha", window)


def test_what_does_not_decode_is_named():
    """A plane of a store knows its tile, not whose it is."""
    pixels = np.random.default_rng(0).integers(0, 255, (300, 300), dtype=np.uint8)
    content = bytearray(codec.encode("alpha", pixels))
    content[-9] ^= 1  # in the last tile
    row = Row(0, "m_1.png", pixels.shape, {"alpha": codec.plane(bytes(content))})
    np.testing.assert_array_equal(row.read("alpha", WINDOW), pixels[WINDOW])
    with pytest.raises(BrokenData, match=r"^the alpha of m_1.png: a tile does not decode"):
        row.read("alpha")
