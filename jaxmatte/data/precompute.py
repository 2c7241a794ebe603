"""What a store keeps of a row: its planes coded, and what can be made of them once and for all."""

import dataclasses

import cv2
import numpy as np

from jaxmatte import foreground
from jaxmatte.data import codec, regions
from jaxmatte.data.denoise import Denoiser
from jaxmatte.data.rows import File, Row
from jaxmatte.data.shards import Broken, Coded
from jaxmatte.data.sources import Source
from jaxmatte.errors import UserError
from jaxmatte.terminal import printable

ORIGINAL = "original"  # the files' own bytes
COLOURS = (*codec.COLOURS, ORIGINAL)
_CLASSES = ("trimap", "label")  # fields that shrinking must not mix


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is stored, and how.

    Attributes:
        colour: How colours are coded: one of `codec.COLOURS`, or the files' own bytes.
        foregrounds: Whether to estimate the straight colours of rows that come without.
        backgrounds: Whether to estimate what lies behind them, for training as photographed.
        trimap: Kernel of GFM's trimap, stored as `trimap_N`; 0: none.
        band: Kernel of GFM's glance targets, stored as `dilation_N` and `erosion_N`; 0: none.
        denoiser: Of `denoised_foreground` and `denoised_background`; None: they are not stored.
        longest: The longest side that a picture may have; larger ones are shrunk. 0: none is.
    """

    colour: str = "jpeg95"
    foregrounds: bool = False
    backgrounds: bool = False
    trimap: int = 25
    band: int = 0
    denoiser: Denoiser | None = None
    longest: int = 0

    def __post_init__(self) -> None:
        if self.colour not in COLOURS:
            raise UserError(f"--colour={self.colour}: there are {', '.join(COLOURS)}")
        for name, value in (("trimap", self.trimap), ("band", self.band)):
            if value < 0:
                raise UserError(f"--{name}={value} must be a size in pixels, or 0 for none")
        if self.longest < 0:
            raise UserError(f"--max-side={self.longest} must be a size in pixels, or 0 for none")


def code_row(source: Source, row: int, settings: Settings) -> Coded | Broken:
    """Reads a row and codes all that the store keeps of it."""
    name = f"row {row}"
    try:
        name = source.name(row)
        read = source[row]
        pixels = {field: read[field] for field in read.planes}
        if settings.longest:
            pixels = _shrunk(pixels, settings.longest)
        pixels |= _derived(pixels, settings)
        planes = {
            field: _coded(read, field, array, settings.colour) for field, array in pixels.items()
        }
        size = next(iter(pixels.values())).shape[:2]
        return Coded(row, name, size, planes)
    except (UserError, OSError, cv2.error) as error:
        return Broken(row, name, printable(str(error).strip()))


def _coded(read: Row, field: str, pixels: np.ndarray, colour: str) -> bytes:
    """Codes a plane; a file's own bytes where they give just these pixels, or PNG."""
    if colour != ORIGINAL or pixels.ndim == 2:
        return codec.encode(field, pixels, "png" if colour == ORIGINAL else colour)
    plane = read.planes.get(field)
    if isinstance(plane, File):
        content = codec.original(plane.path.read_bytes(), pixels.shape[:2])
        try:
            if np.array_equal(codec.plane(content).read(), pixels):
                return content
        except UserError:
            pass  # the plane is made of the file, not the file itself
    return codec.encode(field, pixels, "png")


def _shrunk(pixels: dict[str, np.ndarray], longest: int) -> dict[str, np.ndarray]:
    """Planes whose longer side is at most `longest`, by averaging; classes by the nearest."""
    height, width = next(iter(pixels.values())).shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return {
        field: cv2.resize(
            array, size, interpolation=cv2.INTER_NEAREST if field in _CLASSES else cv2.INTER_AREA
        )
        for field, array in pixels.items()
    }


def _derived(pixels: dict[str, np.ndarray], settings: Settings) -> dict[str, np.ndarray]:
    """What does not depend on augmentation and is made once: labels, colours, denoised ones."""
    made: dict[str, np.ndarray] = {}
    alpha = pixels.get("alpha")
    if alpha is not None and settings.trimap:
        made[f"trimap_{settings.trimap}"] = regions.trimap(alpha, settings.trimap)
    if alpha is not None and settings.band:
        for name in ("dilation", "erosion"):
            made[f"{name}_{settings.band}"] = regions.LABELS[name](alpha, settings.band)
    colours = pixels.get("foreground")
    lacks_background = settings.backgrounds and "background" not in pixels
    lacks_colours = colours is None and (settings.foregrounds or settings.denoiser)
    if alpha is not None and "image" in pixels and (lacks_background or lacks_colours):
        estimated, behind = foreground.estimate(pixels["image"], alpha)
        if lacks_background:
            made["background"] = behind
        if lacks_colours:
            colours = estimated
            if settings.foregrounds:
                made["foreground"] = colours
    if settings.denoiser:
        layers = {"foreground": colours, "background": pixels.get("background")}
        for name, layer in layers.items():
            if layer is not None:
                made[f"denoised_{name}"] = settings.denoiser(layer)
    return made
