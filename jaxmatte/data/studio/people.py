"""People: busts with long hair, from the front and from behind, some under a veil."""

import numpy as np

from jaxmatte.data.studio.canvas import Canvas
from jaxmatte.data.studio.hair import Coat
from jaxmatte.data.studio.light import hsv
from jaxmatte.data.studio.shapes import Shape, bezier, blob, polygon, tube

_SKIN = (
    (0.96, 0.78, 0.66),
    (0.88, 0.67, 0.53),
    (0.74, 0.52, 0.38),
    (0.52, 0.34, 0.24),
    (0.36, 0.23, 0.17),
)
_HAIR = (
    (0.12, 0.09, 0.08),
    (0.26, 0.16, 0.10),
    (0.42, 0.26, 0.14),
    (0.66, 0.42, 0.2),
    (0.82, 0.66, 0.42),
    (0.55, 0.22, 0.1),
    (0.62, 0.6, 0.6),
)


def bust(canvas: Canvas, rng: np.random.Generator) -> None:
    """Shoulders, neck, head and hair; a third are seen from behind, a third wear a veil."""
    r = rng.uniform(0.13, 0.17)
    x, y = rng.uniform(0.38, 0.62), rng.uniform(0.3, 0.38)
    skin = np.array(_SKIN[rng.integers(len(_SKIN))], np.float32)
    hair = np.array(_HAIR[rng.integers(len(_HAIR))], np.float32)
    cloth = hsv(rng.random(), rng.uniform(0.05, 0.7), rng.uniform(0.2, 0.85))
    behind = rng.random() < 0.35
    veiled = rng.random() < 0.35
    length = float(rng.choice([1.1, 2.0, 3.0, 3.8])) * r
    wave = rng.uniform(0.0, 0.35)
    if veiled:
        _veil(canvas, rng, (x, y), r)
    if not behind:
        _locks(canvas, rng, (x, y), r, length, wave, hair, back=True, count=600)
        _flyaways(canvas, (x, y - 0.1 * r), r)  # the face will cover those before it
    knots = [
        (x - 0.35 * r, y + 1.2 * r),
        (x - 1.0 * r, y + 1.45 * r),
        (x - 2.05 * r, y + 1.9 * r),
        (x - 2.6 * r, y + 3.6 * r),
        (x - 2.5 * r, 1.3),
    ]
    right = [(2 * x - a, b) for a, b in reversed(knots)]
    canvas.solid(
        polygon(knots + right, 80), cloth, cloth * rng.uniform(0.85, 0.97), cells=5, tone=0.5
    )
    neck = tube(
        [(x, y + 0.6 * r), (x, y + 1.1 * r), (x, y + 1.5 * r)], [0.44 * r, 0.42 * r, 0.4 * r]
    )
    canvas.solid(neck, skin * 0.86, tone=0.5)
    face = blob((x, y), (0.82 * r, 1.12 * r), pinch=-0.1)
    canvas.solid(face, skin, tone=0.5, relief=0.85)
    if behind:
        cap = blob((x, y - 0.08 * r), (0.98 * r, 1.15 * r))
        canvas.solid(cap, hair, hair * 1.2, material=1)
        _locks(canvas, rng, (x, y), r, length, wave, hair, back=True, count=1500)
        _flyaways(canvas, (x, y - 0.1 * r), r)
    else:
        _face(canvas, rng, (x, y), r, skin, hair)
        _locks(canvas, rng, (x, y), r, length * rng.uniform(0.6, 1.0), wave, hair, back=False)


def _mirrored(at: tuple[float, float], r: float, half: list[tuple[float, float]]) -> Shape:
    """A smooth closed curve from its right half, top to bottom, in units of r around `at`."""
    left = [(-a, b) for a, b in reversed(half) if a > 0]
    return polygon([(at[0] + r * a, at[1] + r * b) for a, b in half + left], 80)


def _locks(
    canvas: Canvas,
    rng: np.random.Generator,
    at: tuple[float, float],
    r: float,
    length: float,
    wave: float,
    hair: np.ndarray,
    back: bool,
    count: int = 1000,
) -> None:
    """Long hair from the parting over the sides of the head and down."""
    x, y = at
    if back:
        drop = y + max(0.78 * length, 1.0 * r)
        rim = [(0.95, -0.5), (1.1, 0.5 * (drop - y) / r), (0.75, (drop - y) / r)]
        mass = _mirrored(at, r, [(0.0, -1.22), *rim])
        canvas.solid(mass, hair * 0.75, hair, material=1, tone=0.36)
    else:
        rim = [(0.6, -1.08), (0.92, -0.6), (0.97, 0.1), (0.78, -0.1), (0.55, -0.62)]
        fringe = _mirrored(at, r, [(0.0, -1.2), *rim, (0.0, -0.8)])
        canvas.solid(fringe, hair, hair * 0.8, material=1, tone=0.4)
    number = max(40, round(count * canvas.side / 512))
    chance = canvas.rng().random((number, 8), dtype=np.float32)
    side = np.where(chance[:, 0] < 0.5, -1.0, 1.0)
    across = np.sqrt(chance[:, 1]) if not back else chance[:, 1]
    order = np.argsort(-across if back else across)
    chance, side, across = chance[order], side[order], across[order]
    lock = np.floor(across * 14 + 14 * (side > 0)) + 1
    sway = np.sin(lock * 12.9898) * 0.5 + (chance[:, 2] - 0.5) * 0.5
    inner = 0.0 if back else 0.66
    reach = inner + (1.08 - inner) * across
    if back:
        start = np.stack([x + 0.25 * r * side * across, y - (1.24 - 0.2 * across) * r], 1)
        over = y - (1.15 - 0.35 * across) * r
    else:  # the parting runs from the forehead to the crown
        start = np.stack([x + 0.04 * r * side, y - (0.78 + 0.44 * across) * r], 1)
        over = y - (0.78 + 0.34 * across) * r
    first = np.stack([x + side * r * (reach + 0.1 * chance[:, 3]), over], 1)
    second = np.stack(
        [x + side * r * (reach + 0.18 + 0.25 * sway), y + 0.35 * r + 0.2 * length * chance[:, 4]], 1
    )
    fall = length * (0.72 + 0.4 * chance[:, 5] * (0.4 + across))
    end = np.stack([x + side * r * (reach + 0.1 + (0.35 + wave) * sway), y + 0.2 * r + fall], 1)
    lines = bezier(np.stack([start, first, second, end], 1), 10)
    u = np.linspace(0, 1, 10, dtype=np.float32)[None]
    lines[..., 0] += wave * 0.3 * r * np.sin(9 * u + lock[:, None] * 2.4) * u
    lines[..., 0] += 0.05 * r * (chance[:, 6:7] - 0.5) * np.sin(5 * u + 40 * chance[:, 7:])
    tone = 0.46 + 0.1 * np.sin(lock * 7.1) + 0.2 * (chance[:, 6] - 0.5)
    canvas.draw(lines, 0.7 + 1.1 * chance[:, 7], tone, 1)


def _flyaways(canvas: Canvas, at: tuple[float, float], r: float) -> None:
    u = np.linspace(np.pi - 0.7, 2 * np.pi + 0.7, 11)
    arch = [(at[0] + 0.9 * r * np.cos(a), at[1] + 1.0 * r * np.sin(a)) for a in u]
    scalp = tube(arch, [0.12 * r, 0.14 * r, 0.12 * r])
    coat = Coat(
        520,
        0.45 * r,
        0.7,
        edge=1.0,
        flow=(0, -0.4),
        outward=0.6,
        swirl=2.2,
        spread=0.8,
        bend=1.6,
        steps=7,
    )
    canvas.fur(scalp, coat, material=1)


def _face(
    canvas: Canvas,
    rng: np.random.Generator,
    at: tuple[float, float],
    r: float,
    skin: np.ndarray,
    hair: np.ndarray,
) -> None:
    """Eyes, brows, nose and mouth: soft shapes, as at a distance."""
    x, y = at
    for side in (-1, 1):
        socket = blob((x + side * 0.34 * r, y - 0.06 * r), (0.2 * r, 0.1 * r))
        canvas.solid(socket, skin * 0.86, cover=0.0, relief=0.1)
        ex, ey = x + side * 0.34 * r, y - 0.03 * r
        canvas.fill(blob((ex, ey), (0.145 * r, 0.068 * r)).outer, 0.82, 2)
        canvas.fill(blob((ex, ey), (0.068 * r, 0.068 * r)).outer, 0.12, 2)
        canvas.fill(blob((ex + 0.02 * r, ey - 0.02 * r), (0.018 * r, 0.018 * r)).outer, 0.95, 2)
        u = np.linspace(-1, 1, 9)
        lid = np.stack([ex + 0.16 * r * u, ey - 0.075 * r * (1 - u * u) + 0.01 * r], 1)
        brow = np.stack([ex + side * 0.19 * r * -u, ey - 0.22 * r - 0.05 * r * (1 - u * u)], 1)
        wide = canvas.side * r * np.array([0.045, 0.06])
        canvas.draw(np.stack([lid, brow]).astype(np.float32), wide, np.array([0.12, 0.2]), 2)
    nose = blob((x, y + 0.2 * r), (0.09 * r, 0.22 * r), pinch=-0.5)
    canvas.solid(nose, skin, cover=0.0, relief=0.22)
    lips = hsv(0.98, rng.uniform(0.35, 0.6), 0.62) * (0.5 + 0.5 * skin.mean())
    canvas.solid(blob((x, y + 0.6 * r), (0.24 * r, 0.08 * r)), lips, cover=0.0, relief=0.4)
    u = np.linspace(-1, 1, 9)
    mouth = np.stack([x + 0.22 * r * u, y + 0.6 * r - 0.02 * r * u * u], 1)
    canvas.draw(
        mouth[None].astype(np.float32), np.array([canvas.side * r * 0.03]), np.array([0.22]), 2
    )


def _veil(canvas: Canvas, rng: np.random.Generator, at: tuple[float, float], r: float) -> None:
    """Gauze over the hair that falls to the sides."""
    x, y = at
    spread = rng.uniform(1.9, 2.9)
    knots = [
        (x, y - 1.4 * r),
        (x + 1.15 * r, y - 0.8 * r),
        (x + spread * r, y + 2.2 * r),
        (x + (spread + 0.4) * r, 1.15),
    ]
    outline = polygon([*knots, *[(2 * x - a, b) for a, b in reversed(knots[1:])]], 84).outer
    height, width = canvas.noise(7).shape
    across = np.linspace(-1, 1, width, dtype=np.float32)[None] / (
        0.55 + np.linspace(0, 1, height, dtype=np.float32)[:, None]
    )
    folds = np.sin(26 * across + 0.7 * canvas.noise(7)) * 0.5 + 0.5
    opacity = rng.uniform(0.25, 0.5) + 0.28 * folds**3
    colour = np.array([0.96, 0.95, 0.93]) if rng.random() < 0.7 else hsv(rng.random(), 0.4, 0.8)
    canvas.veil([outline], opacity.astype(np.float32), colour, rng.random() < 0.3, (1.2, 0.75))
