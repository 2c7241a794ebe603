"""MODNet's test-time rules: how its demos for images and for video choose the network's size."""

import jax

from jaxmatte.errors import UserError
from jaxmatte.inference.rules import MULTIPLE, Predict, Rule
from jaxmatte.layers import resize

# Times the shorter side. The demos have no such bound: a strip of 32 x 2048 pixels would become one
# of 512 x 32768.
_LONGEST = 16


def working_size(height: int, width: int, reference: int = 512) -> tuple[int, int]:
    """The network's height and width for a picture, by the rule of the image demo.

    Where both sides are below `reference`, or both above it, the shorter one becomes it and the
    other follows; else the picture stays as it is. Then each side is cut to a multiple of 32, and
    to no less than 32.
    """
    if max(height, width) < reference or min(height, width) > reference:
        height, width = _shorter(height, width, reference)
    return _whole(height), _whole(width)


def modnet(predict: Predict, image: jax.Array, *, reference: int = 512) -> jax.Array:
    """The image demo's rule.

    Sizes change by averaging the pixels under each new one ("area"): enlarged, a picture is made of
    blocks, and so are the edges of a matte that is brought back to a larger one.

    Args:
      predict: the network.
      image: `[B, H, W, 3]`.
      reference: what the shorter side becomes; the authors' 512.

    Returns:
      Alpha `[B, H, W, 1]`.
    """
    _require(reference)
    size = working_size(image.shape[1], image.shape[2], reference)
    return _at(predict, image, size, "adaptive_average")


def modnet_video(predict: Predict, image: jax.Array, *, reference: int = 512) -> jax.Array:
    """The video demo's rule: the shorter side always becomes `reference`, bilinearly.

    The demo shows its composites at the network's size; here the matte is brought back, bilinearly
    too. See `modnet`.
    """
    _require(reference)
    height, width = _shorter(image.shape[1], image.shape[2], reference)
    return _at(predict, image, (_whole(height), _whole(width)), "bilinear")


def _at(predict: Predict, image: jax.Array, size: tuple[int, int], method: str) -> jax.Array:
    """One pass at another size, and back."""
    height, width = image.shape[1:3]
    return resize(predict(resize(image, size, method))["alpha"], (height, width), method)


def _shorter(height: int, width: int, reference: int) -> tuple[int, int]:
    """Height and width with a shorter side of `reference`; the other one in proportion, cut."""
    # In this order, as published: another one rounds some sizes differently.
    longer = int(max(height, width) / min(height, width) * reference)
    longer = min(longer, _LONGEST * reference)
    return (reference, longer) if width >= height else (longer, reference)


def _whole(side: int) -> int:
    return max(side - side % MULTIPLE, MULTIPLE)


def _require(reference: int) -> None:
    if reference < MULTIPLE:
        raise UserError(f"inference: reference={reference}: it must be {MULTIPLE} or more")


RULES: dict[str, Rule] = {"modnet": modnet, "modnet_video": modnet_video}
