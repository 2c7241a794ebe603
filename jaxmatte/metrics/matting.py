"""SAD, MSE and MAD on the host: of bytes exactly, from sums of whole numbers; of floats in float64.

A region without a pixel measures 0.
"""

import cv2
import numpy as np

from jaxmatte.errors import UserError
from jaxmatte.metrics.pair import Pair, prepare
from jaxmatte.metrics.protocols import Protocol


def sad(
    prediction: np.ndarray,
    truth: np.ndarray,
    trimap: np.ndarray | None = None,
    protocol: str | Protocol = "dim",
) -> float:
    """Sum of absolute differences over the region of `[H, W]` mattes, over the protocol's scale.

    Where the trimap overrules the prediction its mistakes may count too: see `sum_whole`.
    """
    return sad_of(prepare(prediction, truth, trimap, protocol))


def mse(
    prediction: np.ndarray,
    truth: np.ndarray,
    trimap: np.ndarray | None = None,
    protocol: str | Protocol = "dim",
) -> float:
    """Mean squared difference over the region of `[H, W]` mattes."""
    return mse_of(prepare(prediction, truth, trimap, protocol))


def mad(
    prediction: np.ndarray,
    truth: np.ndarray,
    trimap: np.ndarray | None = None,
    protocol: str | Protocol = "dim",
) -> float:
    """Mean absolute difference over the region of `[H, W]` mattes."""
    return mad_of(prepare(prediction, truth, trimap, protocol))


def sad_of(pair: Pair) -> float:
    """`sad` of a pair that is ready."""
    return absolute_sum(pair.prediction, pair.truth, pair.summed) / pair.protocol.scale


def mse_of(pair: Pair) -> float:
    """`mse` of a pair that is ready."""
    return _mean(squared_sum(pair.prediction, pair.truth, pair.summed), pair)


def mad_of(pair: Pair) -> float:
    """`mad` of a pair that is ready."""
    return _mean(absolute_sum(pair.prediction, pair.truth, pair.summed), pair)


def _mean(total: float, pair: Pair) -> float:
    pixels = pair.pixels  # none, though a sum may be over the whole: then there is no mean
    return total / pixels * pair.protocol.means if pixels else 0.0


def absolute_sum(
    prediction: np.ndarray, truth: np.ndarray, counted: np.ndarray | None = None
) -> float:
    """Sum of absolute differences, one being the difference of black and white.

    Args:
      prediction: `[H, W]` or `[H, W, C]`, bytes or float64 in 0..1.
      truth: The same.
      counted: bool `[H, W]`, the pixels that count; None: all of them.
    """
    if prediction.dtype == np.uint8:
        return _whole_sum(prediction, truth, counted, cv2.NORM_L1) / 255
    return float(np.abs(_difference(prediction, truth, counted)).sum())


def squared_sum(
    prediction: np.ndarray, truth: np.ndarray, counted: np.ndarray | None = None
) -> float:
    """Sum of squared differences; the arguments are those of `absolute_sum`."""
    if prediction.dtype == np.uint8:
        return _whole_sum(prediction, truth, counted, cv2.NORM_L2SQR) / 255**2
    return float(np.square(_difference(prediction, truth, counted)).sum())


def _whole_sum(
    prediction: np.ndarray, truth: np.ndarray, counted: np.ndarray | None, norm: int
) -> int:
    if prediction.size == 0:
        return 0
    mask = None if counted is None else counted.view(np.uint8)
    # OpenCV adds up whole numbers, but may hand out the square of their root.
    return round(cv2.norm(prediction, truth, norm, mask))


def _difference(
    prediction: np.ndarray, truth: np.ndarray, counted: np.ndarray | None
) -> np.ndarray:
    difference = prediction - truth
    return difference if counted is None else difference[counted]


def constant_baseline(histogram: np.ndarray) -> tuple[float, float]:
    """The best constant matte for a set: what a network must beat before it has learned anything.

    Args:
      histogram: how often each byte occurs in the set's mattes, `[256]`.

    Returns:
      The constant in 0..1 that has the least MAD (the median alpha), and that MAD over all pixels.
    """
    counts = np.asarray(histogram, np.float64)
    # Written so that NaN fails too.
    if counts.shape != (256,) or not (counts.min() >= 0 and 0 < counts.sum() < np.inf):
        raise UserError("metrics: constant_baseline needs 256 counts of bytes, not all zero")
    bytes_ = np.arange(256)
    costs = (np.abs(bytes_[:, None] - bytes_) * counts).sum(axis=1) / counts.sum() / 255
    best = int(np.argmin(costs))
    return best / 255, float(costs[best])
