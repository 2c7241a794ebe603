"""Grad: how far apart the lengths of two mattes' gradients are, on the host."""

import dataclasses
import functools
import math
from collections.abc import Iterator

import cv2
import numpy as np

from jaxmatte.metrics.pair import Pair, prepare
from jaxmatte.metrics.protocols import Protocol

_SIGMA = 1.4
# DIM's reaches as far as the Gaussian is above a hundredth; GFM's as far as SciPy's, 4 sigma.
_RADIUS = {
    "dim": math.ceil(_SIGMA * math.sqrt(-2 * math.log(math.sqrt(2 * math.pi) * _SIGMA * 0.01))),
    "gfm": int(4 * _SIGMA + 0.5),
}
_BORDER = {"dim": cv2.BORDER_REPLICATE, "gfm": cv2.BORDER_REFLECT}
# Pixels that are filtered at a time: what is made of them stays in a core's cache.
_STRIP = 1 << 17
_LEAST_ROWS = 64  # fewer would cost more in the rows around them than the cache gives
_GAP = 96  # columns between what is filtered that are worth a filter more
# OpenCV filters what is left of a row after whole vectors with another rounding; columns are cut
# at multiples of this, and so no number depends on where a part was cut out.
_VECTOR = 32


def grad(
    prediction: np.ndarray,
    truth: np.ndarray,
    trimap: np.ndarray | None = None,
    protocol: str | Protocol = "dim",
) -> float:
    """Sum of squared differences of the gradients' lengths over the region of `[H, W]` mattes.

    It is divided by the protocol's `gradient.scale`. Bytes are filtered in float32: a length is
    true to about 1e-7, Grad to about 4e-8 of itself, and to 1e-4 of itself where it is next to
    nothing, one pixel being one grey level off. Floats are filtered in float64.
    """
    return grad_of(prepare(prediction, truth, trimap, protocol))


def grad_of(pair: Pair) -> float:
    """`grad` of a pair that is ready."""
    height, width = pair.truth.shape
    if pair.truth.size == 0:
        return 0.0
    pair = dataclasses.replace(
        pair, prediction=_from_zero(pair.prediction), truth=_from_zero(pair.truth)
    )
    factors = (_factor(pair.prediction, pair.protocol), _factor(pair.truth, pair.protocol))
    rows = max(_STRIP // width, _LEAST_ROWS)
    total = sum(
        _strip(pair, factors, top, min(top + rows, height)) for top in range(0, height, rows)
    )
    return total / pair.protocol.gradient.scale


@functools.cache
def taps(kernel: str) -> tuple[np.ndarray, np.ndarray]:
    """The smoothing and the deriving taps of a kernel, float64 `[2 radius + 1]`, not to be changed.

    The outer product of both is the kernel in two dimensions.
    """
    radius = _RADIUS[kernel]
    at = np.arange(-radius, radius + 1)
    smooth = np.exp(-0.5 / _SIGMA**2 * at**2)
    smooth = smooth / smooth.sum()
    derivative = -at / _SIGMA**2 * smooth
    if kernel == "dim":
        derivative = derivative / np.linalg.norm(np.outer(smooth, derivative))
    smooth.setflags(write=False)
    derivative.setflags(write=False)
    return smooth, derivative


def _from_zero(matte: np.ndarray) -> np.ndarray:
    """Bytes less their least: what all share has no gradient, but costs float32 its digits."""
    least = matte.min() if matte.dtype == np.uint8 else 0
    return matte - least if least else matte


def _factor(matte: np.ndarray, protocol: Protocol) -> float:
    """What brings the gradients of a matte to the protocol's scale: a filter needs no offset."""
    least, most = float(matte.min()), float(matte.max())
    if least == most:
        return 0.0  # a flat matte has no gradient, not even by rounding
    if protocol.gradient.stretch:
        return 1 / (most - least)
    return 1 / 255 if matte.dtype == np.uint8 else 1.0


def _strip(pair: Pair, factors: tuple[float, float], top: int, bottom: int) -> float:
    """The sum over some rows, of which only the columns are filtered that can add to it."""
    kernel = pair.protocol.gradient.kernel
    radius = _RADIUS[kernel]
    first = max(top - radius, 0)
    mattes = [matte[first : bottom + radius] for matte in (pair.prediction, pair.truth)]
    counted = None if pair.summed is None else pair.summed[top:bottom]
    columns = np.ones(pair.truth.shape[1], bool)
    if factors[0] == factors[1]:  # then like pixels have like gradients
        differ = (mattes[0] != mattes[1]).any(axis=0).view(np.uint8)
        columns = cv2.dilate(differ[None], np.ones((1, 2 * radius + 1), np.uint8))[0] > 0
    if counted is not None:
        columns &= counted.any(axis=0)
    total = 0.0
    for left, right in _runs(columns):
        start = max(left - radius, 0) // _VECTOR * _VECTOR
        end = -(-(right + radius) // _VECTOR) * _VECTOR
        inside = np.s_[top - first : bottom - first, left - start : right - start]
        lengths = [
            _length(matte[:, start:end], factor, kernel)[inside]
            for matte, factor in zip(mattes, factors, strict=True)
        ]
        if counted is not None:  # given a mask, OpenCV's sum would be one of single floats
            mask = counted[:, left:right].view(np.uint8)
            lengths = [cv2.copyTo(length, mask) for length in lengths]
        total += cv2.norm(lengths[0], lengths[1], cv2.NORM_L2SQR)
    return total


def _runs(marks: np.ndarray) -> Iterator[tuple[int, int]]:
    """From where to where there are marks; short gaps are passed over."""
    at = np.flatnonzero(marks)
    if at.size:
        ends = np.flatnonzero(np.diff(at) > _GAP)
        yield from zip([at[0], *at[ends + 1]], [*at[ends] + 1, at[-1] + 1], strict=True)


def _length(matte: np.ndarray, factor: float, kernel: str) -> np.ndarray:
    """The gradient's length at each pixel of `[H, W]`."""
    smooth, derivative = taps(kernel)
    derivative = factor * derivative
    depth = cv2.CV_32F if matte.dtype == np.uint8 else cv2.CV_64F
    border = _BORDER[kernel]
    along: np.ndarray = cv2.sepFilter2D(matte, depth, derivative, smooth, borderType=border)
    down: np.ndarray = cv2.sepFilter2D(matte, depth, smooth, derivative, borderType=border)
    # OpenCV's own length has other last digits where the memory lies otherwise.
    along *= along
    down *= down
    along += down
    return np.sqrt(along, out=along)
