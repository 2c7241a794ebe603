"""What the objectives with and without mattes share."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmatte.layers import downsample
from jaxmatte.losses import rows_of

STRIDE = 16  # of the coarse matte that the semantic branch learns

# scipy's gaussian_filter (sigma 0.8, borders mirrored with their edge) of an impulse in the middle
# of 3 x 3, as published: its tails fold back, so that the corners weigh more than a Gaussian's.
_CORNER, _EDGE, _CENTRE = 0.06261056661605835, 0.12499990314245224, 0.24955813586711884
KERNEL = np.array(
    [[_CORNER, _EDGE, _CORNER], [_EDGE, _CENTRE, _EDGE], [_CORNER, _EDGE, _CORNER]], np.float32
)


def rows(
    mask: jax.Array | None, values: Mapping[str, Any], names: Iterable[str]
) -> dict[str, jax.Array]:
    """The named arrays [B, ...] in float32; rows that `mask [B]` denies are 0, gradients too."""
    chosen = list(names)
    return dict(zip(chosen, rows_of(mask, *(values[name] for name in chosen)), strict=True))


def mean(values: jax.Array, mask: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """The mean over pixels and the rows that count, as total and weight; other rows hold 0."""
    count = values.shape[0] if mask is None else mask.astype(jnp.float32).sum()
    return values.mean(axis=(1, 2, 3)).sum(), jnp.asarray(count, jnp.float32)


def coarse(matte: jax.Array) -> jax.Array:
    """G: a matte [B, H, W, 1] reduced to a 16th and blurred -> [B, H / 16, W / 16, 1]."""
    reduced = downsample(matte, STRIDE)
    height, width = reduced.shape[1:3]
    padded = jnp.pad(reduced, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    blurred = jnp.zeros_like(reduced)
    for i, j in np.ndindex(KERNEL.shape):
        blurred += KERNEL[i, j] * padded[:, i : i + height, j : j + width]
    return blurred
