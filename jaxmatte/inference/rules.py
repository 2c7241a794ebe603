"""What a test-time rule is, the one that fits every paper, and how rules are asked for."""

import difflib
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp

from jaxmatte.errors import UserError

Predict = Callable[[jax.Array], dict[str, Any]]
Rule = Callable[..., jax.Array]

MULTIPLE = 32  # most networks halve five times


def direct(
    predict: Predict, image: jax.Array, *, multiple: int = MULTIPLE, output: str = "alpha"
) -> jax.Array:
    """One pass at the picture's own size.

    The picture is padded at the bottom and the right to a multiple of `multiple`, by repeating
    its edge, and the matte cropped back.

    Args:
      predict: the network.
      image: `[B, H, W, 3]`.
      multiple: what the network's sides must be a multiple of.
      output: which of the network's maps of the picture's size.

    Returns:
      Alpha `[B, H, W, 1]`, or that map.
    """
    height, width = image.shape[1:3]
    below, beside = -height % multiple, -width % multiple
    padded = jnp.pad(image, ((0, 0), (0, below), (0, beside), (0, 0)), mode="edge")
    return predict(padded)[output][:, :height, :width]


def require(what: str, name: str, known: Iterable[str]) -> None:
    """Raises UserError where `name` is none of the known ones."""
    options = list(known)
    if name not in options:
        near = difflib.get_close_matches(name, options, n=1, cutoff=0)
        raise UserError(
            f"inference: no {what} {name!r}; did you mean {near[0]!r}? "
            f"There are {', '.join(options)}"
        )
