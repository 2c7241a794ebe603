"""Closed smooth shapes, in frame units: the shorter side of the frame is 1, y points down."""

import dataclasses

import numpy as np

_FAN = np.linspace(-np.pi / 2, np.pi / 2, 7)[1:-1, None]
_TURN = np.linspace(0, 2 * np.pi, 64, endpoint=False)


@dataclasses.dataclass(frozen=True)
class Shape:
    """A closed curve and what it grew from.

    outer: the outline, float32 [N,2]. inner: the skeleton point below each outline point (the
    centre of a blob, the spine of a tube), float32 [N,2]; `inner + rho * (outer - inner)` with
    rho in 0..1 covers the shape.
    """

    outer: np.ndarray
    inner: np.ndarray

    def at(self, around: np.ndarray, rho: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points [M,2] at `around` (0..1 along the outline, by length) and depth `rho`, and the
        unit outward directions [M,2] there.
        """
        closed = np.vstack([self.outer, self.outer[:1]])
        length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
        position = around * length[-1]
        knot = np.interp(position, length, np.arange(len(length)))
        low = np.minimum(knot.astype(np.int32), len(self.outer) - 1)
        part = (knot - low).astype(np.float32)[:, None]
        high = (low + 1) % len(self.outer)
        outer = self.outer[low] * (1 - part) + self.outer[high] * part
        inner = self.inner[low] * (1 - part) + self.inner[high] * part
        arm = outer - inner
        along = self.outer[high] - self.outer[low]
        normal = np.stack([along[:, 1], -along[:, 0]], 1)
        normal *= np.sign((normal * arm).sum(1, keepdims=True))
        direction = unit(arm) + unit(normal)
        return inner + rho[:, None] * arm, unit(direction)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors [N,2] scaled to length one."""
    return vectors / np.maximum(np.hypot(vectors[:, 0], vectors[:, 1]), 1e-9)[:, None]


def blob(
    center: tuple[float, float],
    radii: tuple[float, float],
    angle: float = 0.0,
    wobble: float = 0.0,
    pinch: float = 0.0,
    power: float = 2.0,
    rng: np.random.Generator | None = None,
) -> Shape:
    """A superellipse turned by `angle`; `pinch` narrows its top (negative y), `wobble` dents it."""
    turn, cos, sin = _TURN, np.cos(_TURN), np.sin(_TURN)
    if power == 2.0:
        radius = np.ones_like(turn)
    else:
        radius = (np.abs(cos) ** power + np.abs(sin) ** power) ** (-1 / power)
    if wobble and rng is not None:
        for order in (2, 3, 5):
            radius = radius + wobble / order * np.cos(order * turn + rng.uniform(0, 6.3))
    x, y = radius * cos, radius * sin
    x = x * (1 + pinch * y) * radii[0]
    y = y * radii[1]
    outer = np.stack(
        [
            center[0] + np.cos(angle) * x - np.sin(angle) * y,
            center[1] + np.sin(angle) * x + np.cos(angle) * y,
        ],
        1,
    )
    middle = np.broadcast_to(np.asarray(center, np.float32), outer.shape)
    return Shape(outer.astype(np.float32), middle.astype(np.float32))


def spline(knots: list[tuple[float, float]], count: int) -> np.ndarray:
    """A smooth curve through the knots (Catmull-Rom), float32 [count,2]."""
    points = np.asarray(knots, np.float64)
    points = np.vstack([2 * points[0] - points[1], points, 2 * points[-1] - points[-2]])
    u = np.linspace(0, len(knots) - 1 - 1e-9, count)
    i = u.astype(int)
    t = (u - i)[:, None]
    a, b, c, d = points[i], points[i + 1], points[i + 2], points[i + 3]
    curve = 2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2
    curve += (3 * b - 3 * c + d - a) * t**3
    return (0.5 * curve).astype(np.float32)


def tube(knots: list[tuple[float, float]], radii: list[float], count: int = 24) -> Shape:
    """A limb or a tail: a spine through the knots, with a radius at each of them."""
    spine = spline(knots, count)
    radius = np.interp(np.linspace(0, 1, count), np.linspace(0, 1, len(radii)), radii)
    radius = radius.astype(np.float32)
    tangent = unit(np.gradient(spine, axis=0))
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], 1)
    cap = spine[-1] + radius[-1] * (np.cos(_FAN) * tangent[-1] - np.sin(_FAN) * normal[-1])
    left, right = spine + radius[:, None] * normal, spine - radius[:, None] * normal
    outer = np.vstack([left, cap, right[::-1]])
    inner = np.vstack([spine, np.repeat(spine[-1:], len(cap), 0), spine[::-1]])
    return Shape(outer.astype(np.float32), inner.astype(np.float32))


def polygon(knots: list[tuple[float, float]], count: int = 64) -> Shape:
    """A smooth closed curve through the knots; its skeleton is their mean."""
    closed = [knots[-1], *knots, knots[0], knots[1]]
    step = count // len(knots)
    curve = spline(closed, step * (len(closed) - 1) + 1)[step : step * (len(knots) + 1)]
    middle = np.broadcast_to(curve.mean(0), curve.shape)
    return Shape(curve, middle.astype(np.float32))


def bezier(control: np.ndarray, count: int) -> np.ndarray:
    """Cubic curves [N,count,2] with control points [N,4,2]."""
    u = np.linspace(0, 1, count, dtype=np.float32)
    weights = np.stack([(1 - u) ** 3, 3 * u * (1 - u) ** 2, 3 * u * u * (1 - u), u**3], 1)
    return np.einsum("kc,ncd->nkd", weights, control.astype(np.float32))
