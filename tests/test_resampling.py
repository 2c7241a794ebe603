"""Resize matrices against OpenCV's, scikit-image's and SciPy's results, and their definitions."""

import pathlib

import numpy as np
import pytest
from scipy import ndimage

from jaxmatte import resampling
from jaxmatte.errors import UserError
from tests.parity import fill

FIXTURES = pathlib.Path(__file__).parent / "parity" / "gfm_resize.npz"


@pytest.fixture(scope="module")
def picture():
    """uint8 [90, 120, 3], the one behind the fixtures."""
    return np.round(255 * fill.picture("gfm/resize", (1, 90, 120, 3)))[0].astype(np.uint8)


@pytest.mark.parametrize(("side", "target"), [(90, 48), (64, 32), (40, 32)])
def test_bilinear_equals_opencv_on_floats(picture, side, target):
    crop = picture[3 : 3 + side, 5 : 5 + side].astype(np.float64)
    ours = resampling.resize(crop, (target, target))
    expected = np.load(FIXTURES)[f"cv2_f64_{side}_{target}"]
    np.testing.assert_array_equal(ours.astype(np.float32), expected)


@pytest.mark.parametrize(
    ("name", "rows", "columns", "shape"),
    [
        ("sk_down", 90, 120, (32, 32)),
        ("sk_down_third", 90, 120, (30, 40)),
        ("sk_up", 32, 32, (90, 120)),
    ],
)
def test_skimage_equals_scikit_image(picture, name, rows, columns, shape):
    ours = resampling.resize(picture[:rows, :columns], shape, "skimage")
    assert ours.dtype == np.float64
    # The fixtures are float32: half a step at 255 is 8e-6.
    np.testing.assert_allclose(ours, np.load(FIXTURES)[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("source", "target"), [(50, 17), (17, 50), (33, 32), (5, 2), (1, 4)])
def test_skimage_equals_its_definition_in_scipy(source, target):
    values = np.random.default_rng(0).random((source, 3))
    sigma = max(0.0, (source / target - 1) / 2)
    smooth = ndimage.gaussian_filter(values, (sigma, 0), mode="mirror") if sigma else values
    expected = ndimage.zoom(smooth, (target / source, 1), order=1, mode="mirror", grid_mode=True)
    matrix = resampling.matrix(source, target, "skimage").astype(np.float64)
    np.testing.assert_allclose(matrix @ values, expected, rtol=0, atol=1e-6)


def test_skimage_mirrors_its_border():
    enlarged = resampling.resize(np.array([[0.0, 10.0, 20.0, 30.0]]), (1, 12), "skimage")[0]
    np.testing.assert_allclose(enlarged[:3], [10 / 3, 0, 10 / 3], atol=1e-12)
    np.testing.assert_allclose(enlarged[-2:], [30, 80 / 3], atol=1e-12)


def test_align_corners_keeps_the_corners_both_ways():
    values = np.array([0.0, 3.0, 1.0, 5.0, 2.0])
    down = resampling.matrix(5, 3, "align_corners") @ values
    np.testing.assert_allclose(down, values[::2])
    up = resampling.matrix(3, 5, "align_corners") @ np.array([0.0, 2.0, 8.0])
    np.testing.assert_allclose(up, [0, 1, 2, 5, 8])
    np.testing.assert_array_equal(resampling.matrix(4, 1, "align_corners"), [[1, 0, 0, 0]])


def test_adaptive_average_windows_overlap_and_repeat():
    third, half = 1 / 3, 1 / 2
    expected = [[half, half, 0, 0, 0], [0, third, third, third, 0], [0, 0, 0, half, half]]
    np.testing.assert_allclose(resampling.matrix(5, 3, "adaptive_average"), expected)
    more = resampling.matrix(2, 5, "adaptive_average") @ np.array([0.0, 4.0])
    np.testing.assert_allclose(more, [0, 0, 2, 4, 4])


def test_nearest_takes_the_sample_below():
    np.testing.assert_array_equal(resampling.matrix(3, 5, "nearest").argmax(1), [0, 0, 1, 1, 2])
    np.testing.assert_array_equal(resampling.matrix(5, 2, "nearest").argmax(1), [0, 2])


@pytest.mark.parametrize("method", ["bilinear", "align_corners", "nearest", "skimage"])
def test_methods_keep_constants_and_the_same_size(method):
    for source, target in ((7, 16), (16, 7)):
        np.testing.assert_allclose(resampling.matrix(source, target, method).sum(1), 1, atol=1e-6)
    np.testing.assert_array_equal(resampling.matrix(6, 6, method), np.eye(6))


def test_resize_takes_planes_pictures_and_batches():
    batch = np.random.default_rng(1).random((2, 6, 8, 3)).astype(np.float32)
    resized = resampling.resize(batch, (9, 5))
    assert resized.shape == (2, 9, 5, 3)
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resampling.resize(batch[1], (9, 5)), resized[1], atol=1e-6)
    np.testing.assert_allclose(
        resampling.resize(batch[1, ..., 2], (9, 5)), resized[1, ..., 2], atol=1e-6
    )


def test_mistakes_are_named():
    with pytest.raises(UserError, match="'cubic' is not one of bilinear"):
        resampling.matrix(4, 8, "cubic")
    with pytest.raises(UserError, match="4 samples to 0"):
        resampling.matrix(4, 0)
