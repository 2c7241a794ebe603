"""What a protocol makes of a prediction and its truth before anything is measured."""

import dataclasses

import numpy as np
import pytest

from jaxmatte import metrics
from jaxmatte.errors import UserError
from jaxmatte.metrics.pair import prepare, to_bytes
from tests.metrics.cases import PREDICTION, TRIMAP, TRUTH

HALF = np.where(TRIMAP == 128, 0.5, TRIMAP / 255)


def test_bytes_are_taken_as_they_are():
    pair = prepare(PREDICTION, TRUTH)
    assert pair.is_bytes
    assert pair.prediction is PREDICTION
    assert pair.truth is TRUTH
    assert pair.region is None
    assert pair.summed is None
    assert pair.pixels == TRUTH.size
    assert pair.protocol is metrics.get("dim")


@pytest.mark.parametrize(
    ("protocol", "mark"),
    [("dim", 128), ("gfm-transition", 128), ("gfm-foreground", 255), ("gfm-background", 0)],
)
@pytest.mark.parametrize("trimap", [TRIMAP, HALF, HALF.astype(np.float32)])
def test_regions(protocol, mark, trimap):
    pair = prepare(PREDICTION, TRUTH, trimap, protocol)
    np.testing.assert_array_equal(pair.region, np.isin(TRIMAP, mark))
    assert pair.pixels == np.isin(TRIMAP, mark).sum()
    assert (pair.summed is None) == (protocol == "gfm-transition")
    whole = prepare(PREDICTION, TRUTH, trimap, "gfm")
    assert whole.region is None


@pytest.mark.parametrize("protocol", ["ppmatting", "gfm-transition"])
def test_the_trimap_overrules_the_prediction_only_in_the_pair(protocol):
    kept = PREDICTION.copy(), TRIMAP.copy()
    pair = prepare(PREDICTION, TRUTH, TRIMAP, protocol)
    assert pair.is_bytes
    expected = np.where(TRIMAP == 128, PREDICTION, TRIMAP)
    np.testing.assert_array_equal(pair.prediction, expected)
    floats = prepare((PREDICTION / 255).astype(np.float32), TRUTH, TRIMAP, protocol)
    unit = 1 if floats.is_bytes else 255
    np.testing.assert_allclose(floats.prediction * float(unit), expected, atol=1e-5)
    np.testing.assert_array_equal(PREDICTION, kept[0])
    np.testing.assert_array_equal(TRIMAP, kept[1])
    np.testing.assert_array_equal(prepare(PREDICTION, TRUTH, TRIMAP, "dim").prediction, kept[0])


def test_rounding_to_bytes():
    values = np.array([[0, 0.5, 1.5, 2.4999, 254.5, 255]]) / 255
    np.testing.assert_array_equal(to_bytes(values), [[0, 0, 2, 2, 254, 255]])
    assert to_bytes(values).dtype == np.uint8
    outside = np.array([[-0.0005, 1.0005]])
    np.testing.assert_array_equal(to_bytes(outside), [[0, 255]])
    assert to_bytes(TRUTH) is TRUTH
    every = np.arange(256, dtype=np.uint8)[None]
    for kind in (np.float16, np.float32, np.float64):
        np.testing.assert_array_equal(to_bytes((every / 255).astype(kind)), every)


def test_floats_stay_floats_where_nothing_is_rounded():
    single = (PREDICTION / 255).astype(np.float32)
    pair = prepare(single, TRUTH, protocol="gfm")
    assert pair.prediction.dtype == pair.truth.dtype == np.float64
    np.testing.assert_array_equal(pair.prediction, single)
    np.testing.assert_array_equal(pair.truth, TRUTH / 255)
    assert prepare(PREDICTION, TRUTH, protocol="gfm").is_bytes
    assert prepare(single, TRUTH, protocol="dim").is_bytes


@pytest.mark.parametrize("shape", [(64, 96), (63, 93), (3, 9), (0, 8)])
def test_crops_to_a_multiple(shape):
    planes = [plane[: shape[0], : shape[1]] for plane in (PREDICTION, TRUTH, TRIMAP)]
    pair = prepare(*planes, "bgmv2")
    cut = shape[0] // 4 * 4, shape[1] // 4 * 4
    assert pair.prediction.shape == pair.truth.shape == pair.region.shape == cut
    np.testing.assert_array_equal(pair.prediction, PREDICTION[: cut[0], : cut[1]])
    assert prepare(*planes, "dim").truth.shape == shape


def slow_band(alpha):
    """Ten dilations and ten erosions with a cross, a pixel beyond the border changing nothing."""
    unknown = (alpha > 0.06) & (alpha < 0.96)
    for fill, combine in ((False, np.logical_or), (True, np.logical_and)):
        for _ in range(10):
            wide = np.pad(unknown, 1, constant_values=fill)
            around = (wide[:-2, 1:-1], wide[2:, 1:-1], wide[1:-1, :-2], wide[1:-1, 2:])
            unknown = combine.reduce([unknown, *around])
    return np.where(unknown, 128, np.where(alpha >= 0.96, 255, 0))


def test_the_band_of_background_matting():
    band = metrics.band(TRUTH)
    assert band.dtype == np.uint8
    np.testing.assert_array_equal(band, slow_band(TRUTH / 255))
    np.testing.assert_array_equal(metrics.band(TRUTH / 255), band)
    assert set(np.unique(band)) == {0, 128, 255}
    # 15/255 and 244/255 are the last certain bytes.
    for byte, mark in ((15, 0), (16, 128), (244, 128), (245, 255)):
        assert metrics.band(np.full((3, 4), byte, np.uint8)).tolist() == [[mark] * 4] * 3
    noise = np.random.default_rng(0).random((50, 45)) ** 40  # specks
    np.testing.assert_array_equal(metrics.band(noise), slow_band(noise))
    for shape in ((0, 5), (1, 1), (1, 7)):
        np.testing.assert_array_equal(metrics.band(np.ones(shape)), np.full(shape, 255))


def test_the_band_is_made_of_the_truth_where_no_trimap_is_given():
    pair = prepare(PREDICTION, TRUTH, protocol="bgmv2")
    np.testing.assert_array_equal(pair.region, metrics.band(TRUTH) == 128)
    given = prepare(PREDICTION, TRUTH, TRIMAP, "bgmv2")
    np.testing.assert_array_equal(given.region, TRIMAP == 128)


def test_a_pair_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        prepare(PREDICTION, TRUTH).region = None


@pytest.mark.parametrize(
    ("planes", "message"),
    [
        ((PREDICTION, TRUTH[1:]), r"prediction is \(64, 96\) but the truth is \(63, 96\); resize"),
        ((PREDICTION, TRUTH, TRIMAP[:, 1:]), r"the trimap is \(64, 95\); resize"),
        (
            (PREDICTION[..., None], TRUTH),
            r"prediction has shape \(64, 96, 1\); a matte is \[H, W\]",
        ),
        ((PREDICTION.astype(np.int64), TRUTH), "prediction is uint8 or float in 0..1, not int64"),
        ((PREDICTION, TRUTH > 0), "truth is uint8 or float in 0..1, not bool"),
        ((PREDICTION.astype(np.float32), TRUTH), "prediction has values from 0 to 249; floats"),
        ((PREDICTION, TRUTH / 255 - 0.01), r"truth has values from -0\.01 to 0\.99"),
        ((np.where(TRUTH > 9, np.nan, 0), TRUTH), "prediction has values from nan to nan"),
        ((PREDICTION, np.full(TRUTH.shape, np.inf)), "truth has values from inf to inf"),
        ((PREDICTION, TRUTH, TRIMAP.astype(float)), "trimap has values from 0 to 255"),
    ],
)
def test_mistakes_are_one_line(planes, message):
    with pytest.raises(UserError, match=message) as error:
        prepare(*planes)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("metrics: ")


def test_a_missing_trimap_is_named():
    for protocol in ("gfm-transition", "gfm-foreground", "gfm-background"):
        with pytest.raises(UserError, match=f"{protocol}' needs a trimap"):
            prepare(PREDICTION, TRUTH, protocol=protocol)


def test_floats_may_lie_outside_by_a_rounding():
    near = np.array([[-0.0009, 1.0009]])
    assert prepare(near, near, protocol="gfm").prediction.tolist() == near.tolist()
