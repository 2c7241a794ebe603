"""PP-Matting's examples: composed as photographed, cropped, resized, distorted, blurred.

Chen, Liu, Wang et al., arXiv 2204.09433, in the order of PaddleSeg's code. With the options of
`configs.routes.ppmatting()` it is the chain of the W48 model; with `human` that of the W18 models
of people, which limits the shorter side first, and adds noise and JPEG to the picture alone.

Departs from the released code, without a switch:

- A crop is cut from the file and resized once; where the shorter side is limited, the released code
  resizes all of the picture and cuts then. Crops can lie a fraction of a pixel apart.
- The W18 chain fails on a picture smaller than its crop; here that is padded, as in the W48 chain.
- Noise is rounded to 8 bits before what follows. JPEG sees red as red: the released code writes
  the channels in the wrong order and reads them back likewise.
- RSSN's blur is as wide in an enlarged background as in others.
"""

from collections import ChainMap

import numpy as np
from ml_collections import ConfigDict

from jaxmatte.data import augment, compose, crops, photometric, regions, trimaps
from jaxmatte.data.pool import Pool
from jaxmatte.data.rows import Row, Window
from jaxmatte.errors import UserError

COMPOSITIONS = ("none", "blend", "rssn")
COLOURS = ("image", "separate")
PICTURES = ("image", "foreground", "background")


def example(
    row: Row, pool: Pool, options: ConfigDict, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """One example: uint8 [size,size,C] of image, alpha, foreground, background and trimap."""
    window, shape = crop(row.size, options, rng)
    planes = _matte(row, window, options.trimap, rng)
    planes |= _layers(row, pool, options.compose, window, planes["alpha"], rng)
    for name, pixels in planes.items():
        fill = options.padding if name in PICTURES else 0
        planes[name] = crops.pad(pixels, shape, fill=fill)
    planes = augment.resize_all(planes, options.size)
    planes = _degraded(planes, options, rng)
    if rng.random() < options.flip:
        planes = {name: augment.mirror(pixels) for name, pixels in planes.items()}
    return {name: p.reshape(options.size, options.size, -1) for name, p in planes.items()}


def crop(
    size: tuple[int, int], options: ConfigDict, rng: np.random.Generator
) -> tuple[Window, tuple[int, int]]:
    """Draws a crop of the padded picture.

    Sides are in pixels of the picture after its shorter side has been limited. One that is longer
    than the picture is cut to it, so that the crop need not be square.

    Args:
        size: Height and width of the picture.
        options: `limit` (0: none), `pad` and `crop`, sides to draw from.
        rng: The example's own random numbers.

    Returns:
        The part of the picture that is in it, and the height and width to pad that to.
    """
    unit = max(min(size) / options.limit, 1.0) if options.limit else 1.0
    side = max(round(int(rng.choice(options.crop)) * unit), 1)
    window, shape = [], []
    for length in size:
        padded = max(length, round(options.pad * unit))
        wanted = min(side, padded)
        start = min(int(rng.integers(padded - wanted + 1)), length - 1)
        window.append(slice(start, min(start + wanted, length)))
        shape.append(wanted)
    return (window[0], window[1]), (shape[0], shape[1])


def _matte(
    row: Row, window: Window, options: ConfigDict, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """The window of the alpha, and of the trimap of the whole picture."""
    kernels = trimaps.draw(options.name, row.size, rng, options.get(options.name))
    alpha, trimap = kernels.within(lambda part: row.read("alpha", part), window, row.size)
    return {"alpha": alpha, "trimap": trimap}


def _layers(
    row: Row,
    pool: Pool,
    options: ConfigDict,
    window: Window,
    alpha: np.ndarray,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Image, foreground and background within the window."""
    for field, value, known in (
        ("route", options.route, COMPOSITIONS),
        ("photographed", options.photographed, COLOURS),
    ):
        if value not in known:
            raise UserError(f"data.compose.{field}={value!r}; there are: {', '.join(known)}")
    if rng.random() >= options.share or options.route == "none":
        image = row.read("image", window)
        front, behind = image, image
        if options.photographed == "separate":
            front, behind = pool.separated(row, window)
        return {"image": image, "foreground": front, "background": behind}
    other = pool.background(rng, row)
    denoised, side = False, 0
    if options.route == "rssn":
        denoised = bool(rng.random() < options.denoise)
        side = int(rng.choice(options.blur_sides)) if rng.random() < options.blur else 0
    if denoised:
        row, other = _denoised(row, pool, "foreground"), _denoised(other, pool, "background")
    front, behind = pool.colours(row, window), fitted(other, row.size, window, side)
    image = compose.blend(front, behind, alpha)
    return {"image": image, "foreground": front, "background": behind}


def _denoised(row: Row, pool: Pool, field: str) -> Row:
    """The row with its denoised plane in the place of the other, where it has one."""
    plane = pool.denoised(row, field)
    if plane is None:
        return row
    planes = ChainMap({field: plane}, row.planes)  # type: ignore[arg-type]  # never written to
    return Row(row.index, row.name, row.size, planes)


def fitted(row: Row, shape: tuple[int, int], window: Window, side: int = 0) -> np.ndarray:
    """The part of a background behind a window of the picture: [h,w,3] uint8.

    A background is enlarged until it covers the picture, never shrunk, and used from its top-left
    corner on.

    Args:
        row: The background's.
        shape: Height and width of the picture.
        window: The part of it that is wanted.
        side: Of a Gaussian blur; 0 for none.
    """
    size = crops.enlarged(row.size, shape)
    around, inner = regions.with_margin(window, side, size)
    pixels = crops.read_resized(row, "background", size, around, "linear")
    return photometric.gaussian_blur(pixels, side)[inner] if side else pixels


def _degraded(
    planes: dict[str, np.ndarray], options: ConfigDict, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Distorted, blurred, and the picture alone noisy and compressed."""
    planes = dict(planes)
    order = photometric.draw_order(rng, options.jitter)
    for name in PICTURES:  # in one order, but each by its own coins and amounts
        drawn = photometric.draw_jitter(rng, options.jitter, order)
        planes[name] = photometric.jitter(planes[name], drawn)
    if rng.random() < options.blur.probability:
        side = int(rng.choice(options.blur.sides))
        for name in (*PICTURES, "alpha"):
            planes[name] = photometric.gaussian_blur(planes[name], side)
    if rng.random() < options.noise.probability:
        planes["image"] = noisy(planes["image"], rng, options.noise)
    if rng.random() < options.jpeg.probability:
        low, high = options.jpeg.quality
        planes["image"] = photometric.jpeg(planes["image"], int(rng.integers(low, high + 1)))
    return planes


def noisy(pixels: np.ndarray, rng: np.random.Generator, options: ConfigDict) -> np.ndarray:
    """Adds noise whose mean and variance are drawn, of colours in 0..1."""
    mean = 255 * rng.uniform(*options.mean)
    sigma = 255 * float(np.sqrt(rng.uniform(*options.variance)))
    return compose.add_noise(pixels, photometric.rounded_noise(pixels.shape, sigma, rng, mean))
