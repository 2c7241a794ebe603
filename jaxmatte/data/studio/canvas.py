"""The canvas of a subject: exact coverage by supersampling, colour from tone and paint.

One byte a sample, drawn in painter's order: 0 is empty, `1 + 85 * material + tone` is covered.
The canvas is averaged over each pixel's samples into planes of coverage and of coverage times
tone. A material's paint is a smooth picture at half size, defined everywhere; its tone (0..84,
42 keeps the paint) carries what is finer, such as single hairs.
"""

import cv2
import numpy as np

from jaxmatte.data.studio.hair import Coat, ribbons, strands
from jaxmatte.data.studio.light import Light, smooth_noise, stream, to_bytes
from jaxmatte.data.studio.shapes import Shape, unit

MATERIALS = 3
TONES = 85
_THINNEST = 0.25  # pixels: no strand tapers below this
_SHIFT = 4


class Canvas:
    """What a subject is drawn on. Coordinates are frame units with the square frame at 0..1."""

    def __init__(
        self, seed: int, index: int, size: tuple[int, int], light: Light, supersample: int = 4
    ) -> None:
        self.height, self.width = size
        self.side = min(size)
        self.light = light
        self.supersample = supersample
        self.codes = np.zeros((self.height * supersample, self.width * supersample), np.uint8)
        self.film: np.ndarray | None = None
        self.film_colour = np.ones(3, np.float32)
        self.film_front = False
        self._seed, self._index, self._streams = seed, index, 100
        frame = np.array([self.width, self.height], np.float32)
        self._origin = (frame - self.side) / 2
        self._half = ((self.height + 1) // 2, (self.width + 1) // 2)
        self._paints: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        # A material that nobody paints has one colour; black to white by tone for this grey.
        self.colours = [np.full(3, 0.5, np.float32) for _ in range(MATERIALS)]
        self.boxes: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._noise: dict[int, np.ndarray] = {}

    def rng(self) -> np.random.Generator:
        """A generator for the next thing drawn."""
        self._streams += 1
        return stream(self._seed, self._index, self._streams)

    def noise(self, cells: int) -> np.ndarray:
        """Smooth noise over the frame at half size, the same whenever the same cells are asked."""
        if cells not in self._noise:
            generator = stream(self._seed, self._index, 10_000 + cells)
            self._noise[cells] = smooth_noise(generator, *self._half, cells, 2)
        return self._noise[cells]

    def samples(self, points: np.ndarray) -> np.ndarray:
        """Frame units [...,2] to samples, whose centres are the integers."""
        return (points * self.side + self._origin) * self.supersample - 0.5

    def fill(self, outline: np.ndarray, tone: float = 0.5, material: int = 0) -> None:
        """Covers the inside of an outline [N,2]."""
        fixed = _fixed(_inset(self.samples(outline)))
        cv2.fillPoly(self.codes, [fixed], _code(tone, material), cv2.LINE_8, _SHIFT)
        self._reach(fixed, material)

    def ellipses(
        self, centers: np.ndarray, radii: np.ndarray, angles: np.ndarray, tone: np.ndarray
    ) -> None:
        """Covers N ellipses, first to last: centers, radii [N,2], angles, tone [N]."""
        turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        radii = radii - 0.45 / (self.side * self.supersample)  # as `_inset` does, on average
        along, across = radii[:, :1] * np.cos(turn), radii[:, 1:] * np.sin(turn)
        cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
        outlines = np.stack([along * cos - across * sin, along * sin + across * cos], -1)
        fixed = _fixed(self.samples(centers[:, None] + outlines))
        for outline, level in zip(fixed, tone.tolist(), strict=True):
            cv2.fillPoly(self.codes, [outline], _code(level, 0), cv2.LINE_8, _SHIFT)

    def _reach(self, fixed: np.ndarray, material: int) -> None:
        """Remembers where a further material was drawn: a box in samples."""
        if material == 0 or not fixed.size:
            return
        flat = fixed.reshape(-1, 2)
        x, y = flat[:, 0], flat[:, 1]
        low = np.array([x.min(), y.min()]) >> _SHIFT
        high = (np.array([x.max(), y.max()]) >> _SHIFT) + 2
        if material in self.boxes:
            low = np.minimum(low, self.boxes[material][0])
            high = np.maximum(high, self.boxes[material][1])
        self.boxes[material] = (low, high)

    def erase(self, outline: np.ndarray) -> None:
        """Empties the inside of an outline [N,2]."""
        cv2.fillPoly(self.codes, [_fixed(_inset(self.samples(outline)))], 0, cv2.LINE_8, _SHIFT)

    def draw(
        self, lines: np.ndarray, width: np.ndarray, tone: np.ndarray, material: int = 0
    ) -> None:
        """Draws tapered strands [N,K,2], first to last; `width` [N] in output pixels."""
        border = self._origin / self.side  # what a frame that is not square adds around 0..1
        root, middle, tip = lines[:, 0], lines[:, lines.shape[1] // 2], lines[:, -1]
        low = np.minimum(np.minimum(root, middle), tip) - 0.01
        high = np.maximum(np.maximum(root, middle), tip) + 0.01
        inside = (high > -border) & (low < 1 + border)
        seen = inside[:, 0] & inside[:, 1]
        if not seen.all():
            lines, width, tone = lines[seen], width[seen], tone[seen]
        samples = self.samples(lines).astype(np.float32)
        polygons = ribbons(samples, width * self.supersample, _THINNEST * self.supersample)
        codes = 1 + material * TONES + np.clip(tone * (TONES - 1), 0, TONES - 1).astype(np.int32)
        canvas, fixed = self.codes, _fixed(polygons)
        self._reach(fixed, material)
        for points, code in zip(fixed, codes.tolist(), strict=True):
            cv2.fillPoly(canvas, [points], code, cv2.LINE_8, _SHIFT)

    def fur(self, shape: Shape, coat: Coat, material: int = 0) -> None:
        """Grows a coat on a shape: short wide hair inside, long thin hair on the rim."""
        rng = self.rng()
        # As many strands as the outline has pixels; small pictures take fewer and thicker ones.
        thick = max(1.0, (512 / self.side) ** 0.4)
        count = max(8, round(coat.count * self.side / 512 / thick))
        chance = rng.random((count, 8), dtype=np.float32)
        normal = (chance[:, 4] + chance[:, 5] + chance[:, 6] - 1.5) * 1.6
        edge = chance[:, 7] < coat.edge
        rho = np.where(edge, 0.8 + 0.2 * chance[:, 0], np.sqrt(chance[:, 0]) * 0.97)
        order = np.argsort(-rho)
        chance, normal, edge, rho = chance[order], normal[order], edge[order], rho[order]
        roots, out = shape.at(chance[:, 1], rho)
        clump, ripple = self._look(roots, 24), self._look(roots, 11)
        heading = np.arctan2(
            coat.outward * out[:, 1] + coat.flow[1], coat.outward * out[:, 0] + coat.flow[0]
        )
        heading = heading + coat.swirl * (0.6 * clump + 0.5 * ripple) + coat.spread * normal
        length = coat.length * (0.35 + chance[:, 2] ** 1.5) * _pick(edge, 1.1, 0.9)
        bend = coat.bend * (ripple + normal * 0.7)
        lines = strands(roots, heading.astype(np.float32), length, bend, coat)
        across = (
            np.cos(heading) * self.light.direction[0] + np.sin(heading) * self.light.direction[1]
        )
        vary = coat.contrast * _pick(edge, 1.0, 0.85)
        tone = coat.tone + vary * (normal + 1.2 * clump) - 0.12 * np.abs(across)
        width = thick * coat.width * (0.55 + 0.7 * chance[:, 3]) * _pick(edge, 0.6, 1.3)
        self.draw(lines, width, tone, material)

    def veil(
        self,
        outlines: list[np.ndarray],
        opacity: np.ndarray,
        colour: np.ndarray,
        front: bool = False,
        rims: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        """Adds a semi-transparent film over outlines; `opacity` float32 at half size.

        rims: the width (output pixels at 512) and the opacity of a line along each outline.
        """
        size = (self.width * 2, self.height * 2)
        film = np.zeros(size[::-1], np.uint8)
        points = [_fixed((o * self.side + self._origin) * 2 - 0.5) for o in outlines]
        for outline in points:
            cv2.fillPoly(film, [outline], 255, cv2.LINE_AA, _SHIFT)
        texture = cv2.resize(to_bytes(np.minimum(opacity, 1)), size)
        film = cv2.multiply(film, texture, scale=1 / 255)
        if rims[0]:
            edge = np.zeros_like(film)
            thickness = max(1, round(rims[0] * self.side / 256))
            cv2.polylines(edge, points, True, int(255 * rims[1]), thickness, cv2.LINE_AA, _SHIFT)
            film = cv2.max(film, edge)
        self.film = film if self.film is None else cv2.max(self.film, film)
        self.film_colour, self.film_front = np.asarray(colour, np.float32), front

    def _look(self, points: np.ndarray, cells: int) -> np.ndarray:
        """Noise [N] at points [N,2] in frame units."""
        noise = self.noise(cells)
        place = (points * self.side + self._origin) * 0.5
        x = np.clip(place[:, 0], 0, noise.shape[1] - 1).astype(np.int32)
        y = np.clip(place[:, 1], 0, noise.shape[0] - 1).astype(np.int32)
        return noise[y, x]

    def solid(
        self,
        shape: Shape,
        colour: np.ndarray,
        second: np.ndarray | None = None,
        cells: int = 9,
        tone: float = 0.44,
        gloss: float = 0.0,
        relief: float = 1.0,
        cover: float = 1.0,
        material: int = 0,
    ) -> None:
        """Covers a shape and paints it as a rounded body under the light.

        `second` is mixed in by noise of so many cells; `gloss` adds a highlight; `relief` scales
        the roundness; `cover` is how far out from its skeleton the shape is covered (less than 1
        leaves the rim to fur; 0 paints over what is there and covers nothing new).
        """
        if cover > 0:
            self.fill(shape.inner + cover * (shape.outer - shape.inner), tone, material)
        if material not in self._paints:
            blank = np.zeros((*self._half, 3), np.float32), np.zeros(self._half, np.float32)
            self._paints[material] = blank
        paint, painted = self._paints[material]
        half = (shape.outer * self.side + self._origin) * 0.5
        low = np.maximum(np.floor(half.min(0)).astype(int) - 6, 0)
        high = np.minimum(np.ceil(half.max(0)).astype(int) + 7, self._half[::-1])
        if (high - low).min() < 4:
            return
        window = np.s_[low[1] : high[1], low[0] : high[0]]
        mask = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
        cv2.fillPoly(mask, [_fixed(half - 0.5 - low)], 255, cv2.LINE_8, _SHIFT)
        shade = self._shade(mask, relief, gloss)
        body = np.broadcast_to(np.asarray(colour, np.float32), (*mask.shape, 3))
        if second is not None:
            mix = np.clip(0.5 + 1.2 * self.noise(cells)[window], 0, 1)[..., None]
            body = body + mix * (np.asarray(second, np.float32) - body)
        soft = cv2.blur(mask, (3, 3)).astype(np.float32) / 255
        shadow = cv2.blur(mask, (13, 13)).astype(np.float32) * (0.35 / 255)
        under = paint[window] * (1 - shadow)[..., None]
        paint[window] = under + soft[..., None] * (body * shade - under)
        np.maximum(painted[window], soft, out=painted[window])

    def _shade(self, mask: np.ndarray, relief: float, gloss: float) -> np.ndarray:
        """Light on a rounded body over the mask, float32 [h,w,3]."""
        depth = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
        deepest = min(max(float(depth.max()), 1.0), float(max(mask.shape)))
        depth = np.minimum(depth, deepest)
        height = np.sqrt(depth * (2 * deepest - depth))
        blur = int(deepest * 0.5) | 1
        height = cv2.blur(cv2.blur(height, (blur, blur)), (blur, blur))
        slope_x = cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=relief / 8)
        slope_y = cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=relief / 8)
        x, y, z = self.light.direction
        facing = (z - x * slope_x - y * slope_y) / np.sqrt(1 + slope_x**2 + slope_y**2)
        shade = np.maximum(facing, 0)[..., None] * self.light.colour + self.light.ambient
        if gloss:
            shade = shade + gloss * (np.maximum(facing, 0) ** 12)[..., None]
        return shade

    def picture(self, material: int) -> np.ndarray:
        """A material's colour: its paint, the empty part filled smoothly from around it, uint8
        [H,W,3], or, where nothing was painted, its one colour, uint8 [1,1,3].
        """
        if material not in self._paints:
            return to_bytes(self.colours[material] * self.light.mean).reshape(1, 1, 3)
        paint, painted = self._paints[material]
        known = painted > 0.6
        filled = cv2.resize(_fill_smoothly(paint, known), known.shape[::-1])
        np.copyto(filled, paint, where=known[..., None])
        size = (self.width, self.height)
        return cv2.resize(to_bytes(filled), size, interpolation=cv2.INTER_LINEAR)


def _fill_smoothly(paint: np.ndarray, known: np.ndarray) -> np.ndarray:
    """A quarter-size picture that continues `paint` [h,w,3] beyond where it is `known` [h,w].

    Averages of the known part are taken over ever larger cells, then the small cells' averages
    are laid over the large cells', each as far as its cell is known.
    """
    size = (max(1, known.shape[1] // 4), max(1, known.shape[0] // 4))
    colour = cv2.resize(paint * known[..., None], size, interpolation=cv2.INTER_AREA)
    weight = cv2.resize(known.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    levels = [(colour, weight)]
    while min(weight.shape) > 1:
        size = (max(1, weight.shape[1] // 2), max(1, weight.shape[0] // 2))
        colour = cv2.resize(colour, size, interpolation=cv2.INTER_AREA)
        weight = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
        levels.append((colour.reshape(*size[::-1], 3), weight.reshape(size[::-1])))
    filled = colour.reshape(*weight.shape, 3) / np.maximum(weight, 1e-4)[..., None]
    for colour, weight in reversed(levels[:-1]):
        around = cv2.resize(filled, weight.shape[::-1]).reshape(colour.shape)
        mean = colour / np.maximum(weight, 1e-4)[..., None]
        filled = around + weight[..., None] * (mean - around)
    return filled


def _pick(choice: np.ndarray, yes: float, no: float) -> np.ndarray:
    return np.where(choice, np.float32(yes), np.float32(no))


def _inset(points: np.ndarray) -> np.ndarray:
    """An outline [N,2] drawn in by what the fill covers beyond it (see `ribbons`)."""
    edge = np.empty_like(points)
    edge[1:-1] = points[2:] - points[:-2]
    edge[0], edge[-1] = points[1] - points[-1], points[0] - points[-2]
    turn = 1.0 if points[:, 0] @ edge[:, 1] > 0 else -1.0  # the sign of the area
    inwards = turn * unit(np.stack([-edge[:, 1], edge[:, 0]], 1))
    return points + 0.5 * inwards * np.maximum(abs(inwards[:, :1]), abs(inwards[:, 1:]))


def _fixed(points: np.ndarray) -> np.ndarray:
    """Fixed-point coordinates, as OpenCV's `shift` wants them."""
    return np.rint(points * (1 << _SHIFT)).astype(np.int32)


def _code(tone: float, material: int) -> int:
    return 1 + material * TONES + int(min(max(tone, 0.0), 1.0) * (TONES - 1))
