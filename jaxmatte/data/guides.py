"""What a guided network is given beside the picture, where it is not on file.

A trimap is drawn from the true alpha as in training, and a plate is the background as if captured
apart. Each row's own are drawn from its name: the same in every run, whatever else is in the set.
"""

import zlib
from collections.abc import Callable

import numpy as np
from ml_collections import ConfigDict

from jaxmatte.data import augment, compose, photometric, trimaps
from jaxmatte.data.around import Around, with_planes
from jaxmatte.data.rows import Plane, Row, Window
from jaxmatte.data.sources import Source
from jaxmatte.errors import BrokenData

# Between plate and picture, as Background Matting V2's tables were measured: a shift by less than a
# pixel either way, another exposure, and noise. How strong the noise was is not said: its greatest
# deviation is that of the training's, on the 0..255 scale.
SHIFT, GAMMA, NOISE = 0.3, (0.85, 1.15), 0.03 * 255


class Guided(Around):
    """A source whose rows also have what they are asked for."""

    def __init__(self, source: Source, trimap: ConfigDict | None = None, plate: bool = False):
        """Keeps the source.

        Args:
            source: The rows, with `alpha`; with `background` where plates are made.
            trimap: The maker's name and ranges, as in the group `data`; None: none are made.
            plate: Whether plates are made.
        """
        super().__init__(source)
        self._trimap, self._plate = trimap, plate

    def __getitem__(self, index: int) -> Row:
        row, more = self.source[index], dict[str, Plane]()
        if self._trimap is not None:
            name, ranges = self._trimap.name, self._trimap.get(self._trimap.name)
            more["trimap"] = _Made(lambda: trimaps.make(name, row["alpha"], _rng(row, 0), ranges))
        if self._plate:
            if "background" not in row:
                raise BrokenData(f"{row.name} has no background to make a plate of")
            more["plate"] = _Made(lambda: captured_apart(row["background"], _rng(row, 1)))
        return with_planes(row, more)

    @property
    def has_trimaps(self) -> bool:
        """Whether rows have `trimap`."""
        return self._trimap is not None or self.source.has_trimaps


class _Made:
    """A plane that is made when it is first asked for."""

    def __init__(self, make: Callable[[], np.ndarray]):
        self._make = make
        self._pixels: np.ndarray | None = None

    def read(self, window: Window | None = None) -> np.ndarray:
        """The pixels of a window, or all."""
        if self._pixels is None:
            self._pixels = self._make()
        return self._pixels if window is None else self._pixels[window]


def captured_apart(background: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The background [H,W,3] uint8 as another exposure from almost the same place shows it."""
    shift, gamma = rng.uniform(-SHIFT, SHIFT, 2), rng.uniform(*GAMMA)
    matrix = np.column_stack([np.eye(2), shift])
    shape = (background.shape[0], background.shape[1])
    moved = augment.apply(background, matrix, shape, "linear", "replicate")
    curve = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    noise = photometric.rounded_noise(moved.shape, NOISE * rng.random(), rng)
    return compose.add_noise(curve[moved], noise)


def _rng(row: Row, kind: int) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(row.name.encode(errors="surrogateescape")), kind])
