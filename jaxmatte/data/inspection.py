"""What one file of a data set is, found by decoding it: the checker's eyes."""

import dataclasses
import hashlib
import io
import pathlib

import cv2
import numpy as np
from PIL import Image, ImageCms

from jaxmatte.data import layouts, sources
from jaxmatte.data.layouts import ALPHA, CUTOUT, LABEL, LABEL_IDS, TRIMAP

_ROTATED = (2, 3, 4, 5, 6, 7, 8)  # EXIF orientations other than upright
_COLOURED = ("RGB", "RGBA", "P", "PA", "CMYK", "LAB", "YCbCr")  # Pillow's modes with colours
_ORIENTATION = 0x0112  # the EXIF tag
_LABEL_IDS = 34  # label numbers of Cityscapes; 255 stands for the licence plates' -1


@dataclasses.dataclass
class Facts:
    """What was found in a file.

    Attributes:
        size: Height and width; None where it could not be decoded.
        error: Why it could not be.
        content: A digest of its pixels.
        oddities: What is unusual in how it is stored, a word and a sentence each.
        binary: Whether an alpha holds nothing between 0 and 255.
        coloured: Whether the channels of an alpha, trimap or map differ.
        values: Those of a trimap or map of classes.
    """

    size: tuple[int, int] | None = None
    error: str = ""
    content: str = ""
    oddities: dict[str, str] = dataclasses.field(default_factory=dict)
    binary: bool = False
    coloured: bool = False
    values: tuple[int, ...] = ()


def inspect(path: str, holds: str) -> Facts:
    """Decodes a file as what it should hold, and looks at how it is stored; never raises."""
    facts = Facts()
    try:
        _look(pathlib.Path(path), holds, facts)
    except cv2.error as error:
        facts.size, facts.error = None, error.err
    except Exception as error:  # decoders raise all sorts of things at bytes that are no picture
        reason = str(error).partition(";")[0].replace(repr(path), "").replace(path, "")
        facts.size, facts.error = None, " ".join(reason.split()) or type(error).__name__
    return facts


def _look(path: pathlib.Path, holds: str, facts: Facts) -> None:
    mode, facts.oddities = _stored(path, holds)
    if holds == CUTOUT:
        colours, alpha = sources.read_cutout(path)
        facts.binary = _is_binary(alpha)
        pixels = np.dstack([colours, alpha])
    elif holds in (LABEL, LABEL_IDS):
        pixels = layouts.read_label(path)
    else:
        pixels = layouts.READERS[holds](path)
    facts.size = (pixels.shape[0], pixels.shape[1])
    digest = hashlib.blake2b(str(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    facts.content = digest.hexdigest()
    if holds == ALPHA:
        facts.binary = _is_binary(pixels)
    if holds in (ALPHA, TRIMAP) and mode in _COLOURED:
        facts.coloured = _channels_differ(path)
    if holds in (TRIMAP, LABEL, LABEL_IDS):
        facts.values = tuple(np.flatnonzero(np.bincount(pixels.ravel(), minlength=256)).tolist())


def wrong_labels(values: tuple[int, ...], holds: str, classes: int | None) -> list[int]:
    """The values of a map that are neither a class nor ignored."""
    if holds == LABEL_IDS:
        classes = _LABEL_IDS
    if classes is None:
        return []
    return [value for value in values if value >= classes and value != layouts.IGNORED]


def _is_binary(alpha: np.ndarray) -> bool:
    return not ((alpha > 0) & (alpha < 255)).any()


def _channels_differ(path: pathlib.Path) -> bool:
    content = np.frombuffer(path.read_bytes(), np.uint8)
    pixels = cv2.imdecode(content, cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    return (
        pixels is not None and pixels.ndim == 3 and bool((pixels[..., :3] != pixels[..., :1]).any())
    )


def _stored(path: pathlib.Path, holds: str) -> tuple[str, dict[str, str]]:
    """Pillow's name for the kind of picture, and what is unusual about it."""
    found = {}
    with Image.open(path) as picture:
        if picture.mode.startswith("I") or picture.mode == "F" or _has_sixteen_bits(path):
            found["sixteen bits"] = f"mode {picture.mode}"
        if picture.mode in ("P", "PA") and holds not in (LABEL, LABEL_IDS):  # theirs are numbers
            found["palette"] = f"mode {picture.mode}"
        if picture.mode in ("CMYK", "LAB"):
            found["not RGB"] = picture.mode
        # The PNG class would decode all pixels to look for EXIF behind them.
        turn = Image.Image.getexif(picture).get(_ORIENTATION)
        if turn in _ROTATED:
            found["rotated"] = f"orientation {turn}"
        name = _foreign_profile(picture.info.get("icc_profile"))
        if name:
            found["profile"] = name
        return picture.mode, found


def _has_sixteen_bits(path: pathlib.Path) -> bool:
    """Whether a PNG stores 16 bits a channel, which Pillow hides for colours."""
    with path.open("rb") as file:
        head = file.read(25)
    return head[:8] == b"\x89PNG\r\n\x1a\n" and len(head) == 25 and head[24] == 16


def _foreign_profile(profile: bytes | None) -> str:
    """The name of an embedded colour profile that is not sRGB; empty where there is none."""
    if not profile:
        return ""
    try:
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    except (ImageCms.PyCMSError, OSError):
        return "unreadable"
    name = " ".join(name.split()) or "unnamed"
    return "" if "srgb" in name.lower() else name
