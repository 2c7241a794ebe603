"""Trimaps of masks and coarse alphas: what every method holds to, and what each is for."""

import cv2
import numpy as np
import pytest

from jaxmatte import trimap
from jaxmatte.data import studio, trimaps
from jaxmatte.errors import UserError
from tests.data import folders

METHODS = list(trimap.METHODS)


@pytest.fixture(name="alpha", scope="module")
def _alpha():
    alpha = folders.matte(90, 120, soft=9)
    alpha[:20, :30] = 255  # it touches the border
    alpha.flags.writeable = False
    return alpha


def disc(side, radius, soft=0.0):
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return np.clip((radius - np.hypot(y, x)) / max(soft, 1e-6) + 0.5, 0, 1)


def half(mask):
    """How many pixels are unknown to the right of the middle, in the middle's row."""
    row = mask[mask.shape[0] // 2]
    return int((row[row.size // 2 :] == 128).sum())


@pytest.mark.parametrize("method", METHODS)
def test_what_is_known_is_certain(alpha, method):
    found = trimap.make(alpha, method, seed=3)
    assert found.dtype == np.uint8
    assert found.shape == alpha.shape
    assert set(np.unique(found)) == {0, 128, 255}
    assert (alpha[found == 0] <= 13).all()
    assert (alpha[found == 255] >= 242).all()
    assert (found == 128).sum() > ((alpha > 13) & (alpha < 242)).sum()  # and more than that
    np.testing.assert_array_equal(trimap.make(alpha, method, seed=3), found)


@pytest.mark.parametrize("method", METHODS)
def test_masks_of_every_kind_are_one(alpha, method):
    mask = alpha >= 128
    expected = trimap.make(mask, method)
    for same in (
        mask.astype(np.uint8),
        mask.astype(np.int64),
        mask.astype(np.float32),
        mask.astype(np.uint8) * np.uint8(255),
        mask.astype(np.uint16),
        mask.astype(np.uint16) * np.uint16(65535),
        mask[..., None],
    ):
        np.testing.assert_array_equal(trimap.make(same, method), expected)
    expected = trimap.make(alpha, method)
    for same in (alpha.astype(np.uint16) * np.uint16(257), alpha.astype(int), alpha / 255):
        np.testing.assert_array_equal(trimap.make(same, method), expected)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(1, 1), (40, 30)])
def test_without_a_border_nothing_is_unknown_but_what_is_uncertain(method, shape):
    for value, wanted in ((0, 0), (3, 0), (252, 255), (128, 128)):
        found = trimap.make(np.full(shape, value, np.uint8), method)
        np.testing.assert_array_equal(found, wanted)


def test_noise_of_a_compressed_mask_is_nothing_but_on_demand():
    noise = np.random.default_rng(0).integers(0, 9, (60, 60), dtype=np.uint8)
    mask = np.where(disc(60, 20) > 0.5, 255 - noise, noise).astype(np.uint8)
    np.testing.assert_array_equal(
        trimap.make(mask, "fixed", size=5), trimap.make(disc(60, 20) > 0.5, "fixed", size=5)
    )
    assert (trimap.make(mask, "fixed", size=5, certain=1.0) == 128).mean() > 0.9


def test_fixed_is_the_ellipse_of_the_papers(alpha):
    mask = (alpha > 99).astype(np.uint8) * np.uint8(255)
    for options in ({}, {"size": 7, "iterations": 3}):
        wanted = trimaps.make("fixed", mask, np.random.default_rng(0), options)
        np.testing.assert_array_equal(trimap.make(mask, "fixed", **options), wanted)


def test_random_is_drawn_by_the_seed_and_nothing_else():
    mask = disc(120, 35) > 0.5
    by_seed = [trimap.make(mask, "random", seed=seed, sizes=(3, 21)) for seed in range(40)]
    np.random.seed(5)  # nobody looks at it
    np.testing.assert_array_equal(trimap.make(mask, "random", seed=7, sizes=(3, 21)), by_seed[7])
    inside = {int((found == 255).sum()) for found in by_seed}
    outside = {int((found == 0).sum()) for found in by_seed}
    assert len(inside) > 5
    assert len(outside) > 5
    same = trimap.make(mask, "random", sizes=(9, 9), iterations=2)
    np.testing.assert_array_equal(same, trimap.make(mask, "fixed", size=9, iterations=2))
    pair = trimap.make(mask, "random", seed=(1, 2))
    assert (pair != trimap.make(mask, "random", seed=(1, 3))).any()


def test_adaptive_is_narrow_along_a_hard_edge_as_the_equation_has_it():
    for side in (200, 400, 800):  # at the subject's scale
        found = trimap.make(disc(side, 0.3 * side) > 0.5, narrow=0.02, wide=0.1)
        s = np.sqrt(np.pi) * 0.3 * side
        assert half(found) == pytest.approx(2 * 0.02 * s, rel=0.15, abs=2)


def test_adaptive_is_wider_where_the_border_is_softer_and_the_same_at_every_size():
    found = []
    for scale in (1, 2):
        softness = scale * np.array([0, 4, 8, 16])
        masks = [disc(400 * scale, 120 * scale, soft) for soft in softness]
        widths = (np.array([half(trimap.make(mask)) for mask in masks]) - softness) / scale
        assert (np.diff(widths) > 1).all()
        assert widths.max() <= 2 * 0.08 * np.sqrt(np.pi) * 120
        found.append(widths)
    np.testing.assert_allclose(*found, atol=3)  # pixels are whole


def test_adaptive_is_wider_where_the_border_is_ragged():
    mask = np.zeros((300, 300), np.uint8)
    mask[100:250, 60:240] = 1
    for x in range(60, 240, 6):  # a comb of strands on top
        mask[80:100, x : x + 2] = 1
    found = trimap.make(mask)
    above = (found[:110, 150] == 128).sum() - 20
    below = (found[200:, 150] == 128).sum()
    assert above > 2 * below > 0


def test_adaptive_covers_what_is_soft_of_hair_by_less_than_a_fixed_band():
    for index in range(3):
        alpha = studio.render(0, 1_000_000_000 + index, 160).alpha
        found = trimap.make(alpha)
        assert (found[(alpha > 13) & (alpha < 242)] == 128).all()
        assert (found == 128).mean() < 0.6
        assert (found == 255).any()


def test_nothing_given_is_changed_and_no_thread_of_opencv_matters(alpha):
    before = cv2.getNumThreads()
    found = trimap.make(alpha)
    cv2.setNumThreads(1)
    np.testing.assert_array_equal(trimap.make(alpha), found)
    cv2.setNumThreads(before)


@pytest.mark.parametrize(
    ("mask", "method", "options", "told"),
    [
        (np.zeros((4, 4)), "adaptiv", {}, "no method 'adaptiv'; there are: adaptive, fixed"),
        (np.zeros((4, 4)), "fixed", {"sizes": (1, 2)}, "fixed has no 'sizes'; it has: size, it"),
        (np.zeros((4, 4)), "fixed", {"size": 0}, "too few"),
        (np.zeros((4, 4)), "random", {"iterations": 0}, "at least 1"),
        (np.zeros((4, 4)), "random", {"sizes": (5, 3)}, "must not be below"),
        (np.zeros((4, 4)), "adaptive", {"narrow": 0.2}, "narrow=0.2 and wide=0.08"),
        (np.zeros((4, 4)), "adaptive", {"certain": 0.5}, "certain=0.5 should be a share"),
        (np.zeros((4, 4, 3)), "fixed", {}, r"a mask is \[H, W\], this is \(4, 4, 3\)"),
        (np.zeros((0, 4)), "fixed", {}, "a mask is"),
        (np.full((4, 4), 7.0), "fixed", {}, "floats lie in 0..1, these in 7..7"),
        (np.full((4, 4), np.nan), "fixed", {}, "floats lie in 0..1"),
        (np.full((4, 4), -1), "fixed", {}, "whole numbers go from 0"),
        (np.full((4, 4), 1j), "fixed", {}, "holds numbers, not complex"),
    ],
)
def test_mistakes_are_told(mask, method, options, told):
    with pytest.raises(UserError, match=told) as caught:
        trimap.make(mask, method, **options)
    assert "\n" not in str(caught.value)
