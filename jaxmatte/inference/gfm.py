"""GFM's test-time rules: one pass at half size, or two that glance coarsely and focus finely."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxmatte.errors import UserError
from jaxmatte.inference.rules import MULTIPLE, Predict, Rule, require
from jaxmatte.layers import resize

ROSTAS = ("TT", "FT", "BT", "RIM")
CHOICES = ("rim", "tt", "ft", "bt")

_LARGEST = 1600  # no side is given to GFM's network larger than this
_TRANSITION = 128 / 255  # the byte of a trimap's transition

# Resizing a plateau gives 1 only up to rounding. The published script compares float64 values with
# exactly 255, so the one foreground pixel in 50 to 100 that SciPy's rounding leaves at 1 - 2e-16
# takes focus there and alpha 1 here: 31 of the 1,588 of the test picture, 0.02% of all its pixels.
_PLATEAU = 1e-6


def _working_size(image: jax.Array, divisor: int) -> tuple[int, int]:
    """GFM's size at ratio 1/divisor: whole multiples of 32, at most 1600 a side."""
    height, width = image.shape[1:3]
    if min(height, width) < divisor * MULTIPLE:
        raise UserError(
            f"inference: a picture of {height}x{width} leaves nothing at ratio 1/{divisor}; this "
            f"rule needs sides of {divisor * MULTIPLE} pixels or more: enlarge it or use 'direct'"
        )
    sides = (min(side // divisor // MULTIPLE * MULTIPLE, _LARGEST) for side in (height, width))
    return next(sides), next(sides)


def _pass(predict: Predict, image: jax.Array, divisor: int) -> dict[str, Any]:
    """The network's outputs at ratio 1/divisor of the picture, resized as skimage does."""
    return predict(resize(image, _working_size(image, divisor), "skimage"))


def _glance_map(glance: jax.Array) -> jax.Array:
    """The class map as a matte `[B, h, w, 1]`: 0, 128/255, 1 of three classes, 0, 1 of two.

    The classes are compared as probabilities: where those saturate the first class wins, as
    published; logits would still differ.
    """
    chosen = jnp.argmax(glance, axis=-1, keepdims=True)
    values = (0.0, _TRANSITION, 1.0) if glance.shape[-1] == 3 else (0.0, 1.0)
    return jnp.asarray(values, jnp.float32)[chosen]


def _merge(rosta: str, glance: jax.Array, focus: jax.Array) -> jax.Array:
    """Collaborative matting of maps that were resized: glance is soft at its borders."""
    if rosta == "FT":
        return jnp.minimum(glance + focus, 1.0)
    if rosta == "BT":
        return jnp.maximum(glance - focus, 0.0)
    known = jnp.where(glance >= 1 - _PLATEAU, 1.0, focus)
    return jnp.where(glance <= _PLATEAU, 0.0, known)


def gfm_parts(
    predict: Predict, image: jax.Array, *, rosta: str, hybrid: bool, choice: str = "rim"
) -> dict[str, jax.Array]:
    """GFM's test-time matte with the maps that it was merged from, all `[B, H, W, 1]`.

    Args:
      predict: the network; its outputs hold `alpha`, `glance [B, h, w, 2 or 3]` and `focus`, with
        RIM `rim` and `fusion_tt`, `fusion_ft`, `fusion_bt`.
      image: `[B, H, W, 3]`.
      rosta: "TT", "FT", "BT" or "RIM", as the network was built.
      hybrid: glance from a pass at ratio 1/3, focus from one at 1/2, merged at full size; else
        one pass at 1/2, merged by the network. RIM takes one pass at 1/3 either way.
      choice: of RIM's mattes, "rim" or one mode's "tt", "ft", "bt".

    Returns:
      `alpha` in 0..1; `glance` and `focus` beside it but for RIM.
    """
    require("rosta", rosta, ROSTAS)
    require("choice", choice, CHOICES)
    height, width = image.shape[1:3]

    def enlarge(part: jax.Array) -> jax.Array:
        return resize(part.astype(jnp.float32), (height, width), "skimage")

    if rosta == "RIM":
        outputs = _pass(predict, image, 3)
        chosen = outputs["rim" if choice == "rim" else f"fusion_{choice}"]
        # The RIM output has no activation. The published script lets its bytes wrap.
        return {"alpha": jnp.clip(enlarge(chosen), 0.0, 1.0)}
    coarse = _pass(predict, image, 3) if hybrid else None
    fine = _pass(predict, image, 2)
    glance = enlarge(_glance_map((coarse or fine)["glance"]))
    focus = enlarge(fine["focus"])
    alpha = _merge(rosta, glance, focus) if hybrid else enlarge(fine["alpha"])
    return {"alpha": jnp.clip(alpha, 0.0, 1.0), "glance": glance, "focus": focus}


def gfm_resize(predict: Predict, image: jax.Array, *, rosta: str, choice: str = "rim") -> jax.Array:
    """GFM's RESIZE: one pass at half size; see `gfm_parts`."""
    return gfm_parts(predict, image, rosta=rosta, hybrid=False, choice=choice)["alpha"]


def gfm_hybrid(predict: Predict, image: jax.Array, *, rosta: str, choice: str = "rim") -> jax.Array:
    """GFM's HYBRID, which its published numbers use: two passes; see `gfm_parts`."""
    return gfm_parts(predict, image, rosta=rosta, hybrid=True, choice=choice)["alpha"]


RULES: dict[str, Rule] = {"gfm_resize": gfm_resize, "gfm_hybrid": gfm_hybrid}
