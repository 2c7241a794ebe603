"""What network, refiner and objective share."""

import jax

from jaxmatte.layers import downsample, resize, upsample


def fit(x: jax.Array, size: tuple[int, ...]) -> jax.Array:
    """Bilinear at another size, half-pixel centres, no antialias: [B, H, W, C] -> [B, *size, C].

    Where both sides change by one whole factor, by the cheaper sums that give the same.
    """
    height, width = x.shape[1:3]
    if size[0] % height == 0 and size[0] * width == size[1] * height:
        return upsample(x, size[0] // height)
    if height % (2 * size[0]) == 0 and size[0] * width == size[1] * height:
        return downsample(x, height // size[0])
    return resize(x, (size[0], size[1]))
