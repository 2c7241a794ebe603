"""Hair: curved, clumped, tapered strands, as polygons for the canvas."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Coat:
    """How the hair of one shape grows. Lengths are in frame units, widths in output pixels.

    count: strands in a 512 picture; other sizes draw in proportion, as wide in pixels, so hair
    covers the same share of the frame at every size. edge: the share that grows on the rim.
    outward, flow: the growing direction is `outward * normal + flow`, turned by noise (`swirl`,
    radians, the same for neighbours, which makes clumps) and chance (`spread`, radians).
    bend: radians turned from root to tip. droop: how far the tip falls, in lengths.
    wave: the swing of a curl, in lengths. tone: mean brightness in 0..1 (0.5 keeps the paint).
    """

    count: int
    length: float
    width: float = 1.0
    edge: float = 0.5
    outward: float = 1.0
    flow: tuple[float, float] = (0.0, 0.4)
    swirl: float = 0.9
    spread: float = 0.25
    bend: float = 0.7
    droop: float = 0.1
    wave: float = 0.0
    tone: float = 0.5
    contrast: float = 0.11
    steps: int = 5


def strands(
    roots: np.ndarray, heading: np.ndarray, length: np.ndarray, bend: np.ndarray, coat: Coat
) -> np.ndarray:
    """Centre lines [N,K,2] from roots [N,2], headings [N] (radians), lengths and bends [N]."""
    u = np.arange(coat.steps, dtype=np.float32) / (coat.steps - 1)
    angle = heading[:, None] + bend[:, None] * (u[None, :-1] + 0.5 / (coat.steps - 1))
    if coat.wave:
        phase = (roots[:, :1] * 37 + roots[:, 1:] * 23).astype(np.float32)
        angle = angle + coat.wave * np.sin(phase + 14.0 * u[None, :-1])
    angle = angle.astype(np.float32)
    step = (length / (coat.steps - 1)).astype(np.float32)[:, None]
    points = np.empty((len(roots), coat.steps, 2), np.float32)
    points[:, 0] = roots
    points[:, 1:, 0] = roots[:, :1] + np.cumsum(np.cos(angle) * step, 1)
    points[:, 1:, 1] = roots[:, 1:] + np.cumsum(np.sin(angle) * step, 1)
    points[..., 1] += (coat.droop * length)[:, None].astype(np.float32) * (u * u)
    return points


def ribbons(lines: np.ndarray, width: np.ndarray, thinnest: float) -> np.ndarray:
    """Tapered polygons [N,2K,2] around centre lines [N,K,2], in samples.

    The width [N] falls from the root to the tip, but not below `thinnest`. OpenCV's fill also
    covers the samples that its outline runs through, half a sample to each side along the nearer
    axis; the polygon is drawn smaller by as much, so that the covered area is right.
    """
    tangent = np.empty_like(lines)
    tangent[:, 1:-1] = lines[:, 2:] - lines[:, :-2]
    tangent[:, 0] = lines[:, 1] - lines[:, 0]
    tangent[:, -1] = lines[:, -1] - lines[:, -2]
    tangent /= np.maximum(np.hypot(tangent[..., 0], tangent[..., 1]), 1e-6)[..., None]
    knots = lines.shape[1]
    taper = 1 - (np.arange(knots, dtype=np.float32) / (knots - 1)) ** 1.5
    half = 0.5 * np.maximum(width.astype(np.float32)[:, None] * taper, np.float32(thinnest))
    half = np.maximum(half - 0.5 * np.maximum(abs(tangent[..., 0]), abs(tangent[..., 1])), 0)
    offset = np.stack([-tangent[..., 1] * half, tangent[..., 0] * half], -1)
    return np.concatenate([lines + offset, (lines - offset)[:, ::-1]], 1)
