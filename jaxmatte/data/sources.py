"""Random-access sources of matting rows: folders of pictures, and what wraps a source."""

import functools
import os
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Protocol

import cv2
import numpy as np
from PIL import Image

from jaxmatte.data import manifest
from jaxmatte.data.rows import File, Plane, Row
from jaxmatte.errors import BrokenData, UserError

EXTENSIONS = manifest.PICTURES
BINARY_SAMPLE = 64  # alphas looked at when a folder is opened
SIZE_SAMPLE = 1024  # pairs whose sizes are compared when a folder is opened; reading checks all

Image.MAX_IMAGE_PIXELS = None  # pictures are the user's own: large ones are no attack
if "OPENCV_LOG_LEVEL" not in os.environ:  # what does not decode is told in one line of ours
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


class Source(Protocol):
    """What a pipeline reads: rows by number, the same row for the same number."""

    def __len__(self) -> int:
        """How many rows."""

    def __getitem__(self, index: int) -> Row:
        """A row; its pixels are read when they are asked for."""

    def name(self, index: int) -> str:
        """What a person calls a row."""

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of a row, without reading it."""

    @property
    def has_trimaps(self) -> bool:
        """Whether rows have `trimap`."""

    @property
    def fingerprint(self) -> str:
        """One line that changes when a row does."""


def read_colour(path: pathlib.Path) -> np.ndarray:
    """Reads RGB [H,W,3] uint8, as stored: an EXIF rotation would part it from its alpha."""
    return _decoded(path, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)


def read_grey(path: pathlib.Path) -> np.ndarray:
    """Reads [H,W] uint8 as stored, from a picture that is grey or whose channels are equal."""
    return to_grey(_decoded(path, cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION), str(path))


def read_cutout(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads an RGBA picture as colours [H,W,3] and alpha [H,W]."""
    pixels = _decoded(path, cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels.ndim != 3 or pixels.shape[2] != 4:
        raise BrokenData(f"{path} has no alpha channel; a cut-out is an RGBA picture")
    pixels = _to_bytes(pixels, str(path))
    return np.ascontiguousarray(pixels[..., 2::-1]), np.ascontiguousarray(pixels[..., 3])


def cutout_planes(path: pathlib.Path) -> dict[str, Plane]:
    """The planes of an RGBA picture, which is decoded once for both."""
    both = functools.cache(read_cutout)
    return {
        "foreground": File(path, lambda path: both(path)[0]),
        "alpha": File(path, lambda path: both(path)[1]),
    }


def decode(content: bytes, flags: int, what: str) -> np.ndarray:
    """Decodes a picture file by OpenCV; nothing is made up where a part is missing.

    Args:
        content: The file's bytes.
        flags: Of `cv2.imdecode`.
        what: What a person calls it, for the message.

    Raises:
        BrokenData: where the bytes are no whole picture.
    """
    pixels = None
    if content and not _is_cut_off(content):
        try:
            pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
        except cv2.error:  # more pixels than OpenCV takes
            pixels = None
    if pixels is None:
        raise BrokenData(f"{what} does not decode")
    return pixels


def to_grey(pixels: np.ndarray, what: str) -> np.ndarray:
    """[H,W] uint8 of a decoded picture that is grey or whose colours are equal.

    Args:
        pixels: As `cv2.IMREAD_UNCHANGED` gives them.
        what: What a person calls it, for the message.
    """
    pixels = _to_bytes(pixels, what)
    if pixels.ndim == 3 and pixels.shape[2] == 4 and (pixels[..., 3] != 255).any():
        raise BrokenData(
            f"{what} has 4 channels; an alpha has 1, or 3 equal ones (is it a cut-out?)"
        )
    return pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[..., 0])


def _to_bytes(pixels: np.ndarray, what: str) -> np.ndarray:
    if pixels.dtype == np.uint16:
        return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)  # to the nearest
    if pixels.dtype != np.uint8:
        raise BrokenData(f"{what} holds {pixels.dtype}; 8 or 16 bits a channel are read")
    return pixels


def _decoded(path: pathlib.Path, flags: int) -> np.ndarray:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BrokenData(f"cannot read {path}: {error.strerror}; was it moved?") from None
    try:
        return decode(content, flags, str(path))
    except BrokenData:
        raise BrokenData(
            f"cannot decode {path}; mend the file or take it out of its folder"
        ) from None


def _is_cut_off(content: bytes) -> bool:
    """Whether a JPEG ends before its end marker: OpenCV would make the rest up in grey."""
    return content[:2] == b"\xff\xd8" and content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda")


def list_pictures(folder: pathlib.Path, field: str, recursive: bool = False) -> manifest.Manifest:
    """The folder's pictures by name, or what is wrong with the folder."""
    if not folder.is_dir():
        above = next((parent for parent in folder.parents if parent.is_dir()), folder.parent)
        there = ", ".join(sorted(p.name for p in above.iterdir())[:8]) or "nothing"
        raise UserError(
            f"no folder {folder} (config.data.root and config.{field}); {above} holds: {there}"
        )
    found = manifest.scan(folder, EXTENSIONS, recursive)
    if not len(found):
        raise UserError(f"{folder} (config.{field}) holds no pictures ({', '.join(EXTENSIONS)})")
    return found


def pair_by_stem(files: manifest.Files, partners: manifest.Files, field: str) -> manifest.Files:
    """Returns the partner of each file, the one with the same name but for its ending."""
    by_stem = {manifest.stem(name): name for name in partners.names}
    stems = [manifest.stem(name) for name in files.names]
    lonely = [name for name, stem in zip(files.names, stems, strict=True) if stem not in by_stem]
    if lonely:
        raise UserError(
            f"{len(lonely)} of {len(files)} pictures in {files.folder} have no partner in "
            f"{partners.folder} (config.{field}): {', '.join(lonely[:5])}"
        )
    return manifest.Files(partners.folder, [by_stem[stem] for stem in stems])


def _sizes_agree(files: manifest.Files, partners: manifest.Files) -> None:
    unequal = []
    for path, partner in zip(
        _sample(files, SIZE_SAMPLE), _sample(partners, SIZE_SAMPLE), strict=True
    ):
        size, other = read_size(path), read_size(partner)
        if size != other:
            unequal.append(
                f"{path.name} is {size[1]}x{size[0]}, {partner.name} {other[1]}x{other[0]}"
            )
    if unequal:
        raise UserError(
            f"{len(unequal)} of {min(len(files), SIZE_SAMPLE)} pictures in {files.folder} "
            f"differ in size from their partners in {partners.folder}: {'; '.join(unequal[:3])}"
        )


def read_size(path: pathlib.Path) -> tuple[int, int]:
    """Reads height and width as stored, without decoding the pixels."""
    try:
        with Image.open(path) as picture:
            width, height = picture.size
    except (OSError, SyntaxError, ValueError) as error:
        raise BrokenData(f"cannot read {path}: {error}") from None
    return height, width


class _Folder:
    """What the folders share: rows in the order of the files' names."""

    def __init__(self, listed: manifest.Manifest):
        self.files = listed.files
        self.has_trimaps = False
        self._fingerprints = [listed.fingerprint]

    def __len__(self) -> int:
        return len(self.files)

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of a row, without decoding it."""
        return read_size(self.files[index])

    def name(self, index: int) -> str:
        """What a person calls the row."""
        return self.files.names[index]

    @property
    def fingerprint(self) -> str:
        """Changes when a file comes, goes, is renamed or has another number of bytes."""
        return f"{type(self).__name__}:{'+'.join(self._fingerprints)}"


class PictureFolder(_Folder):
    """A folder of colour pictures and nothing else, as backgrounds or as unlabelled images."""

    def __init__(
        self, folder: pathlib.Path, field: str, plane: str = "background", recursive: bool = False
    ):
        """Lists the folder.

        Args:
            folder: The folder.
            field: What names it in the configuration, for messages.
            plane: What the pictures are in their rows.
            recursive: Whether pictures in the folders below count too.
        """
        super().__init__(list_pictures(folder, field, recursive))
        self._plane = plane

    def __getitem__(self, index: int) -> Row:
        path = self.files[index]
        planes = {self._plane: File(path, read_colour)}
        return Row(index, self.name(index), read_size(path), planes)


class PairFolder(_Folder):
    """Folders of pictures and their alphas, with foreground colours where they are on file."""

    def __init__(
        self,
        images: pathlib.Path,
        alphas: pathlib.Path,
        foregrounds: pathlib.Path | None = None,
        trimaps: pathlib.Path | None = None,
        plates: pathlib.Path | None = None,
        fields: str = "data",
        skip_broken: bool = False,
    ):
        """Pairs the files by name and compares their sizes.

        Args:
            images: Folder of pictures.
            alphas: Folder of their alphas.
            foregrounds: Folder of their straight foreground colours, where on file.
            trimaps: Folder of their trimaps, where on file.
            plates: Folder of their backgrounds, captured apart, where on file.
            fields: The group of the configuration that names the folders, for messages.
            skip_broken: Whether to leave it to the reader to find out what is broken.
        """
        super().__init__(list_pictures(images, f"{fields}.images"))
        self._skip_broken = skip_broken
        self.alphas = self._partners(alphas, f"{fields}.alphas")
        self.foregrounds = foregrounds and self._partners(foregrounds, f"{fields}.foregrounds")
        self.trimaps = trimaps and self._partners(trimaps, f"{fields}.trimaps")
        self.plates = plates and self._partners(plates, f"{fields}.plates")
        self.has_trimaps = bool(self.trimaps)
        warn_of_binary_alphas(
            _sampled_alphas(self.alphas, read_grey, skip_broken=skip_broken), alphas
        )

    def _partners(self, folder: pathlib.Path, field: str) -> manifest.Files:
        listed = list_pictures(folder, field)
        self._fingerprints.append(listed.fingerprint)
        partners = pair_by_stem(self.files, listed.files, field)
        if not self._skip_broken:
            _sizes_agree(self.files, partners)
        return partners

    def __getitem__(self, index: int) -> Row:
        path = self.files[index]
        planes = {"image": File(path, read_colour), "alpha": File(self.alphas[index], read_grey)}
        if self.foregrounds:
            planes["foreground"] = File(self.foregrounds[index], read_colour)
        if self.trimaps:
            planes["trimap"] = File(self.trimaps[index], read_grey)
        if self.plates:
            planes["plate"] = File(self.plates[index], read_colour)
        return Row(index, path.name, read_size(path), planes)


class CutoutFolder(_Folder):
    """A folder of RGBA cut-outs with straight colours."""

    def __init__(self, folder: pathlib.Path, skip_broken: bool = False):
        super().__init__(list_pictures(folder, "data.cutouts"))
        warn_of_binary_alphas(
            _sampled_alphas(self.files, lambda path: read_cutout(path)[1], skip_broken=skip_broken),
            folder,
        )

    def __getitem__(self, index: int) -> Row:
        path = self.files[index]
        return Row(index, path.name, read_size(path), cutout_planes(path))


def _sample(items: manifest.Files, count: int) -> list[pathlib.Path]:
    """Evenly spread ones of many."""
    rows = np.unique(np.linspace(0, len(items) - 1, min(len(items), count)).astype(int))
    return [items[row] for row in rows]


def _sampled_alphas(
    paths: manifest.Files,
    read: Callable[[pathlib.Path], np.ndarray],
    *,
    skip_broken: bool,
) -> list[np.ndarray]:
    alphas = []
    for path in _sample(paths, BINARY_SAMPLE):
        try:
            alphas.append(read(path))
        except BrokenData:
            if not skip_broken:
                raise
    return alphas


def warn_of_binary_alphas(alphas: Sequence[np.ndarray], folder: pathlib.Path) -> None:
    """Warns where alphas hold nothing between 0 and 255: masks, not mattes."""
    binary = sum(not ((alpha > 0) & (alpha < 255)).any() for alpha in alphas)
    if binary:
        print(
            f"warning: {binary} of {len(alphas)} alphas looked at in {folder} "
            f"({100 * binary / len(alphas):.0f} %) are binary: masks, not mattes",
            file=sys.stderr,
        )
