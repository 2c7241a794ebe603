"""Furry animals and plush toys."""

from collections.abc import Callable

import numpy as np

from jaxmatte.data.studio.canvas import Canvas
from jaxmatte.data.studio.hair import Coat
from jaxmatte.data.studio.light import hsv
from jaxmatte.data.studio.shapes import Shape, blob, polygon, tube

Point = tuple[float, float]

# Base, markings and belly of a coat.
COATS = (
    ((0.78, 0.56, 0.32), (0.60, 0.38, 0.19), (0.93, 0.83, 0.66)),
    ((0.82, 0.45, 0.19), (0.60, 0.28, 0.10), (0.97, 0.89, 0.78)),
    ((0.43, 0.29, 0.19), (0.26, 0.17, 0.11), (0.62, 0.47, 0.34)),
    ((0.15, 0.14, 0.15), (0.08, 0.08, 0.09), (0.24, 0.22, 0.21)),
    ((0.90, 0.88, 0.84), (0.78, 0.74, 0.68), (0.96, 0.95, 0.93)),
    ((0.50, 0.50, 0.53), (0.29, 0.29, 0.32), (0.84, 0.83, 0.82)),
    ((0.88, 0.80, 0.66), (0.72, 0.58, 0.42), (0.96, 0.92, 0.85)),
    ((0.90, 0.88, 0.85), (0.16, 0.14, 0.14), (0.96, 0.95, 0.94)),
    ((0.55, 0.40, 0.27), (0.22, 0.15, 0.10), (0.88, 0.80, 0.70)),
)


def _colours(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    base, second, belly = (np.array(c, np.float32) for c in COATS[rng.integers(len(COATS))])
    shift = (1 + rng.normal(0, 0.05, 3)).astype(np.float32)
    return base * shift, second * shift, belly


def beast(canvas: Canvas, rng: np.random.Generator) -> None:
    """A furry animal that sits and looks at us; the frame may cut it."""
    colours = _colours(rng)
    r = rng.uniform(0.15, 0.23)
    cx = rng.uniform(0.33, 0.67)
    cy = rng.uniform(0.33, 0.45) + (0.2 - r)
    long = float(rng.choice([0.035, 0.06, 0.1], p=[0.35, 0.45, 0.2]))
    width = rng.uniform(0.8, 1.25)
    sit = rng.uniform(1.25, 1.6)
    lean = rng.uniform(-0.4, 0.4) * r
    if rng.random() < 0.6:
        _tail(canvas, rng, (cx + lean, cy + 3.0 * r), r, long, colours)
    body = blob((cx + lean, cy + 2.3 * r), (sit * r, 2.0 * r), wobble=0.05, pinch=0.28, rng=rng)
    canvas.solid(body, colours[0], colours[1], cover=0.95)
    cover = Coat(1800, long * 1.1, width, edge=0.62, flow=(0, 1.0))
    canvas.fur(body, cover)
    _legs(canvas, (cx + lean, cy + 2.9 * r), r, long, colours)
    if rng.random() < 0.7:
        chest = blob((cx + 0.5 * lean, cy + 1.6 * r), (0.75 * r, 1.05 * r))
        canvas.solid(chest, colours[2], cover=0.0, relief=0.6)
        canvas.fur(chest, Coat(560, long * 1.1, width, edge=0.5, flow=(0, 1.3), tone=0.52))
    head(canvas, rng, (cx, cy), r, colours, long)


def _tail(
    canvas: Canvas,
    rng: np.random.Generator,
    root: Point,
    r: float,
    long: float,
    colours: tuple[np.ndarray, ...],
) -> None:
    side = float(rng.choice([-1, 1]))
    x, y = root
    rise = rng.uniform(0.4, 2.2)
    knots = [
        (x + side * 0.8 * r, y),
        (x + side * 2.1 * r, y - 0.1 * r),
        (x + side * 2.5 * r, y - rise * 0.7 * r),
        (x + side * (2.2 + rng.uniform(-0.2, 0.5)) * r, y - (rise + 0.8) * r),
    ]
    thick = rng.uniform(0.14, 0.3) * r
    shape = tube(knots, [thick * 1.1, thick, thick * 1.3, thick * 0.5])
    canvas.solid(shape, colours[0], colours[1], cover=0.9)
    canvas.fur(shape, Coat(880, long * 1.1, 0.9, edge=0.75, flow=(0.2 * side, -0.5), outward=0.9))


def _legs(
    canvas: Canvas, at: Point, r: float, long: float, colours: tuple[np.ndarray, ...]
) -> None:
    for side in (-1, 1):
        x, y = at[0] + side * 0.45 * r, at[1] - 0.3 * r
        leg = tube(
            [
                (x, y - 0.3 * r),
                (x + 0.05 * side * r, y + 0.9 * r),
                (x + 0.05 * side * r, y + 1.6 * r),
            ],
            [0.3 * r, 0.27 * r, 0.3 * r],
        )
        canvas.solid(leg, colours[0], colours[1], cover=0.0)
        canvas.fur(leg, Coat(280, long * 0.5, 0.9, edge=0.4, flow=(0, 1.2), swirl=0.5))


def head(
    canvas: Canvas,
    rng: np.random.Generator,
    at: Point,
    r: float,
    colours: tuple[np.ndarray, np.ndarray, np.ndarray],
    long: float,
) -> None:
    """Mane, ears, head, muzzle, eyes, nose and whiskers."""
    x, y = at
    base, second, belly = colours
    if rng.random() < 0.2:
        mane = blob((x, y + 0.15 * r), (1.45 * r, 1.5 * r), wobble=0.06, rng=rng)
        canvas.solid(mane, second, base * 0.8, cover=0.9)
        canvas.fur(mane, Coat(1900, 0.6 * r, 1.0, edge=0.6, flow=(0, 0.35), steps=6))
    kind = EARS[rng.integers(len(EARS))]
    for side in (-1, 1):
        kind(canvas, at, r, side, colours, long)
    wide = rng.uniform(0.98, 1.12)
    face = blob(at, (wide * r, r * rng.uniform(0.88, 1.0)), power=2.2, wobble=0.03, rng=rng)
    canvas.solid(face, base, second, cover=0.94)
    canvas.fur(face, Coat(1600, min(long * 0.8, 0.05), 0.95, edge=0.6, flow=(0, 0.25), outward=1.2))
    if rng.random() < 0.5:
        blaze = blob((x, y - 0.35 * r), (0.2 * r, 0.55 * r), pinch=-0.2)
        canvas.solid(blaze, belly, cover=0.0, relief=0.3)
    size = rng.uniform(0.42, 0.55) * r
    muzzle = blob((x, y + 0.45 * r), (size * 1.15, size * 0.85), wobble=0.02, rng=rng)
    canvas.solid(muzzle, belly, cover=0.0)
    canvas.fur(muzzle, Coat(400, 0.13 * r, 0.9, edge=0.4, flow=(0, 0.5), contrast=0.07, tone=0.52))
    eyes(canvas, rng, (x, y - 0.08 * r), 0.45 * r, rng.uniform(0.13, 0.19) * r)
    _nose(canvas, (x, y + 0.32 * r), rng.uniform(0.17, 0.24) * r, size)
    if rng.random() < 0.7:
        _whiskers(canvas, rng, (x, y + 0.5 * r), size, float(base.mean()))


def eyes(
    canvas: Canvas, rng: np.random.Generator, middle: Point, apart: float, size: float
) -> None:
    """Two round eyes with a coloured iris (material 2), a pupil and a glint (material 1)."""
    canvas.colours[2] = hsv(rng.choice([0.08, 0.1, 0.13, 0.25, 0.55]), 0.65, 0.42)
    round_pupil = rng.random() < 0.7
    for side in (-1, 1):
        x, y = middle[0] + side * apart, middle[1]
        canvas.fill(blob((x, y), (1.18 * size, 1.08 * size), angle=0.15 * side).outer, 0.04, 1)
        canvas.fill(blob((x, y), (size, 0.92 * size)).outer, 0.42, 2)
        canvas.fill(blob((x, y + 0.3 * size), (0.75 * size, 0.55 * size)).outer, 0.55, 2)
        pupil = (0.58 * size, 0.6 * size) if round_pupil else (0.24 * size, 0.8 * size)
        canvas.fill(blob((x, y), pupil).outer, 0.02, 1)
        glint = -0.32 if canvas.light.direction[0] < 0 else 0.32
        spot = blob((x + glint * size, y - 0.35 * size), (0.2 * size, 0.2 * size))
        canvas.fill(spot.outer, 0.95, 1)


def _nose(canvas: Canvas, at: Point, size: float, muzzle: float) -> None:
    x, y = at
    knots = [(x - size, y - 0.35 * size), (x, y - 0.5 * size), (x + size, y - 0.35 * size)]
    knots += [
        (x + 0.55 * size, y + 0.35 * size),
        (x, y + 0.7 * size),
        (x - 0.55 * size, y + 0.35 * size),
    ]
    canvas.fill(polygon(knots).outer, 0.1, 1)
    canvas.fill(blob((x, y - 0.2 * size), (0.5 * size, 0.14 * size)).outer, 0.36, 1)
    low = y + 0.5 * size
    for side in (-1, 1):
        u = np.linspace(0, 1, 7)
        smile = np.stack([x + side * muzzle * 0.62 * u, low + muzzle * 0.55 * np.sin(2.2 * u)], 1)
        canvas.draw(
            smile[None].astype(np.float32),
            np.array([canvas.side * size * 0.13]),
            np.array([0.08]),
            1,
        )


def _whiskers(
    canvas: Canvas, rng: np.random.Generator, at: Point, size: float, bright: float
) -> None:
    count = 14
    side = np.where(np.arange(count) % 2, 1.0, -1.0)
    root = np.array(at) + np.stack(
        [side * size * rng.uniform(0.5, 0.85, count), rng.normal(0, 0.15 * size, count)], 1
    )
    u = np.linspace(0, 1, 8)[None]
    reach, lift = rng.uniform(1.3, 2.6, (count, 1)) * size, rng.normal(0.0, 0.25, (count, 1))
    fall = rng.uniform(0.1, 0.35, (count, 1))
    lines = np.stack(
        [root[:, :1] + side[:, None] * reach * u, root[:, 1:] + reach * (lift * u + fall * u * u)],
        -1,
    )
    tone = np.full(count, 0.9 if bright < 0.75 else 0.25)
    width = np.full(count, 0.9 * canvas.side / 512)
    canvas.draw(lines.astype(np.float32), width, tone, 1)


def _pointed(
    canvas: Canvas, at: Point, r: float, side: int, colours: tuple[np.ndarray, ...], long: float
) -> None:
    x, y = at
    tip = (x + side * 0.95 * r, y - 1.5 * r)
    knots = [(x + side * 0.15 * r, y - 0.75 * r), tip, (x + side * 1.0 * r, y - 0.3 * r)]
    shape = _soft_triangle(knots)
    canvas.solid(shape, colours[0], colours[1], cover=0.9)
    canvas.fur(shape, Coat(340, long * 0.55, 0.9, edge=0.6, flow=(0.25 * side, -0.5)))
    inner = _soft_triangle([_towards(k, shape, 0.62) for k in knots])
    canvas.solid(inner, np.array([0.78, 0.52, 0.47]), cover=0.0, relief=0.4)
    canvas.fur(inner, Coat(90, long * 0.9, 0.8, edge=0.3, flow=(0.8 * side, -0.3), tone=0.6))


def _towards(knot: Point, shape: Shape, share: float) -> Point:
    middle = shape.outer.mean(0)
    return (
        float(middle[0] + share * (knot[0] - middle[0])),
        float(middle[1] + share * (knot[1] - middle[1])),
    )


def _soft_triangle(knots: list[Point]) -> Shape:
    dense = []
    for first, second in zip(knots, knots[1:] + knots[:1], strict=True):
        dense += [
            (first[0] * (1 - t) + second[0] * t, first[1] * (1 - t) + second[1] * t)
            for t in (0.08, 0.5, 0.92)
        ]
    return polygon(dense, 63)


def _round(
    canvas: Canvas, at: Point, r: float, side: int, colours: tuple[np.ndarray, ...], long: float
) -> None:
    center = (at[0] + side * 0.78 * r, at[1] - 0.78 * r)
    shape = blob(center, (0.42 * r, 0.42 * r))
    canvas.solid(shape, colours[0], colours[1], cover=0.9)
    canvas.fur(shape, Coat(340, long * 0.55, 0.9, edge=0.6, flow=(0, -0.2)))
    inner = blob((center[0], center[1] + 0.05 * r), (0.24 * r, 0.24 * r))
    canvas.solid(inner, colours[1] * 0.7 + 0.1, cover=0.0, relief=-0.4)
    canvas.fur(inner, Coat(50, long * 0.5, 0.8, edge=0.3, tone=0.55))


def _floppy(
    canvas: Canvas, at: Point, r: float, side: int, colours: tuple[np.ndarray, ...], long: float
) -> None:
    x, y = at
    knots = [
        (x + side * 0.6 * r, y - 0.72 * r),
        (x + side * 1.15 * r, y - 0.45 * r),
        (x + side * 1.32 * r, y + 0.25 * r),
        (x + side * 1.2 * r, y + 0.85 * r),
    ]
    shape = tube(knots, [0.22 * r, 0.3 * r, 0.36 * r, 0.2 * r])
    canvas.solid(shape, colours[1], colours[0], cover=0.9)
    canvas.fur(shape, Coat(560, long, 0.9, edge=0.6, flow=(0, 1.3)))


def _tall(
    canvas: Canvas, at: Point, r: float, side: int, colours: tuple[np.ndarray, ...], long: float
) -> None:
    x, y = at
    knots = [
        (x + side * 0.35 * r, y - 0.7 * r),
        (x + side * 0.5 * r, y - 1.3 * r),
        (x + side * 0.62 * r, y - 1.95 * r),
    ]
    shape = tube(knots, [0.2 * r, 0.27 * r, 0.1 * r])
    canvas.solid(shape, colours[0], colours[1], cover=0.9)
    canvas.fur(shape, Coat(380, long * 0.4, 0.85, edge=0.65, flow=(0, -0.6)))
    inner = tube(
        [(0.3 * k[0] + 0.7 * knots[1][0], 0.6 * k[1] + 0.4 * knots[1][1]) for k in knots],
        [0.1 * r, 0.14 * r, 0.04 * r],
    )
    canvas.solid(inner, np.array([0.85, 0.62, 0.58]), cover=0.0, relief=0.3)


EARS: tuple[Callable[..., None], ...] = (_pointed, _pointed, _round, _floppy, _floppy, _tall)


def plush(canvas: Canvas, rng: np.random.Generator) -> None:
    """One to three balls of fluff or spikes, some with eyes."""
    hue = rng.random()
    vivid = rng.random() < 0.6
    count = int(rng.choice([1, 1, 2, 3]))
    spiky = rng.random() < 0.35
    places = rng.permutation(3)[:count]
    for place in places:
        r = rng.uniform(0.2, 0.29) if count == 1 else rng.uniform(0.15, 0.2)
        x = 0.5 + rng.normal(0, 0.06) if count == 1 else 0.22 + 0.28 * place
        y = rng.uniform(0.42, 0.72)
        base = hsv(hue + rng.normal(0, 0.08), 0.6 if vivid else 0.2, rng.uniform(0.4, 0.85))
        second = hsv(hue + rng.uniform(0.05, 0.2), 0.5 if vivid else 0.25, rng.uniform(0.3, 0.8))
        shape = blob((x, y), (r, r * rng.uniform(0.85, 1.05)), wobble=0.03, rng=rng)
        heart = blob((x, y), (0.86 * r, 0.86 * r))
        canvas.solid(heart, base, second, cells=6, relief=0.8)
        reach = rng.uniform(0.35, 0.75) * r
        if spiky:
            coat = Coat(1200, reach, 2.2, edge=0.5, flow=(0, 0.0), swirl=0.4, spread=0.12, bend=0.2)
        else:
            coat = Coat(
                3400,
                reach,
                0.9,
                edge=0.5,
                flow=(0, 0.25),
                swirl=1.0,
                wave=float(rng.choice([0, 0.8])),
                steps=6,
            )
        canvas.fur(shape, coat)
        if rng.random() < 0.65:
            eyes(canvas, rng, (x, y - 0.1 * r), 0.34 * r, rng.uniform(0.13, 0.22) * r)
