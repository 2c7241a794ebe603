"""GCA-Matting's test-time rules: mirrored borders, the trimap's last word, bytes."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxmatte.errors import UserError
from jaxmatte.inference.rules import MULTIPLE, Predict, Rule, overridden, reflected, to_levels
from jaxmatte.layers import resize


def gca(
    predict: Predict,
    image: jax.Array,
    trimap: jax.Array,
    *,
    margin: int = 0,
    levels: str = "truncate",
) -> jax.Array:
    """The evaluation behind the published numbers: one pass at the picture's own size.

    Args:
      predict: the network.
      image: [B, H, W, 3].
      trimap: [B, H, W, 1], whose known parts alpha is 0 or 1 in, whatever the network says.
      margin: mirrored pixels on all sides, beside those that fill up to multiples of 32.
      levels: how alpha becomes bytes: "truncate", "round" or "none".

    Returns:
      Alpha [B, H, W, 1].
    """
    padded, crop = reflected((image, trimap), MULTIPLE, margin)
    return _finished(crop(predict(*padded)["alpha"]), trimap, levels)


def gca_demo(
    predict: Predict, image: jax.Array, trimap: jax.Array, *, levels: str = "truncate"
) -> jax.Array:
    """The demo, with which alphamatting.com was answered: `gca` with a margin of 32 pixels."""
    return gca(predict, image, trimap, margin=32, levels=levels)


def gca_mmagic(predict: Predict, image: jax.Array, trimap: jax.Array) -> jax.Array:
    """The evaluation of mmagic: `gca`, rounded instead of truncated."""
    return gca(predict, image, trimap, levels="round")


def gca_resize(
    predict: Predict,
    image: jax.Array,
    trimap: jax.Array,
    *,
    size: int = 512,
    levels: str = "truncate",
) -> jax.Array:
    """One pass over the picture squeezed to a square; what it costs does not depend on its size.

    The picture is resized bilinearly, the trimap by nearest, as published; the published code then
    compares with a squeezed truth, here alpha is brought back. See `gca`.

    Args:
      predict: the network.
      image: [B, H, W, 3].
      trimap: [B, H, W, 1].
      size: the square's side, a multiple of 32.
      levels: as for `gca`.
    """
    _require("size", size)
    height, width = image.shape[1:3]
    rows, columns = (np.arange(size) * side // size for side in (height, width))
    shown = resize(image, (size, size))
    alpha = predict(shown, trimap[:, rows][:, :, columns])["alpha"]
    return _finished(resize(alpha, (height, width)), trimap, levels)


def gca_crop(
    predict: Predict,
    image: jax.Array,
    trimap: jax.Array,
    *,
    size: int = 512,
    overlap: int = 64,
    levels: str = "truncate",
) -> jax.Array:
    """A pass for each of several crops, which overlap and are faded into each other.

    For pictures that are too large for the memory: it takes what one crop takes. Attention sees no
    further than its crop, so alpha is not quite that of `gca`.

    Args:
      predict: the network.
      image: [B, H, W, 3].
      trimap: [B, H, W, 1].
      size: the greatest side of a crop, a multiple of 32.
      overlap: the least number of pixels that neighbours share, below `size`.
      levels: as for `gca`.
    """
    _require("size", size)
    if not 0 < overlap < size:
        raise UserError(
            f"inference: overlap={overlap}: give 1 pixel or more, less than size={size}"
        )
    padded, crop = reflected((image, trimap), MULTIPLE)
    batch, *sides = padded[0].shape[:3]
    tile = [min(side, size) for side in sides]
    spots = [_starts(side, part, overlap) for side, part in zip(sides, tile, strict=True)]
    corners = np.stack(np.meshgrid(*spots, indexing="ij"), axis=-1).reshape(-1, 2)
    rows, columns = (_fade(part, overlap) for part in tile)
    fade = jnp.asarray(rows[:, None, None] * columns[:, None])

    def add(canvas: jax.Array, corner: jax.Array) -> tuple[jax.Array, None]:
        start = (0, corner[0], corner[1], 0)
        parts = [lax.dynamic_slice(p, start, (batch, *tile, p.shape[-1])) for p in padded]
        alpha = predict(*parts)["alpha"].astype(jnp.float32)
        values = jnp.concatenate([alpha * fade, jnp.broadcast_to(fade, alpha.shape)], axis=-1)
        there = lax.dynamic_slice(canvas, start, values.shape)
        return lax.dynamic_update_slice(canvas, there + values, start), None

    canvas, _ = lax.scan(add, jnp.zeros((batch, *sides, 2)), jnp.asarray(corners))
    return _finished(crop(canvas[..., :1] / canvas[..., 1:]), trimap, levels)


def _starts(side: int, part: int, overlap: int) -> np.ndarray:
    """Where the parts of a side begin that cover it, evenly."""
    count = 1 if side == part else math.ceil((side - part) / (part - overlap)) + 1
    return np.round(np.linspace(0, side - part, count)).astype(np.int32)


def _fade(part: int, overlap: int) -> np.ndarray:
    """Weights of a part's pixels, rising over `overlap` of them from either end."""
    distance = np.minimum(np.arange(part), np.arange(part)[::-1]) + 1
    return np.minimum(distance / overlap, 1.0).astype(np.float32)


def _finished(alpha: jax.Array, trimap: jax.Array, levels: str) -> jax.Array:
    # A trimap that was resized has values between: its classes are those that the network sees.
    classes = jnp.where(trimap < 85 / 255, 0.0, jnp.where(trimap < 170 / 255, 0.5, 1.0))
    return to_levels(overridden(alpha, classes), levels)


def _require(name: str, side: int) -> None:
    if side < MULTIPLE or side % MULTIPLE:
        raise UserError(f"inference: {name}={side}: it must be a multiple of {MULTIPLE}")


RULES: dict[str, Rule] = {
    "gca": gca,
    "gca_demo": gca_demo,
    "gca_mmagic": gca_mmagic,
    "gca_resize": gca_resize,
    "gca_crop": gca_crop,
}
