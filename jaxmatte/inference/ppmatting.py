"""PP-Matting's test-time rule: the shorter side limited, then down to whole multiples."""

import jax

from jaxmatte.errors import UserError
from jaxmatte.inference.rules import MULTIPLE, Predict, Rule
from jaxmatte.layers import resize

# What the sides must be multiples of, and the least they can be; else 32 and 32.
SIDES = {"stdc1": (32, 64), "resnet34_vd": (128, 128)}


def working_sizes(size: tuple[int, int], encoder: str, limit: int) -> list[tuple[int, int]]:
    """The sizes a picture takes on its way to the network, the last one is the network's.

    Args:
      size: height and width of the picture.
      encoder: of the model.
      limit: for the shorter side, which is brought down to it first; 0: it stays.
    """
    if limit < 0:
        raise UserError(f"inference: limit={limit} of rule ppmatting: give pixels, or 0 for none")
    sizes, scale = [], limit / min(size)
    if 0 < scale < 1:
        size = (round(size[0] * scale), round(size[1] * scale))
        sizes.append(size)
    multiple, least = SIDES.get(encoder, (MULTIPLE, MULTIPLE))
    height, width = (max(side - side % multiple, least) for side in size)
    return [*sizes, (height, width)]


def ppmatting(
    predict: Predict, image: jax.Array, *, encoder: str = "hrnet_w48", limit: int = 1536
) -> jax.Array:
    """PP-Matting's rule, for its published numbers.

    The picture is resized, never padded: its shorter side down to `limit`, then both sides down to
    multiples of 32 (PP-HumanMatting: 128); one below the network's least is enlarged to that. The
    matte takes the same steps back. All of it bilinear without antialias, as published; the
    published preprocessing rounds to 8 bits between the steps, which is not repeated.

    Args:
      predict: the network; its outputs hold `alpha`.
      image: [B, H, W, 3].
      encoder: of the model.
      limit: as published 1536 for HRNet-W48, 512 or 1024 for HRNet-W18, 512 for PP-MattingV2,
        2048 for PP-HumanMatting; 0: none.

    Returns:
      Alpha [B, H, W, 1] in 0..1.
    """
    size = (image.shape[1], image.shape[2])
    sizes = working_sizes(size, encoder, limit)
    for step in sizes:
        image = resize(image, step)
    alpha = predict(image)["alpha"]
    for step in reversed([size, *sizes[:-1]]):
        alpha = resize(alpha, step)
    return alpha


RULES: dict[str, Rule] = {"ppmatting": ppmatting}
