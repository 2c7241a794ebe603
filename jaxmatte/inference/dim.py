"""Deep Image Matting's test-time rules: those of the two ports whose numbers are published."""

import jax
import jax.numpy as jnp

from jaxmatte.errors import UserError
from jaxmatte.inference.rules import (
    MULTIPLE,
    Predict,
    Rule,
    overridden,
    reflected,
    require,
    to_levels,
)
from jaxmatte.layers import resize

FORMS = ("whole", "crop", "resize")


def dim(
    predict: Predict, image: jax.Array, trimap: jax.Array, *, levels: str = "round"
) -> jax.Array:
    """The rule of mmagic: one pass at the picture's own size.

    Picture and trimap are padded at the bottom and the right to multiples of 32, by reflection;
    what the trimap knows overrules the matte, which becomes one of 8 bits.

    Args:
      predict: the network.
      image: [B, H, W, 3].
      trimap: [B, H, W, 1].
      levels: how the matte is cut to 8 bits: "round", "truncate" or "none", not at all.

    Returns:
      Alpha [B, H, W, 1].
    """
    inputs, crop = reflected((image, trimap), MULTIPLE)
    alpha = jnp.clip(crop(predict(*inputs)["alpha"]), 0.0, 1.0)
    return to_levels(overridden(alpha, trimap), levels)


def dim_hct(
    predict: Predict,
    image: jax.Array,
    trimap: jax.Array,
    *,
    form: str = "whole",
    longest: int = 1600,
    side: int = 320,
    levels: str = "truncate",
) -> jax.Array:
    """The rule of huochaitiantang's port: the picture is resized, bilinearly, and so is the trimap.

    "whole", which the published numbers use: each side by itself down to a multiple of 32, and to
    `longest` at most, which may change the aspect. "crop": tiles of `side` pixels, those at the
    borders enlarged. "resize": all of it to a square of `side` pixels. The matte comes back the
    same way; what the trimap knows overrules it, and it becomes one of 8 bits.

    Args:
      predict: the network.
      image: [B, H, W, 3].
      trimap: [B, H, W, 1].
      form: "whole", "crop" or "resize".
      longest: form "whole": of either side.
      side: of a tile, or of the square; a multiple of 32.
      levels: as for `dim`.

    Returns:
      Alpha [B, H, W, 1].
    """
    require("form of dim_hct", form, FORMS)
    for name, value in (("longest", longest), ("side", side)):
        if value < MULTIPLE or value % MULTIPLE:
            raise UserError(f"inference: {name}={value} of dim_hct: give a multiple of {MULTIPLE}")
    # As bytes: between 0, 128 and 255 lies something else than between 0, one half and 1.
    guide = jnp.where(trimap == 0.5, 128 / 255, trimap)
    if form == "crop":
        alpha = _by_tiles(predict, image, guide, side)
    elif form == "resize":
        alpha = _at(predict, image, guide, (side, side))
    else:
        height, width = image.shape[1:3]
        alpha = _at(predict, image, guide, (_whole(height, longest), _whole(width, longest)))
    alpha = jnp.clip(alpha, 0.0, 1.0)
    return to_levels(overridden(alpha, trimap), levels)


def _whole(side: int, longest: int) -> int:
    """A side cut to a multiple of 32 within 32 .. `longest`."""
    return min(max(side - side % MULTIPLE, MULTIPLE), longest)


def _at(predict: Predict, image: jax.Array, guide: jax.Array, size: tuple[int, int]) -> jax.Array:
    """One pass at another size, and back."""
    alpha = predict(_shown(image, size), _shown(guide, size))["alpha"]
    return _resized(alpha, (image.shape[1], image.shape[2]))


def _by_tiles(predict: Predict, image: jax.Array, guide: jax.Array, side: int) -> jax.Array:
    """All tiles in one batch; those at the bottom and the right are what is left."""
    height, width = image.shape[1:3]
    tops, lefts = range(0, height, side), range(0, width, side)

    def tiles(x: jax.Array) -> jax.Array:
        parts = [x[:, i : i + side, j : j + side] for i in tops for j in lefts]
        return jnp.concatenate([_shown(part, (side, side)) for part in parts])

    found = iter(jnp.split(predict(tiles(image), tiles(guide))["alpha"], len(tops) * len(lefts)))
    rows = [
        jnp.concatenate(
            [
                _resized(next(found), (min(side, height - top), min(side, width - left)))
                for left in lefts
            ],
            axis=2,
        )
        for top in tops
    ]
    return jnp.concatenate(rows, axis=1)


def _shown(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """An input at another size, in whole levels, as OpenCV resizes bytes."""
    return to_levels(_resized(x, size), "round")


def _resized(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    return x if x.shape[1:3] == size else resize(x, size)


RULES: dict[str, Rule] = {"dim": dim, "dim_hct": dim_hct}
