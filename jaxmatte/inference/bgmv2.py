"""BGMv2's test-time rule: the picture's own size, padded to what the refiner divides it by."""

import jax

from jaxmatte.inference.rules import Predict, Rule, reflected, to_levels

_CELL = 4  # pixels; the refiner's cells are whole ones


def bgmv2(
    predict: Predict,
    image: jax.Array,
    plate: jax.Array,
    *,
    refine: str = "sampling",
    output: str = "alpha",
    levels: str = "none",
) -> jax.Array:
    """One pass at the picture's own size, as the authors run it.

    They cut pictures to multiples of 4 before the refiner; here the missing rows and columns are
    mirror images, which are cropped from the matte again. The base network takes any size.

    Args:
      predict: the network.
      image: [B, H, W, 3].
      plate: [B, H, W, 3], aligned with it.
      refine: of the model.
      output: which of the network's maps of the picture's size: alpha, foreground or error.
      levels: what 8 bits make of it: "none", "round", or "truncate", as in the authors' files.

    Returns:
      Alpha [B, H, W, 1] in 0..1, or that map.
    """
    padded, crop = reflected((image, plate), 1 if refine == "none" else _CELL)
    return to_levels(crop(predict(*padded)[output]), levels)


RULES: dict[str, Rule] = {"bgmv2": bgmv2}
