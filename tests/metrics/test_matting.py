"""SAD, MSE, MAD: golden values of four reference codes, exact sums, and what counts."""

import numpy as np
import pytest

from jaxmatte import metrics
from jaxmatte.errors import UserError
from jaxmatte.metrics import matting
from tests.metrics.cases import (
    DIM,
    GCA,
    GFM,
    PREDICTION,
    TRIMAP,
    TRUTH,
    gca_case,
    gfm_case,
    ppmatting_case,
)


@pytest.mark.parametrize("case", DIM)
def test_dim_golden_values(case):
    prediction, trimap, sad, mse, _, _ = DIM[case]
    assert metrics.sad(prediction, TRUTH, trimap) == pytest.approx(sad, abs=5.1e-7)
    # The golden values look like single-precision sums: B and D are 2.7e-7, 1.6e-7 from exact ones.
    assert metrics.mse(prediction, TRUTH, trimap) == pytest.approx(mse, rel=3e-7, abs=5.1e-9)
    pixels = TRUTH.size if trimap is None else (trimap == 128).sum()
    assert metrics.mad(prediction, TRUTH, trimap) == pytest.approx(1000 * sad / pixels, abs=1e-6)


@pytest.mark.parametrize("number", range(len(GFM["cases"])))
def test_gfm_golden_values(number):
    prediction, truth, trimap, expected = gfm_case(number)
    for protocol, form in (("gfm", "whole"), ("gfm-transition", "trimap")):
        for name in ("sad", "mse", "mad"):
            value = getattr(metrics, name)(prediction, truth, trimap, protocol)
            assert value == pytest.approx(expected[form][name.upper()], rel=1e-12)
    for protocol, name in (("gfm-foreground", "SAD_fg"), ("gfm-background", "SAD_bg")):
        value = metrics.sad(prediction, truth, trimap, protocol)
        assert value == pytest.approx(expected[name], rel=1e-12)


@pytest.mark.parametrize("name", ["a", "b"])
def test_ppmatting_golden_values(name):
    prediction, truth, trimap, expected = ppmatting_case(name)
    for form, marks in (("with_trimap", trimap), ("without_trimap", None)):
        for metric in ("sad", "mse"):
            value = getattr(metrics, metric)(prediction, truth, marks, "ppmatting")
            assert value == pytest.approx(expected[form][metric], rel=1e-7), (form, metric)


@pytest.mark.parametrize(("code", "protocol"), [("gca_python", "legacy-gca"), ("mmagic", "dim")])
def test_gca_golden_values(code, protocol):
    for metric in ("sad", "mse"):
        value = getattr(metrics, metric)(*gca_case(), protocol)
        assert value == pytest.approx(GCA[code][metric], rel=1e-11)


@pytest.mark.parametrize("colours", [(), (3,)])
@pytest.mark.parametrize("masked", [True, False])
def test_sums_of_bytes_are_exact(colours, masked):
    """Noise, and the largest differences that there are; parts of larger arrays, read backwards."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (2, 1030, 517, *colours), dtype=np.uint8)
    extreme = np.stack([np.zeros_like(noise[0]), np.full_like(noise[0], 255)])
    counted = rng.random((1030, 517)) < 0.6 if masked else None
    for prediction, truth in (noise, extreme, noise[:, :1000, 3:], noise[:, ::-1, ::-1]):
        mask = None if counted is None else counted[: truth.shape[0], : truth.shape[1]]
        difference = prediction.astype(int) - truth
        difference = difference if mask is None else difference[mask]
        assert matting.absolute_sum(prediction, truth, mask) == np.abs(difference).sum() / 255
        assert matting.squared_sum(prediction, truth, mask) == (difference**2).sum() / 65025


def test_sums_beyond_the_digits_of_single_precision():
    """3,200 x 3,200 pixels that differ by 255 have a sum of squares of 6.7e11."""
    truth = np.zeros((3200, 3200), np.uint8)
    prediction = ~truth
    prediction[-1, -1] = 254
    assert matting.squared_sum(prediction, truth) * 65025 == truth.size * 65025 - 255**2 + 254**2
    assert matting.absolute_sum(prediction, truth) * 255 == truth.size * 255 - 1


def test_floats_are_measured_in_float64():
    rng = np.random.default_rng(0)
    prediction, truth = rng.random((2, 300, 200)).astype(np.float32)
    difference = np.abs(prediction.astype(np.float64) - truth)
    assert metrics.sad(prediction, truth, protocol="gfm") == difference.sum() / 1000
    assert metrics.mse(prediction, truth, protocol="modnet") == pytest.approx(
        np.square(difference).mean(), rel=1e-14
    )
    trimap = np.where(rng.random(truth.shape) < 0.3, 255, 0).astype(np.uint8)
    value = metrics.sad(prediction, truth, trimap, "gfm-foreground")
    assert value == pytest.approx(difference[trimap == 255].sum() / 1000, rel=1e-14)


def test_overruled_pixels_count_where_the_trimap_is_wrong():
    """In gfm-transition a trimap's own mistake is summed, but the mean is over the transition."""
    truth = np.zeros((2, 3))
    prediction, trimap = np.full_like(truth, 0.5), np.zeros_like(truth)
    trimap[0, 0], trimap[1, 1] = 1, 0.5
    for name, value in {"sad": 1.5 / 1000, "mse": 1.25, "mad": 1.5}.items():
        measured = getattr(metrics, name)(prediction, truth, trimap, "gfm-transition")
        assert measured == pytest.approx(value)


@pytest.mark.parametrize(("protocol", "plain"), [("rvm", "modnet"), ("bgmv2", "dim")])
def test_means_of_some_protocols_are_thousandfold(protocol, plain):
    planes = [plane[:60, :92] for plane in (PREDICTION, TRUTH, TRIMAP)]  # multiples of 4
    for name in ("mse", "mad"):
        function = getattr(metrics, name)
        assert function(*planes, protocol) == pytest.approx(1000 * function(*planes, plain))
    assert metrics.sad(*planes, protocol) == metrics.sad(*planes, plain)


def test_constant_baseline_is_the_best_constant():
    histogram = np.bincount(TRUTH.ravel(), minlength=256)
    value, mad = metrics.constant_baseline(histogram)
    tried = [metrics.mad(np.full_like(TRUTH, byte), TRUTH, protocol="gfm") for byte in range(256)]
    assert mad == pytest.approx(min(tried), rel=1e-12)
    assert tried[round(255 * value)] == min(tried)
    wrong = np.zeros(256), histogram[:255], histogram - 1, np.where(histogram, np.nan, 0)
    for counts in wrong:
        with pytest.raises(UserError, match="256 counts"):
            metrics.constant_baseline(counts)
