"""What BGMv2 minimises: of the base network alone, and of both together."""

import jax
import jax.numpy as jnp
from jax import lax

from jaxmatte.losses import absolute, rows_of
from jaxmatte.papers.bgmv2.common import fit
from jaxmatte.papers.contract import Batch, Objective, Outputs

_EPSILON = 1e-6  # below the root of the edges


def objective(outputs: Outputs, batch: Batch, edges_weight: float = 1.0) -> Objective:
    """What BGMv2 minimises: distances of alpha, of its edges, of the foreground and of the error.

    Every term is a mean over all pixels, also that of the foreground, which counts only where the
    true alpha is not 0. With a refiner alpha, edges and foreground are compared at both sizes. The
    error is that of the coarse alpha. The base network learns it as it is; behind a refiner, as
    released, the alpha gives way to the predicted error too.

    Args:
      outputs: of `Model`.
      batch: `alpha`, `foreground` and `mask`.
      edges_weight: of the edges, at both sizes; 1, as all terms have it, is the released one.
    """
    mask = batch.get("mask")
    alpha, foreground = rows_of(mask, batch["alpha"], batch["foreground"])
    found, colours, error = rows_of(
        mask, *(outputs[name] for name in ("alpha", "foreground", "error"))
    )
    terms = _compared("", found, colours, alpha, foreground)
    if "coarse_alpha" not in outputs:
        actual = lax.stop_gradient(absolute(found - alpha))
        terms["error"] = jnp.square(error - actual)
    else:
        coarse, coarse_colours = rows_of(
            mask, *(outputs[name] for name in ("coarse_alpha", "coarse_foreground"))
        )
        small = coarse.shape[1:3]
        terms |= _compared(
            "coarse_", coarse, coarse_colours, fit(alpha, small), fit(foreground, small)
        )
        terms["error"] = jnp.square(error - absolute(fit(coarse, alpha.shape[1:3]) - alpha))
    weights = {"edges": edges_weight, "coarse_edges": edges_weight}
    return {name: _mean(weights.get(name, 1.0) * values, mask) for name, values in terms.items()}


def _compared(
    size: str, alpha: jax.Array, foreground: jax.Array, true: jax.Array, colours: jax.Array
) -> dict[str, jax.Array]:
    """The terms of one size, before their means."""
    return {
        f"{size}alpha": absolute(alpha - true),
        f"{size}edges": absolute(edges(alpha) - edges(true)),
        f"{size}foreground": jnp.where(true != 0, absolute(foreground - colours), 0.0),
    }


def edges(alpha: jax.Array) -> jax.Array:
    """Sobel's gradient magnitude, the border repeated: [B, H, W, 1] -> [B, H, W, 1]."""
    height, width = alpha.shape[1:3]
    padded = jnp.pad(alpha, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    # Across and down: differences two pixels apart, smoothed along the other axis.
    right = padded[:, :, 2:] - padded[:, :, :-2]
    below = padded[:, 2:] - padded[:, :-2]
    across = right[:, :height] + 2 * right[:, 1 : height + 1] + right[:, 2:]
    down = below[:, :, :width] + 2 * below[:, :, 1 : width + 1] + below[:, :, 2:]
    return jnp.sqrt(jnp.square(across / 8) + jnp.square(down / 8) + _EPSILON)


def _mean(values: jax.Array, mask: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """The mean over pixels and the rows that count, as total and weight; other rows hold 0."""
    count = values.shape[0] if mask is None else mask.astype(jnp.float32).sum()
    return values.mean(axis=(1, 2, 3)).sum(), jnp.asarray(count, jnp.float32)
