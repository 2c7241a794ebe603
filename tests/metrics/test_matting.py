"""SAD, MSE, MAD: golden values of the DIM code under Octave and of GFM's code."""

import json
import pathlib

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmatte import metrics
from jaxmatte.errors import UserError
from jaxmatte.labels import ellipse
from tests.parity.fill import picture

GFM = json.loads((pathlib.Path(__file__).parents[1] / "parity/gfm_metrics.json").read_text())


def disc():
    """The small deterministic case: prediction, truth and trimap, uint8 `[64, 96]`."""
    y, x = np.mgrid[0:64, 0:96]
    radius = np.hypot(y - 31, x - 47)
    truth = np.clip(np.round(255 * (30 - radius) / 12), 0, 255)
    truth[5:12, 5:15], truth[50:60, 70:90] = 200, 153
    prediction = np.clip(np.round(truth * 0.9 + 20 * np.sin(x / 5) * np.cos(y / 7)), 0, 255)
    prediction[5:12, 5:15], prediction[50:60, 70:90] = 180, 153
    trimap = np.where(radius < 15, 255, np.where(radius > 40, 0, 128))
    trimap[50:60, 70:90] = trimap[5:12, 5:15] = 128
    assert (truth.sum(), prediction.sum(), trimap.sum()) == (515639, 479101, 686407)
    return prediction.astype(np.uint8), truth.astype(np.uint8), trimap.astype(np.uint8)


PREDICTION, TRUTH, TRIMAP = disc()
ALL_UNKNOWN = np.full_like(TRIMAP, 128)
DIM = {
    "A, all unknown": (PREDICTION, ALL_UNKNOWN, 0.253043, 0.00364368),
    "A, no trimap": (PREDICTION, None, 0.253043, 0.00364368),
    "A, trimap": (PREDICTION, TRIMAP, 0.161380, 0.00328494),
    "B, all zero": (0 * PREDICTION, ALL_UNKNOWN, 2.022114, 0.27031374),
    "C, perfect": (TRUTH, ALL_UNKNOWN, 0.0, 0.0),
    "D, washed out": ((PREDICTION * 0.6).astype(np.uint8), ALL_UNKNOWN, 0.953863, 0.05742896),
}


@pytest.mark.parametrize("case", DIM)
def test_dim_golden_values(case):
    prediction, trimap, sad, mse = DIM[case]
    before = [array.copy() for array in (prediction, TRUTH)]
    assert metrics.sad(prediction, TRUTH, trimap) == pytest.approx(sad, abs=5.1e-7)
    # The golden values look like single-precision sums: B and D are 2.7e-7, 1.6e-7 from exact ones.
    assert metrics.mse(prediction, TRUTH, trimap) == pytest.approx(mse, rel=3e-7, abs=5.1e-9)
    pixels = TRUTH.size if trimap is None else (trimap == 128).sum()
    assert metrics.mad(prediction, TRUTH, trimap) == pytest.approx(1000 * sad / pixels, abs=1e-6)
    np.testing.assert_array_equal(prediction, before[0])
    np.testing.assert_array_equal(TRUTH, before[1])


def gfm_case(number):
    """Prediction and truth float64, trimap uint8, as the reference's rule makes them."""
    expected = GFM["cases"][number]
    shape = (1, *expected["shape"], 1)
    soft = picture(f"gfm/metric{number}/gt", shape)[0, ..., 0].astype(np.float64)
    byte = np.round(255 * np.clip((soft - 0.35) / 0.30, 0, 1)).astype(np.uint8)
    truth = byte / 255.0
    error = picture(f"gfm/metric{number}/err", shape)[0, ..., 0].astype(np.float64)
    prediction = np.clip(truth + 0.5 * (error - 0.5), 0, 1)
    dilated = cv2.dilate((byte != 0).astype(np.uint8), ellipse(3))
    eroded = cv2.erode((byte == 255).astype(np.uint8), ellipse(3))
    trimap = np.where(eroded, 255, np.where(dilated, 128, 0)).astype(np.uint8)
    counts = {str(value): int((trimap == value).sum()) for value in (0, 128, 255)}
    assert counts == expected["trimap_counts"]
    return prediction, truth, trimap, expected


@pytest.mark.parametrize("number", range(len(GFM["cases"])))
def test_gfm_golden_values(number):
    prediction, truth, trimap, expected = gfm_case(number)
    kept = trimap.copy(), prediction.copy()
    for protocol, form in (("gfm", "whole"), ("gfm-transition", "trimap")):
        for name in ("sad", "mse", "mad"):
            value = getattr(metrics, name)(prediction, truth, trimap, protocol)
            assert value == pytest.approx(expected[form][name.upper()], rel=1e-12)
    for protocol, name in (("gfm-foreground", "SAD_fg"), ("gfm-background", "SAD_bg")):
        value = metrics.sad(prediction, truth, trimap, protocol)
        assert value == pytest.approx(expected[name], rel=1e-12)
    np.testing.assert_array_equal(trimap, kept[0])
    np.testing.assert_array_equal(prediction, kept[1])


def padded(array, height=170, width=210, fill=np.nan):
    out = np.full((height, width, 1), fill, np.float32)
    out[: array.shape[0], : array.shape[1], 0] = array
    return out


@pytest.mark.parametrize("protocol", list(metrics.PROTOCOLS))
@pytest.mark.parametrize("with_trimap", [True, False])
def test_device_agrees_with_host(protocol, with_trimap):
    """Two images of different size in one batch, NaN beyond their edges, and a padded row."""
    if not with_trimap and metrics.get(protocol).needs_trimap:
        return
    cases = [gfm_case(number)[:3] for number in range(2)]
    size = np.array([*(case[0].shape for case in cases), (0, 0)])
    empty = np.zeros((0, 0))
    prediction, truth, trimap = (
        np.stack([padded(array) for array in (*column, empty)])
        for column in zip(*((p, t, m / 255) for p, t, m in cases), strict=True)
    )
    function = jax.jit(metrics.per_example, static_argnames="protocol")
    values = function(prediction, truth, trimap if with_trimap else None, size, protocol=protocol)
    for name, vector in values.items():
        assert vector.shape == (3,)
        host = [
            getattr(metrics, name)(p, t, m if with_trimap else None, protocol) for p, t, m in cases
        ]
        np.testing.assert_allclose(vector, [*host, 0.0], rtol=2e-6, err_msg=name)


def test_device_sum_of_a_megapixel():
    rng = np.random.default_rng(0)
    prediction, truth = rng.random((2, 1024, 1024)).astype(np.float32)
    values = metrics.per_example(
        jnp.asarray(prediction)[None, ..., None],
        jnp.asarray(truth)[None, ..., None],
        protocol="gfm",
    )
    for name in ("sad", "mse", "mad"):
        host = getattr(metrics, name)(prediction, truth, protocol="gfm")
        assert float(values[name][0]) == pytest.approx(host, rel=1e-6)


def test_overruled_pixels_count_where_the_trimap_is_wrong():
    """In gfm-transition a trimap's own mistake is summed, but the mean is over the transition."""
    truth = np.zeros((2, 3))
    prediction, trimap = np.full_like(truth, 0.5), np.zeros_like(truth)
    trimap[0, 0], trimap[1, 1] = 1, 0.5
    expected = {"sad": 1.5 / 1000, "mse": 1.25, "mad": 1.5}
    arrays = [jnp.asarray(array)[None, ..., None] for array in (prediction, truth, trimap)]
    device = metrics.per_example(*arrays, protocol="gfm-transition")
    for name, value in expected.items():
        host = getattr(metrics, name)(prediction, truth, trimap, "gfm-transition")
        assert host == pytest.approx(value)
        assert float(device[name][0]) == pytest.approx(value)


def test_float_and_byte_inputs_agree_under_dim():
    noise = np.random.default_rng(0).uniform(-0.49, 0.49, TRUTH.shape) / 255
    floats = np.clip(PREDICTION / 255 + noise, 0, 1)
    half = np.where(TRIMAP == 128, 0.5, TRIMAP / 255)
    for name in ("sad", "mse", "mad"):
        function = getattr(metrics, name)
        assert function(floats, TRUTH / 255, half) == function(PREDICTION, TRUTH, TRIMAP)


def test_an_empty_region_measures_zero():
    known = np.where(TRIMAP == 128, 0, TRIMAP)
    assert metrics.sad(PREDICTION, TRUTH, known) == 0
    assert metrics.mse(PREDICTION, TRUTH, known) == 0
    assert metrics.mad(PREDICTION, TRUTH, known) == 0


def test_constant_baseline_is_the_best_constant():
    histogram = np.bincount(TRUTH.ravel(), minlength=256)
    value, mad = metrics.constant_baseline(histogram)
    tried = [metrics.mad(np.full_like(TRUTH, byte), TRUTH, protocol="gfm") for byte in range(256)]
    assert mad == pytest.approx(min(tried), rel=1e-12)
    assert tried[round(255 * value)] == min(tried)
    with pytest.raises(UserError, match="256 counts"):
        metrics.constant_baseline(np.zeros(256))


def test_mistakes_are_named():
    with pytest.raises(UserError, match="resize one"):
        metrics.sad(PREDICTION, TRUTH[1:])
    with pytest.raises(UserError, match="not int64"):
        metrics.sad(PREDICTION.astype(np.int64), TRUTH)
    with pytest.raises(UserError, match="needs a trimap"):
        metrics.sad(PREDICTION, TRUTH, protocol="gfm-transition")
