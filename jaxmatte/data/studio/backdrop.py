"""What stands behind a subject: painted at half size and seen through a lens."""

import cv2
import numpy as np

from jaxmatte.data.studio.light import Light, hsv, hsv_many, smooth_noise, to_bytes

_UNIT = 200  # the byte that stands for 1.0 while shapes are drawn; skies may be brighter


class Scenery:
    """A picture to paint on: float32 RGB [h,w,3], with tools in frame units of the height."""

    def __init__(self, rng: np.random.Generator, height: int, width: int, light: Light) -> None:
        self.rng, self.light = rng, light
        self.height, self.width = height, width
        self.side = min(height, width)
        self._picture: np.ndarray = np.empty((height, width, 3), np.float32)
        self.y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
        self.x = np.linspace(0, width / height, width, dtype=np.float32)[None]

    @property
    def picture(self) -> np.ndarray:
        """The picture as float32, to read and to change in place."""
        if self._picture.dtype == np.uint8:
            self._picture = self._picture.astype(np.float32) * np.float32(1 / _UNIT)
        return self._picture

    @picture.setter
    def picture(self, picture: np.ndarray) -> None:
        self._picture = picture

    def _bytes(self) -> np.ndarray:
        """The picture as bytes, which OpenCV draws on with soft edges."""
        if self._picture.dtype != np.uint8:
            self._picture = cv2.convertScaleAbs(np.maximum(self._picture, 0), alpha=_UNIT)
        return self._picture

    def ramp(self, top: np.ndarray, bottom: np.ndarray, power: float = 1.0) -> None:
        """A vertical gradient over the whole picture."""
        self.picture[:] = top + (self.y**power)[..., None] * (bottom - top)

    def noise(self, cells: int, octaves: int = 3) -> np.ndarray:
        """Smooth noise [h,w] in about -1..1."""
        return smooth_noise(self.rng, self.height, self.width, cells, octaves)

    def polygon(self, points: np.ndarray, colour: np.ndarray) -> None:
        """Fills a polygon [N,2] in frame units."""
        fixed = np.rint((points * self.height - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(self._bytes(), [fixed], (colour * _UNIT).tolist(), cv2.LINE_AA, 4)

    def polygons(self, points: np.ndarray, colours: np.ndarray) -> None:
        """Fills polygons [N,M,2] with colours [N,3], first to last."""
        fixed = np.rint((points * self.height - 0.5) * 16).astype(np.int32)
        picture = self._bytes()
        for outline, colour in zip(fixed, (colours * _UNIT).tolist(), strict=True):
            cv2.fillPoly(picture, [outline], colour, cv2.LINE_AA, 4)

    def boxes(self, places: np.ndarray, colours: np.ndarray) -> None:
        """Fills upright rectangles [N,4] (x, y, width, height) with colours [N,3]."""
        # OpenCV's fill also covers half a pixel beyond the outline.
        more = 0.5 / self.height
        x, y, width, height = (np.asarray(places) + np.array([1, 1, -2, -2]) * more).T
        corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
        self.polygons(np.moveaxis(np.array(corners), 2, 0), colours)

    def box(self, x: float, y: float, width: float, height: float, colour: np.ndarray) -> None:
        """Fills one upright rectangle."""
        self.boxes(np.array([[x, y, width, height]]), colour[None])

    def disk(self, x: float, y: float, radius: float, colour: np.ndarray) -> None:
        """Fills a disk."""
        center = (int((x * self.height - 0.5) * 16), int((y * self.height - 0.5) * 16))
        size, level = int(radius * self.height * 16), (colour * _UNIT).tolist()
        cv2.circle(self._bytes(), center, size, level, -1, cv2.LINE_AA, 4)

    def blur(self, sigma: float) -> None:
        """Lens blur of this many frame units."""
        pixels = sigma * self.side
        if pixels < 0.35:
            return
        shrink = 4 if pixels > 6 else 2 if pixels > 3 else 1
        small = self.picture
        if shrink > 1:
            size = (max(1, self.width // shrink), max(1, self.height // shrink))
            small = cv2.resize(small, size, interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), pixels / shrink, borderType=cv2.BORDER_REFLECT_101)
        self.picture = cv2.resize(small, (self.width, self.height), interpolation=cv2.INTER_LINEAR)


def studio(s: Scenery) -> None:
    """A seamless paper with a soft spot of light."""
    rng = s.rng
    colour = hsv(rng.random(), rng.uniform(0, 0.45), rng.uniform(0.25, 0.85))
    s.ramp(colour * 1.05, colour * rng.uniform(0.5, 0.9))
    cx, cy = rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.6)
    spot = np.exp(-((s.x - cx) ** 2 + (s.y - cy) ** 2) / rng.uniform(0.1, 0.4))
    s.picture *= (0.75 + 0.45 * spot)[..., None]


def bokeh(s: Scenery) -> None:
    """Lights out of focus before a dark place."""
    rng = s.rng
    hue = rng.random()
    s.ramp(hsv(hue, 0.5, 0.28), hsv(hue + rng.uniform(-0.1, 0.1), 0.6, 0.1))
    s.picture *= (1 + 0.6 * s.noise(4, 2))[..., None]
    s.blur(0.01)
    layer = np.zeros_like(s.picture)
    radius = rng.uniform(0.022, 0.06)
    warm = rng.random()
    under, s.picture = s.picture, layer
    for _ in range(rng.integers(25, 80)):
        colour = hsv(warm + rng.normal(0, 0.07), rng.uniform(0.2, 0.8), rng.uniform(0.25, 0.9))
        x, y = rng.uniform(0, s.width / s.height), rng.beta(1.6, 2.0)
        size = radius * rng.uniform(0.8, 1.3)
        s.disk(x, y, size, colour)
        s.disk(x, y, size * 0.86, colour * 0.8)
    s.blur(0.003)
    s.picture = under + s.picture


def landscape(s: Scenery) -> None:
    """Sky, clouds, hills and a field."""
    rng = s.rng
    evening = rng.random() < 0.3
    horizon = rng.uniform(0.35, 0.65)
    if evening:
        s.ramp(hsv(0.62, 0.5, 0.45), hsv(rng.uniform(0.04, 0.1), 0.6, 0.95), 0.8)
    else:
        s.ramp(hsv(0.58, rng.uniform(0.3, 0.6), 0.8), hsv(0.56, 0.12, 0.95), 0.7)
    cloud = np.clip(s.noise(3, 4) * 1.1 - rng.uniform(-0.2, 0.3), 0, 1)[..., None]
    s.picture += cloud * (np.float32(0.96) - s.picture) * 0.8
    hue = rng.uniform(0.2, 0.36)
    far = rng.integers(2, 5)
    for layer in range(far):
        near = (layer + 1) / far
        base = horizon - 0.16 * (1 - near) + 0.02 * layer
        x = np.linspace(-0.1, s.width / s.height + 0.1, 40)
        waves = sum(
            rng.normal(0, 0.05 / k) * np.sin(x * k * 3 + rng.uniform(0, 6)) for k in (1, 2, 5)
        )
        rough = rng.normal(0, 0.012 * near, 40) if rng.random() < 0.6 else 0
        line = np.stack([x, base + waves * (1.3 - near) + rough], 1)
        ground = np.vstack([line, [[x[-1], 1.1], [x[0], 1.1]]])
        haze = hsv(0.58, 0.2, 0.8)
        s.polygon(ground, haze + near * (hsv(hue, 0.5, rng.uniform(0.3, 0.5)) - haze))
    ground = np.clip((s.y - horizon) / (1 - horizon), 0, 1)
    field = hsv(hue + rng.uniform(-0.08, 0.02), rng.uniform(0.35, 0.6), rng.uniform(0.35, 0.6))
    texture = field * (1 + 0.35 * s.noise(10, 4))[..., None] * (1.1 - 0.3 * ground)[..., None]
    s.picture += (ground > 0.06)[..., None] * (texture - s.picture)


def room(s: Scenery) -> None:
    """A wall with shelves and books, a window or pictures; a floor."""
    rng = s.rng
    wall = hsv(rng.random(), rng.uniform(0.05, 0.3), rng.uniform(0.5, 0.85))
    s.ramp(wall, wall * 0.8)
    wide = s.width / s.height
    if rng.random() < 0.5:
        _window(s, rng.uniform(0.0, 0.6) * wide, rng.uniform(0.05, 0.2))
    else:
        for _ in range(rng.integers(1, 4)):
            x, y = rng.uniform(0, 0.8) * wide, rng.uniform(0.05, 0.4)
            w, h = rng.uniform(0.12, 0.3, 2)
            s.box(x, y, w, h, hsv(0.08, 0.3, rng.uniform(0.1, 0.8)))
            s.box(x + 0.02, y + 0.02, w - 0.04, h - 0.04, hsv(rng.random(), 0.4, 0.6))
    for _ in range(rng.integers(1, 4)):
        _shelf(s, rng.uniform(-0.2, 0.5) * wide, rng.uniform(0.3, 0.75), rng.uniform(0.4, 0.8))
    if rng.random() < 0.6:
        floor = hsv(rng.uniform(0.04, 0.1), 0.45, rng.uniform(0.25, 0.5))
        s.box(-0.1, rng.uniform(0.78, 0.9), wide + 0.2, 0.4, floor)
    s.picture *= (1 + 0.06 * s.noise(5, 3))[..., None]


def _window(s: Scenery, x: float, y: float) -> None:
    width, height = s.rng.uniform(0.3, 0.5), s.rng.uniform(0.4, 0.6)
    s.box(x, y, width, height, np.full(3, 0.9, np.float32))
    sky = hsv(0.57, s.rng.uniform(0.05, 0.35), 1.05)
    for column in range(2):
        for row in range(2):
            pane = (width / 2 - 0.03, height / 2 - 0.03)
            left = x + 0.02 + column * width / 2
            s.box(left, y + 0.02 + row * height / 2, *pane, sky * (1 - 0.12 * row))


def _shelf(s: Scenery, x: float, y: float, width: float) -> None:
    wood = hsv(0.07, 0.5, s.rng.uniform(0.25, 0.6))
    right = x + width
    at = x
    while at < right:
        book = s.rng.uniform(0.015, 0.05)
        tall = s.rng.uniform(0.1, 0.19)
        if s.rng.random() < 0.85:
            colour = hsv(s.rng.random(), s.rng.uniform(0.1, 0.7), s.rng.uniform(0.15, 0.8))
            s.box(at, y - tall, book, tall, colour)
        at += book + 0.003
    s.box(x - 0.02, y, width + 0.04, 0.025, wood)


def foliage(s: Scenery) -> None:
    """Leaves, from dark and far to bright and near."""
    rng = s.rng
    hue = rng.uniform(0.18, 0.38) if rng.random() < 0.8 else rng.uniform(0.02, 0.14)
    s.ramp(hsv(hue, 0.6, 0.3), hsv(hue, 0.6, 0.14))
    s.picture *= (1 + 0.8 * s.noise(5, 3))[..., None]
    count = int(rng.integers(150, 380))
    size = rng.uniform(0.02, 0.07)
    turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    chance = rng.random((count, 6))
    u, v, w, t, g, f = chance.T
    near = np.arange(count) / count
    along = (size * (0.6 + w) - 0.5 / s.height)[:, None] * np.cos(turn)
    across = (
        (size * (0.25 + 0.3 * f) - 0.5 / s.height)[:, None]
        * np.sin(turn)
        * (1 + 0.4 * np.cos(turn))
    )
    cos, sin = np.cos(2 * np.pi * t)[:, None], np.sin(2 * np.pi * t)[:, None]
    x = (u * s.width / s.height)[:, None] + along * cos - across * sin
    y = v[:, None] + along * sin + across * cos
    bright = 0.2 + 0.35 * near + 0.25 * g * (1 - 0.6 * v)
    colours = hsv_many(hue + 0.05 * (f - 0.5), 0.65 - 0.25 * g, bright)
    s.polygons(np.stack([x, y], -1), colours)


def grass(s: Scenery) -> None:
    """Blades from the ground up, before a haze."""
    rng = s.rng
    hue = rng.uniform(0.17, 0.32)
    s.ramp(hsv(hue, 0.25, 0.75), hsv(hue, 0.6, 0.25))
    count = 500
    near = np.sort(rng.random(count))
    u, lean, g, w = rng.random((count, 4)).T
    y, tall = 0.3 + 0.9 * near, 0.1 + 0.25 * near
    x = u * s.width / s.height
    tip = x + (lean - 0.5) * tall * 1.2
    half = 0.002 + 0.006 * near * w
    middle = x + (tip - x) * 0.35
    across = np.stack([x - half, middle - half, tip, middle + half, x + half], 1)
    down = np.stack([y, y - tall * 0.6, y - tall, y - tall * 0.6, y], 1)
    bright = (0.65 - 0.35 * near) * (0.7 + 0.6 * g)
    colours = hsv_many(hue + 0.04 * (g - 0.5), np.full(count, 0.6), bright)
    s.polygons(np.stack([across, down], -1), colours)


def bricks(s: Scenery) -> None:
    """A wall of bricks, tiles or planks."""
    rng = s.rng
    kind = rng.integers(3)
    rows = int(rng.integers(7, 16)) if kind < 2 else int(rng.integers(4, 9))
    tall = 1.0 / rows
    long = tall * (2.4, 1.0, 6.0)[kind]
    base = hsv((0.03, rng.random(), 0.08)[kind], (0.55, 0.25, 0.45)[kind], rng.uniform(0.4, 0.75))
    mortar = 0.35 * base + 0.4 if kind < 2 else 0.4 * base
    s.ramp(mortar, mortar * 0.9)
    gap = tall * (0.13, 0.07, 0.04)[kind]
    columns = int(s.width / s.height / long) + 3
    shades = rng.normal(1, (0.12, 0.05, 0.13)[kind], (rows + 1, columns))
    row, column = (i.ravel() for i in np.mgrid[: rows + 1, :columns])
    shift = (0.5 * (row % 2), 0.0, 0.37 * (row % 3))[kind] + 0.3
    full = np.full(len(row), tall - gap)
    places = np.stack([(column - 1 + shift) * long, row * tall, full + long - tall, full], 1)
    s.boxes(places, base * shades.reshape(-1, 1))
    s.picture *= (1 + 0.14 * s.noise(14, 3))[..., None]


def clouds(s: Scenery) -> None:
    """A painted canvas: two colours that run into each other."""
    rng = s.rng
    hue = rng.random()
    one = hsv(hue, rng.uniform(0.1, 0.6), rng.uniform(0.2, 0.6))
    two = hsv(hue + rng.uniform(-0.2, 0.2), rng.uniform(0.1, 0.6), rng.uniform(0.4, 0.9))
    mix = np.clip(0.5 + 0.8 * s.noise(int(rng.integers(2, 6)), 5), 0, 1)[..., None]
    s.picture[:] = one + mix * (two - one)


def city(s: Scenery) -> None:
    """Houses with windows under a sky."""
    rng = s.rng
    dusk = rng.random() < 0.5
    low = hsv(rng.uniform(0.03, 0.1), 0.45, 0.8) if dusk else hsv(0.56, 0.15, 0.92)
    s.ramp(hsv(0.6, 0.45, 0.3 if dusk else 0.8), low)
    for layer in range(2):
        x = -0.1
        while x < s.width / s.height + 0.1:
            width, top = rng.uniform(0.1, 0.26), rng.uniform(0.1, 0.6) + 0.12 * layer
            wall = hsv(rng.choice([0.6, 0.07]), rng.uniform(0.05, 0.3), rng.uniform(0.2, 0.6))
            wall = wall * (0.45 if dusk else 1.0)
            s.box(x, top, width, 1.2, wall)
            step = rng.uniform(0.03, 0.05)
            lit = rng.random((int((1 - top) / step) + 1, int(width / step) + 1))
            pane = hsv(0.12, 0.5, 0.95) if dusk else wall * 0.55
            row, column = np.nonzero(lit[:, :-1] < (0.35 if dusk else 0.9))
            half = np.full(len(row), step * 0.5)
            places = [x + (column + 0.3) * step, top + (row + 0.4) * step, half, half]
            s.boxes(np.stack(places, 1), np.repeat(pane[None], len(row), 0))
            x += width


def sea(s: Scenery) -> None:
    """Sky, sea and a beach."""
    rng = s.rng
    horizon = rng.uniform(0.3, 0.5)
    s.ramp(hsv(0.58, 0.45, 0.85), hsv(0.1, rng.uniform(0.05, 0.3), 0.98), 0.6)
    wide = s.width / s.height
    water = hsv(rng.uniform(0.48, 0.6), 0.55, rng.uniform(0.4, 0.7))
    s.box(-0.1, horizon, wide + 0.2, 1.0, water)
    stretched = cv2.resize(s.noise(9, 3)[:, : max(2, s.width // 6)], (s.width, s.height))
    below = (s.y > horizon)[..., None]
    s.picture += below * 0.18 * stretched[..., None]
    x = np.linspace(-0.1, wide + 0.1, 30)
    shore = rng.uniform(0.65, 0.85) + 0.03 * np.sin(x * 4 + rng.uniform(0, 6))
    for drop, colour in ((0.0, np.full(3, 0.9)), (0.02, hsv(0.1, 0.35, 0.75))):
        line = np.stack([x, shore + drop], 1)
        s.polygon(np.vstack([line, [[x[-1], 1.2], [x[0], 1.2]]]), np.asarray(colour, np.float32))
    s.picture *= (1 + 0.05 * s.noise(40, 2))[..., None]


KINDS = (studio, bokeh, landscape, room, foliage, grass, bricks, clouds, city, sea)
_SOFT = (0.0, 0.004, 0.008, 0.016, 0.028)


def paint(rng: np.random.Generator, size: tuple[int, int], light: Light, sharp: bool) -> np.ndarray:
    """A backdrop uint8 [H,W,3] under the light; `sharp` backdrops are rarely out of focus."""
    height, width = size
    half = ((height + 1) // 2, (width + 1) // 2)
    scenery = Scenery(rng, *half, light)
    kind = KINDS[rng.integers(len(KINDS))]
    soft = rng.choice(
        _SOFT, p=(0.5, 0.25, 0.15, 0.05, 0.05) if sharp else (0.1, 0.2, 0.3, 0.25, 0.15)
    )
    brightness = rng.uniform(0.85, 1.25)
    kind(scenery)
    scenery.blur(float(soft))
    x = np.linspace(-0.5, 0.5, half[1], dtype=np.float32)[None]
    y = np.linspace(-0.5, 0.5, half[0], dtype=np.float32)[:, None]
    fall = 1 + 0.3 * (light.direction[0] * x + light.direction[1] * y)
    vignette = 1 - 0.35 * (x**2 + y**2)
    tint = (light.ambient + 0.75 * light.colour) * brightness
    gain = (fall * vignette)[..., None] * (tint / 1.5).astype(np.float32)
    picture = to_bytes(scenery.picture * gain)
    # A soft shoulder instead of clipping, as film has.
    u = np.arange(256) * (1.5 / 255)
    shoulder = np.where(u > 0.8, 0.8 + 0.2 * np.tanh((u - 0.8) * 2.5), u)
    picture = cv2.LUT(picture, np.rint(255 * shoulder).astype(np.uint8))
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)
