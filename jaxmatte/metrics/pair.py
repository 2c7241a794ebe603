"""A prediction and its truth, made ready as a protocol wants them; every metric starts here."""

import dataclasses

import cv2
import numpy as np

from jaxmatte.errors import UserError
from jaxmatte.metrics import protocols
from jaxmatte.metrics.protocols import BYTE, SLACK, Protocol

_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two mattes of one size, both as bytes or both as float64 in 0..1. Not to be written to.

    Attributes:
      prediction: `[H, W]`, overruled by the trimap where the protocol says so.
      truth: `[H, W]`.
      region: bool `[H, W]`, the pixels that count; None: all of them.
      protocol: the record.
    """

    prediction: np.ndarray
    truth: np.ndarray
    region: np.ndarray | None
    protocol: Protocol

    @property
    def is_bytes(self) -> bool:
        """Whether both mattes are bytes."""
        return self.prediction.dtype == np.uint8

    @property
    def summed(self) -> np.ndarray | None:
        """The pixels that sums are over; None: all of them."""
        return None if self.protocol.sum_whole else self.region

    @property
    def pixels(self) -> int:
        """How many pixels the region has; what means divide by."""
        if self.region is None:
            return self.truth.size
        return int(np.count_nonzero(self.region))


def prepare(
    prediction: np.ndarray,
    truth: np.ndarray,
    trimap: np.ndarray | None = None,
    protocol: str | Protocol = "dim",
) -> Pair:
    """Makes a pair; what is given is never changed.

    Args:
      prediction: `[H, W]`, uint8 or float in 0..1.
      truth: `[H, W]`, uint8 or float in 0..1. What was bytes is best given as bytes: as float32,
        153/255 lies above .6, and passes thresholds that it fails in float64.
      trimap: `[H, W]`, uint8 in {0, 128, 255} or float in {0, .5, 1}, or None.
      protocol: a name or a record.

    Raises:
      UserError: where shapes or types do not fit, or a trimap is missing.
    """
    record = protocols.get(protocol)
    name = protocols.region(record, trimap is not None)
    _check(prediction, truth, trimap)
    if record.crop > 1:
        height, width = (side - side % record.crop for side in truth.shape)
        prediction, truth = (matte[:height, :width] for matte in (prediction, truth))
        trimap = None if trimap is None else trimap[:height, :width]
    if record.quantise or prediction.dtype == truth.dtype == np.uint8:
        prediction, truth = to_bytes(prediction), to_bytes(truth)
    else:
        prediction, truth = _unit(prediction), _unit(truth)
    if trimap is None and record.band:
        trimap = band(truth)
    if trimap is None:
        return Pair(prediction, truth, None, record)
    marks = _marks(trimap)
    if record.override:
        prediction = prediction.copy()
        prediction[marks == 0] = 0
        prediction[marks == 255] = 255 if prediction.dtype == np.uint8 else 1
    region = None if name == "whole" else marks == BYTE[name]
    return Pair(prediction, truth, region, record)


def to_bytes(matte: np.ndarray) -> np.ndarray:
    """A matte as bytes: floats in 0..1 are rounded, half to even; bytes stay."""
    if matte.dtype == np.uint8:
        return matte
    return np.rint(np.clip(matte.astype(np.float64), 0, 1) * 255).astype(np.uint8)


def band(truth: np.ndarray) -> np.ndarray:
    """Background Matting V2's trimap of a true matte `[H, W]`, uint8 in {0, 128, 255}."""
    _check(truth, truth, None)
    alpha = truth / 255 if truth.dtype == np.uint8 else truth
    between: np.ndarray = ((alpha > 0.06) & (alpha < 0.96)).astype(np.uint8)
    if between.size:  # closed: ten dilations, then ten erosions
        between = cv2.morphologyEx(between, cv2.MORPH_CLOSE, _CROSS, iterations=10)
    return np.where(between, 128, np.where(alpha >= 0.96, 255, 0)).astype(np.uint8)


def _check(prediction: np.ndarray, truth: np.ndarray, trimap: np.ndarray | None) -> None:
    for name, array in (("prediction", prediction), ("truth", truth), ("trimap", trimap)):
        if array is None:
            continue
        if array.ndim != 2:
            raise UserError(f"metrics: the {name} has shape {array.shape}; a matte is [H, W]")
        if array.shape != prediction.shape:
            raise UserError(
                f"metrics: the prediction is {prediction.shape} but the {name} is {array.shape}; "
                "resize one to the other's size"
            )
        if array.dtype == np.uint8:
            continue
        if not np.issubdtype(array.dtype, np.floating):
            raise UserError(f"metrics: the {name} is uint8 or float in 0..1, not {array.dtype}")
        if not in_range(array):
            raise UserError(
                f"metrics: the {name} has values from {array.min():g} to {array.max():g}; floats "
                "lie in 0..1, bytes are uint8"
            )


def in_range(matte: np.ndarray) -> bool:
    """Whether a matte is bytes, or lies in 0..1."""
    if matte.dtype == np.uint8 or not matte.size:
        return True
    return bool(matte.min() > -SLACK and matte.max() < 1 + SLACK)  # NaN does not


def _unit(matte: np.ndarray) -> np.ndarray:
    return matte / 255.0 if matte.dtype == np.uint8 else matte.astype(np.float64)


def _marks(trimap: np.ndarray) -> np.ndarray:
    """A trimap's bytes; the 0.5 of a float trimap is 128."""
    if trimap.dtype == np.uint8:
        return trimap
    return np.rint(trimap.astype(np.float64) * 255).astype(np.uint8)
