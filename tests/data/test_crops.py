import numpy as np
import pytest

from jaxmatte.data import augment, crops
from jaxmatte.data.rows import Row
from jaxmatte.errors import UserError
from tests.data import folders


def corners(windows):
    return {(rows.start, columns.start) for rows, columns in windows}


def draw(function, *arguments, count=300):
    rng = np.random.default_rng(0)
    return [function(*arguments[:1], rng, *arguments[1:]) for _ in range(count)]


def test_uniform_crops_lie_everywhere():
    rng = np.random.default_rng(0)
    windows = [crops.uniform((5, 7), (3, 6), rng) for _ in range(200)]
    assert corners(windows) == {(top, left) for top in range(3) for left in range(2)}
    assert crops.uniform((4, 4), (4, 4), rng) == crops.whole((4, 4))


def test_crops_that_do_not_fit():
    with pytest.raises(UserError, match="a crop of 4x4 does not fit a picture of 3x9"):
        crops.uniform((9, 3), (4, 4), np.random.default_rng(0))


def draw_gca(trimap, count=300):
    rng = np.random.default_rng(0)
    return [crops.gca(lambda part: trimap[part], trimap.shape, rng, 64) for _ in range(count)]


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [((320, 900), (320, 900)), ((160, 200), (320, 400)), ((300, 77), (1246, 320)), ((1, 1), 2)],
)
def test_pictures_grow_until_they_hold_the_square(shape, wanted):
    assert crops.covering(shape, 320) == (wanted if shape != (1, 1) else (320, 320))


def test_squares_around_pixels_whose_square_fits():
    alpha = np.zeros((60, 90), np.uint8)
    alpha[0, 0], alpha[20, 30], alpha[40, 70], alpha[30, 40] = 100, 1, 254, 255
    found = corners(draw(crops.around_unknown, alpha, 20, "fitting"))
    assert found == {(10, 20), (30, 60)}


def test_a_square_as_high_as_the_picture_follows_mmagic():
    alpha = np.zeros((20, 90), np.uint8)
    alpha[10, 40] = alpha[3, 70] = 9  # no row is half a side away from both borders
    found = corners(draw(crops.around_unknown, alpha, 20, "fitting"))
    assert found == {(0, 30), (0, 60)}


def test_every_unknown_pixel_is_as_likely():
    alpha = np.zeros((9, 9), np.uint8)
    alpha[[2, 2, 6], [1, 5, 3]] = 1, 254, 128
    drawn = draw(crops.around_unknown, alpha, 1, "any", count=3000)
    found = [(rows.start, columns.start) for rows, columns in drawn]
    shares = {place: found.count(place) / 3000 for place in found}
    assert shares == pytest.approx(dict.fromkeys([(2, 1), (2, 5), (6, 3)], 1 / 3), abs=0.03)


def test_squares_around_any_pixel_are_pushed_back_into_the_picture():
    alpha = np.zeros((60, 90), np.uint8)
    alpha[0, 0], alpha[20, 30], alpha[59, 50] = 100, 1, 254
    found = corners(draw(crops.around_unknown, alpha, 20, "any"))
    assert found == {(0, 0), (10, 20), (40, 40)}
    alpha[20, 30] = 0  # none fits any more
    assert corners(draw(crops.around_unknown, alpha, 20, "fitting")) == {(0, 0), (40, 40)}


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("centre", ["fitting", "any"])
def test_squares_without_any_unknown_pixel_lie_anywhere(value, centre):
    found = corners(draw(crops.around_unknown, np.full((6, 5), value, np.uint8), 4, centre))
    assert found == {(top, left) for top in range(3) for left in range(2)}


def test_a_square_of_everything_and_an_unknown_rule():
    one = np.full((1, 1), 9, np.uint8)
    rng = np.random.default_rng(0)
    assert crops.around_unknown(one, rng, 1, "fitting") == (slice(0, 1), slice(0, 1))
    with pytest.raises(UserError, match="there are: fitting, any"):
        crops.around_unknown(one, rng, 1, "middle")


def test_gcas_square_has_an_unknown_pixel_in_its_middle():
    trimap = np.zeros((131, 201), np.uint8)
    trimap[50:80, 90:150] = 128
    for shape, window in draw_gca(trimap):
        assert shape == trimap.shape
        assert trimap[window].shape == (64, 64)
        assert trimap[window][32, 32] == 128


def test_gcas_square_looks_at_every_fourth_pixel_and_wants_ten_of_them():
    trimap = np.zeros((160, 160), np.uint8)
    trimap[80, 60:95:4] = 128  # nine of them
    assert len(corners(window for _, window in draw_gca(trimap))) > 200
    trimap[80, 96] = 128
    found = corners(window for _, window in draw_gca(trimap))
    assert found == {(48, left) for left in range(28, 65, 4)}
    trimap = np.roll(trimap, 1, axis=0)  # between the rows that are looked at
    assert len(corners(window for _, window in draw_gca(trimap))) > 200


@pytest.mark.parametrize(
    ("shape", "enlarged"),
    [((40, 64), (70, 112)), ((64, 40), (112, 70)), ((64, 64), (70, 70)), ((65, 65), (65, 65))],
)
def test_gcas_square_enlarges_what_is_too_small(shape, enlarged):
    trimap = np.full(shape, 128, np.uint8)
    for found, (rows, columns) in draw_gca(trimap, count=50):
        assert found == enlarged
        assert (rows.stop - rows.start, columns.stop - columns.start) == (64, 64)
        assert min(rows.start, columns.start) >= 0
        assert rows.stop <= found[0]
        assert columns.stop <= found[1]


def test_gcas_square_holds_everything_where_nothing_is_unknown():
    trimap = np.full((30, 500), 255, np.uint8)
    assert draw_gca(trimap, count=1) == [((64, 64), crops.whole((64, 64)))]


def test_padding_is_below_and_to_the_right():
    pixels = np.array([[1, 2], [3, 4]], np.uint8)
    np.testing.assert_array_equal(
        crops.pad(pixels, (3, 3), fill=9), [[1, 2, 9], [3, 4, 9], [9, 9, 9]]
    )
    np.testing.assert_array_equal(
        crops.pad(pixels, (1, 4), "replicate"), [[1, 2, 2, 2], [3, 4, 4, 4]]
    )
    np.testing.assert_array_equal(crops.pad(pixels, (2, 3), "reflect"), [[1, 2, 1], [3, 4, 3]])
    colours = np.zeros((2, 2, 3), np.uint8)
    np.testing.assert_array_equal(crops.pad(colours, (2, 3), fill=7)[:, 2], 7)
    assert crops.pad(pixels, (2, 2)) is pixels
    with pytest.raises(UserError, match="constant, replicate"):
        crops.pad(pixels, (3, 3), "wrap")


class Watched:
    """A plane that remembers what was read of it."""

    def __init__(self, pixels):
        self.pixels, self.read_pixels = pixels, 0

    def read(self, window=None):
        part = self.pixels if window is None else self.pixels[window]
        self.read_pixels += part.shape[0] * part.shape[1]
        return part


@pytest.mark.parametrize("shape", [(40, 50), (97, 113), (31, 400), (80, 101)])
@pytest.mark.parametrize("interpolation", ["cubic", "linear", "nearest"])
def test_a_window_of_a_resized_plane_is_that_of_the_whole(shape, interpolation):
    pixels = folders.picture(5, 80, 101)
    row = Row.of(0, "behind", background=pixels)
    whole = crops.read_resized(row, "background", shape, crops.whole(shape), interpolation)
    resized = augment.resize(pixels, shape, interpolation)
    assert np.abs(whole.astype(int) - resized).max() <= 1
    rng = np.random.default_rng(0)
    for _ in range(10):
        size = (int(rng.integers(1, shape[0] + 1)), int(rng.integers(1, shape[1] + 1)))
        window = crops.uniform(shape, size, rng)
        part = crops.read_resized(row, "background", shape, window, interpolation)
        np.testing.assert_array_equal(part, whole[window])


def test_only_what_a_window_needs_is_read():
    plane = Watched(folders.picture(6, 300, 400))
    row = Row(0, "behind", (300, 400), {"background": plane})
    crops.read_resized(row, "background", (150, 200), (slice(60, 80), slice(0, 10)))
    assert plane.read_pixels <= (40 + 5) * (20 + 5)


def test_single_pixels_can_be_enlarged():
    row = Row.of(0, "one", background=np.full((1, 1, 3), 77, np.uint8))
    window = (slice(1, 4), slice(0, 5))
    np.testing.assert_array_equal(crops.read_resized(row, "background", (5, 6), window), 77)
    with pytest.raises(UserError, match="cubic, linear or nearest, not 'area'"):
        crops.read_resized(row, "background", (5, 6), window, "area")
