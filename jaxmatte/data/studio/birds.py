"""Birds, with down and flight feathers."""

import numpy as np

from jaxmatte.data.studio.canvas import Canvas
from jaxmatte.data.studio.hair import Coat
from jaxmatte.data.studio.light import hsv
from jaxmatte.data.studio.shapes import blob, polygon, tube

Point = tuple[float, float]


def bird(canvas: Canvas, rng: np.random.Generator) -> None:
    """A bird on a branch, in profile, with down, a wing and a tail of feathers."""
    side = float(rng.choice([-1, 1]))
    r = rng.uniform(0.19, 0.25)
    x, y = rng.uniform(0.42, 0.58), rng.uniform(0.48, 0.58)
    base = hsv(rng.random(), rng.uniform(0.1, 0.75), rng.uniform(0.3, 0.8))
    second = hsv(rng.random(), rng.uniform(0.0, 0.5), rng.uniform(0.15, 0.6))
    belly = 0.4 * base + 0.6 * np.array([0.95, 0.85, 0.7], np.float32)
    canvas.colours[2] = hsv(rng.uniform(0.06, 0.13), rng.uniform(0.3, 0.9), 0.55)
    branch = tube(
        [(-0.1, y + 1.28 * r), (0.5, y + 1.2 * r), (1.1, y + rng.uniform(0.9, 1.6) * r)],
        [0.1 * r, 0.13 * r, 0.07 * r],
    )
    canvas.solid(branch, np.array([0.33, 0.25, 0.18]), np.array([0.5, 0.42, 0.33]), cells=24)
    _feathers(
        canvas, rng, (x - side * 1.0 * r, y + 0.6 * r), (-side * 0.8, 0.62), 1.6 * r, second, 12
    )
    body = blob((x, y + 0.1 * r), (0.95 * r, 1.15 * r), angle=-0.5 * side, pinch=0.1)
    canvas.solid(body, belly, base, cover=0.96)
    canvas.fur(body, Coat(1900, 0.2 * r, 1.1, edge=0.6, flow=(-0.5 * side, 0.9)))
    top = (x + side * 0.55 * r, y - 0.95 * r)
    crown = blob(top, (0.62 * r, 0.58 * r))
    if rng.random() < 0.5:
        crest = blob((top[0] - side * 0.15 * r, top[1] - 0.3 * r), (0.35 * r, 0.3 * r))
        canvas.fur(crest, Coat(130, 0.6 * r, 1.5, edge=0.5, flow=(-side * 1.2, -1.2), tone=0.45))
    tip = (top[0] + side * 1.15 * r, top[1] + 0.12 * r)
    throat = (top[0] + side * 0.45 * r, top[1] + 0.26 * r)
    for rise, tone in ((-0.16, 0.55), (0.1, 0.38)):  # both halves of the beak, then the lower
        brow = (top[0] + side * 0.45 * r, top[1] + rise * r)
        canvas.fill(np.array([brow, tip, throat], np.float32), tone, 2)
    canvas.solid(crown, base, second, cells=14, cover=0.95)
    canvas.fur(crown, Coat(1040, 0.13 * r, 1.0, edge=0.5, flow=(-side * 0.9, 0.2)))
    eye = (top[0] + side * 0.24 * r, top[1] - 0.08 * r)
    canvas.fill(blob(eye, (0.1 * r, 0.1 * r)).outer, 0.03, 1)
    canvas.fill(blob((eye[0] + 0.03 * r, eye[1] - 0.04 * r), (0.03 * r, 0.03 * r)).outer, 0.95, 1)
    wing = [
        (x + side * 0.35 * r, y - 0.45 * r),
        (x + side * 0.1 * r, y + 0.45 * r),
        (x - side * 0.75 * r, y + 0.95 * r),
        (x - side * 0.8 * r, y + 0.1 * r),
    ]
    canvas.solid(polygon(wing), second, base, cells=12, cover=0.0)
    _feathers(
        canvas, rng, (x - side * 0.1 * r, y + 0.1 * r), (-side * 0.8, 0.75), 1.15 * r, second, 14
    )
    canvas.fur(polygon(wing), Coat(400, 0.2 * r, 1.6, edge=0.2, flow=(-side * 1.6, 1.2), swirl=0.4))


def _feathers(
    canvas: Canvas,
    rng: np.random.Generator,
    root: Point,
    heading: Point,
    length: float,
    colour: np.ndarray,
    count: int,
) -> None:
    """A fan of flight feathers: wide tapered vanes."""
    turn = np.arctan2(heading[1], heading[0])
    cos, sin = float(np.cos(turn)), float(np.sin(turn))
    middle = (root[0] + 0.5 * length * cos, root[1] + 0.5 * length * sin)
    fan = blob(middle, (0.62 * length, 0.4 * length), turn)
    canvas.solid(fan, colour, colour * 0.8, cells=14, cover=0.0, relief=0.4)
    share = np.arange(count) / count - 0.5
    angle = turn + 0.5 * share
    reach = length * (0.75 + 0.25 * np.cos(np.arange(count) * 1.3))
    foot = np.array(root) + np.outer(share * 0.5 * length, [-sin, cos])
    along = np.stack([np.cos(angle), np.sin(angle)], 1) * reach[:, None]
    vanes = np.stack([0.52 * reach, np.full(count, 0.07 * length)], 1)
    canvas.ellipses(foot + 0.5 * along, vanes, angle, 0.3 + 0.22 * rng.random(count))
    shafts = (foot[:, None] + np.linspace(0, 1, 5)[None, :, None] * along[:, None]).astype(
        np.float32
    )
    thickness = np.full(count, 0.012 * length * canvas.side)
    canvas.draw(shafts, thickness, np.full(count, 0.6))
    _barbs(canvas, foot, along, 0.07 * length)


def _barbs(canvas: Canvas, foot: np.ndarray, along: np.ndarray, wide: float) -> None:
    """Loose hair on both rims of vanes from `foot` [N,2] to `foot + along`."""
    number = max(30, round(900 * canvas.side / 512))
    chance = canvas.rng().random((number, 6), dtype=np.float32)
    vane = (chance[:, 0] * len(foot)).astype(int)
    side = np.where(chance[:, 1] < 0.5, -1.0, 1.0)[:, None]
    ahead = along[vane] / np.hypot(along[vane, :1], along[vane, 1:])
    out = side * np.stack([-ahead[:, 1], ahead[:, 0]], 1)
    u = chance[:, 2:3]
    rim = wide * np.sqrt(np.maximum(1 - (2 * u - 1) ** 2, 0)) * (0.5 + 0.5 * chance[:, 5:])
    root = foot[vane] + u * along[vane] + out * rim
    step = wide * (0.4 + 0.8 * chance[:, 3:4])
    lines = np.stack(
        [root, root + step * (ahead + 0.5 * out), root + step * (2 * ahead + 0.7 * out)], 1
    )
    canvas.draw(lines.astype(np.float32), np.full(number, 0.8), 0.38 + 0.2 * chance[:, 4])
