"""A padded batch on the device, made ready as a protocol wants it; `pair` does so on the host.

Every sum is one of whole numbers: of the bytes' own differences, or of values rounded to a fixed
point. Whole numbers add up to the same in any order, so that padding, the batch, the number of
devices and the compiler's mood change no digit of a result.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxmatte.errors import UserError
from jaxmatte.metrics import protocols
from jaxmatte.metrics.protocols import BYTE, SLACK, Protocol

_NEAR = 2.0**-20  # more than there is between two floats that mean one byte
_UNITS = (np.arange(256) / 255).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Padded:
    """Arrays `[B, H, W, 1]`; beyond the true sizes there is nothing: 0, and not counted.

    Attributes:
      prediction: whole numbers 0..255 where `is_bytes`, else float32 in 0..1; overruled by the
        trimap where the protocol says so.
      truth: the same.
      inside: bool, the pixels that there are.
      region: bool, the pixels that means divide by.
      counted: bool, the pixels that sums are over.
      size: true height and width `[B, 2]`.
      is_bytes: whether both mattes are measured as bytes.
      predicts_bytes: whether the prediction was given as bytes.
      sound: bool `[B]`, whether the prediction lies in 0..1; what does not measures NaN.
      protocol: the record.
    """

    prediction: jax.Array
    truth: jax.Array
    inside: jax.Array
    region: jax.Array
    counted: jax.Array
    size: jax.Array
    is_bytes: bool
    predicts_bytes: bool
    sound: jax.Array
    protocol: Protocol


def prepare(
    prediction: jax.Array,
    truth: jax.Array,
    trimap: jax.Array | None = None,
    size: jax.Array | None = None,
    protocol: str | Protocol = "dim",
) -> Padded:
    """Makes a batch ready; the arguments are those of `device.per_example`."""
    record = protocols.get(protocol)
    name = protocols.region(record, trimap is not None)
    _check(prediction, truth, trimap)
    if trimap is None and record.band:
        raise UserError(
            f"metrics: on the device {record.name!r} needs a trimap; metrics.band makes one"
        )
    if size is None:
        size = jnp.tile(jnp.array(prediction.shape[1:3]), (prediction.shape[0], 1))
    size = size - size % record.crop
    inside = _inside(prediction.shape, size)
    is_bytes = record.quantise or prediction.dtype == truth.dtype == jnp.uint8
    predicts_bytes = prediction.dtype == jnp.uint8
    prediction, truth = (jnp.where(inside, matte, 0) for matte in (prediction, truth))
    sound = jnp.ones(prediction.shape[0], bool)
    if not predicts_bytes:  # written so that NaN fails too
        within = (prediction > -SLACK) & (prediction < 1 + SLACK)
        sound = within.all(axis=(1, 2, 3))
        prediction = jnp.where(within, prediction, 0)
    prediction = to_bytes(prediction) if is_bytes else _to_unit(prediction)
    truth = to_bytes(truth) if is_bytes else _near_bytes(_to_unit(truth))
    region = counted = inside
    if trimap is not None:
        marks = to_bytes(jnp.where(inside, trimap, 0))
        if record.override:
            one = 255 if is_bytes else 1.0
            prediction = jnp.where(marks == 0, 0, jnp.where(marks == 255, one, prediction))
        if name != "whole":
            region = inside & (marks == BYTE[name])
            counted = inside if record.sum_whole else region
    return Padded(
        prediction, truth, inside, region, counted, size, is_bytes, predicts_bytes, sound, record
    )


def to_bytes(matte: jax.Array) -> jax.Array:
    """Whole numbers 0..255, int32, of bytes or of floats in 0..1, rounded as in float64."""
    if matte.dtype == jnp.uint8:
        return matte.astype(jnp.int32)
    matte = jnp.clip(matte.astype(jnp.float32), 0, 1)
    near = jnp.round(matte * 255).astype(jnp.int32)
    # In float32 the product itself is rounded, some of them to a half and on to the wrong byte.
    bytes_ = np.arange(257)
    halves = (bytes_ - 0.5) / 255
    least = jnp.asarray(least_float(lambda value: np.rint(255 * value) >= bytes_, halves))
    return near - (matte < least[near]) + (matte >= least[near + 1])


def exact_sum(values: jax.Array) -> jax.Array:
    """Sum of each example of whole numbers `[B, H, W, 1]` in 0 .. 2^31 - 1, sides below 2^15.

    The parts of the numbers are added up separately, by rows first, so that nothing overflows;
    only the four totals are rounded to float32.
    """
    total = jnp.zeros(values.shape[0], jnp.float32)
    for part, place in ((values >> 15, 2.0**15), (values & 0x7FFF, 1.0)):
        rows = part.sum(axis=(2, 3))
        total += (rows >> 16).sum(axis=1) * (place * 2**16) + (rows & 0xFFFF).sum(axis=1) * place
    return total


def least_float(passes: Callable[[np.ndarray], np.ndarray], near: np.ndarray) -> np.ndarray:
    """The least float32 that passes, asked in float64, of those next to each of `near`."""
    found = np.nextafter(near.astype(np.float32), np.float32(-1))
    for _ in range(2):
        more = np.nextafter(found, np.float32(2))
        found = np.where(passes(found.astype(np.float64)), found, more)
    return found


def _check(prediction: jax.Array, truth: jax.Array, trimap: jax.Array | None) -> None:
    """Shapes and types, which are known before anything runs."""
    for name, array in (("prediction", prediction), ("truth", truth), ("trimap", trimap)):
        if array is None:
            continue
        if len(array.shape) != 4 or array.shape[3] != 1 or array.shape != prediction.shape:
            raise UserError(
                f"metrics: the {name} has shape {array.shape}; a batch is [B, H, W, 1], and all of "
                f"it of one shape (the prediction: {prediction.shape})"
            )
        if array.dtype != jnp.uint8 and not jnp.issubdtype(array.dtype, jnp.floating):
            raise UserError(f"metrics: the {name} is uint8 or float in 0..1, not {array.dtype}")


def _inside(shape: tuple[int, ...], size: jax.Array) -> jax.Array:
    """Which pixels of `[B, H, W, 1]` lie inside the true `size [B, 2]`."""
    rows = jnp.arange(shape[1])[None, :, None, None] < size[:, 0, None, None, None]
    columns = jnp.arange(shape[2])[None, None, :, None] < size[:, 1, None, None, None]
    return rows & columns


def _to_unit(matte: jax.Array) -> jax.Array:
    """Float32 in 0..1."""
    if matte.dtype == jnp.uint8:
        return jnp.asarray(_UNITS)[matte]
    return matte.astype(jnp.float32)


def _near_bytes(matte: jax.Array) -> jax.Array:
    """Floats, the ones that are a byte over 255 by some way of dividing being so by one."""
    byte = jnp.round(jnp.clip(matte, 0, 1) * 255).astype(jnp.int32)
    unit = jnp.asarray(_UNITS)[byte]
    return jnp.where(jnp.abs(matte - unit) < _NEAR, unit, matte)
