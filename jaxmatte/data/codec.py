"""Planes as bytes that can be decoded in part: tiles for pixels, runs for labels.

No common codec decodes a region of a picture, and a training crop needs a quarter of it. So a
picture is cut into tiles that are coded one by one: JPEG or PNG for colours, deflate for alphas,
whose many tiles of one value cost a byte. Trimaps are kept as runs along their rows, three bytes
each: to deflate those would save 2 % of a store, and inflating takes longer than using them.

Every plane starts with a header (little endian): magic, kind, channels, tile, height, width; then,
for tiles, where each ends (uint32), and their bytes; for runs, the number of each row's first
(uint32), where each starts (uint16 where the width allows it, else uint32), and their labels.
"""

import struct
import zlib
from collections.abc import Callable, Iterator

import cv2
import numpy as np

from jaxmatte.data import regions
from jaxmatte.data.rows import Plane, Window
from jaxmatte.errors import BrokenData, UserError

COLOURS = ("jpeg90", "jpeg95", "png")  # how colours may be coded, beside their original file
TILE = 256  # side of a tile of colours: smaller ones waste less, larger ones decode faster
PLANE_TILE = 128  # of alphas: more tiles of one value

_MAGIC = b"JXMT"
_HEADER = struct.Struct("<4scBHII")
_JPEG, _PNG, _DEFLATE, _RUNS, _FILE = (bytes([letter]) for letter in b"JPDRF")


def encode(field: str, pixels: np.ndarray, colour: str = "jpeg95") -> bytes:
    """Codes a field of a row; what it costs to read is the same for every field of its kind.

    Args:
        field: `trimap_N`, `dilation_N` and `erosion_N` are coded as runs, all else as tiles.
        pixels: uint8 [H,W,3] colours, coded as `colour` says, or [H,W], without loss.
        colour: One of `COLOURS`.
    """
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or not pixels.size:
        raise ValueError(f"{field}: uint8 [H,W] or [H,W,3] expected, not {pixels.shape}")
    if field.partition("_")[0] in regions.LABELS:
        return _encode_runs(pixels)
    if pixels.ndim == 2:
        return _encode_tiles(pixels, _DEFLATE, PLANE_TILE, _deflate)
    if colour not in COLOURS:
        raise UserError(f"colour encoding {colour!r}; there are: {', '.join(COLOURS)}, original")
    if colour == "png":
        return _encode_tiles(pixels, _PNG, TILE, lambda tile: _by_opencv(".png", tile))
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(colour.removeprefix("jpeg"))]
    return _encode_tiles(pixels, _JPEG, TILE, lambda tile: _by_opencv(".jpg", tile, quality))


def original(content: bytes, size: tuple[int, int]) -> bytes:
    """Keeps the bytes of a colour picture's file, which is then decoded whole."""
    return _HEADER.pack(_MAGIC, _FILE, 3, 0, *size) + content


def plane(content: bytes | memoryview) -> Plane:
    """The plane that bytes hold; nothing is decoded or copied yet.

    Raises:
        BrokenData: where they hold none; reading raises it too, where a tile does not decode.
    """
    if len(content) < _HEADER.size or content[:4] != _MAGIC:
        raise BrokenData(f"{len(content)} bytes that are no coded plane")
    _, kind, channels, tile, height, width = _HEADER.unpack_from(content)
    view = memoryview(content)
    if kind == _RUNS:
        return _decode_runs(view[_HEADER.size :], (height, width))
    if kind == _FILE:
        return _Whole(view[_HEADER.size :], (height, width))
    if kind not in _DECODERS or not tile:
        raise BrokenData(f"a plane of unknown kind {kind!r}")
    return Tiles(view, _DECODERS[kind], channels, tile, (height, width))


class Tiles:
    """A plane of tiles; a window decodes only those that it touches."""

    def __init__(
        self,
        content: memoryview,
        decode: Callable[[memoryview], np.ndarray | int],
        channels: int,
        tile: int,
        size: tuple[int, int],
    ):
        self._content, self._decode, self._tile, self.size = content, decode, tile, size
        self._read: tuple[Window, np.ndarray] | None = None
        self._tail = () if channels == 1 else (channels,)
        self._across = -(-size[1] // tile)
        count = self._across * -(-size[0] // tile)
        start = _HEADER.size + 4 * count
        if len(content) < start:
            raise BrokenData("the table of a plane's tiles is cut off")
        self._ends = np.frombuffer(content, "<u4", count, _HEADER.size).astype(np.int64) + start
        self._starts = np.concatenate([[start], self._ends[:-1]])
        if int(self._ends[-1]) != len(content) or (self._starts > self._ends).any():
            raise BrokenData("the table of a plane's tiles does not fit its bytes")

    def read(self, window: Window | None = None) -> np.ndarray:
        """The pixels of a window, or all: [h,w] or [h,w,3]."""
        rows, columns = window or (slice(0, self.size[0]), slice(0, self.size[1]))
        if not (0 <= rows.start < rows.stop <= self.size[0]) or not (
            0 <= columns.start < columns.stop <= self.size[1]
        ):
            raise ValueError(f"window {rows}, {columns} of a plane of {self.size}")
        if self._read and self._read[0] == (rows, columns):  # two steps of an example ask for it
            return self._read[1]
        shape = (rows.stop - rows.start, columns.stop - columns.start, *self._tail)
        pixels = np.empty(shape, np.uint8)
        for down, target_rows, tile_rows in _parts(rows, self._tile):
            for across, target_columns, tile_columns in _parts(columns, self._tile):
                tile = self._read_tile(down, across)
                if isinstance(tile, np.ndarray):
                    tile = tile[tile_rows, tile_columns]
                pixels[target_rows, target_columns] = tile
        pixels.flags.writeable = False  # it may be asked for again
        self._read = ((rows, columns), pixels)
        return pixels

    def _read_tile(self, down: int, across: int) -> np.ndarray | int:
        number = down * self._across + across
        tile = self._decode(self._content[self._starts[number] : self._ends[number]])
        if isinstance(tile, int):
            return tile
        height = min(self._tile, self.size[0] - down * self._tile)
        width = min(self._tile, self.size[1] - across * self._tile)
        if tile.size != height * width * (self._tail[0] if self._tail else 1):
            raise BrokenData(f"tile {number} of a plane has another size than its place")
        return tile.reshape(height, width, *self._tail)


class _Whole:
    """A colour picture as its file had it: decoded whole, once."""

    def __init__(self, content: memoryview, size: tuple[int, int]):
        self._content, self.size = content, size
        self._pixels: np.ndarray | None = None

    def read(self, window: Window | None = None) -> np.ndarray:
        """The pixels of a window, or all."""
        if self._pixels is None:
            self._pixels = _colours(self._content)
            if self._pixels.shape[:2] != self.size:
                raise BrokenData(f"a picture of {self._pixels.shape[:2]} where {self.size} was")
        return self._pixels if window is None else self._pixels[window]


def _parts(wanted: slice, tile: int) -> Iterator[tuple[int, slice, slice]]:
    """The tiles along an axis that a slice touches: number, place in the slice, place in it."""
    for number in range(wanted.start // tile, -(-wanted.stop // tile)):
        first = max(wanted.start, number * tile)
        last = min(wanted.stop, (number + 1) * tile)
        inside = slice(first - number * tile, last - number * tile)
        yield number, slice(first - wanted.start, last - wanted.start), inside


def _encode_tiles(
    pixels: np.ndarray, kind: bytes, tile: int, encode_tile: Callable[[np.ndarray], bytes]
) -> bytes:
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    codes = [
        encode_tile(np.ascontiguousarray(pixels[top : top + tile, left : left + tile]))
        for top in range(0, height, tile)
        for left in range(0, width, tile)
    ]
    ends = np.cumsum([len(code) for code in codes]).astype("<u4")
    header = _HEADER.pack(_MAGIC, kind, channels, tile, height, width)
    return b"".join([header, ends.tobytes(), *codes])


def _deflate(tile: np.ndarray) -> bytes:
    """One byte for a tile of one value."""
    if (tile == tile.flat[0]).all():
        return bytes([tile.flat[0]])
    return zlib.compress(tile.tobytes(), 9)


def _inflate(code: memoryview) -> np.ndarray | int:
    if len(code) == 1:
        return code[0]
    try:
        return np.frombuffer(zlib.decompress(code), np.uint8)
    except zlib.error as error:
        raise BrokenData(f"a tile does not decode: {error}") from None


def _by_opencv(ending: str, tile: np.ndarray, options: list[int] | None = None) -> bytes:
    done, code = cv2.imencode(ending, cv2.cvtColor(tile, cv2.COLOR_RGB2BGR), options or [])
    if not done:
        raise ValueError(f"OpenCV cannot write {ending} of {tile.shape}")
    return code.tobytes()


def _colours(code: memoryview) -> np.ndarray:
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(code, np.uint8), flags) if len(code) else None
    if pixels is None:
        raise BrokenData("a tile or picture does not decode")
    return pixels


_DECODERS: dict[bytes, Callable[[memoryview], np.ndarray | int]] = {
    _JPEG: _colours,
    _PNG: _colours,
    _DEFLATE: _inflate,
}


def _encode_runs(labels: np.ndarray) -> bytes:
    runs = regions.Runs.of(labels)
    parts = (
        _HEADER.pack(_MAGIC, _RUNS, 1, 0, *runs.size),
        runs.first.astype("<u4").tobytes(),
        runs.starts.astype(_column_type(runs.size[1])).tobytes(),
        runs.labels.tobytes(),
    )
    return b"".join(parts)


def _decode_runs(body: memoryview, size: tuple[int, int]) -> regions.Runs:
    column, head = np.dtype(_column_type(size[1])), 4 * (size[0] + 1)
    count, rest = divmod(len(body) - head, column.itemsize + 1)
    if count < size[0] or rest:
        raise BrokenData("a table of runs does not fit its bytes")
    first = np.frombuffer(body, "<u4", size[0] + 1)
    if first[-1] != count:
        raise BrokenData("a table of runs does not fit its bytes")
    starts = np.frombuffer(body, column, count, head)
    labels = np.frombuffer(body, np.uint8, count, head + starts.nbytes)
    return regions.Runs(size, first, starts, labels)


def _column_type(width: int) -> str:
    return "<u2" if width < 1 << 16 else "<u4"
