"""Feathers, jellyfish, baskets, wreaths and wheels."""

import itertools

import numpy as np

from jaxmatte.data.studio.canvas import Canvas
from jaxmatte.data.studio.creatures import COATS, head
from jaxmatte.data.studio.hair import Coat
from jaxmatte.data.studio.light import hsv
from jaxmatte.data.studio.shapes import bezier, blob, polygon, spline, tube, unit


def feather(canvas: Canvas, rng: np.random.Generator) -> None:
    """One to three large feathers: a shaft and a thousand barbs with gaps."""
    count = int(rng.integers(1, 4))
    hue = rng.random()
    for k in range(count):
        angle = rng.uniform(-0.5, 0.5) + (k - (count - 1) / 2) * 0.5
        foot = np.array([0.5 + 0.1 * (k - (count - 1) / 2), 0.97])
        reach = rng.uniform(0.75, 0.9)
        tip = foot + reach * np.array([np.sin(angle), -np.cos(angle)])
        side = rng.uniform(-0.12, 0.12)
        middle = (foot + tip) / 2 + side * np.array([np.cos(angle), np.sin(angle)])
        colour = hsv(hue + rng.normal(0, 0.05), rng.uniform(0.05, 0.6), rng.uniform(0.35, 0.9))
        _feather(
            canvas,
            [tuple(foot), tuple(middle), tuple(tip)],
            reach * rng.uniform(0.15, 0.22),
            colour,
        )


def _feather(canvas: Canvas, knots: list, wide: float, colour: np.ndarray) -> None:
    shaft = spline(knots, 200)
    shape = tube(knots, [0.1 * wide, 0.75 * wide, 0.8 * wide, 0.1 * wide])
    canvas.solid(shape, colour, colour * 0.55, cells=7, cover=0.0, relief=0.5)
    number = max(200, round(2600 * canvas.side / 512))
    chance = canvas.rng().random((number, 5), dtype=np.float32)
    u = 0.12 + 0.88 * chance[:, 0]
    place = (u * 199).astype(int)
    tangent = unit(np.gradient(shaft, axis=0))[place]
    side = np.where(chance[:, 1] < 0.5, -1.0, 1.0)[:, None].astype(np.float32)
    out = side * np.stack([-tangent[:, 1], tangent[:, 0]], 1)
    profile = (1 - u**4) ** 0.8 * (0.45 + 0.55 * np.minimum(1, u * 2.5)) + 0.04
    split = np.sin(u * 60 + side[:, 0] * 3) * 0.18 + np.where(
        u < 0.25, 0.9 * (chance[:, 2] - 0.5), 0
    )
    reach = (wide * profile * (0.9 + 0.15 * chance[:, 3]))[:, None]
    root = shaft[place]
    lean = (0.75 + split)[:, None]
    control = np.stack(
        [
            root,
            root + reach * (0.4 * out + 0.1 * tangent),
            root + reach * (0.85 * out + 0.4 * lean * tangent),
            root + reach * (out + lean * tangent),
        ],
        1,
    )
    tone = 0.47 + 0.18 * (chance[:, 4] - 0.5) + 0.5 * split * (u > 0.25) * 0.4
    canvas.draw(bezier(control, 6), 1.0 + 0.6 * chance[:, 3], tone)
    width = np.array([0.035 * wide * canvas.side * 2])
    canvas.draw(shaft[None, ::8], width, np.array([0.66]))


def jellyfish(canvas: Canvas, rng: np.random.Generator) -> None:
    """A translucent bell with thousands of fine tentacles."""
    x, y, r = rng.uniform(0.4, 0.6), rng.uniform(0.27, 0.36), rng.uniform(0.2, 0.28)
    colour = hsv(rng.random(), rng.uniform(0.2, 0.5), 0.95)
    number = max(60, round(900 * canvas.side / 512))
    chance = canvas.rng().random((number, 6), dtype=np.float32)
    canvas.solid(blob((x, 0.6), (r, 0.5)), colour, colour * 0.8, cover=0.0, relief=0.3)
    across = (chance[:, 0] - 0.5) * 1.8 * r
    root = np.stack([x + across, y + 0.3 * r - 0.05 * np.abs(across)], 1)
    long = (0.3 + 0.5 * chance[:, 1]) * (0.6 + 0.4 * chance[:, 2])
    u = np.linspace(0, 1, 9, dtype=np.float32)[None]
    swing = 0.05 * np.sin(across[:, None] * 30 + 7 * u + 2 * chance[:, 3:4]) * u
    lines = np.stack(
        [root[:, :1] + across[:, None] * 0.25 * u + swing, root[:, 1:] + long[:, None] * u], -1
    )
    canvas.draw(lines, 0.5 + 0.7 * chance[:, 4], 0.42 + 0.2 * chance[:, 5])
    for k in range(5):
        arm = [
            (x + 0.13 * r * (k - 2), y),
            (x + 0.2 * r * (k - 2) + 0.02, y + 0.9 * r),
            (x + 0.25 * r * (k - 2) + rng.normal(0, 0.03), y + rng.uniform(1.2, 1.9) * r),
        ]
        canvas.solid(tube(arm, [0.02 * r, 0.09 * r, 0.08 * r, 0.01]), colour * 0.9, tone=0.55)
    dome = [
        (x - r, y + 0.38 * r),
        (x - 0.85 * r, y - 0.45 * r),
        (x, y - 0.85 * r),
        (x + 0.85 * r, y - 0.45 * r),
        (x + r, y + 0.38 * r),
        (x, y + 0.28 * r),
    ]
    half = canvas.noise(7).shape
    gx = (np.linspace(0, half[1] / min(half), half[1], dtype=np.float32)[None] - x) / r
    gy = (np.linspace(0, half[0] / min(half), half[0], dtype=np.float32)[:, None] - y) / r
    rim = np.clip(gx**2 + gy**2, 0, 1)
    stripes = 0.5 + 0.5 * np.cos(16 * np.arctan2(gx, gy + 1.2))
    canvas.veil(
        [polygon(dome, 66).outer], 0.4 + 0.35 * rim**2 + 0.15 * stripes, colour, True, (1.5, 0.9)
    )


def basket(canvas: Canvas, rng: np.random.Generator) -> None:
    """An open wicker basket; mostly an animal looks out of it."""
    x, top = rng.uniform(0.42, 0.58), rng.uniform(0.56, 0.64)
    wide, deep = rng.uniform(0.26, 0.36), rng.uniform(0.28, 0.34)
    wicker = hsv(rng.uniform(0.06, 0.11), rng.uniform(0.35, 0.6), rng.uniform(0.45, 0.8))
    if rng.random() < 0.5:
        u = np.linspace(np.pi, 2 * np.pi, 15)
        arch = np.stack([x + wide * 0.93 * np.cos(u), top + 0.5 * np.sin(u)], 1)
        canvas.solid(
            tube([tuple(p) for p in arch[::2]], [0.017] * 3),
            wicker,
            wicker * 0.7,
            cells=40,
            tone=0.5,
        )
    if rng.random() < 0.75:
        base, second, belly = (np.array(c, np.float32) for c in COATS[rng.integers(len(COATS))])
        r = rng.uniform(0.13, 0.17)
        body = blob((x, top + 0.1), (1.15 * r, 1.3 * r))
        canvas.solid(body, base, second)
        canvas.fur(body, Coat(560, 0.04, 1.0))
        head(canvas, rng, (x, top - 0.55 * r), r, (base, second, belly), 0.045)
    lattice = polygon(
        [
            (x - wide, top),
            (x, top),
            (x + wide, top),
            (x + 0.78 * wide, top + deep),
            (x, top + deep),
            (x - 0.78 * wide, top + deep),
        ],
        60,
    )
    canvas.solid(lattice, wicker, wicker * 0.75, cells=30, cover=0.0, relief=0.5)
    _lattice(canvas, x, top, wide, deep, int(rng.integers(6, 10)), int(rng.integers(15, 23)))
    for y, share in ((top, 1.02), (top + deep, 0.8)):
        rim = tube(
            [(x - share * wide, y), (x, y + 0.015), (x + share * wide, y)], [0.022, 0.024, 0.022]
        )
        canvas.solid(rim, wicker, wicker * 0.7, cells=40, tone=0.48)


def _lattice(
    canvas: Canvas, x: float, top: float, wide: float, deep: float, rows: int, columns: int
) -> None:
    rise = np.linspace(0, 1, 12)
    thick = 0.55 * deep / rows
    u = 2 * np.arange(columns + 1)[:, None] / columns - 1
    height = np.broadcast_to(top + deep * rise, (columns + 1, 12))
    stakes = np.stack([x + wide * u * (1 - 0.22 * rise), height], -1).astype(np.float32)
    thickness, tone = np.full(columns + 1, 0.012 * canvas.side), np.full(columns + 1, 0.38)
    canvas.draw(stakes, thickness, tone)
    # A strip is two strands, from the left and from the right: their tapers make a lens.
    row, column = (i.ravel() for i in np.mgrid[:rows, :columns])
    v, over = (row[:, None] + 0.5) / rows, (row + column) % 2
    u = 2 * (column[:, None] + np.linspace(-0.1, 1.1, 4)) / columns - 1
    strips = np.stack([x + wide * u * (1 - 0.22 * v), np.repeat(top + deep * v, 4, 1)], -1)
    strips = np.concatenate([strips, strips[:, ::-1]]).astype(np.float32)
    thickness = np.tile(thick * np.where(over, 1.5, 1.2), 2) * canvas.side
    canvas.draw(strips, thickness, np.tile(np.where(over, 0.56, 0.42), 2))


def wreath(canvas: Canvas, rng: np.random.Generator) -> None:
    """A ring of needles or fluff with a hole in the middle, with berries or a ribbon."""
    x, y, r = rng.uniform(0.45, 0.55), rng.uniform(0.45, 0.55), rng.uniform(0.25, 0.31)
    green = hsv(rng.uniform(0.25, 0.42), rng.uniform(0.4, 0.65), rng.uniform(0.2, 0.45))
    if rng.random() < 0.4:
        green = hsv(rng.random(), 0.4, 0.7)
    thick = rng.uniform(0.06, 0.09)
    turns = np.linspace(0, 2 * np.pi, 7)
    for start, stop in itertools.pairwise(turns):
        u = np.linspace(start - 0.03, stop + 0.03, 5)
        arc = [(x + r * np.cos(a), y + r * np.sin(a)) for a in u]
        shape = tube(arc, [thick * 0.62] * 3)
        canvas.solid(shape, green, green * 0.6, cells=18, tone=0.3)
        tangent = (-np.sin(u[2]), np.cos(u[2]))
        coat = Coat(
            600,
            thick * 1.1,
            1.1,
            edge=0.6,
            flow=(0.9 * tangent[0], 0.9 * tangent[1]),
            spread=0.5,
            bend=0.3,
        )
        canvas.fur(shape, coat)
    canvas.colours[2] = hsv(rng.choice([0.0, 0.98, 0.12, 0.6]), 0.8, 0.5)
    for angle in rng.uniform(0, 2 * np.pi, int(rng.integers(8, 22))):
        at = (
            x + r * np.cos(angle) + rng.normal(0, 0.02),
            y + r * np.sin(angle) + rng.normal(0, 0.02),
        )
        size = rng.uniform(0.012, 0.02)
        canvas.fill(blob(at, (size, size)).outer, 0.42, 2)
        canvas.fill(
            blob((at[0] - 0.1 * size, at[1] - 0.2 * size), (0.7 * size, 0.65 * size)).outer, 0.52, 2
        )
        canvas.fill(
            blob((at[0] - 0.3 * size, at[1] - 0.35 * size), (0.2 * size, 0.2 * size)).outer, 0.95, 1
        )


def wheel(canvas: Canvas, rng: np.random.Generator) -> None:
    """Hoops with wires: a bicycle wheel, a dream catcher with feathers, a round net."""
    x, y, r = rng.uniform(0.45, 0.55), rng.uniform(0.36, 0.45), rng.uniform(0.25, 0.3)
    rim = hsv(rng.uniform(0.02, 0.12), rng.uniform(0.1, 0.6), rng.uniform(0.25, 0.7))
    u = np.linspace(0, 2 * np.pi, 97)
    ring = np.stack([x + r * np.cos(u), y + r * np.sin(u)], 1)
    canvas.solid(blob((x, y), (1.1 * r, 1.1 * r)), rim, rim * 0.7, cells=20, cover=0.0, relief=0.3)
    canvas.fill(blob((x, y), (1.05 * r, 1.05 * r)).outer, 0.45)
    canvas.erase(blob((x, y), (0.95 * r, 0.95 * r)).outer)
    spokes = int(rng.integers(9, 17))
    wire = 1.5 * canvas.side / 512
    around = np.arange(spokes)
    for level in range(5):
        near, far = 0.95 * 0.72**level * r, 0.95 * 0.72 ** (level + 1) * r
        for turn in (-0.5, 0.5):
            a = 2 * np.pi * (around + 0.5 * level) / spokes
            b = a + 2 * np.pi * turn / spokes
            start = np.stack([x + near * np.cos(a), y + near * np.sin(a)], 1)[:, None]
            stop = np.stack([x + far * np.cos(b), y + far * np.sin(b)], 1)[:, None]
            lines = start + np.linspace(0, 1, 4)[None, :, None] * (stop - start)
            wide, tone = np.full(spokes, 1.3 * wire), np.full(spokes, 0.62)
            canvas.draw(lines.astype(np.float32), wide, tone, 1)
    canvas.fur(
        tube([tuple(p) for p in ring[::8]], [0.05 * r] * 3),
        Coat(720, 0.03, 0.6, edge=0.9, tone=0.55, swirl=1.5),
    )
    for k in range(int(rng.integers(2, 5))):
        across = (k - 1.5) * 0.4 * r
        foot = (x + across, y + r * 0.98 + 0.05)
        canvas.draw(
            np.array([[[x + across, y + 0.9 * r], [foot[0], foot[1]]]], np.float32),
            np.array([2 * wire]),
            np.array([0.4]),
        )
        colour = hsv(rng.random(), rng.uniform(0, 0.4), rng.uniform(0.4, 0.95))
        knots = [
            foot,
            (foot[0] + rng.normal(0, 0.02), foot[1] + 0.12),
            (foot[0] + rng.normal(0, 0.04), foot[1] + rng.uniform(0.2, 0.27)),
        ]
        _feather(canvas, knots, 0.05, colour)
