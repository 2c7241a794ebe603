import cv2
import numpy as np
import pytest

from jaxmatte.data import augment, regions
from tests.data import folders

CROP = {"sizes": (40, 60), "fallback": 30, "unknown": 0.5}


def windows(trimap, count=400, **changes):
    rng = np.random.default_rng(0)
    return [augment.crop_window(trimap, rng, **(CROP | changes)) for _ in range(count)]


def test_half_the_corners_are_unknown_pixels():
    trimap = np.zeros((100, 140), np.uint8)
    trimap[20:24, 30:34] = 128  # so few that chance never finds them
    corners = [(rows.start, columns.start) for rows, columns in windows(trimap)]
    share = np.mean([trimap[corner] == 128 for corner in corners])
    assert 0.4 < share < 0.6


def test_squares_lie_inside_and_have_the_sides_asked_for():
    trimap = regions.trimap(folders.matte(100, 140), 9)
    sides = set()
    for rows, columns in windows(trimap):
        assert rows.stop <= 100
        assert columns.stop <= 140
        assert rows.stop - rows.start == columns.stop - columns.start
        sides.add(rows.stop - rows.start)
    assert sides == {40, 60}


@pytest.mark.parametrize(
    ("shape", "side"), [((50, 200), {40, 30}), ((35, 35), {30}), ((20, 24), {20})]
)
def test_what_does_not_fit_falls_back(shape, side):
    found = {rows.stop - rows.start for rows, _ in windows(np.zeros(shape, np.uint8))}
    assert found == side


def test_no_unknown_pixel_means_anywhere():
    found = windows(np.zeros((100, 140), np.uint8), unknown=1.0)
    assert len({rows.start for rows, _ in found}) > 20


def test_a_crop_of_everything_is_possible():
    assert windows(np.zeros((30, 30), np.uint8), 1)[0] == (slice(0, 30), slice(0, 30))


def test_resize_is_opencv_bilinear_and_mirror_its_own_inverse():
    pixels = folders.picture(0, 60, 60)
    np.testing.assert_array_equal(
        augment.resize(pixels, 32), cv2.resize(pixels, (32, 32), interpolation=cv2.INTER_LINEAR)
    )
    np.testing.assert_array_equal(augment.mirror(augment.mirror(pixels)), pixels)
    np.testing.assert_array_equal(augment.mirror(pixels)[:, 0], pixels[:, -1])


@pytest.mark.parametrize("name", ["dilation", "erosion"])
def test_bands_in_a_window_are_those_of_the_whole_picture(name):
    alpha = folders.matte(120, 150, soft=20)
    function = getattr(regions, name)
    whole = function(alpha, 50, (slice(0, 120), slice(0, 150)))
    for window in [
        (slice(0, 40), slice(0, 40)),
        (slice(50, 90), slice(60, 100)),
        (slice(80, 120), slice(110, 150)),
    ]:
        np.testing.assert_array_equal(function(alpha, 50, window), whole[window])


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
