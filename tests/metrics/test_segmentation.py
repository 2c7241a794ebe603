"""Mean IoU: small matrices by hand, what is left out, and mattes cut at one half."""

import numpy as np
import pytest

from jaxmatte import metrics
from jaxmatte.errors import UserError

TRUTH = np.array([[0, 0, 1, 255], [1, 1, 2, 255]], np.uint8)
PREDICTION = np.array([[0, 1, 1, 0], [1, 2, 2, 77]], np.uint8)
MATRIX = [[1, 1, 0, 0], [0, 2, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]


def test_by_hand():
    matrix = metrics.confusion(PREDICTION, TRUTH, 4)
    assert matrix.dtype == np.int64
    np.testing.assert_array_equal(matrix, MATRIX)
    np.testing.assert_allclose(metrics.iou(matrix), [1 / 2, 2 / 4, 1 / 2, np.nan])
    assert metrics.miou(matrix) == pytest.approx(0.5)
    # With 1 added to each union nothing is NaN: the class that occurs nowhere counts as 0.
    np.testing.assert_allclose(metrics.iou(matrix, extra=1), [1 / 3, 2 / 5, 1 / 3, 0])
    assert metrics.miou(matrix, extra=1) == pytest.approx((2 / 3 + 2 / 5) / 4)


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.int64])
def test_against_sets_of_pixels(kind):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 6, (3, 20, 30)).astype(kind)
    prediction = rng.integers(0, 5, truth.shape).astype(kind)
    truth[truth == 3] = 200
    kept = truth.copy(), prediction.copy()
    matrix = metrics.confusion(prediction, truth, 7, ignore=200)
    pictures = [metrics.confusion(p, t, 7, 200) for p, t in zip(prediction, truth, strict=True)]
    np.testing.assert_array_equal(matrix, sum(pictures))
    expected = []
    for label in range(6):
        true, predicted = truth == label, (prediction == label) & (truth != 200)
        expected.append((true & predicted).sum() / (true | predicted).sum())
    assert expected[3] == expected[5] == 0  # one in the prediction only, one in the truth only
    np.testing.assert_allclose(metrics.iou(matrix), [*expected, np.nan])
    assert metrics.miou(matrix) == pytest.approx(np.mean(expected))
    np.testing.assert_array_equal(truth, kept[0])
    np.testing.assert_array_equal(prediction, kept[1])


def test_nothing_to_count():
    matrix = metrics.confusion(PREDICTION, np.full_like(TRUTH, 255), 3)
    assert not matrix.any()
    assert np.isnan(metrics.iou(matrix)).all()
    assert metrics.miou(matrix) == 0
    assert not metrics.confusion(TRUTH[:0], TRUTH[:0], 3).any()


def test_mattes_are_cut_at_one_half():
    truth = np.array([[0, 127, 128, 255]], np.uint8)
    prediction = np.array([[0, 128, 128, 127]], np.uint8)
    expected = (1 / 3 + 1 / 3) / 2
    assert metrics.matte_iou(prediction, truth) == pytest.approx(expected)
    assert metrics.matte_iou(prediction / 255, truth / 255) == pytest.approx(expected)
    assert metrics.matte_iou(prediction, (truth / 255).astype(np.float32)) == pytest.approx(
        expected
    )
    assert metrics.matte_iou(np.array([[0.5, 1]]), np.array([[0, 255]], np.uint8)) == 1
    assert metrics.matte_iou(truth, truth) == 1
    empty = np.zeros((4, 4))
    assert metrics.matte_iou(empty, empty) == 1  # all background, and no foreground to count
    assert metrics.matte_iou(1 - empty, empty) == 0


def test_mistakes_are_named():
    with pytest.raises(UserError, match="resize one"):
        metrics.confusion(PREDICTION, TRUTH[:1], 3)
    with pytest.raises(UserError, match="prediction holds class numbers, not float64"):
        metrics.confusion(PREDICTION / 255, TRUTH, 3)
    with pytest.raises(UserError, match=r"truth has class numbers from 0 to 2; with 2.*0..1"):
        metrics.confusion(np.minimum(PREDICTION, 1), TRUTH, 2)
    with pytest.raises(UserError, match="prediction has class numbers from -1"):
        metrics.confusion(PREDICTION.astype(int) - 1, TRUTH, 3)
    with pytest.raises(UserError, match=r"floats lie in 0\.\.1"):
        metrics.matte_iou(PREDICTION.astype(float), TRUTH)
