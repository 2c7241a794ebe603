"""A plate brought to where the camera is in a frame, for films by a hand-held camera.

Background Matting V2's option: ORB features, brute-force matches, the best 15 % of them, a
homography by RANSAC; what the plate does not show is taken from the frame. It holds where the
camera turns but hardly walks, or where the background is flat or far. NumPy and OpenCV only.

Departs from the released code: more and weaker corners are taken, for backgrounds are out of focus;
matches must be mutual; the colours themselves then refine the homography (Evangelidis and Psarakis,
"Parametric image alignment using enhanced correlation coefficient maximization", PAMI 2008), which
corners of blurred things leave off by pixels; and one that does not bring the plate nearer to the
frame is refused. RANSAC has a seed of its own: the same pictures give the same plate.
"""

import cv2
import numpy as np

from jaxmatte.errors import UserError

_FEATURES, _CONTRAST, _BORDER = 4000, 5, 15  # corners at most; of so many levels; so far inside
_SHARE, _FEW = 0.15, 50  # of the matches, the best; of few matches no fewer than this
_NEAR = 2.0  # pixels that a match may be off
_LEAST = 8  # matches that must agree; four decide a homography, whatever they are
_SIDE = 960  # the longer side at which colours are compared
_STEPS = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 1e-5)
_SMOOTHING = 5  # side of the Gaussian before colours are compared
_AREA = (0.25, 4.0)  # what of the frame the plate may cover


def align(
    plate: np.ndarray, frame: np.ndarray, mask: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """The plate as it would look from the frame's place.

    Args:
      plate: The background alone, `[h, w, 3]` uint8.
      frame: The picture with the subject, `[H, W, 3]` uint8.
      mask: `[H, W]`, not 0 where the subject is or may be, such as the matte of the frame before.
        None: it is guessed; give one where the subject fills more than about half of the frame.

    Returns:
      The aligned plate `[H, W, 3]` uint8, and the homography `[3, 3]` from the plate's pixels
      (across, down, 1) to the frame's. Where there is none to be found, the plate as it was
      (resized, if its size is not the frame's) and None.
    """
    _check(plate, frame, mask)
    free = np.ones(frame.shape[:2], np.uint8) if mask is None else (mask == 0).astype(np.uint8)
    grey, target = (cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) for pixels in (plate, frame))
    found = _by_corners(grey, target, free)
    if found is not None:
        found = _refined(found, grey, target, free, guesses=mask is None)
    if (
        found is None
        or not _is_sound(found, grey.shape, target.shape)
        or not _helps(found, grey, target, free)
    ):
        return _fitted(plate, frame.shape[:2]).copy(), None
    shown = _shown(found, grey, target)
    return np.where(shown[..., None] > 0, _seen(found, plate, target), frame), found


def _check(plate: np.ndarray, frame: np.ndarray, mask: np.ndarray | None) -> None:
    for name, pixels in (("plate", plate), ("frame", frame)):
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
            raise UserError(
                f"alignment: the {name} is {pixels.dtype} {pixels.shape}; give [H, W, 3] uint8"
            )
    if mask is not None and mask.shape != frame.shape[:2]:
        raise UserError(
            f"alignment: the mask is {mask.shape} where the frame is {frame.shape[:2]}; give one "
            "[H, W] of the frame's size"
        )


def _by_corners(plate: np.ndarray, frame: np.ndarray, free: np.ndarray) -> np.ndarray | None:
    """The homography on which most of the best matches of corners agree."""
    if min(*plate.shape, *frame.shape) <= 2 * _BORDER:  # no room for a corner
        return None
    orb = cv2.ORB.create(_FEATURES, fastThreshold=_CONTRAST, edgeThreshold=_BORDER)
    there, own = orb.detectAndCompute(plate, None)
    here, other = orb.detectAndCompute(frame, free)
    if own is None or other is None:
        return None
    matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(own, other)
    matches = sorted(matches, key=lambda match: match.distance)
    matches = matches[: max(round(_SHARE * len(matches)), _FEW)]
    if len(matches) < _LEAST:
        return None
    robust = cv2.UsacParams()
    robust.threshold, robust.confidence = _NEAR, 0.999
    robust.randomGeneratorState = 0  # OpenCV's global state is neither read nor changed
    found, agreeing = cv2.findHomography(
        np.array([there[match.queryIdx].pt for match in matches], np.float32),
        np.array([here[match.trainIdx].pt for match in matches], np.float32),
        robust,
    )
    if found is None or agreeing is None or np.count_nonzero(agreeing) < _LEAST:
        return None
    return np.asarray(found, np.float64)


def _refined(
    found: np.ndarray, plate: np.ndarray, frame: np.ndarray, free: np.ndarray, guesses: bool
) -> np.ndarray:
    """The homography near a given one at which the brightness of both correlates most."""
    scale = min(1.0, _SIDE / max(*plate.shape, *frame.shape))
    # Pixel centres lie on whole numbers, before and after.
    zoom = np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2], [0, 0, 1]])
    first = zoom @ found @ np.linalg.inv(zoom)
    trusted = _alike(found, plate, frame, free) if guesses else free
    planes = (plate, cv2.INTER_AREA), (frame, cv2.INTER_AREA), (trusted, cv2.INTER_NEAREST)
    small = [cv2.resize(p, None, fx=scale, fy=scale, interpolation=kind) for p, kind in planes]
    try:
        _, better = cv2.findTransformECC(
            small[0],
            small[1],
            (first / first[2, 2]).astype(np.float32),
            cv2.MOTION_HOMOGRAPHY,
            _STEPS,
            small[2],
            _SMOOTHING,
        )
        better = np.linalg.inv(zoom) @ better.astype(np.float64) @ zoom
    except (cv2.error, np.linalg.LinAlgError):  # nothing to compare, or it runs away
        return found
    return better / better[2, 2]


def _alike(found: np.ndarray, plate: np.ndarray, frame: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Where the frame shows what the plate shows, 0 or 1 [H,W]: not where a subject stands."""
    gap = cv2.absdiff(_seen(found, plate, frame), frame)
    gap = cv2.GaussianBlur(gap, (_SMOOTHING, _SMOOTHING), 0)  # noise is no subject
    both = free & _shown(found, plate, frame)
    usual = np.median(gap[both > 0]) if both.any() else 0.0
    strange = (gap > 3 * usual + 8).astype(np.uint8)
    return both & (1 - cv2.dilate(strange, np.ones((9, 9), np.uint8)))


def _helps(found: np.ndarray, plate: np.ndarray, frame: np.ndarray, free: np.ndarray) -> bool:
    """Whether the plate is nearer to the frame than before, where both can be compared."""
    both = (free & _shown(found, plate, frame)) > 0
    before = cv2.absdiff(_fitted(plate, frame.shape), frame)[both]
    after = cv2.absdiff(_seen(found, plate, frame), frame)[both]
    # A subject is far from either plate; it should not decide.
    return bool(both.any() and np.minimum(after, 32).sum() <= np.minimum(before, 32).sum())


def _fitted(plate: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The plate at a height and width."""
    if plate.shape[:2] == shape[:2]:
        return plate
    return cv2.resize(plate, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)


def _seen(found: np.ndarray, plate: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """The plate through a homography, at the frame's size; its border goes on outside."""
    size = (frame.shape[1], frame.shape[0])
    return cv2.warpPerspective(plate, found, size, borderMode=cv2.BORDER_REPLICATE)


def _shown(found: np.ndarray, plate: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Where the plate shows something of the frame's place, 0 or 1 [H,W]."""
    size = (frame.shape[1], frame.shape[0])
    inside = cv2.warpPerspective(np.full(plate.shape[:2], 255, np.uint8), found, size)
    return (inside == 255).astype(np.uint8)


def _is_sound(found: np.ndarray, plate: tuple[int, ...], frame: tuple[int, ...]) -> bool:
    """Whether a camera could have moved so: no corner behind it, nothing turned inside out.

    Args:
      found: The homography.
      plate: Height and width of the plate.
      frame: Those of the frame.
    """
    height, width = plate
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    places = np.column_stack([corners, np.ones(4)]) @ found.T
    if not np.isfinite(places).all() or places[:, 2].min() <= 1e-6:
        return False
    places = places[:, :2] / places[:, 2:]
    sides = np.roll(places, -1, 0) - places
    turns = sides[:, 0] * np.roll(sides[:, 1], -1) - sides[:, 1] * np.roll(sides[:, 0], -1)
    area = cv2.contourArea(places.astype(np.float32)) / (frame[0] * frame[1])
    return bool(turns.min() > 0 and _AREA[0] < area < _AREA[1])
