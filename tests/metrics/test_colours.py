"""The foreground's colours: what counts under each protocol, and what means divide by."""

import numpy as np
import pytest

from jaxmatte import metrics
from jaxmatte.errors import UserError

RNG = np.random.default_rng(0)
SHAPE = (24, 32)
PREDICTION, TRUTH = RNG.integers(0, 256, (2, *SHAPE, 3), dtype=np.uint8)
ALPHA = np.clip(RNG.integers(-200, 400, SHAPE), 0, 255).astype(np.uint8)
TRIMAP = RNG.choice(np.array([0, 128, 255], np.uint8), SHAPE)
DIFFERENCE = (PREDICTION.astype(int) - TRUTH) / 255
NAMES = ("foreground_sad", "foreground_mse", "foreground_mad")
MARK = {"whole": (0, 128, 255), "unknown": 128, "foreground": 255, "background": 0}


@pytest.mark.parametrize("protocol", list(metrics.PROTOCOLS))
def test_against_the_definition(protocol):
    record = metrics.get(protocol)
    counted = ALPHA > 0
    region = np.isin(TRIMAP, MARK[record.region])
    counted &= region
    errors = np.abs(DIFFERENCE[counted])
    divisor = 3 * (region.sum() if protocol == "bgmv2" else counted.sum())
    assert divisor > errors.size or protocol != "bgmv2"
    expected = {
        "foreground_sad": errors.sum() / record.scale,
        "foreground_mse": np.square(errors).sum() / divisor * record.means,
        "foreground_mad": errors.sum() / divisor * record.means,
    }
    for name in NAMES:
        value = getattr(metrics, name)(PREDICTION, TRUTH, ALPHA, TRIMAP, protocol)
        assert value == pytest.approx(expected[name], rel=1e-12)


def test_rvm_is_the_mean_of_what_is_seen():
    """The evaluation code indexes both pictures by alpha > 0 and takes the mean, times 1000."""
    seen = DIFFERENCE[ALPHA > 0]
    value = metrics.foreground_mse(PREDICTION, TRUTH, ALPHA, protocol="rvm")
    assert value == pytest.approx(1000 * (seen**2).mean(), rel=1e-12)
    value = metrics.foreground_mad(PREDICTION, TRUTH, ALPHA, protocol="rvm")
    assert value == pytest.approx(1000 * np.abs(seen).mean(), rel=1e-12)


def test_bgmv2_makes_its_band_and_cuts_to_multiples_of_4():
    y, x = np.mgrid[:43, :54]
    alpha = np.clip(255 * (16 - np.hypot(y - 21, x - 27)) / 8, 0, 255).astype(np.uint8)
    prediction, truth = RNG.integers(0, 256, (2, 43, 54, 3), dtype=np.uint8)
    cut = np.s_[:40, :52]
    unknown = metrics.band(alpha[cut]) == 128
    counted = unknown & (alpha[cut] > 0)
    assert 0 < counted.sum() < unknown.sum()
    squares = np.square((prediction.astype(int) - truth)[cut][counted] / 255)
    value = metrics.foreground_mse(prediction, truth, alpha, protocol="bgmv2")
    assert value == pytest.approx(1000 * squares.sum() / (3 * unknown.sum()), rel=1e-12)


@pytest.mark.parametrize("protocol", ["dim", "gfm", "rvm", "bgmv2"])
def test_floats_and_bytes_agree_and_inputs_stay(protocol):
    given = (PREDICTION, TRUTH, ALPHA)
    kept = [array.copy() for array in given]
    backwards = [np.ascontiguousarray(array[..., ::-1])[..., ::-1] for array in given[:2]]
    half = np.where(TRIMAP == 128, 0.5, TRIMAP / 255)
    for name in NAMES:
        function = getattr(metrics, name)
        value = function(*given, TRIMAP, protocol)
        assert value > 0
        floats = function(*(array / 255 for array in given), half, protocol)
        assert floats == pytest.approx(value, rel=1e-12)
        mixed = function(PREDICTION, (TRUTH / 255).astype(np.float32), ALPHA, TRIMAP, protocol)
        assert mixed == pytest.approx(value, rel=1e-6)
        assert function(*backwards, ALPHA, TRIMAP, protocol) == value
    for array, before in zip(given, kept, strict=True):
        np.testing.assert_array_equal(array, before)


def test_floats_are_rounded_to_bytes_where_the_protocol_reads_files():
    noise = RNG.uniform(-0.49, 0.49, PREDICTION.shape) / 255
    floats = np.clip(PREDICTION / 255 + noise, 0, 1)
    for name in NAMES:
        function = getattr(metrics, name)
        value = function(floats, TRUTH / 255, ALPHA, protocol="rvm")
        assert value == function(PREDICTION, TRUTH, ALPHA, protocol="rvm")
        raw = function(floats, TRUTH / 255, ALPHA, protocol="gfm")
        assert raw != function(PREDICTION, TRUTH, ALPHA, protocol="gfm")


@pytest.mark.parametrize("protocol", ["dim", "gfm", "rvm", "bgmv2"])
def test_nothing_to_count_measures_zero(protocol):
    cases = [
        (PREDICTION, TRUTH, 0 * ALPHA),
        (PREDICTION[:0], TRUTH[:0], ALPHA[:0]),
        (PREDICTION[:, :0], TRUTH[:, :0], ALPHA[:, :0]),
    ]
    for planes in cases:
        for name in NAMES:
            assert getattr(metrics, name)(*planes, protocol=protocol) == 0


def test_mistakes_are_named():
    with pytest.raises(UserError, match=r"predicted foreground is \(24, 32\).*\[H, W, 3\]"):
        metrics.foreground_sad(PREDICTION[..., 0], TRUTH, ALPHA)
    with pytest.raises(UserError, match=r"true foreground is \(23, 32, 3\)"):
        metrics.foreground_mse(PREDICTION, TRUTH[1:], ALPHA)
    with pytest.raises(UserError, match=r"floats lie in 0\.\.1"):
        metrics.foreground_mad(PREDICTION.astype(np.float32), TRUTH, ALPHA)
    with pytest.raises(UserError, match="not int64"):
        metrics.foreground_mad(PREDICTION.astype(np.int64), TRUTH, ALPHA)
    with pytest.raises(UserError, match="needs a trimap"):
        metrics.foreground_sad(PREDICTION, TRUTH, ALPHA, protocol="gfm-transition")
