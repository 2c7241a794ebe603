"""Properties of the metrics under every protocol: what holds for any matte of any size."""

import concurrent.futures
import dataclasses
import functools
import math

import cv2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from jaxmatte import metrics
from jaxmatte.metrics import METRICS, measure
from jaxmatte.metrics.pair import prepare
from jaxmatte.metrics.protocols import PROTOCOLS
from tests.metrics.drawn import (
    BAND,
    EVERY,
    KINDS,
    OWN,
    SEEDS,
    alike,
    draw_for,
    examples,
    marked,
    matte_of,
    pictures,
    spread,
)


@EVERY
@given(data=st.data())
@examples(25)
def test_finite_and_not_negative(protocol, data):
    for name, value in measure(*draw_for(data, protocol), protocol).items():
        assert type(value) is float, name
        assert math.isfinite(value), name
        assert value >= 0, name


@EVERY
@given(data=st.data())
@examples(25)
def test_zero_at_equality(protocol, data):
    _, truth, trimap = draw_for(data, protocol)
    if PROTOCOLS[protocol].override and trimap is not None:
        truth = marked(trimap, 0, 255 if truth.dtype == np.uint8 else 1, truth)
    assert set(measure(truth.copy(), truth, trimap, protocol).values()) == {0.0}


@EVERY
@given(data=st.data())
@examples(20)
def test_zero_where_nothing_is_measured(protocol, data):
    prediction, truth, _ = draw_for(data, protocol)
    region = PROTOCOLS[protocol].region
    if region == "whole":
        none = (slice(0), slice(None))
        assert set(measure(prediction[none], truth[none], None, protocol).values()) == {0.0}
        return
    trimap = np.full(truth.shape, 0 if region != "background" else 255, np.uint8)
    found = measure(prediction, truth, trimap, protocol)
    if PROTOCOLS[protocol].sum_whole:  # sums are of other pixels, means are of none
        found = {name: found[name] for name in ("mse", "mad")}
    assert set(found.values()) == {0.0}


@given(data=st.data())
@examples(20)
def test_a_picture_smaller_than_the_crop_measures_zero(data):
    short = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 9))
    prediction, truth = (matte_of(short, "noise", seed) for seed in (0, 1))
    assert set(measure(prediction, truth, None, "bgmv2").values()) == {0.0}
    prediction, truth, trimap = data.draw(pictures())
    cut = tuple(slice(side - side % 4) for side in truth.shape)
    parts = prediction[cut], truth[cut], trimap if trimap is None else trimap[cut]
    assert measure(prediction, truth, trimap, "bgmv2") == measure(*parts, "bgmv2")


@pytest.mark.parametrize("protocol", OWN)
@given(data=st.data())
@examples(25)
def test_prediction_and_truth_may_be_exchanged(protocol, data):
    prediction, truth, trimap = draw_for(data, protocol, trimap=protocol in BAND or None)
    there = measure(prediction, truth, trimap, protocol)
    back = measure(truth, prediction, trimap, protocol)
    assert there == back


def mirrored(record):
    """The protocol as it is for a transposed picture."""
    ties = {"rows": "columns", "columns": "rows"}[record.connectivity.ties]
    return dataclasses.replace(
        record, connectivity=dataclasses.replace(record.connectivity, ties=ties)
    )


@EVERY
@given(data=st.data())
@examples(25)
def test_transposing_changes_nothing(protocol, data):
    """Not even where two components are the largest, once rows and columns are exchanged."""
    picture = draw_for(data, protocol)
    record = PROTOCOLS[protocol]
    upright = measure(*picture, record)
    lying = measure(*[plane if plane is None else plane.T for plane in picture], mirrored(record))
    alike(lying, upright, picture, protocol)


TURNS = (np.flipud, np.fliplr, np.rot90, functools.partial(np.rot90, k=3))


def tied(picture, protocol):
    """Whether a threshold has two largest components, of which a scan takes the first."""
    pair = prepare(*picture, protocol)
    both = np.minimum(pair.prediction, pair.truth)
    both = both / 255 if pair.is_bytes else both
    for threshold in [*np.arange(0, 1.1, 0.1)[1:], *np.linspace(0.1, 1, 10) - 1e-7]:
        passing = (both >= threshold).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(passing, connectivity=4)
        sizes = stats[1:, cv2.CC_STAT_AREA]
        if np.count_nonzero(sizes == sizes.max(initial=0)) > 1:
            return True
    return False


@EVERY
@given(data=st.data())
@examples(25)
def test_turning_and_mirroring_change_nothing(protocol, data):
    """Conn where each threshold has one largest component; otherwise the first in a scan counts."""
    picture = draw_for(data, protocol, multiple=PROTOCOLS[protocol].crop)
    turn = data.draw(st.sampled_from(TURNS))
    upright = measure(*picture, protocol)
    turned = measure(*[plane if plane is None else turn(plane) for plane in picture], protocol)
    if tied(picture, protocol):
        del turned["conn"], upright["conn"]
    alike(turned, upright, picture, protocol)


@EVERY
@given(data=st.data())
@examples(25)
def test_a_negative_measures_the_same(protocol, data):
    """Not so Conn, whose level sets are of what is opaque."""
    prediction, truth, trimap = draw_for(data, protocol, trimap=protocol in BAND or None)
    negatives = [
        255 - matte if matte.dtype == np.uint8 else 1 - matte.astype(np.float64)
        for matte in (prediction, truth)
    ]
    other = {"gfm-foreground": "gfm-background", "gfm-background": "gfm-foreground"}
    swapped = None if trimap is None else marked(trimap, 255, 0, trimap)
    names = ("sad", "mse", "mad", "grad")
    found = measure(*negatives, swapped, other.get(protocol, protocol), names)
    wanted = measure(prediction, truth, trimap, protocol, names)
    alike(found, wanted, (prediction, truth, trimap), protocol)


def further(prediction, truth, part):
    """The prediction moved away from the truth by a part `[H, W]` of the way that there is."""
    one = 255 if prediction.dtype == np.uint8 else 1
    found = prediction.astype(np.float64)
    found = np.where(prediction >= truth, found + part * (one - found), found - part * found)
    return np.rint(found).astype(np.uint8) if one == 255 else found


@EVERY
@given(data=st.data())
@examples(25)
def test_differences_grow_with_the_error(protocol, data):
    """SAD, MSE and MAD: Grad and Conn need not, as the two tests after this one have it."""
    prediction, truth, trimap = draw_for(data, protocol)
    rng = np.random.default_rng(data.draw(SEEDS))
    part = rng.random(truth.shape) * (rng.random(truth.shape) < data.draw(st.floats(0, 1)))
    worse = further(prediction, truth, part)
    names = ("sad", "mse", "mad")
    before = measure(prediction, truth, trimap, protocol, names)
    after = measure(worse, truth, trimap, protocol, names)
    assert all(after[name] >= before[name] * (1 - 1e-12) for name in names)
    first, second = (
        prepare(prediction, truth, trimap, protocol),
        prepare(worse, truth, trimap, protocol),
    )
    moved = first.prediction != second.prediction
    if truth.dtype == np.uint8 and (moved if first.summed is None else moved & first.summed).any():
        assert after["sad"] > before["sad"]


@given(kind=KINDS, seed=SEEDS)
@examples(20)
def test_stretching_hides_a_washed_out_matte(kind, seed):
    """Why Grad is not asked to grow with the error: the Adobe code's knows no contrast."""
    truth = matte_of((16, 16), kind, seed) // 5 * 5
    washed_out = truth // 5
    assert metrics.grad(washed_out, truth) == pytest.approx(0, abs=1e-9)
    assume(truth.any())
    assert metrics.sad(washed_out, truth) > 0
    assert (metrics.grad(washed_out, truth, protocol="legacy-gca") > 1e-9) == (np.ptp(truth) > 0)


def test_a_larger_error_may_be_better_connected():
    """Why Conn is not asked to grow with the error: it forgives what is less than .15 too much.

    Where both mattes lose their connection, both differ from it by more, and are alike again.
    """
    truth, prediction = np.zeros((9, 9), np.uint8), np.zeros((9, 9), np.uint8)
    truth[:, :5] = prediction[:, :5] = 255  # the body
    truth[4, 5] = prediction[4, 5] = 140  # a bridge, to the threshold .5
    truth[:, 6:], prediction[:, 6:] = 169, 163  # .66 and .64: only one is .15 above the bridge
    worse = prediction.copy()
    worse[4, 5] = 0
    assert metrics.sad(worse, truth) > metrics.sad(prediction, truth)
    assert metrics.conn(worse, truth) < metrics.conn(prediction, truth) / 2


@given(picture=pictures(trimap=True))
@examples(25)
def test_regions_add_up(picture):
    _, _, trimap = picture
    whole = measure(*picture, "gfm")
    unknown = dataclasses.replace(PROTOCOLS["gfm"], name="unknown", region="unknown")
    parts = [measure(*picture, part) for part in ("gfm-foreground", "gfm-background", unknown)]
    shares = [np.count_nonzero(trimap == mark) / trimap.size for mark in (255, 0, 128)]
    total = {name: math.fsum(part[name] for part in parts) for name in whole}
    for name in ("mse", "mad"):
        total[name] = math.fsum(s * part[name] for s, part in zip(shares, parts, strict=True))
    alike(total, whole, picture, "gfm")


@EVERY
@given(data=st.data())
@examples(20)
def test_mad_is_sad_over_the_pixels(protocol, data):
    picture = draw_for(data, protocol)
    pair = prepare(*picture, protocol)
    found = measure(*picture, protocol, ("sad", "mad", "mse"))
    record = pair.protocol
    if pair.pixels:
        wanted = found["sad"] * record.scale / pair.pixels * record.means
        assert found["mad"] == pytest.approx(wanted, rel=1e-12)
        assert found["mse"] <= found["mad"] * (1 + 1e-9)  # differences are at most 1
        if not record.sum_whole:
            assert found["mad"] <= record.means


def test_black_and_white():
    for protocol, record in PROTOCOLS.items():
        for shape in ((1, 1), (1, 30), (30, 1), (8, 12)):
            black, white = np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8)
            trimap = np.full(shape, 128, np.uint8)
            if record.region in ("foreground", "background"):
                trimap = white if record.region == "foreground" else black
            pixels = math.prod(side - side % record.crop for side in shape)
            for prediction, truth in ((black, white), (white, black)):
                found = measure(prediction, truth, trimap, protocol)
                assert found["sad"] == pytest.approx(pixels / record.scale)
                assert found["mse"] == found["mad"] == (record.means if pixels else 0)
                assert found["grad"] == pytest.approx(0, abs=1e-12)  # flat, both
                unconnected = pixels / record.connectivity.scale
                hidden = protocol.startswith("legacy")  # the mistakes that these are known for
                assert found["conn"] == (0 if hidden else pytest.approx(unconnected))


@EVERY
@given(data=st.data())
@examples(25)
def test_nothing_given_is_changed(protocol, data):
    """Nor written to and put back; views measure what their copies do."""
    planes = draw_for(data, protocol)
    wanted = measure(*planes, protocol)
    given_ = [None if plane is None else spread(plane) for plane in planes]
    found = measure(*given_, protocol)
    alike(found, wanted, planes, protocol)
    if PROTOCOLS[protocol].quantise or planes[0].dtype == np.uint8:
        assert found == wanted
    for plane, copy in zip(given_, planes, strict=True):
        if plane is not None:
            np.testing.assert_array_equal(plane, copy)


@EVERY
@given(data=st.data())
@examples(25)
def test_bytes_and_floats_agree(protocol, data):
    """Exactly where floats are rounded to bytes; thresholds of Conn are met by both, too."""
    prediction, truth, trimap = draw_for(data, protocol, floats=False)
    wanted = measure(prediction, truth, trimap, protocol)
    marks = None if trimap is None else marked(trimap, 0, 1, 0.5)
    found = measure(prediction / 255, truth / 255, marks, protocol)
    mixed = measure(prediction, truth / 255, trimap, protocol)
    if PROTOCOLS[protocol].quantise:
        assert found == wanted == mixed
    else:
        assert found == mixed
        alike(found, wanted, (prediction, truth, trimap), protocol)


@EVERY
@given(data=st.data())
@examples(20)
def test_measure_is_each_metric(protocol, data):
    picture = draw_for(data, protocol)
    found = measure(*picture, protocol)
    assert list(found) == list(METRICS) == ["sad", "mse", "mad", "grad", "conn"]
    for name in found:
        assert getattr(metrics, name)(*picture, protocol) == found[name]
        assert measure(*picture, protocol, (name,)) == {name: found[name]}


def test_threads_measure_the_same():
    pairs = [[matte_of((40, 50), "smooth", seed + n) for n in (0, 1)] for seed in range(40)]
    wanted = [measure(*pair) for pair in pairs]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda pair: measure(*pair), pairs)) == wanted
