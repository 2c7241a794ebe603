"""A row of a source: planes of one size, each read whole or in part.

What a plane costs depends on where it lies: a file is decoded whole, once; a prepared store decodes
the tiles that a window touches; an array in memory is only sliced.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from jaxmatte.errors import BrokenData

Window = tuple[slice, slice]


class Plane(Protocol):
    """Pixels [H,W] or [H,W,3], uint8, somewhere."""

    def read(self, window: Window | None = None) -> np.ndarray:
        """The pixels of a window, or all."""


class Pixels:
    """A plane in memory."""

    def __init__(self, pixels: np.ndarray):
        self.pixels = pixels.view()
        self.pixels.flags.writeable = False  # a row may be asked for again

    def read(self, window: Window | None = None) -> np.ndarray:
        """The pixels of a window, or all."""
        return self.pixels if window is None else self.pixels[window]


class File:
    """A plane in a file, decoded when it is first asked for and kept while its row lives."""

    def __init__(self, path: pathlib.Path, decode: Callable[[pathlib.Path], np.ndarray]):
        self.path, self._decode = path, decode
        self._pixels: np.ndarray | None = None

    def read(self, window: Window | None = None) -> np.ndarray:
        """The pixels of a window, or all."""
        if self._pixels is None:
            self._pixels = self._decode(self.path)
        return self._pixels if window is None else self._pixels[window]


class Row:
    """Planes that belong together: `image`, `alpha`, `foreground`, `background`, `trimap`, ...

    Attributes:
        index: The row's number in its source.
        name: What a person calls it.
        size: Height and width, which all planes share.
        planes: By field.
    """

    def __init__(self, index: int, name: str, size: tuple[int, int], planes: Mapping[str, Plane]):
        self.index, self.name, self.size, self.planes = index, name, size, planes

    @classmethod
    def of(cls, index: int, name: str, **arrays: np.ndarray) -> "Row":
        """A row of arrays in memory."""
        size = next(iter(arrays.values())).shape[:2]
        return cls(index, name, size, {field: Pixels(array) for field, array in arrays.items()})

    def __contains__(self, field: str) -> bool:
        return field in self.planes

    def __getitem__(self, field: str) -> np.ndarray:
        return self.read(field)

    def read(self, field: str, window: Window | None = None) -> np.ndarray:
        """The pixels of a field, in a window or all: [h,w] or [h,w,3] uint8; do not write to them.

        Raises:
            BrokenData: where the plane does not decode, or has another size than the row.
        """
        plane = self.planes[field]
        try:
            pixels = plane.read(window)
        except BrokenData as error:  # a plane may not know whose it is
            raise BrokenData(f"the {field} of {self.name}: {error}") from None
        wanted = self.size
        if window is not None:
            wanted = (window[0].stop - window[0].start, window[1].stop - window[1].start)
        if pixels.shape[:2] != wanted:
            raise BrokenData(
                f"the {field} of {self.name} is {pixels.shape[1]}x{pixels.shape[0]} where "
                f"{wanted[1]}x{wanted[0]} was expected; all planes of a row share one size"
            )
        return pixels

    def plane(self, field: str) -> Plane:
        """A field as a plane of its own, read with the row's checks."""
        return _Field(self, field)


@dataclasses.dataclass(frozen=True)
class _Field:
    """A field of a row."""

    row: Row
    field: str

    def read(self, window: Window | None = None) -> np.ndarray:
        """The pixels of a window, or all."""
        return self.row.read(self.field, window)
