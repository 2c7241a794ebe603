"""SAD, MSE and MAD: on the host exactly, on the device for each example of a padded batch.

Every function is pure. Arrays are uint8 bytes or floats in 0..1, prediction and truth alike;
what counts, and how, is the `Protocol`'s. A region without a pixel (or a padded row) measures 0.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxmatte.errors import UserError
from jaxmatte.metrics import protocols
from jaxmatte.metrics.protocols import Protocol

_BYTE = {"unknown": 128, "foreground": 255, "background": 0}


def _unit(matte: np.ndarray, quantise: bool) -> np.ndarray:
    """A matte as float64 in 0..1. Bytes are kept; floats are rounded to bytes if `quantise`."""
    if matte.dtype == np.uint8:
        return matte / 255.0
    if not np.issubdtype(matte.dtype, np.floating):
        raise UserError(f"metrics: a matte is uint8 or float in 0..1, not {matte.dtype}")
    values = matte.astype(np.float64)
    return np.rint(np.clip(values, 0, 1) * 255) / 255 if quantise else values


def _trimap_byte(trimap: np.ndarray) -> np.ndarray:
    """A trimap's bytes; the 0.5 of a float trimap is 128."""
    if trimap.dtype == np.uint8:
        return trimap
    return np.rint(trimap.astype(np.float64) * 255).astype(np.uint8)


def _difference(
    prediction: np.ndarray, truth: np.ndarray, trimap: np.ndarray | None, protocol: str | Protocol
) -> tuple[np.ndarray, np.ndarray, Protocol]:
    """Difference `[H, W]`, region bool `[H, W]`, and the protocol's record."""
    record = protocols.get(protocol)
    region = protocols.region(record, trimap is not None)
    for name, array in (("truth", truth), ("trimap", trimap)):
        if array is not None and array.shape != prediction.shape:
            raise UserError(
                f"metrics: the prediction is {prediction.shape} but the {name} is {array.shape}; "
                "resize one to the other's size"
            )
    predicted = _unit(prediction, record.quantise)
    if trimap is not None:
        trimap = _trimap_byte(trimap)
        if record.override:
            predicted = np.select([trimap == 0, trimap == 255], [0.0, 1.0], predicted)
    difference = predicted - _unit(truth, record.quantise)
    if trimap is None or region == "whole":
        return difference, np.ones(difference.shape, bool), record
    return difference, trimap == _BYTE[region], record


def sad(
    prediction: np.ndarray,
    truth: np.ndarray,
    trimap: np.ndarray | None = None,
    protocol: str | Protocol = "dim",
) -> float:
    """Sum of absolute differences over the region of `[H, W]` mattes, over the protocol's scale.

    Where the trimap overrules the prediction its mistakes count too, so there the sum is over the
    whole image while MSE and MAD still divide by the region, as GFM's code has it.
    """
    difference, region, record = _difference(prediction, truth, trimap, protocol)
    counted = region | record.override
    return float(np.abs(difference).sum(where=counted) / record.scale)


def mse(
    prediction: np.ndarray,
    truth: np.ndarray,
    trimap: np.ndarray | None = None,
    protocol: str | Protocol = "dim",
) -> float:
    """Mean squared difference over the region of `[H, W]` mattes."""
    difference, region, record = _difference(prediction, truth, trimap, protocol)
    total = np.square(difference).sum(where=region | record.override)
    return float(total / max(np.count_nonzero(region), 1))


def mad(
    prediction: np.ndarray,
    truth: np.ndarray,
    trimap: np.ndarray | None = None,
    protocol: str | Protocol = "dim",
) -> float:
    """Mean absolute difference over the region of `[H, W]` mattes."""
    difference, region, record = _difference(prediction, truth, trimap, protocol)
    total = np.abs(difference).sum(where=region | record.override)
    return float(total / max(np.count_nonzero(region), 1))


def _inside(shape: tuple[int, ...], size: jax.Array | None) -> jax.Array:
    """Which pixels of `[B, H, W, 1]` lie inside the true `size [B, 2]`."""
    if size is None:
        return jnp.ones(shape, bool)
    rows = jnp.arange(shape[1])[None, :, None, None] < size[:, 0, None, None, None]
    columns = jnp.arange(shape[2])[None, None, :, None] < size[:, 1, None, None, None]
    return rows & columns


def _total(values: jax.Array) -> jax.Array:
    """Sum of each example `[B, H, W, 1]` -> `[B]`, by rows first: float32 holds megapixels so."""
    return values.sum(axis=2).sum(axis=(1, 2))


def per_example(
    prediction: jax.Array,
    truth: jax.Array,
    trimap: jax.Array | None = None,
    size: jax.Array | None = None,
    protocol: str | Protocol = "dim",
) -> dict[str, jax.Array]:
    """The same metrics of a batch on the device, in float32.

    Args:
      prediction: `[B, H, W, 1]` in 0..1.
      truth: `[B, H, W, 1]` in 0..1.
      trimap: `[B, H, W, 1]` in {0, .5, 1}, or None: the whole image.
      size: true height and width `[B, 2]`; what lies beyond does not count, whatever it holds.
        None: all of it.
      protocol: a name or a record.

    Returns:
      `sad`, `mse` and `mad`, each `[B]`.
    """
    record = protocols.get(protocol)
    region_name = protocols.region(record, trimap is not None)
    inside = _inside(prediction.shape, size)
    predicted, true = (
        jnp.where(inside, matte.astype(jnp.float32), 0.0) for matte in (prediction, truth)
    )
    if record.quantise:
        predicted, true = (
            jnp.round(jnp.clip(matte, 0, 1) * 255) / 255 for matte in (predicted, true)
        )
    counted = region = inside
    if trimap is not None and region_name != "whole":
        byte = jnp.round(trimap.astype(jnp.float32) * 255)
        counted = region = inside & (byte == _BYTE[region_name])
        if record.override:
            predicted = jnp.where(byte == 0, 0.0, jnp.where(byte == 255, 1.0, predicted))
            counted = inside
    difference = jnp.where(counted, predicted - true, 0.0)
    absolute = _total(jnp.abs(difference))
    pixels = jnp.maximum(_total(region.astype(jnp.float32)), 1.0)
    return {
        "sad": absolute / record.scale,
        "mse": _total(jnp.square(difference)) / pixels,
        "mad": absolute / pixels,
    }


def constant_baseline(histogram: np.ndarray) -> tuple[float, float]:
    """The best constant matte for a set: what a network must beat before it has learned anything.

    Args:
      histogram: how often each byte occurs in the set's mattes, `[256]`.

    Returns:
      The constant in 0..1 that has the least MAD (the median alpha), and that MAD over all pixels.
    """
    counts = np.asarray(histogram, np.float64)
    if counts.shape != (256,) or counts.sum() <= 0:
        raise UserError("metrics: constant_baseline needs 256 counts of bytes, not all zero")
    bytes_ = np.arange(256)
    costs = (np.abs(bytes_[:, None] - bytes_) * counts).sum(axis=1) / counts.sum() / 255
    best = int(np.argmin(costs))
    return best / 255, float(costs[best])
