"""Denoising of RSSN, offline: non-local means.

GFM's denoised pictures were made by BM3D, of a strength that is told nowhere; BM3D's package is a
compiled library for non-commercial use only. PP-Matting's code does the same step of the same route
by OpenCV's non-local means, with the numbers that are the defaults here.
"""

import dataclasses

import cv2
import numpy as np

from jaxmatte.errors import UserError


@dataclasses.dataclass(frozen=True)
class Denoiser:
    """Parameters of non-local means, as PP-Matting has them.

    Attributes:
        strength: Of the filter on lightness; about the standard deviation of the noise.
        colour: Of the filter on the two channels of colour.
        patch: Side of the patches that are compared, odd.
        search: Side of the window that is searched, odd; the time grows with its square.
    """

    strength: float = 3.0
    colour: float = 3.0
    patch: int = 7
    search: int = 21

    def __post_init__(self) -> None:
        for name in ("strength", "colour"):
            if not getattr(self, name) > 0:
                raise UserError(f"denoiser: {name}={getattr(self, name)} must be above 0")
        for name in ("patch", "search"):
            if getattr(self, name) < 1 or getattr(self, name) % 2 == 0:
                raise UserError(f"denoiser: {name}={getattr(self, name)} must be odd")

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Denoises a picture; see `denoise`."""
        return denoise(picture, **dataclasses.asdict(self))


def denoise(
    picture: np.ndarray, strength: float, colour: float, patch: int, search: int
) -> np.ndarray:
    """Averages every pixel with those of its surroundings whose patches look alike.

    It works on lightness and colour apart (CIELAB), and gives the same for the same picture, on any
    number of threads.

    Args:
        picture: uint8 RGB [H,W,3].
        strength: See `Denoiser`, as for the others.
        colour: On the channels of colour.
        patch: Side of a patch.
        search: Side of the window.

    Returns:
        uint8 RGB [H,W,3].
    """
    mirrored = np.ascontiguousarray(picture[..., ::-1])  # OpenCV turns BGR into CIELAB
    quiet = cv2.fastNlMeansDenoisingColored(mirrored, None, strength, colour, patch, search)
    return np.ascontiguousarray(quiet[..., ::-1])
