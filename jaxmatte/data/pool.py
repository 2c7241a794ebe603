"""What an example is made of beside its row: other rows, and colours where none are on file."""

import dataclasses

import numpy as np
from ml_collections import ConfigDict

from jaxmatte import foreground
from jaxmatte.data import regions
from jaxmatte.data.regions import Runs
from jaxmatte.data.rows import Plane, Row, Window
from jaxmatte.data.sources import Source
from jaxmatte.errors import UserError

FOREGROUNDS = ("estimate", "image", "premultiplied")
PAIRINGS = ("random", "fixed")


@dataclasses.dataclass(frozen=True)
class Pool:
    """The rows that an example may draw from.

    Attributes:
        source: The foregrounds.
        backgrounds: Rows with `background`; None where the foregrounds' rows bring their own.
        config: The group `data` of the configuration.
        copy: Which of an epoch's examples of its row this one is.
    """

    source: Source
    backgrounds: Source | None
    config: ConfigDict
    copy: int = 0

    def __post_init__(self) -> None:
        for field, value, known in (
            ("foreground", self.config.foreground, FOREGROUNDS),
            ("pairing", self.config.pairing, PAIRINGS),
        ):
            if value not in known:
                raise UserError(f"data.{field}={value!r}; there are: {', '.join(known)}")

    def background(self, rng: np.random.Generator, row: Row) -> Row:
        """A background for a row: drawn anew each time, or the row's own in a fixed order."""
        rows = self.source if self.backgrounds is None else self.backgrounds
        if self.config.pairing == "fixed":
            number = row.index * self.config.backgrounds_per_foreground + self.copy
        else:
            number = int(rng.integers(len(rows)))
        return rows[number % len(rows)]

    def foreground(self, rng: np.random.Generator, row: Row) -> Row:
        """Another row, as a second foreground; the row itself where there is no other."""
        if len(self.source) == 1:
            return row
        number = int(rng.integers(len(self.source) - 1))
        return self.source[number + (number >= row.index)]

    def colours(self, row: Row, window: Window | None = None) -> np.ndarray:
        """Straight foreground colours: the file's where on file, else as the config says."""
        if "foreground" in row:
            return row.read("foreground", window)
        return self.separated(row, window)[0]

    def separated(self, row: Row, window: Window | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Foreground and background of a picture as photographed, from file where on file."""
        if "foreground" in row and "background" in row:
            return row.read("foreground", window), row.read("background", window)
        image = row.read("image", window)
        front, back = self._split(image, row.read("alpha", window))
        return (row.read("foreground", window) if "foreground" in row else front), back

    def _split(self, image: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.config.foreground == "image":
            return image, image
        if self.config.foreground == "premultiplied":
            opacity = (alpha / np.float32(255))[..., None]
            return (opacity * image).astype(np.uint8), ((1 - opacity) * image).astype(np.uint8)
        return foreground.estimate(image, alpha)

    def labels(self, row: Row, kind: str, size: int) -> Runs:
        """The row's trimap, dilation or erosion by a kernel of a size, whole.

        A prepared store has them; elsewhere they cost a morphology of the whole alpha.
        """
        stored = row.planes.get(f"{kind}_{size}")
        if isinstance(stored, Runs):
            return stored
        return Runs.of(regions.LABELS[kind](row["alpha"], size))

    def label(self, row: Row, kind: str, size: int, window: Window) -> np.ndarray:
        """`labels` in a window [h,w]; where they are not stored, only the window is looked at."""
        stored = row.planes.get(f"{kind}_{size}")
        if stored is not None:
            return stored.read(window)
        return regions.LABELS[kind](row["alpha"], size, window)

    def denoised(self, row: Row, field: str) -> Plane | None:
        """The denoised plane of `foreground` or `background`; None where none is on file."""
        given = "foreground" if "alpha" in row else "background"  # what a set's `denoised` shows
        for name in (f"denoised_{field}", *(["denoised"] if field == given else [])):
            if name in row:
                return row.plane(name)
        return None
