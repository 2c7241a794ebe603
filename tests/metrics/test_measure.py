"""All metrics at once: as one by one, on any input, without changing it, from many threads."""

import concurrent.futures
import subprocess
import sys

import numpy as np
import pytest

from jaxmatte import metrics
from jaxmatte.errors import UserError
from tests.metrics.cases import PREDICTION, TRIMAP, TRUTH

PROTOCOLS = list(metrics.PROTOCOLS)
HALF = np.where(TRIMAP == 128, 0.5, TRIMAP / 255)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_is_each_metric_by_itself_and_changes_no_input(protocol):
    given = PREDICTION.copy(), TRUTH.copy(), TRIMAP.copy()
    for array in given:
        array.setflags(write=False)
    values = metrics.measure(*given, protocol)
    assert list(values) == ["sad", "mse", "mad", "grad", "conn"]
    for name, value in values.items():
        assert type(value) is float
        assert value == getattr(metrics, name)(*given, protocol)
        assert value > 0 or name == "conn"  # little rises above 0.15 in the background
    for array, kept in zip(given, (PREDICTION, TRUTH, TRIMAP), strict=True):
        np.testing.assert_array_equal(array, kept)


def test_the_metrics_asked_for_in_that_order():
    assert list(metrics.measure(PREDICTION, TRUTH, metrics=("grad", "sad"))) == ["grad", "sad"]
    with pytest.raises(UserError, match=r"no metric 'grd'; did you mean 'grad'.*sad, mse, mad"):
        metrics.measure(PREDICTION, TRUTH, metrics=("sad", "grd"))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_float_and_byte_inputs_agree(protocol):
    bytes_ = metrics.measure(PREDICTION, TRUTH, TRIMAP, protocol)
    floats = metrics.measure(PREDICTION / 255, TRUTH / 255, HALF, protocol)
    single = metrics.measure((PREDICTION / 255).astype(np.float32), TRUTH, TRIMAP, protocol)
    for name, value in bytes_.items():
        same = {} if metrics.get(protocol).quantise else {"rel": 2e-6}
        if same and name == "conn":
            continue  # 153 / 255 lies on a threshold, where a rounding decides
        assert floats[name] == (pytest.approx(value, **same) if same else value), name
        assert single[name] == (pytest.approx(value, **same) if same else value), name


def test_floats_are_rounded_to_bytes_where_the_protocol_reads_files():
    noise = np.random.default_rng(0).uniform(-0.49, 0.49, TRUTH.shape) / 255
    floats = np.clip(PREDICTION / 255 + noise, 0, 1)
    assert metrics.measure(floats, TRUTH / 255, HALF) == metrics.measure(PREDICTION, TRUTH, TRIMAP)
    raw = metrics.measure(floats, TRUTH / 255, HALF, "gfm")
    assert raw != metrics.measure(PREDICTION, TRUTH, TRIMAP, "gfm")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_to_count_measures_zero(protocol):
    record = metrics.get(protocol)
    nothing = dict.fromkeys(metrics.METRICS, 0.0)
    # The two pixels that keep a matte from being flat are right; what counts, is not there.
    if record.region == "unknown" and not record.sum_whole:
        known = np.where(TRIMAP == 128, 0, TRIMAP)
        assert metrics.measure(PREDICTION, TRUTH, known, protocol) == nothing
        assert metrics.measure(PREDICTION / 255, TRUTH / 255, known, protocol) == nothing
    empty = np.zeros((0, 7), np.uint8), np.zeros((0, 7)), np.zeros((5, 0), np.uint8)
    for plane in empty:
        assert metrics.measure(plane, plane, plane, protocol) == nothing
    if record.crop > 1:
        plane = TRUTH[: record.crop - 1]
        assert metrics.measure(plane, 255 - plane, plane, protocol) == nothing
        assert metrics.measure(plane, 255 - plane, None, protocol) == nothing


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1)])
def test_small_mattes(shape):
    """All wrong: each pixel's error is 1, and neither matte has an edge."""
    truth = np.zeros(shape, np.uint8)
    wrong = {"sad": truth.size / 1000, "mse": 1, "mad": 1, "grad": 0, "conn": truth.size / 1000}
    for protocol in ("dim", "gfm", "modnet", "ppmatting"):
        assert metrics.measure(~truth, truth, None, protocol) == pytest.approx(wrong)
        assert metrics.measure(truth + 1.0, truth + 0.0, None, protocol) == pytest.approx(wrong)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_perfect_matte_measures_zero(protocol):
    trimap = np.where((TRUTH > 0) & (TRUTH < 255), 128, TRUTH)  # right where it is certain
    assert not any(metrics.measure(TRUTH, TRUTH, trimap, protocol).values())
    assert not any(metrics.measure(TRUTH / 255, TRUTH / 255, trimap, protocol).values())


def test_views_and_orders_of_memory_do_not_matter():
    expected = metrics.measure(PREDICTION, TRUTH, TRIMAP)
    planes = (PREDICTION, TRUTH, TRIMAP)
    wide = np.stack([*planes, *planes], axis=-1)
    for views in (
        [np.asfortranarray(plane) for plane in planes],
        [wide[..., at] for at in range(3)],
        [plane[::-1, ::-1].copy()[::-1, ::-1] for plane in planes],
    ):
        assert metrics.measure(*views) == expected


def test_threads_give_the_same_digits():
    rng = np.random.default_rng(0)
    pairs = [rng.integers(0, 256, (2, 60 + at, 80), dtype=np.uint8) for at in range(24)]
    alone = [metrics.measure(*pair) for pair in pairs]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda pair: metrics.measure(*pair), pairs)) == alone


def test_every_public_name_is_there():
    for name in metrics.__all__:
        assert callable(getattr(metrics, name)) or isinstance(getattr(metrics, name), dict)
    with pytest.raises(AttributeError, match="no attribute 'sda'"):
        _ = metrics.sda


def test_the_host_needs_no_jax():
    code = "import sys, jaxmatte.metrics; sys.exit('jax' in sys.modules or 'scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
