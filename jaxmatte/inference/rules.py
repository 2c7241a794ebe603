"""What a test-time rule is, the one that fits every paper, and how rules are asked for."""

import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxmatte.errors import UserError

Predict = Callable[..., dict[str, Any]]
Rule = Callable[..., jax.Array]

MULTIPLE = 32  # most networks halve five times


def direct(
    predict: Predict, *inputs: jax.Array, multiple: int = MULTIPLE, output: str = "alpha"
) -> jax.Array:
    """One pass at the picture's own size.

    The inputs are padded at the bottom and the right to a multiple of `multiple`, by repeating
    their edge, and the matte cropped back.

    Args:
      predict: the network.
      inputs: what it takes, the image `[B, H, W, 3]` first.
      multiple: what the network's sides must be a multiple of.
      output: which of the network's maps of the picture's size.

    Returns:
      Alpha `[B, H, W, 1]`, or that map.
    """
    height, width = inputs[0].shape[1:3]
    margins = ((0, 0), (0, -height % multiple), (0, -width % multiple), (0, 0))
    padded = [jnp.pad(pixels, margins, mode="edge") for pixels in inputs]
    return predict(*padded)[output][:, :height, :width]


def reflected(
    inputs: Sequence[jax.Array], multiple: int = MULTIPLE, margin: int = 0
) -> tuple[list[jax.Array], Callable[[jax.Array], jax.Array]]:
    """Inputs padded by their mirror images, and what crops a matte of them back.

    Args:
      inputs: each `[B, H, W, C]`.
      multiple: of which the sides become multiples, at the bottom and the right; the mirror
        images of a picture that is smaller than its padding are mirrored again.
      margin: this many pixels more on each side.
    """
    height, width = inputs[0].shape[1:3]
    below, beside = -height % multiple + margin, -width % multiple + margin
    margins = ((0, 0), (margin, below), (margin, beside), (0, 0))
    padded = [jnp.pad(pixels, margins, mode="reflect") for pixels in inputs]

    def crop(matte: jax.Array) -> jax.Array:
        return matte[:, margin : margin + height, margin : margin + width]

    return padded, crop


def overridden(alpha: jax.Array, trimap: jax.Array) -> jax.Array:
    """Alpha with what the trimap knows: 1 where it is 1, 0 where it is 0; all `[B, H, W, 1]`."""
    return jnp.where(trimap == 1, 1.0, jnp.where(trimap == 0, 0.0, alpha)).astype(alpha.dtype)


def to_levels(alpha: jax.Array, levels: str) -> jax.Array:
    """Alpha as a file of 8 bits holds it, still in 0..1.

    Args:
      alpha: in 0..1.
      levels: "round" (halves to the even level), "truncate", or "none", which changes nothing.
    """
    require("way to make levels", levels, ("none", "round", "truncate"))
    if levels == "none":
        return alpha
    whole = jnp.round if levels == "round" else jnp.floor
    return whole(alpha * 255) / 255


def require(what: str, name: str, known: Iterable[str]) -> None:
    """Raises UserError where `name` is none of the known ones."""
    options = list(known)
    if name not in options:
        near = difflib.get_close_matches(name, options, n=1, cutoff=0)
        raise UserError(
            f"inference: no {what} {name!r}; did you mean {near[0]!r}? "
            f"There are {', '.join(options)}"
        )
