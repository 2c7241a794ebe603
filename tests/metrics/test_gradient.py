"""Grad: golden values, the filters from their formulas, borders, and the parts it is made in."""

import math

import cv2
import numpy as np
import pytest
import scipy.ndimage

from jaxmatte import metrics
from jaxmatte.metrics import gradient
from tests.metrics.cases import (
    ALL_UNKNOWN,
    DIM,
    GCA,
    GFM,
    PPMATTING,
    PREDICTION,
    TRUTH,
    WASHED_OUT,
    gca_case,
    gfm_case,
    ppmatting_case,
)

SHAPES = [(1, 1), (1, 9), (13, 1), (2, 3), (5, 4), (7, 30), (41, 37)]


@pytest.mark.parametrize("case", DIM)
def test_dim_golden_values(case):
    prediction, trimap, _, _, expected, _ = DIM[case]
    assert metrics.grad(prediction, TRUTH, trimap) == pytest.approx(expected, rel=2e-6, abs=5.1e-7)


@pytest.mark.parametrize(
    ("protocol", "prediction", "expected"),
    [
        ("legacy-gca", PREDICTION, 0.041695),
        ("legacy-gca", WASHED_OUT, 0.368213),
        ("legacy-gfm", PREDICTION, 0.043851),
        ("legacy-gfm", WASHED_OUT, 0.389394),
        ("gfm", PREDICTION, 0.043851),
    ],
)
def test_legacy_golden_values(protocol, prediction, expected):
    value = metrics.grad(prediction, TRUTH, ALL_UNKNOWN, protocol)
    assert value == pytest.approx(expected, abs=5e-7)


@pytest.mark.parametrize("number", range(len(GFM["cases"])))
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_gfm_golden_values(number, kind):
    prediction, truth, _, expected = gfm_case(number)
    value = metrics.grad(prediction.astype(kind), truth, protocol="gfm")
    assert value == pytest.approx(expected["whole"]["Grad"], rel=2e-7)


@pytest.mark.parametrize("name", ["a", "b"])
def test_ppmatting_golden_values(name):
    prediction, truth, trimap, expected = ppmatting_case(name)
    for form, marks in (("with_trimap", trimap), ("without_trimap", None)):
        value = metrics.grad(prediction, truth, marks, "ppmatting")
        assert value == pytest.approx(expected[form]["grad"], rel=2e-7), form


@pytest.mark.parametrize(("code", "protocol"), [("gca_python", "legacy-gca"), ("mmagic", "dim")])
def test_gca_golden_values(code, protocol):
    assert metrics.grad(*gca_case(), protocol) == pytest.approx(GCA[code]["grad"], rel=2e-7)


def kernel_of_dim():
    """The 9 x 9 kernel along a row, term by term."""
    sigma, half = 1.4, 4
    gauss = [
        math.exp(-(t**2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi)) for t in range(-4, 5)
    ]
    kernel = [
        [gauss[i] * -(j - half) * gauss[j] / sigma**2 for j in range(2 * half + 1)]
        for i in range(2 * half + 1)
    ]
    return np.array(kernel) / np.linalg.norm(kernel)


def test_taps():
    smooth, derivative = gradient.taps("dim")
    kernel = np.outer(smooth, derivative)
    np.testing.assert_allclose(kernel, kernel_of_dim(), atol=1e-16)
    expected = PPMATTING["grad_filter_x"]
    assert kernel.shape == tuple(expected["shape"])
    np.testing.assert_allclose(kernel[4], expected["row4"], atol=1e-10)
    assert np.abs(kernel).sum() == pytest.approx(expected["sum_abs"], rel=1e-14)
    impulse = np.zeros(31)
    impulse[15] = 1
    for order, mine in zip((0, 1), gradient.taps("gfm"), strict=True):
        response = scipy.ndimage.gaussian_filter1d(impulse, 1.4, order=order)
        np.testing.assert_allclose(response[9:22], mine, atol=1e-16)
        assert not response[:9].any()
        with pytest.raises(ValueError, match="read-only"):
            mine[0] = 1


def length(matte, kernel):
    """The gradient's length at each pixel of a float64 matte, slowly."""
    if kernel == "gfm":
        return np.hypot(
            *(scipy.ndimage.gaussian_filter(matte, 1.4, order) for order in ((0, 1), (1, 0)))
        )
    across = kernel_of_dim()
    padded = np.pad(matte, 4, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (9, 9))
    return np.hypot((windows * across).sum((2, 3)), (windows * across.T).sum((2, 3)))


def expected_grad(prediction, truth, record, counted=None):
    lengths = []
    for matte in (prediction, truth):
        values = matte / 255
        if record.gradient.stretch:
            span = values.max() - values.min()
            values = (values - values.min()) / span if span else 0 * values
        lengths.append(length(values, record.gradient.kernel))
    squares = np.square(lengths[0] - lengths[1])
    return squares[counted if counted is not None else ...].sum() / record.gradient.scale


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("protocol", ["dim", "gfm", "legacy-gca", "ppmatting", "bgmv2"])
def test_any_shape_and_border(shape, protocol):
    """Against a plain implementation: all of it, with a trimap, alike in parts, as floats."""
    rng = np.random.default_rng(sum(shape))
    record = metrics.get(protocol)
    truth = rng.integers(0, 256, shape, dtype=np.uint8)
    noise = rng.integers(0, 256, shape, dtype=np.uint8)
    alike = np.where(np.arange(shape[1]) < 2 * shape[1] // 3, truth, noise)
    trimap = rng.choice(np.array([0, 128, 255], np.uint8), shape)
    crop = tuple(slice(side - side % record.crop) for side in shape)
    for prediction in (noise, alike, truth // 2):
        marked = prediction
        if record.override:
            marked = np.where(trimap == 128, prediction, trimap)
        marked, true, marks = marked[crop], truth[crop], trimap[crop]
        expected = 0.0
        if true.size:
            counted = marks == 128 if record.region == "unknown" else None
            expected = expected_grad(marked, true, record, counted)
        # If each difference is 2e-7 off, the sum of their squares is by no more than this.
        scale = record.gradient.scale
        rounding = 4e-7 * math.sqrt(true.size * expected / scale) + 1e-13 * true.size / scale
        value = metrics.grad(prediction, truth, trimap, protocol)
        assert value == pytest.approx(expected, rel=0, abs=rounding)
        if not record.quantise:
            value = metrics.grad(prediction / 255, truth / 255, trimap, protocol)
            assert value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("protocol", ["dim", "gfm"])
@pytest.mark.parametrize("region", ["all", "some", "corner"])
def test_strips_change_nothing(monkeypatch, protocol, region):
    """Few rows at a time, of columns that differ or count only, beside all of it at once."""
    rng = np.random.default_rng(5)
    truth = cv2.GaussianBlur(rng.integers(0, 256, (150, 401), dtype=np.uint8), (0, 0), 3)
    truth[0, :2] = 0, 255
    prediction = truth.copy()
    for part in (np.s_[20:90, 30:50], np.s_[70:75, 390:], np.s_[60:80, 180:181], np.s_[140:, :3]):
        prediction[part] = 255 - prediction[part]
    trimap = {
        "all": None,
        "some": np.where(rng.random(truth.shape) < 0.5, 128, 0),
        "corner": np.where(np.add.outer(np.arange(150), np.arange(401)) < 70, 128, 255),
    }[region]
    trimap = None if trimap is None else trimap.astype(np.uint8)
    whole = metrics.grad(prediction, truth, trimap, protocol)
    record = metrics.get(protocol)
    counted = trimap == 128 if trimap is not None and record.region == "unknown" else None
    expected = expected_grad(prediction, truth, record, counted)
    assert whole == pytest.approx(expected, rel=1e-6)
    with_gaps = list(gradient._runs((prediction != truth).any(axis=0)))
    assert with_gaps == [(0, 50), (180, 181), (390, 401)]
    for rows in (1, 7, 64):
        monkeypatch.setattr(gradient, "_STRIP", 401 * rows)
        monkeypatch.setattr(gradient, "_LEAST_ROWS", 1)
        # The same numbers, added up in another order.
        assert metrics.grad(prediction, truth, trimap, protocol) == pytest.approx(whole, rel=1e-14)


@pytest.mark.parametrize("protocol", ["dim", "gfm", "legacy-gca"])
def test_flat_mattes_have_no_gradient(protocol):
    flat = [np.full((20, 30), value, np.uint8) for value in (0, 77, 255)]
    for prediction in flat:
        for truth in flat:
            assert metrics.grad(prediction, truth, protocol=protocol) == 0
            assert metrics.grad(prediction / 255, truth / 255, protocol=protocol) == 0


@pytest.mark.parametrize("protocol", ["dim", "gfm", "legacy-gca"])
def test_what_all_pixels_share_costs_no_digits(protocol):
    """Mattes of two grey levels, stretched, are as exact far from black as they are at it."""
    rng = np.random.default_rng(0)
    prediction, truth = rng.integers(0, 2, (2, 40, 50), dtype=np.uint8)
    value = metrics.grad(prediction, truth, protocol=protocol)
    assert value > 0
    pale = prediction + np.uint8(253), truth + np.uint8(199)
    kept = [plane.copy() for plane in pale]
    assert metrics.grad(*pale, protocol=protocol) == value
    for plane, copy in zip(pale, kept, strict=True):
        np.testing.assert_array_equal(plane, copy)


def test_the_stretch_hides_a_washed_out_matte():
    """A flaw of the definition, kept: half of each value with DIM's stretch is hardly a mistake."""
    assert metrics.grad(TRUTH // 2, TRUTH) < 0.01 * metrics.grad(TRUTH // 2, TRUTH, None, "gfm")
