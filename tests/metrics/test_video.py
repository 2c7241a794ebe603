"""dtSSD: Robust Video Matting's convention, bytes and floats, the region, mistakes."""

import numpy as np
import pytest

from jaxmatte import metrics
from jaxmatte.errors import UserError

RNG = np.random.default_rng(0)
PREDICTIONS, TRUTHS = RNG.integers(0, 256, (2, 4, 30, 41), dtype=np.uint8)
TRIMAPS = RNG.choice(np.array([0, 128, 255], np.uint8), PREDICTIONS.shape)


def expected(at, counted=None):
    """From the formula, in floats."""
    prediction, truth = PREDICTIONS / 255, TRUTHS / 255
    change = (prediction[at] - prediction[at - 1]) - (truth[at] - truth[at - 1])
    return 100 * np.sqrt(np.mean(np.square(change if counted is None else change[counted])))


def frames(at, scale=1):
    planes = (PREDICTIONS[at - 1], PREDICTIONS[at], TRUTHS[at - 1], TRUTHS[at])
    return [plane / 255 for plane in planes] if scale == 255 else planes


@pytest.mark.parametrize("protocol", ["rvm", "gfm", "modnet"])
def test_two_frames(protocol):
    for at in range(1, 4):
        value = metrics.dtssd(*frames(at), protocol=protocol)
        assert value == pytest.approx(expected(at), rel=1e-12)
        floats = metrics.dtssd(*frames(at, 255), protocol=protocol)
        assert floats == pytest.approx(value, rel=1e-12)
    assert metrics.dtssd(*frames(1)) == metrics.dtssd(*frames(1), protocol="rvm")


def test_bytes_and_floats_mixed():
    previous, prediction, previous_truth, truth = frames(2)
    value = metrics.dtssd(previous / 255, prediction, previous_truth, truth, protocol="gfm")
    assert value == pytest.approx(expected(2), rel=1e-12)


def test_the_largest_change_is_not_cut_off():
    """An error that goes from -1 to 1 changes by 2, which no byte holds."""
    black, white = np.zeros((90, 70), np.uint8), np.full((90, 70), 255, np.uint8)
    assert metrics.dtssd(black, white, white, black) == 200
    assert metrics.dtssd(white, black, black, white) == 200
    assert metrics.dtssd(black, white, black, white) == 0


def test_the_region_is_that_of_the_later_frame():
    value = metrics.dtssd(*frames(3), TRIMAPS[3], "dim")
    assert value == pytest.approx(expected(3, TRIMAPS[3] == 128), rel=1e-12)
    value = metrics.dtssd(*frames(3, 255), TRIMAPS[3], "gfm-foreground")
    assert value == pytest.approx(expected(3, TRIMAPS[3] == 255), rel=1e-12)
    assert metrics.dtssd(*frames(3), np.zeros_like(TRIMAPS[3]), "dim") == 0


def test_the_first_frame_of_a_clip_counts_as_zero():
    mean = sum(expected(at) for at in (1, 2, 3)) / 4
    kept = PREDICTIONS.copy(), TRUTHS.copy()
    assert metrics.dtssd_of_clip(PREDICTIONS, TRUTHS) == pytest.approx(mean, rel=1e-12)
    assert metrics.dtssd_of_clip(list(PREDICTIONS), list(TRUTHS)) == pytest.approx(mean, rel=1e-12)
    np.testing.assert_array_equal(PREDICTIONS, kept[0])
    np.testing.assert_array_equal(TRUTHS, kept[1])
    assert metrics.dtssd_of_clip(PREDICTIONS[:1], TRUTHS[:1]) == 0
    assert metrics.dtssd_of_clip(TRUTHS, TRUTHS) == 0
    marked = sum(expected(at, TRIMAPS[at] == 128) for at in (1, 2, 3)) / 4
    value = metrics.dtssd_of_clip(PREDICTIONS, TRUTHS, TRIMAPS, "dim")
    assert value == pytest.approx(marked, rel=1e-12)


def test_a_constant_error_does_not_flicker():
    truth = RNG.integers(0, 200, (3, 20, 20), dtype=np.uint8)
    assert metrics.dtssd_of_clip(truth + np.uint8(55), truth) == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (0, 4)])
def test_any_shape(shape):
    black, white = np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8)
    assert metrics.dtssd(black, white, black, black) == (100 if black.size else 0)


def test_mistakes_are_named():
    small = PREDICTIONS[0, 1:]
    with pytest.raises(UserError, match=r"\(29, 41\) and \(30, 41\).*one size"):
        metrics.dtssd(small, PREDICTIONS[1], small, TRUTHS[1])
    with pytest.raises(UserError, match="resize one"):
        metrics.dtssd(PREDICTIONS[0], PREDICTIONS[1], TRUTHS[0], small)
    with pytest.raises(UserError, match="3 mattes but 4 true mattes"):
        metrics.dtssd_of_clip(PREDICTIONS[1:], TRUTHS)
    with pytest.raises(UserError, match="1 trimaps but 4"):
        metrics.dtssd_of_clip(PREDICTIONS, TRUTHS, TRIMAPS[:1])
    with pytest.raises(UserError, match="without a frame"):
        metrics.dtssd_of_clip([], [])
    with pytest.raises(UserError, match="resize one"):
        metrics.dtssd_of_clip([small], TRUTHS[:1])
    with pytest.raises(UserError, match="the trimap is"):
        metrics.dtssd_of_clip(PREDICTIONS, TRUTHS, [small, *TRIMAPS[1:]])
