"""Trimaps against reference outputs, SciPy, and the definitions written out."""

import pathlib

import cv2
import numpy as np
import pytest
import scipy.ndimage

from jaxmatte.data import trimaps
from jaxmatte.errors import UserError
from tests.data import folders

PARITY = np.load(pathlib.Path(__file__).parent.parent / "parity/ppmatting_trimap.npz")
NAMES = list(trimaps.MAKERS)
RNG = np.random.default_rng(0)  # of what draws nothing


@pytest.fixture(name="alpha", scope="module")
def _alpha():
    alpha = folders.matte(70, 90, soft=25)
    alpha[:3, :5], alpha[-2:, -4:] = 255, 77  # objects that touch the border
    alpha.flags.writeable = False  # no maker may change its input
    return alpha


def noise(shape, seed=0):
    """Mattes of single pixels: few are opaque or empty by chance alone."""
    rng = np.random.default_rng(seed)
    return rng.choice(np.array([0, 1, 128, 229, 230, 254, 255], np.uint8), shape)


def moved(mask, kernel, beyond, extreme, anchor):
    """The extreme of a mask under a kernel, pixel by pixel: neither is turned around."""
    height, width = mask.shape
    padded = np.full((height + 2 * 64, width + 2 * 64), beyond)
    padded[64 : 64 + height, 64 : 64 + width] = mask
    found = np.full(mask.shape, beyond)
    for i, j in zip(*np.nonzero(kernel), strict=True):
        top, left = 64 + i - anchor, 64 + j - anchor
        found = extreme(found, padded[top : top + height, left : left + width])
    return found


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("iterations", [5, 9, 14])
def test_training_trimaps_are_paddles_to_the_bit(size, iterations):
    wanted = PARITY[f"train_k{size}_i{iterations}"]
    drawn = {"sizes": (size, size), "iterations": (iterations, iterations)}
    for name in ("paddle", "hct"):
        found = trimaps.make(name, PARITY["alpha"], np.random.default_rng(0), drawn)
        np.testing.assert_array_equal(found, wanted)


def test_the_validation_trimap_is_paddles_to_the_bit():
    np.testing.assert_array_equal(trimaps.make("fixed", PARITY["alpha"], RNG), PARITY["val_25"])


@pytest.mark.parametrize("size", [1, 2, 4, 5, 8])
def test_kernels_are_not_turned_around_and_nothing_lies_outside(size):
    alpha = noise((17, 23)) | np.kron(noise((5, 6), 1), np.ones((4, 4), np.uint8))[:17, :23]
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    eroded = moved(alpha == 255, kernel, True, np.logical_and, size // 2)
    dilated = moved(alpha > 0, kernel, False, np.logical_or, size // 2)
    wanted = np.where(eroded, 255, np.where(dilated, 128, 0))
    np.testing.assert_array_equal(trimaps.make("fixed", alpha, RNG, {"size": size}), wanted)


@pytest.mark.parametrize("name", ["mmagic", "gca"])
def test_two_ellipses_by_either_definition(alpha, name):
    found = trimaps.make(name, alpha, np.random.default_rng(5))
    rng = np.random.default_rng(5)
    first, second = (
        cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
        for size in (int(rng.integers(1, 30)) for _ in range(2))
    )
    assert first.shape != second.shape
    grey = np.full(alpha.shape, 128)
    grey[cv2.erode(alpha, first) >= 255] = 255
    grey[cv2.dilate(alpha, second) <= 0] = 0
    np.testing.assert_array_equal(found, grey)
    masks = np.full(alpha.shape, 128)
    masks[cv2.erode((alpha == 255).astype(np.uint8), first) == 1] = 255
    masks[cv2.erode((alpha == 0).astype(np.uint8), second) == 1] = 0
    np.testing.assert_array_equal(found, masks)


@pytest.mark.parametrize(("erosion", "dilation"), [(1, 1), (2, 3), (7, 4), (20, 26), (90, 64)])
@pytest.mark.parametrize("shape", [(40, 57), (1, 9)])
def test_squares_lie_where_scipy_has_them(erosion, dilation, shape):
    alpha = np.kron(noise((8, 8), 2), np.ones((9, 9), np.uint8))[: shape[0], : shape[1]]
    alpha = np.where(noise(alpha.shape, 3) > 254, 0, alpha).astype(np.uint8)
    matte = alpha / 255
    opaque, there = (matte >= 0.9).astype(np.float32), (matte > 0).astype(np.float32)
    grown = scipy.ndimage.grey_dilation(there, size=(dilation, dilation))
    shrunk = scipy.ndimage.grey_erosion(opaque, size=(erosion, erosion))
    wanted = np.where(grown - shrunk != 0, 128, 255 * opaque)
    found = trimaps.two_squares(erosion, dilation, 0.9).trimap(alpha)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(("side", "unit"), [(64, 1), (256, 1), (511, 1), (512, 2), (1024, 4)])
def test_squares_grow_with_the_picture(side, unit):
    alpha = np.zeros((side, side + 40), np.uint8)
    alpha[:, :50] = 255
    found = trimaps.make("modnet", alpha, np.random.default_rng(0), {"steps": (10, 10)})
    # To the left of an edge neither square looks further than its half less one.
    assert (found[5] == 128).sum() == 2 * (10 * unit // 2 - 1)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_known_is_true(alpha, name):
    for seed in range(5):
        found = trimaps.make(name, alpha, np.random.default_rng(seed))
        assert found.dtype == np.uint8
        assert set(np.unique(found)) <= {0, 128, 255}
        assert not alpha[found == 0].any()
        assert (alpha[found == 255] >= (230 if name == "modnet" else 255)).all()
    again = trimaps.make(name, alpha, np.random.default_rng(4))
    np.testing.assert_array_equal(found, again)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("shape", [(1, 1), (30, 40)])
def test_nothing_is_unknown_where_there_is_no_transition(name, value, shape):
    found = trimaps.make(name, np.full(shape, value, np.uint8), np.random.default_rng(0))
    np.testing.assert_array_equal(found, value)


@pytest.mark.parametrize("name", NAMES)
def test_within_a_window_it_is_that_of_the_whole(alpha, name):
    rng = np.random.default_rng(1)
    for _ in range(10):
        kernels = trimaps.draw(name, alpha.shape, rng)
        whole = kernels.trimap(alpha)
        for window in ((slice(0, 20), slice(70, 90)), (slice(30, 41), slice(25, 60))):
            found = kernels.within(lambda part: alpha[part], window, alpha.shape)
            np.testing.assert_array_equal(found[0], alpha[window])
            np.testing.assert_array_equal(found[1], whole[window])


def test_only_what_kernels_reach_is_looked_at():
    kernels = trimaps.draw("fixed", (90, 90), RNG, {"size": 4, "iterations": 3})
    asked = []

    def read(window):
        asked.append(window)
        return np.zeros((90, 90), np.uint8)[window]

    kernels.within(read, (slice(40, 50), slice(0, 10)), (90, 90))
    assert asked == [(slice(34, 56), slice(0, 16))]


def test_both_ends_of_the_ranges_are_drawn_and_the_sides_by_themselves():
    alpha = np.zeros((1, 120), np.uint8)
    alpha[:, :60] = 255
    rng = np.random.default_rng(0)
    found = [trimaps.make("mmagic", alpha, rng) for _ in range(900)]
    lost = [60 - int((trimap == 255).sum()) for trimap in found]
    won = [60 - int((trimap == 0).sum()) for trimap in found]
    assert set(lost) == set(won) == set(range(15))  # halves of 1 to 29
    assert abs(np.corrcoef(lost, won)[0, 1]) < 0.1
    reach = {int((trimaps.make("hct", alpha, rng) == 0).sum()) for _ in range(400)}
    assert reach == {60 - n for n in (*range(5, 15), *range(10, 29, 2))}


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("mmagick", {}, "there are: mmagic, hct"),
        ("hct", {"size": 3}, "trimap.hct has no 'size'; there are: sizes, iterations"),
        ("gca", {"sizes": (0, 3)}, "too few"),
        ("gca", {"sizes": (5, 3)}, "must not be below"),
        ("fixed", {"size": 0}, "too few"),
    ],
)
def test_mistakes_are_told(alpha, name, options, told):
    with pytest.raises(UserError, match=told):
        trimaps.make(name, alpha, np.random.default_rng(0), options)
