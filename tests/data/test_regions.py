"""Labels as runs: the same pixels, the same draws, at a fraction of the bytes."""

import numpy as np
import pytest

from jaxmatte.data import regions
from tests.data import folders


def labels(seed=0, height=40, width=57):
    rng = np.random.default_rng(seed)
    return rng.choice(np.array([0, 128, 255], np.uint8), (height, width), p=[0.6, 0.3, 0.1])


@pytest.mark.parametrize(
    "pixels",
    [labels(), labels(1, 1, 9), labels(2, 9, 1), np.full((7, 5), 128, np.uint8)],
    ids=["noise", "row", "column", "flat"],
)
def test_every_window_is_the_arrays(pixels):
    runs = regions.Runs.of(pixels)
    np.testing.assert_array_equal(runs.read(), pixels)
    height, width = pixels.shape
    for top in range(0, height, 3):
        for left in range(0, width, 4):
            window = (slice(top, min(top + 5, height)), slice(left, min(left + 6, width)))
            np.testing.assert_array_equal(runs.read(window), pixels[window])


@pytest.mark.parametrize("seed", range(20))
def test_a_pick_is_the_pixel_that_the_array_has_at_that_number(seed):
    pixels = labels(seed)
    places = np.argwhere(pixels[:23, :31] == 128)
    number = np.random.default_rng(seed).integers(len(places))
    found = regions.Runs.of(pixels).pick(128, 23, 31, np.random.default_rng(seed))
    assert found == tuple(places[number])


def test_picks_are_spread_evenly():
    pixels = np.zeros((6, 8), np.uint8)
    pixels[1, 2:5] = pixels[4, 6] = 128
    runs, rng = regions.Runs.of(pixels), np.random.default_rng(0)
    drawn = [runs.pick(128, 6, 8, rng) for _ in range(4000)]
    for place in ((1, 2), (1, 3), (1, 4), (4, 6)):
        assert 0.22 < drawn.count(place) / 4000 < 0.28


def test_nothing_to_pick_is_said():
    pixels = np.zeros((6, 8), np.uint8)
    pixels[5, 7] = 128
    rng = np.random.default_rng(0)
    assert regions.Runs.of(pixels).pick(128, 5, 8, rng) is None
    assert regions.Runs.of(pixels).pick(128, 6, 7, rng) is None
    assert regions.Runs.of(pixels).pick(128, 6, 8, rng) == (5, 7)


@pytest.mark.parametrize("kind", list(regions.LABELS))
@pytest.mark.parametrize("size", [1, 9, 24])
def test_labels_in_a_window_are_those_of_the_whole_picture(kind, size):
    alpha = folders.matte(70, 90)
    whole = regions.LABELS[kind](alpha, size)
    for window in ((slice(0, 70), slice(0, 90)), (slice(20, 41), slice(33, 60))):
        np.testing.assert_array_equal(regions.LABELS[kind](alpha, size, window), whole[window])


def test_host_and_device_labels_agree_to_the_bit():
    import jax.numpy as jnp

    from jaxmatte import labels

    alpha = folders.matte(70, 90, soft=25)
    window = (slice(0, 70), slice(0, 90))
    device = jnp.asarray(alpha)[None, ..., None] / 255.0
    trimap = np.asarray(labels.trimap(device, 25))[0, ..., 0]
    np.testing.assert_array_equal(np.round(trimap * 255 + 0.25), regions.trimap(alpha, 25))
    for name in ("dilation", "erosion"):
        found = np.asarray(getattr(labels, name)(device, 50))[0, ..., 0]
        np.testing.assert_array_equal(found * 255, getattr(regions, name)(alpha, 50, window))
