"""SAD, MSE and MAD of a predicted foreground's colours, where the true alpha is above 0.

Colours are straight, bytes or floats in 0..1. The region is the protocol's: with `bgmv2` the band
around the true matte, with `rvm` the whole picture. What the trimap says of the matte overrules no
colour. Means are over pixels and channels; with `bgmv2` over all pixels of the region, those of
alpha 0 too. Nothing to count measures 0.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from jaxmatte.errors import UserError
from jaxmatte.metrics import matting
from jaxmatte.metrics.pair import prepare
from jaxmatte.metrics.protocols import Protocol


def foreground_sad(
    prediction: np.ndarray,
    truth: np.ndarray,
    alpha: np.ndarray,
    trimap: np.ndarray | None = None,
    protocol: str | Protocol = "dim",
) -> float:
    """Sum of absolute differences over pixels and channels, over the protocol's scale.

    Args:
      prediction: `[H, W, 3]`.
      truth: `[H, W, 3]`.
      alpha: the true matte `[H, W]`.
      trimap: `[H, W]`, uint8 in {0, 128, 255} or float in {0, .5, 1}, or None.
      protocol: a name or a record.
    """
    colours = _colours(prediction, truth, alpha, trimap, protocol)
    return colours.sum(matting.absolute_sum) / colours.protocol.scale


def foreground_mse(
    prediction: np.ndarray,
    truth: np.ndarray,
    alpha: np.ndarray,
    trimap: np.ndarray | None = None,
    protocol: str | Protocol = "dim",
) -> float:
    """Mean squared difference; the arguments are those of `foreground_sad`."""
    return _colours(prediction, truth, alpha, trimap, protocol).mean(matting.squared_sum)


def foreground_mad(
    prediction: np.ndarray,
    truth: np.ndarray,
    alpha: np.ndarray,
    trimap: np.ndarray | None = None,
    protocol: str | Protocol = "dim",
) -> float:
    """Mean absolute difference; the arguments are those of `foreground_sad`."""
    return _colours(prediction, truth, alpha, trimap, protocol).mean(matting.absolute_sum)


@dataclasses.dataclass(frozen=True)
class _Colours:
    """Two foregrounds made ready.

    Attributes:
      prediction: `[H, W, 3]`, bytes or float64.
      truth: `[H, W, 3]`, the same.
      counted: bool `[H, W]`, the pixels that count.
      values: how many numbers means divide by, at least 1.
      protocol: the record.
    """

    prediction: np.ndarray
    truth: np.ndarray
    counted: np.ndarray
    values: int
    protocol: Protocol

    def sum(self, total: Callable[..., float]) -> float:
        """A sum of differences over what counts."""
        return total(self.prediction, self.truth, self.counted)

    def mean(self, total: Callable[..., float]) -> float:
        """A mean of differences, as the protocol's tables show it."""
        return self.sum(total) / self.values * self.protocol.means


def _colours(
    prediction: np.ndarray,
    truth: np.ndarray,
    alpha: np.ndarray,
    trimap: np.ndarray | None,
    protocol: str | Protocol,
) -> _Colours:
    for name, array in (("predicted", prediction), ("true", truth)):
        if array.shape != (*alpha.shape, 3):
            raise UserError(
                f"metrics: the {name} foreground is {array.shape} but the alpha is {alpha.shape}; "
                "colours are [H, W, 3], all of one size"
            )
    matte = prepare(alpha, alpha, trimap, protocol)
    record = matte.protocol
    height, width = matte.truth.shape
    # A matte's checks and rounding are those of colours too: pixels side by side are a wide matte.
    plain = Protocol(record.name, "whole", quantise=record.quantise)
    predicted, true = (
        colours[:height, :width].reshape(height, 3 * width) for colours in (prediction, truth)
    )
    wide = prepare(predicted, true, protocol=plain)
    counted = matte.truth > 0
    if matte.region is not None:
        counted &= matte.region
    pixels = matte.pixels if record.foreground_over_region else int(np.count_nonzero(counted))
    shape = height, width, 3
    return _Colours(
        wide.prediction.reshape(shape),
        wide.truth.reshape(shape),
        counted,
        max(3 * pixels, 1),
        record,
    )
