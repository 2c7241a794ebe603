"""SOC: self-supervised adaptation by what the network's own outputs must agree on (section 3.3).

On pictures of another kind than the training's, without mattes, the matte must agree with the
coarse one, and its boundary must stay as sharp as that of a frozen copy of the network, whose
details are good where its semantics are not. `train.teacher` keeps that copy, and
`train.statistics="running"` keeps the normalisation as it was, both as published.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxmatte.layers import upsample
from jaxmatte.losses import absolute
from jaxmatte.papers.contract import Objective, Outputs
from jaxmatte.papers.modnet.common import STRIDE, coarse, mean

FORMS = ("released", "paper")


def terms(form: str, predicted: Outputs, frozen: Outputs, mask: jax.Array | None) -> Objective:
    """The terms of the adaptation.

    "released": matte and coarse matte pull at each other, neither at itself, without the values
    of 0.01 and below that would only be noise; in the boundary, detail and matte stay with those of
    the frozen copy. A picture without boundary is left out of the mean over the batch; as
    published, it makes the loss NaN. "paper": means over whole pictures, consistency of matte and
    detail, and only the detail with the copy's.

    Args:
      form: "released" or "paper".
      predicted: `alpha`, `semantic` and `detail`.
      frozen: `alpha` and `detail` of the frozen copy.
      mask: [B], true for rows that count; all others hold 0.
    """
    matte, semantic, detail = (predicted[name] for name in ("alpha", "semantic", "detail"))
    band, reduced = boundary(predicted), coarse(matte)
    from_copy = absolute(detail - frozen["detail"])
    if form == "paper":
        return {
            "semantic": mean(0.5 * jnp.square(reduced - semantic), mask),
            "consistency": mean(band * absolute(matte - detail), mask),
            "detail": mean(band * from_copy, mask),
        }
    agreement = jnp.square(semantic - _target(reduced)) + jnp.square(reduced - _target(semantic))
    distance = from_copy + absolute(matte - frozen["alpha"])
    sizes = band.sum(axis=(1, 2, 3))
    totals = (band * distance).sum(axis=(1, 2, 3))
    return {
        "semantic": mean(100.0 * agreement, mask),
        "detail": ((totals / jnp.maximum(sizes, 1.0)).sum(), (sizes > 0).astype(jnp.float32).sum()),
    }


def _target(values: jax.Array) -> jax.Array:
    values = lax.stop_gradient(values)
    return jnp.where(values > 0.01, values, 0.0)


def boundary(predicted: Outputs) -> jax.Array:
    """Where matte and coarse matte together leave off: [B, H, W, 1], 0 or 1.

    The difference of a dilation and an erosion by squares, whose side is a 20th of the picture's.
    """
    matte, semantic = lax.stop_gradient((predicted["alpha"], predicted["semantic"]))
    solid = (semantic > 0.1).astype(jnp.float32)
    foreground = (matte > 0.1) * upsample(solid, STRIDE)
    side = max(int(sum(matte.shape[1:3]) / 2 * 0.05), 1)
    grown, shrunk = (extreme(foreground, side, largest) for largest in (True, False))
    return (grown != shrunk).astype(jnp.float32)


def extreme(x: jax.Array, side: int, largest: bool) -> jax.Array:
    """Scipy's grey_dilation, or grey_erosion, by a square: the window's extreme, [B, H, W, 1].

    A window of even side reaches a pixel further down and right in a dilation, up and left in an
    erosion.
    """
    before = (side - 1) // 2 if largest else side // 2
    around = (before, side - 1 - before)
    # scipy mirrors the border: that shows nothing which is not in the window anyway.
    start, choose = (-jnp.inf, lax.max) if largest else (jnp.inf, lax.min)
    for axis in (1, 2):
        window, padding = [1] * 4, [(0, 0)] * 4
        window[axis], padding[axis] = side, around
        x = lax.reduce_window(x, start, choose, window, (1,) * 4, padding)
    return x
