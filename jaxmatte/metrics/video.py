"""dtSSD: how much the error of a matte flickers from frame to frame of a video."""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from jaxmatte.errors import UserError
from jaxmatte.metrics.pair import Pair, prepare
from jaxmatte.metrics.protocols import Protocol

_SCALE = 100.0


def dtssd(
    previous: np.ndarray,
    prediction: np.ndarray,
    previous_truth: np.ndarray,
    truth: np.ndarray,
    trimap: np.ndarray | None = None,
    protocol: str | Protocol = "rvm",
) -> float:
    """Root of the mean squared change of the error between two frames in a row, times 100.

    The mean is over the region in the later frame. Robust Video Matting measures the whole frame.

    Args:
      previous: the earlier frame's matte `[H, W]`, bytes or floats in 0..1.
      prediction: the later frame's.
      previous_truth: the true matte of the earlier frame.
      truth: that of the later one.
      trimap: the later frame's, or None.
      protocol: a name or a record.
    """
    if previous.shape != prediction.shape:
        raise UserError(
            f"metrics: frames in a row are {previous.shape} and {prediction.shape}; those of one "
            "video have one size"
        )
    before = prepare(previous, previous_truth, trimap, protocol)
    after = prepare(prediction, truth, trimap, protocol)
    if not after.pixels:
        return 0.0
    earlier, later = _error(before), _error(after)
    if before.is_bytes and after.is_bytes:
        unit, change = 255, cv2.subtract(later, earlier).astype(np.int32)
    else:
        unit, change = 1, _unit(later) - _unit(earlier)
    counted = change if after.region is None else change[after.region]
    return _SCALE * math.sqrt(float(np.square(counted).sum()) / after.pixels) / unit


def dtssd_of_clip(
    predictions: Sequence[np.ndarray] | np.ndarray,
    truths: Sequence[np.ndarray] | np.ndarray,
    trimaps: Sequence[np.ndarray] | np.ndarray | None = None,
    protocol: str | Protocol = "rvm",
) -> float:
    """Mean of `dtssd` over all frames of a clip, the first of which counts as 0.

    So has it the evaluation code of Robust Video Matting; a clip of one frame measures 0.

    Args:
      predictions: the mattes of the clip, `[T, H, W]` or `T` times `[H, W]`.
      truths: the true ones.
      trimaps: one a frame, or None.
      protocol: a name or a record.
    """
    frames = len(truths)
    for name, planes in (("mattes", predictions), ("trimaps", trimaps)):
        if planes is not None and len(planes) != frames:
            raise UserError(f"metrics: a clip has {len(planes)} {name} but {frames} true mattes")
    if not frames:
        raise UserError("metrics: a clip without a frame has no dtSSD")
    # The first frame measures nothing, but has to fit; it may be the only one.
    prepare(predictions[0], truths[0], None if trimaps is None else trimaps[0], protocol)
    values = [
        dtssd(
            predictions[at - 1],
            predictions[at],
            truths[at - 1],
            truths[at],
            None if trimaps is None else trimaps[at],
            protocol,
        )
        for at in range(1, frames)
    ]
    return math.fsum(values) / frames


def _error(pair: Pair) -> np.ndarray:
    """Prediction minus truth: int16 in units of a byte, or float64."""
    if pair.is_bytes:
        return cv2.subtract(pair.prediction, pair.truth, dtype=cv2.CV_16S)
    return pair.prediction - pair.truth


def _unit(error: np.ndarray) -> np.ndarray:
    return error / 255.0 if error.dtype == np.int16 else error
