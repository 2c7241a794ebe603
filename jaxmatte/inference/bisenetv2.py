"""BiSeNet V2's test-time rules: at about the picture's own size, at half of it, at several sizes.

Logits are enlarged before the softmax, as published: the class of a pixel is that of its logits.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxmatte.errors import UserError
from jaxmatte.inference.rules import MULTIPLE, Predict, Rule, require
from jaxmatte.layers import resize

OUTPUTS = ("alpha", "probability", "logits")


def matte(probability: jax.Array) -> jax.Array:
    """The coarse alpha [B, H, W, 1] of two or three classes: foreground plus half of the unknown.

    The last class is the foreground; of three the middle one is unknown.
    """
    classes = probability.shape[-1]
    if classes not in (2, 3):
        raise UserError(f"inference: {classes} classes make no matte; set evaluation.kind=classes")
    foreground = probability[..., -1:]
    return foreground + 0.5 * probability[..., 1:2] if classes == 3 else foreground


def bisenetv2(predict: Predict, image: jax.Array, *, output: str = "alpha") -> jax.Array:
    """One pass at the next multiples of 32, the logits brought back: the code's demo.

    Args:
      predict: the network; its outputs hold `logits` [B, h, w, classes].
      image: [B, H, W, 3].
      output: "alpha", of 2 or 3 classes, "probability" or "logits".

    Returns:
      Alpha [B, H, W, 1], or [B, H, W, classes].
    """
    return _told(_one_pass(predict, image, 1.0, "bilinear"), output)


def bisenetv2_half(predict: Predict, image: jax.Array, *, output: str = "alpha") -> jax.Array:
    """One pass at half the size: the paper's own, 2048 x 1024 as 1024 x 512; see `bisenetv2`."""
    return _told(_one_pass(predict, image, 0.5, "bilinear"), output)


def bisenetv2_multiscale(
    predict: Predict,
    image: jax.Array,
    *,
    scales: Sequence[float] = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75),
    flip: bool = True,
    output: str = "alpha",
) -> jax.Array:
    """The mean probability over sizes and mirror images, resized with corners aligned.

    As the code evaluates; `scales=(1.0,)` with `flip=False` is its single-scale protocol.

    Args:
      predict: the network; its outputs hold `logits` [B, h, w, classes].
      image: [B, H, W, 3].
      scales: factors of the picture's sides, each then brought up to a multiple of 32.
      flip: whether each size is also seen mirrored.
      output: "alpha", of 2 or 3 classes, "probability", or "logits": the probability's logarithm.
    """
    if not scales or min(scales) <= 0:
        raise UserError(f"inference: scales={tuple(scales)}: give one or more, all above 0")
    # Both at once: the network is compiled once a size.
    shown = jnp.concatenate([image, image[:, :, ::-1]]) if flip else image
    probability = jnp.zeros(())
    for scale in scales:
        probability += jax.nn.softmax(_one_pass(predict, shown, scale, "align_corners"))
    if flip:
        straight, mirrored = jnp.split(probability, 2)
        probability = 0.5 * (straight + mirrored[:, :, ::-1])
    mean = probability / len(scales)
    # The smallest float32 stands for 0, whose logarithm would be no number to compare with.
    return _told(jnp.log(jnp.maximum(mean, jnp.finfo(jnp.float32).tiny)), output)


def _one_pass(predict: Predict, image: jax.Array, scale: float, method: str) -> jax.Array:
    """The logits [B, H, W, classes] of a pass at `scale` times the size, whole multiples of 32."""
    height, width = image.shape[1:3]
    sides = (-(-max(int(side * scale), 1) // MULTIPLE) * MULTIPLE for side in (height, width))
    shown = _resized(image, (next(sides), next(sides)), method)
    return _resized(predict(shown)["logits"], (height, width), method)


def _resized(x: jax.Array, shape: tuple[int, int], method: str) -> jax.Array:
    return x if x.shape[1:3] == shape else resize(x, shape, method)


def _told(logits: jax.Array, output: str) -> jax.Array:
    require("output", output, OUTPUTS)
    if output == "logits":
        return logits
    probability = jax.nn.softmax(logits)
    return matte(probability) if output == "alpha" else probability


RULES: dict[str, Rule] = {
    "bisenetv2": bisenetv2,
    "bisenetv2_half": bisenetv2_half,
    "bisenetv2_multiscale": bisenetv2_multiscale,
}
