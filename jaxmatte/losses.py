"""Losses of the matting papers, as `(total, weight)` pairs.

A loss is `total / weight`. Both are sums over examples, so a step adds them over replicas and
divides once: the mean of means over unequal regions would be another loss. A weight may be 0
(no pixel of the region in the whole batch); then so is the total.

Predictions, mattes and images are 0..1, NHWC; sums are float32 whatever comes in. `mask [B]`
says which rows are examples: padded rows add to neither sum and receive no gradient, even if
they hold NaN.

Some losses come in two forms. "plain" is the well-behaved one. "released" is what the code
published with GFM (Li et al., IJCV 2022) computes, to the constants, for its numbers.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxmatte.errors import UserError

Pair = tuple[jax.Array, jax.Array]

_EPSILON = 1e-6  # of the Charbonnier root sqrt(d^2 + eps^2), an L1 norm with a gradient at 0


def _released(form: str) -> bool:
    if form not in ("plain", "released"):
        raise UserError(f"losses: no form {form!r}; choose 'plain' or 'released'")
    return form == "released"


def rows_of(mask: jax.Array | None, *arrays: jax.Array) -> list[jax.Array]:
    """The arrays in float32 with the rows that `mask [B]` denies set to 0, gradients included."""
    arrays32 = [array.astype(jnp.float32) for array in arrays]
    if mask is None:
        return arrays32
    return [
        jnp.where(mask.astype(bool).reshape(-1, *[1] * (array.ndim - 1)), array, 0.0)
        for array in arrays32
    ]


def _charbonnier(difference: jax.Array, epsilon: float = _EPSILON) -> jax.Array:
    return jnp.sqrt(jnp.square(difference) + epsilon**2)


def absolute(difference: jax.Array) -> jax.Array:
    """|d| with gradient 0 at 0, where `jnp.abs` has 1: a perfect or padded pixel pulls nowhere."""
    return difference * jnp.sign(jax.lax.stop_gradient(difference))


def _sums(value: jax.Array, weight: jax.Array) -> Pair:
    return jnp.sum(value * weight), jnp.sum(weight)


# Semantics: what the glance branch learns.


def glance_target(label: jax.Array, classes: int, form: str = "plain") -> jax.Array:
    """Class of each pixel of a label that may have been resized: what GFM's glance learns.

    Args:
      label: `[B, H, W, 1]` in 0..1: a trimap for 3 classes, a binary mask for 2.
      classes: 3 (background, transition, foreground) or 2 (background, foreground).
      form: with 3 classes "released" makes the byte 2 foreground, a slip of the published code.

    Returns:
      int32 `[B, H, W]`. A pixel is foreground only where the label is 255 as a byte.
    """
    byte = jnp.round(label[..., 0].astype(jnp.float32) * 255).astype(jnp.int32)
    released = _released(form)
    if classes == 2:
        return (byte >= 255).astype(jnp.int32)
    if classes != 3:
        raise UserError(f"losses: glance_target knows 2 or 3 classes, not {classes}")
    foreground = byte >= 255
    if released:
        foreground = foreground | (byte == 2)
    return jnp.where(foreground, 2, jnp.where(byte > 0, 1, 0)).astype(jnp.int32)


def cross_entropy(
    prediction: jax.Array, target: jax.Array, *, mask: jax.Array | None = None
) -> Pair:
    """Softmax cross entropy, mean over pixels.

    Pass logits. (GFM's released code passes sigmoid outputs in their place, which holds the loss
    above log(1 + 2/e) for 3 classes; give it those to repeat its numbers.)

    Args:
      prediction: logits `[B, H, W, C]`.
      target: class of each pixel, int `[B, H, W]`.
      mask: `[B]`, true for rows that count.
    """
    (logits,) = rows_of(mask, prediction)
    chosen = jax.nn.one_hot(target, logits.shape[-1], dtype=jnp.float32)
    entropy = -jnp.sum(chosen * jax.nn.log_softmax(logits), axis=-1)
    (weight,) = rows_of(mask, jnp.ones_like(entropy))
    return _sums(entropy, weight)


# Details: what the focus branch and the merged matte learn.


def transition(trimap: jax.Array, form: str = "plain") -> jax.Array:
    """The transition region of a trimap `[B, H, W, 1]` in 0..1, as float32 zeros and ones.

    "plain": strictly between 0 and 1. "released": exactly the byte 128, so the pixels that
    resizing has blended drop out; a trimap's 0.5 is that byte.
    """
    values = trimap.astype(jnp.float32)
    if _released(form):
        return (jnp.round(values * 255) == 128).astype(jnp.float32)
    return ((values > 0) & (values < 1)).astype(jnp.float32)


def alpha_loss(
    prediction: jax.Array,
    alpha: jax.Array,
    region: jax.Array | None = None,
    *,
    mask: jax.Array | None = None,
    form: str = "plain",
    replicas: int = 1,
) -> Pair:
    """Charbonnier distance of two mattes, mean over the image or over a region.

    "released" differs where a region is given: each pixel outside it still adds 1e-6, and the
    region's size has 1 added.

    Args:
      prediction: `[B, H, W, 1]`.
      alpha: `[B, H, W, 1]`.
      region: weights `[B, H, W, 1]`, e.g. of `transition`; None is the whole image.
      mask: `[B]`, true for rows that count.
      form: "plain" or "released".
      replicas: over how many replicas the pair will be summed, so that the 1 is added once.
    """
    released = _released(form) and region is not None
    rows, inside = rows_of(
        mask, jnp.ones(alpha.shape), jnp.ones(alpha.shape) if region is None else region
    )
    prediction, alpha = rows_of(mask, prediction, alpha)
    if released:
        total, _ = _sums(_charbonnier((prediction - alpha) * inside), rows)
        return total, jnp.sum(inside) + 1.0 / replicas
    return _sums(_charbonnier(prediction - alpha), inside)


def _separable(form: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """The 5x5 kernel as a sum of (column, row) outer products."""
    bell = np.exp(-np.square(np.arange(5) - 2.0))
    if not _released(form):
        bell = np.exp(-np.square(np.arange(5) - 2.0) / 2)
        return [(bell / bell.sum(), bell / bell.sum())]
    flat = np.full(5, 1.0)
    scale = 2 * flat.sum() * bell.sum()
    return [(flat, bell / scale), (bell, flat / scale)]


def gaussian_kernel(form: str = "plain") -> np.ndarray:
    """The 5x5 kernel of the Laplacian pyramid, float64, sum 1.

    "plain": the Gaussian of sigma 1. "released": exp(-x^2) + exp(-y^2), a sum where a Gaussian
    is a product.
    """
    return np.sum([np.outer(column, row) for column, row in _separable(form)], axis=0)


def _blur(image: jax.Array, form: str) -> jax.Array:
    """`gaussian_kernel` over `[B, H, W, C]`, edges replicated, as shifted sums along each axis."""
    height, width = image.shape[1:3]
    padded = jnp.pad(image, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
    blurred = jnp.zeros_like(image)
    for column, row in _separable(form):
        along = jnp.zeros_like(padded[:, :, :width])
        for i, weight in enumerate(row):
            along += float(weight) * padded[:, :, i : i + width]
        # Or XLA fuses both axes and computes every row sum five times.
        along = jax.lax.optimization_barrier(along)
        for i, weight in enumerate(column):
            blurred += float(weight) * along[:, i : i + height]
    return blurred


def laplacian_pyramid(image: jax.Array, levels: int = 5, form: str = "plain") -> list[jax.Array]:
    """What each halving of `[B, H, W, C]` loses: `levels` band-pass maps, then the residue.

    Each level blurs, keeps what the blur took away, and goes on with 2x2 means of the blur (an
    odd last row or column is dropped).
    """
    if min(image.shape[1:3]) < 2**levels:
        raise UserError(
            f"losses: a Laplacian pyramid of {levels} levels needs sides of {2**levels} pixels "
            f"or more, this image has {image.shape[1]}x{image.shape[2]}; use fewer levels"
        )
    pyramid = []
    for _ in range(levels):
        blurred = _blur(image, form)
        pyramid.append(image - blurred)
        height, width = (side // 2 for side in blurred.shape[1:3])
        even = blurred[:, : 2 * height, : 2 * width]
        blocks = even.reshape(image.shape[0], height, 2, width, 2, image.shape[3])
        image = blocks.mean(axis=(2, 4))
    return [*pyramid, image]


def laplacian_loss(
    prediction: jax.Array,
    alpha: jax.Array,
    region: jax.Array | None = None,
    *,
    mask: jax.Array | None = None,
    form: str = "plain",
    levels: int = 5,
    level_weights: Sequence[float] | None = None,
) -> Pair:
    """L1 distance of two mattes' Laplacian pyramids (Hou and Liu, ICCV 2019).

    The literature weighs the L1 *norm* of level s by 2^s. A level has 4^-s of the pixels, so on
    the *mean* of each level, which is what is weighed here, that is 2^-s: the "plain" default.
    "released" weighs every level 1 and blurs with its own kernel.

    A region multiplies both mattes before the pyramids. "plain" then divides by the region's
    pixels, "released" still by all of them.

    Args:
      prediction: `[B, H, W, 1]`.
      alpha: `[B, H, W, 1]`.
      region: weights `[B, H, W, 1]`, e.g. of `transition`; None is the whole image.
      mask: `[B]`, true for rows that count.
      form: "plain" or "released".
      levels: band-pass maps; the residue is one more.
      level_weights: `levels + 1` factors on the mean of each map, in place of the default.
    """
    released = _released(form)
    if level_weights is None:
        level_weights = [1.0 if released else 0.5**level for level in range(levels + 1)]
    if len(level_weights) != levels + 1:
        raise UserError(
            f"losses: {levels} levels and the residue need {levels + 1} level_weights, "
            f"not {len(level_weights)}"
        )
    rows, inside = rows_of(
        mask, jnp.ones(alpha.shape), jnp.ones(alpha.shape) if region is None else region
    )
    prediction, alpha = rows_of(mask, prediction, alpha)
    # The pyramid is linear: that of the difference is the difference of the two.
    pyramid = laplacian_pyramid((prediction - alpha) * inside, levels, form)
    pixels = alpha[0].size
    total = sum(
        factor * pixels * jnp.sum(absolute(band).mean(axis=(1, 2, 3)))
        for factor, band in zip(level_weights, pyramid, strict=True)
    )
    return jnp.asarray(total), jnp.sum(rows if released else inside)


def gradient_loss(
    prediction: jax.Array,
    alpha: jax.Array,
    region: jax.Array | None = None,
    *,
    mask: jax.Array | None = None,
) -> Pair:
    """L1 distance of two mattes' horizontal and vertical forward differences, mean over pixels.

    Args:
      prediction: `[B, H, W, 1]`.
      alpha: `[B, H, W, 1]`.
      region: weights `[B, H, W, 1]`; a difference counts where its first pixel does.
      mask: `[B]`, true for rows that count.
    """
    (inside,) = rows_of(mask, jnp.ones(alpha.shape) if region is None else region)
    prediction, alpha = rows_of(mask, prediction, alpha)
    difference = jnp.pad(prediction - alpha, ((0, 0), (0, 1), (0, 1), (0, 0)), mode="edge")
    down = difference[:, 1:, :-1] - difference[:, :-1, :-1]
    right = difference[:, :-1, 1:] - difference[:, :-1, :-1]
    return _sums(absolute(down) + absolute(right), inside)


def composition_loss(
    alpha_prediction: jax.Array,
    foreground: jax.Array,
    background: jax.Array,
    image: jax.Array,
    region: jax.Array | None = None,
    *,
    mask: jax.Array | None = None,
    form: str = "plain",
) -> Pair:
    """Charbonnier distance of the image and its recomposition with the predicted alpha.

    "plain" is the mean over pixels and channels; "released" sums the channels, three times that,
    with a root taken in 0..255 units.

    Args:
      alpha_prediction: `[B, H, W, 1]`.
      foreground: straight colours `[B, H, W, 3]`.
      background: `[B, H, W, 3]`.
      image: `[B, H, W, 3]`.
      region: weights `[B, H, W, 1]`; None is the whole image.
      mask: `[B]`, true for rows that count.
      form: "plain" or "released".
    """
    released = _released(form)
    (inside,) = rows_of(mask, jnp.ones(alpha_prediction.shape) if region is None else region)
    alpha, foreground, background, image = rows_of(
        mask, alpha_prediction, foreground, background, image
    )
    composite = alpha * foreground + (1 - alpha) * background
    distance = _charbonnier(composite - image, _EPSILON / 255 if released else _EPSILON)
    reduce = jnp.sum if released else jnp.mean
    return _sums(reduce(distance, axis=-1, keepdims=True), inside)
