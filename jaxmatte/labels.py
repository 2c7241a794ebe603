"""Labels made from an alpha matte: trimaps, dilated and eroded masks.

The structuring element is OpenCV's `MORPH_ELLIPSE`, anchored at `size // 2`; pixels outside the
image are ignored by dilation and erosion alike, so every label equals cv2's to the bit. An alpha
of 0..1 stands for bytes: `alpha > 0` is "not 0" and `alpha >= 1` is "255".
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxmatte.errors import UserError


def _half_widths(size: int) -> np.ndarray:
    """How far row `i` of the ellipse reaches from its anchor column: `[size]`, before clipping."""
    if size < 1:
        raise UserError(f"labels: an ellipse of size {size} is empty; give a size of 1 or more")
    radius = size // 2
    offset = np.arange(size) - radius
    # The order of operations is OpenCV's: another one rounds some rows differently.
    inverse = 1.0 / radius**2 if radius else 0.0
    return np.rint(radius * np.sqrt((radius**2 - offset**2) * inverse)).astype(int)


def ellipse(size: int) -> np.ndarray:
    """OpenCV's elliptic footprint `[size, size]` uint8; an even size leans to the top left."""
    column = np.abs(np.arange(size) - size // 2)
    return (column[None, :] <= _half_widths(size)[:, None]).astype(np.uint8)


def _shift(distance: jax.Array, offset: int, axis: int, fill: int) -> jax.Array:
    """`out[i] = distance[i + offset]` along `axis`, `fill` from outside."""
    length = distance.shape[axis]
    padding = [(0, 0)] * distance.ndim
    padding[axis] = (max(-offset, 0), max(offset, 0))
    start = max(offset, 0)
    return jax.lax.slice_in_dim(
        jnp.pad(distance, padding, constant_values=fill), start, start + length, axis=axis
    )


def _distance_along_row(mask: jax.Array, reach: int, step: int, far: int) -> jax.Array:
    """Columns to the nearest set pixel on one side, in log2(reach) doublings; `far` past `reach`.

    Args:
      mask: bool `[..., H, W]`.
      reach: the greatest distance of interest.
      step: -1 looks left, +1 looks right.
      far: the value that stands for "none", twice any distance or more.
    """
    distance = jnp.where(mask, 0, far).astype(jnp.int16)
    covered = 1
    while covered <= reach:
        moved = _shift(distance, step * covered, mask.ndim - 1, far) + jnp.int16(covered)
        distance = jnp.minimum(distance, moved)
        covered *= 2
    return jnp.where(distance <= reach, distance, jnp.int16(far))


def dilate(mask: jax.Array, size: int) -> jax.Array:
    """`cv2.dilate` of a binary mask with `ellipse(size)`.

    The ellipse is a stack of row runs: a pixel is set where, in some row `y + dy`, the nearest
    set pixel lies no further along than that row's half width. One pass along rows finds the
    distances, `size` compares of shifted rows do the rest: O(size) a pixel, not O(size^2).

    Args:
      mask: bool (or 0/1) `[..., H, W, 1]`.
      size: of the ellipse, a Python integer.

    Returns:
      bool `[..., H, W, 1]`.
    """
    half_widths = _half_widths(size)
    radius = size // 2
    far = 4 * size
    found = mask[..., 0].astype(bool)
    left = _distance_along_row(found, radius, -1, far)
    right = _distance_along_row(found, size - 1 - radius, 1, far)
    distance = jnp.minimum(left, right)
    result = jnp.zeros_like(found)
    for row, half_width in enumerate(half_widths):
        moved = _shift(distance, row - radius, found.ndim - 2, far)
        result = result | (moved <= jnp.int16(half_width))
    return result[..., None]


def erode(mask: jax.Array, size: int) -> jax.Array:
    """`cv2.erode` of a binary mask with `ellipse(size)`: bool `[..., H, W, 1]` to the same."""
    return ~dilate(~mask.astype(bool), size)


def trimap(alpha: jax.Array, size: int = 25) -> jax.Array:
    """Trimap `[..., H, W, 1]` in {0, .5, 1}: certain foreground eroded, possible one dilated."""
    possible = dilate(alpha > 0, size)
    certain = erode(alpha >= 1, size)
    return jnp.where(certain, 1.0, jnp.where(possible, 0.5, 0.0)).astype(jnp.float32)


def dilation(alpha: jax.Array, size: int = 50) -> jax.Array:
    """All that may be foreground, dilated: `[..., H, W, 1]` in {0, 1} (the glance target of BT)."""
    return dilate(alpha > 0, size).astype(jnp.float32)


def erosion(alpha: jax.Array, size: int = 50) -> jax.Array:
    """The certain foreground, eroded: `[..., H, W, 1]` in {0, 1} (the glance target of FT)."""
    return erode(alpha >= 1, size).astype(jnp.float32)
