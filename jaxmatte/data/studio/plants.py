"""Plants: seed heads, pots of fern, leaves or grass, flowers in a glass."""

import numpy as np

from jaxmatte.data.studio.canvas import Canvas
from jaxmatte.data.studio.hair import Coat
from jaxmatte.data.studio.light import hsv
from jaxmatte.data.studio.shapes import bezier, blob, polygon, spline, tube, unit


def seed_head(canvas: Canvas, rng: np.random.Generator) -> None:
    """Dandelion clocks: parasols of hair finer than a pixel on a stalk."""
    count = int(rng.choice([1, 1, 2]))
    canvas.colours[1] = np.array([0.5, 0.49, 0.46], np.float32)
    for k in range(count):
        r = rng.uniform(0.27, 0.36) if count == 1 else rng.uniform(0.18, 0.23)
        x = 0.5 + rng.normal(0, 0.05) if count == 1 else 0.28 + 0.44 * k
        y = rng.uniform(0.36, 0.48)
        stalk = tube(
            [(x, y), (x + rng.normal(0, 0.03), 0.75), (x + rng.normal(0, 0.08), 1.1)],
            [0.012, 0.014, 0.016],
        )
        canvas.solid(stalk, np.array([0.45, 0.5, 0.28]), tone=0.5)
        core = blob((x, y), (0.13 * r, 0.12 * r))
        canvas.solid(core, np.array([0.42, 0.33, 0.2]), tone=0.4)
        _parasols(canvas, (x, y), r, rng.uniform(0.5, 1.0))


def _parasols(canvas: Canvas, at: tuple[float, float], r: float, share: float) -> None:
    seeds, hairs = 190, max(5, round(20 * min(1.0, canvas.side / 512 + 0.2)))
    rng = canvas.rng()
    depth = rng.uniform(-0.2, 1, seeds)
    turn = np.arange(seeds) * 2.39996 + rng.normal(0, 0.1, seeds)
    keep = (np.sin(turn + 1.0) * 0.5 + 0.5) < share * 1.1
    flat = np.sqrt(np.maximum(0, 1 - depth**2))
    out = np.stack([flat * np.cos(turn), flat * np.sin(turn)], 1)[keep]
    depth = depth[keep]
    order = np.argsort(depth)
    out, depth = out[order], depth[order]
    center = np.array(at)
    tips = center + 0.74 * r * out
    u = np.linspace(0.12, 1, 5)[None, :, None]
    stems = center + 0.74 * r * out[:, None] * u
    width = np.full(len(out), 1.0 * canvas.side / 512)
    canvas.draw(stems.astype(np.float32), width, np.full(len(out), 0.62), 1)
    angle = np.linspace(0, 2 * np.pi, hairs, endpoint=False)[None] + rng.uniform(
        0, 1, (len(out), 1)
    )
    # A disk of hairs that faces outward, seen in perspective.
    side = (
        np.stack([-out[:, 1], out[:, 0]], 1)
        / np.maximum(np.hypot(out[:, 0], out[:, 1]), 0.05)[:, None]
    )
    squeeze = (
        np.maximum(depth, 0.15)[:, None, None]
        * out[:, None]
        / np.maximum(np.hypot(out[:, 0], out[:, 1]), 0.05)[:, None, None]
    )
    arm = np.cos(angle)[..., None] * side[:, None] + np.sin(angle)[..., None] * squeeze
    size = 0.24 * r * rng.uniform(0.85, 1.1, (len(out), hairs, 1))
    end = tips[:, None] + size * arm + 0.1 * r * out[:, None]
    middle = tips[:, None] + 0.5 * size * arm + 0.02 * r * out[:, None]
    root = np.broadcast_to(tips[:, None], end.shape)
    lines = np.stack([root, middle, end], 2).reshape(-1, 3, 2)
    tone = np.repeat(0.6 + 0.22 * depth, hairs) + rng.normal(0, 0.06, len(lines))
    canvas.draw(lines.astype(np.float32), np.full(len(lines), 0.5), tone, 1)


def plant(canvas: Canvas, rng: np.random.Generator) -> None:
    """A pot with leaves, ferns or tall grass; some leaves have holes."""
    x = rng.uniform(0.42, 0.58)
    top = rng.uniform(0.7, 0.78)
    hue = rng.uniform(0.2, 0.4)
    kind = int(rng.integers(3))
    leaves = int(rng.integers(10, 17))
    order = rng.permutation(leaves)
    for k in order:
        lean = (k / (leaves - 1) - 0.5) * 2.3 + rng.normal(0, 0.08)
        reach = rng.uniform(0.38, 0.66)
        knots = [
            (x + 0.03 * lean, top + 0.03),
            (x + 0.3 * reach * lean, top - 0.55 * reach),
            (x + reach * np.sin(lean), top - 0.95 * reach * np.cos(lean * 0.7) + 0.12 * abs(lean)),
        ]
        colour = hsv(hue + rng.normal(0, 0.02), rng.uniform(0.45, 0.7), rng.uniform(0.3, 0.62))
        (_fern, _leaf, _blade)[kind](canvas, rng, knots, colour)
    pot = [
        (x - 0.14, top),
        (x + 0.14, top),
        (x + 0.12, top + 0.15),
        (x + 0.1, 1.08),
        (x - 0.1, 1.08),
        (x - 0.12, top + 0.15),
    ]
    clay = hsv(rng.choice([0.04, 0.07, 0.58, 0.1]), rng.uniform(0.1, 0.6), rng.uniform(0.4, 0.8))
    canvas.solid(polygon(pot, 72), clay, tone=0.5, gloss=0.2)
    canvas.solid(
        tube(
            [(x - 0.14, top + 0.01), (x, top + 0.02), (x + 0.14, top + 0.01)], [0.026, 0.026, 0.026]
        ),
        clay,
        tone=0.5,
    )


def _fern(canvas: Canvas, rng: np.random.Generator, knots: list, colour: np.ndarray) -> None:
    stem = spline(knots, 44)
    shape = tube(knots, [0.03, 0.075, 0.015])
    canvas.solid(shape, colour, colour * 1.25, cells=16, cover=0.0, relief=0.4)
    tangent = unit(np.gradient(stem, axis=0))[6:43]
    size = (0.1 * np.sin(np.pi * (0.12 + 0.85 * np.arange(6, 43) / 44)) ** 0.8)[:, None]
    root = stem[6:43]
    for side in (-1, 1):
        out = side * np.stack([-tangent[:, 1], tangent[:, 0]], 1)
        bow = [0 * out, 0.3 * out, 0.7 * out + 0.2 * tangent, out + 0.55 * tangent]
        leaflets = bezier(np.stack([root + size * b for b in bow], 1), 6)
        tone = 0.42 + 0.16 * rng.random(len(root))
        canvas.draw(leaflets, np.full(len(root), 0.0135 * canvas.side), tone)
    canvas.draw(stem[None, ::4], np.array([0.007 * canvas.side]), np.array([0.38]))


def _leaf(canvas: Canvas, rng: np.random.Generator, knots: list, colour: np.ndarray) -> None:
    width = rng.uniform(0.05, 0.085)
    canvas.draw(spline(knots, 12)[None], np.array([0.012 * canvas.side]), np.array([0.4]))
    (ax, ay), (bx, by) = knots[1], knots[2]
    blade_knots = [
        (0.6 * ax + 0.4 * knots[0][0], 0.6 * ay + 0.4 * knots[0][1]),
        (ax, ay),
        (0.5 * (ax + bx), 0.5 * (ay + by)),
        (bx, by),
    ]
    shape = tube(blade_knots, [0.004, width, width * 0.8, 0.002])
    canvas.solid(shape, colour, colour * 1.2, cells=14, tone=0.5, gloss=0.12, relief=0.6)
    spine = spline(blade_knots, 9)
    tangent = unit(np.gradient(spine, axis=0))
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], 1)
    canvas.draw(spine[None], np.array([0.006 * canvas.side]), np.array([0.62]))
    holes = rng.random() < 0.6
    for k in range(2, 7):
        for side in (-1, 1):
            out = spine[k] + side * normal[k] * width * 0.42
            if holes:
                hole = blob(
                    tuple(out), (width * 0.28, width * 0.1), np.arctan2(normal[k, 1], normal[k, 0])
                )
                canvas.erase(hole.outer)
            vein = np.stack(
                [spine[k], spine[k] + side * normal[k] * width * 0.8 + tangent[k] * 0.02]
            )
            if not holes:
                canvas.draw(
                    vein[None].astype(np.float32), np.array([0.0025 * canvas.side]), np.array([0.6])
                )


def _blade(canvas: Canvas, rng: np.random.Generator, knots: list, colour: np.ndarray) -> None:
    canvas.solid(tube(knots, [0.008, 0.03, 0.04]), colour, colour * 1.25, cover=0.0, relief=0.4)
    number = max(12, round(70 * canvas.side / 512))
    chance = canvas.rng().random((number, 4), dtype=np.float32) - 0.5
    line = (
        spline(knots, 9)[None]
        + chance[:, None, :2]
        * np.array([0.22, 0.12], np.float32)
        * np.linspace(0.06, 1, 9, dtype=np.float32)[None, :, None]
    )
    canvas.draw(line, 1.6 + 1.6 * chance[:, 2], 0.5 + 0.25 * chance[:, 3])


def bouquet(canvas: Canvas, rng: np.random.Generator) -> None:
    """Flowers with hairy stems in a glass."""
    x, mouth = rng.uniform(0.43, 0.57), rng.uniform(0.6, 0.68)
    wide = rng.uniform(0.1, 0.15)
    hue = rng.random()
    canvas.colours[2] = hsv(rng.uniform(0.1, 0.15), 0.8, 0.5)
    count = int(rng.integers(4, 8))
    for k in range(count):
        lean = (k / (count - 1) - 0.5) * 2
        bloom = (
            x + 0.3 * lean + rng.normal(0, 0.02),
            mouth - rng.uniform(0.25, 0.45) + 0.1 * lean**2,
        )
        stem = tube(
            [(x - 0.05 * lean, 0.95), (x + 0.08 * lean, mouth), bloom], [0.007, 0.008, 0.007]
        )
        green = hsv(0.28, 0.5, 0.4)
        canvas.solid(stem, green, tone=0.5)
        canvas.fur(stem, Coat(210, 0.014, 0.5, edge=1.0, tone=0.62))
        _flower(
            canvas,
            rng,
            bloom,
            rng.uniform(0.075, 0.11),
            hsv(hue + rng.normal(0, 0.05), rng.uniform(0.2, 0.75), 0.88),
        )
    glass = [
        (x - wide, mouth),
        (x + wide, mouth),
        (x + 1.15 * wide, mouth + 0.17),
        (x + 0.8 * wide, 0.97),
        (x - 0.8 * wide, 0.97),
        (x - 1.15 * wide, mouth + 0.17),
    ]
    half = canvas.noise(7).shape
    gx = (np.linspace(0, half[1] / min(half), half[1], dtype=np.float32)[None] - x) / (1.1 * wide)
    gy = np.linspace(0, half[0] / min(half), half[0], dtype=np.float32)[:, None]
    shine = np.exp(-(((gx + 0.6) / 0.1) ** 2)) * 0.5 + 0.3 * np.clip(np.abs(gx), 0, 1) ** 6
    opacity = 0.16 + shine + 0.16 * (gy > mouth + 0.12)
    canvas.veil(
        [polygon(glass, 66).outer],
        opacity.astype(np.float32),
        hsv(0.5, 0.06, 0.95),
        True,
        (2.0, 0.85),
    )


def _flower(
    canvas: Canvas, rng: np.random.Generator, at: tuple[float, float], r: float, colour: np.ndarray
) -> None:
    petals = int(rng.integers(9, 15))
    canvas.solid(blob(at, (r, 0.95 * r)), colour, colour * 0.85, cover=0.0, relief=0.4)
    start = rng.uniform(0, 6)
    angle = start + 2 * np.pi * rng.permutation(petals) / petals
    middle = np.array(at) + 0.53 * r * np.stack([np.cos(angle), np.sin(angle)], 1)
    # Each petal is followed by its own lighter ridge.
    centers, angles = np.repeat(middle, 2, 0), np.repeat(angle, 2)
    radii = np.tile([[0.5 * r, 0.22 * r], [0.42 * r, 0.07 * r]], (petals, 1))
    tone = np.tile([0.38, 0.5], petals) + np.repeat(0.14 * rng.random(petals), 2)
    canvas.ellipses(centers, radii, angles, tone)
    heart = blob(at, (0.28 * r, 0.26 * r))
    canvas.fill(heart.outer, 0.4, 2)
    canvas.fur(heart, Coat(90, 0.2 * r, 1.1, edge=0.4, tone=0.5, contrast=0.16), material=2)
