"""The metrics on the device, for each example of a padded batch."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxmatte.metrics import gradient, padded
from jaxmatte.metrics.components import conn_of
from jaxmatte.metrics.measure import require
from jaxmatte.metrics.padded import Padded, exact_sum
from jaxmatte.metrics.protocols import Protocol

# Fixed points: units of 1 for differences (at most 1) and for squared differences of gradients,
# which are at most 15 with the kernel "dim" and .17 with "gfm"; all stay below 2^31.
_UNIT = 2.0**30
_GRADIENT_UNIT = {"dim": 2.0**27, "gfm": 2.0**30}


def per_example(
    prediction: jax.Array,
    truth: jax.Array,
    trimap: jax.Array | None = None,
    size: jax.Array | None = None,
    protocol: str | Protocol = "dim",
    metrics: Sequence[str] = ("sad", "mse", "mad"),
) -> dict[str, jax.Array]:
    """The metrics of a batch, in float32.

    Args:
      prediction: `[B, H, W, 1]` in 0..1.
      truth: `[B, H, W, 1]`, bytes or in 0..1.
      trimap: `[B, H, W, 1]`, bytes or in {0, .5, 1}; or None: the whole image.
      size: true height and width `[B, 2]`; what lies beyond does not count, whatever it holds.
        None: all of it.
      protocol: a name or a record.
      metrics: of "sad", "mse", "mad", "grad", "conn".

    Returns:
      `[B]` for each metric; NaN where a prediction has NaN or lies outside of 0..1.
    """
    require(metrics)
    pair = padded.prepare(prediction, truth, trimap, size, protocol)
    found = {}
    if {"sad", "mse", "mad"} & set(metrics):
        found = _differences(pair)
    if "grad" in metrics:
        found["grad"] = _grad(pair)
    if "conn" in metrics:
        found["conn"] = conn_of(pair)
    return {name: jnp.where(pair.sound, found[name], jnp.nan) for name in metrics}


def _fixed(values: jax.Array, unit: float) -> jax.Array:
    return jnp.round(values * unit).astype(jnp.int32)


def _differences(pair: Padded) -> dict[str, jax.Array]:
    """SAD, MSE and MAD."""
    record = pair.protocol
    difference = jnp.where(pair.counted, jnp.abs(pair.prediction - pair.truth), 0)
    # Products with inverses: XLA makes them of some divisions, with other last digits.
    if pair.is_bytes:
        absolute = exact_sum(difference) * np.float32(1 / 255)
        squared = exact_sum(difference * difference) * np.float32(1 / 65025)
    else:
        absolute = exact_sum(_fixed(difference, _UNIT)) * np.float32(1 / _UNIT)
        squared = exact_sum(_fixed(difference * difference, _UNIT)) * np.float32(1 / _UNIT)
    pixels = exact_sum(pair.region.astype(jnp.int32))
    share = jnp.where(pixels > 0, record.means / jnp.maximum(pixels, 1), 0)
    return {
        "sad": absolute * np.float32(1 / record.scale),
        "mse": squared * share,
        "mad": absolute * share,
    }


def _grad(pair: Padded) -> jax.Array:
    kind = pair.protocol.gradient
    unit = _GRADIENT_UNIT[kind.kernel]
    predicted, true = (_magnitude(matte, pair) for matte in (pair.prediction, pair.truth))
    squared = jnp.where(pair.counted, jnp.square(predicted - true), 0.0)
    return exact_sum(_fixed(squared, unit)) * np.float32(1 / (unit * kind.scale))


def _magnitude(matte: jax.Array, pair: Padded) -> jax.Array:
    """Length of the Gaussian gradient of each pixel `[B, H, W, 1]`."""
    kind = pair.protocol.gradient
    smooth, derivative = gradient.taps(kind.kernel)
    everywhere = (1, 2, 3)
    matte = matte.astype(jnp.float32)
    least = jnp.where(pair.inside, matte, jnp.inf).min(axis=everywhere, keepdims=True)
    most = jnp.where(pair.inside, matte, -jnp.inf).max(axis=everywhere, keepdims=True)
    # The filter takes constants to zero. So what all pixels share is left out, which would cost
    # digits, and the stretch is a factor, which comes cheaper later.
    matte = jnp.where(pair.inside, matte - least, 0)
    padded = _extended(matte, pair.size, len(smooth) // 2, kind.kernel)
    down = _filter(_filter(padded, derivative, 1), smooth, 2)
    across = _filter(_filter(padded, smooth, 1), derivative, 2)
    length = jnp.sqrt(down * down + across * across)
    if not kind.stretch:
        return length * np.float32(1 / 255) if pair.is_bytes else length
    return length / jnp.where(most > least, most - least, jnp.inf)


def _extended(matte: jax.Array, size: jax.Array, radius: int, kernel: str) -> jax.Array:
    """The matte with `radius` pixels more on each side of its true size, as the kernel has it."""
    for axis in (1, 2):
        length = matte.shape[axis]
        at = jnp.arange(-radius, length + radius)[None]
        side = jnp.maximum(size[:, axis - 1, None], 1)
        if kernel == "dim":  # the border repeated
            at = jnp.clip(at, 0, side - 1)
        else:  # mirrored with its edge, again and again where the matte is smaller than the kernel
            at = at % (2 * side)
            at = jnp.where(at < side, at, 2 * side - 1 - at)
        shape = (-1, at.shape[1], 1, 1) if axis == 1 else (-1, 1, at.shape[1], 1)
        matte = jnp.take_along_axis(matte, jnp.clip(at, 0, length - 1).reshape(shape), axis=axis)
    return matte


def _filter(values: jax.Array, taps: np.ndarray, axis: int) -> jax.Array:
    """Correlates along an axis; the result is shorter by the taps but one.

    The products are added in a stated order, where a convolution's depends on the shape.
    """
    length = values.shape[axis] - len(taps) + 1
    pieces = [
        float(tap) * jax.lax.slice_in_dim(values, at, at + length, axis=axis)
        for at, tap in enumerate(taps)
        if tap != 0
    ]
    total = pieces[0]
    for piece in pieces[1:]:
        total = total + piece
    # Without this the second pass would compute the first one anew for each of its taps.
    return jax.lax.optimization_barrier(total)


def confusion(
    prediction: jax.Array, truth: jax.Array, classes: int, ignore: int = 255
) -> jax.Array:
    """How often each class was taken for which, by picture: int32 `[B, true, predicted]`.

    The host's `segmentation.confusion`, in whole numbers too; it checks the numbers, which a
    program on the device cannot: what is no class of the truth does not count here.

    Args:
      prediction: class numbers `[B, H, W]`, each one of the classes.
      truth: the true ones.
      classes: how many there are.
      ignore: where the truth is this number nothing counts.
    """
    counted = (truth != ignore) & (truth >= 0) & (truth < classes)
    pairs = jnp.where(counted, truth * classes + prediction, classes**2)
    counts = jax.vmap(lambda row: jnp.bincount(row.ravel(), length=classes**2 + 1))(pairs)
    return counts[:, :-1].reshape(-1, classes, classes).astype(jnp.int32)
