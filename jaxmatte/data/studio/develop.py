"""From a drawn canvas to a picture: average the samples, blur as a lens does, give every pixel a
colour. Everything fractional is averaged weighted by coverage, so the colours stay straight.
"""

import dataclasses

import cv2
import numpy as np

from jaxmatte.data.studio.canvas import MATERIALS, TONES, Canvas
from jaxmatte.data.studio.light import to_bytes

_FEW = 10.0  # of 255: with less coverage, single hairs' tone fades into the mean tone


@dataclasses.dataclass(frozen=True)
class Lens:
    """How the camera blurs a subject; radii are in frame units.

    defocus: the blur at the far end of `across` (a direction in the picture); 0 for none.
    motion: the path of the subject during the exposure (x, y).
    """

    defocus: float = 0.0
    across: tuple[float, float] = (0.0, 1.0)
    motion: tuple[float, float] = (0.0, 0.0)


def random_lens(rng: np.random.Generator) -> Lens:
    """Mostly sharp; some subjects leave the focal plane, some move."""
    turn = rng.uniform(0, 2 * np.pi)
    kind, strength = rng.random(), rng.uniform(0.4, 1.0)
    across = (float(np.cos(turn)), float(np.sin(turn)))
    if kind < 0.22:
        return Lens(defocus=0.012 * strength, across=across)
    if kind < 0.36:
        return Lens(motion=(0.017 * strength * across[0], 0.017 * strength * across[1]))
    return Lens()


def develop(canvas: Canvas, lens: Lens) -> tuple[np.ndarray, np.ndarray]:
    """The foreground uint8 [H,W,3], defined everywhere, and the alpha uint8 [H,W]."""
    planes = {name: _through_lens(p, lens, canvas.side) for name, p in _planes(canvas).items()}
    alpha, tone = planes["cover"], planes["tone"]
    picture = np.broadcast_to(canvas.picture(0), (*alpha.shape, 3)).copy()
    for material in range(1, MATERIALS):
        if material in planes:
            _lay(canvas, picture, alpha, planes[material], material)
    foreground = cv2.multiply(picture, _gain(alpha, tone), scale=1 / 100)
    if canvas.film is not None:
        return _with_film(canvas, foreground, alpha, planes["film"])
    return foreground, alpha


def _planes(canvas: Canvas) -> dict[str | int, np.ndarray]:
    """Coverage, coverage times tone, the coverage of the further materials and of the film."""
    codes = canvas.codes
    table = np.zeros(256, np.uint8)
    table[1:] = np.rint((np.arange(255) % TONES) * (254 / (TONES - 1))) + 1
    double = (canvas.width * 2, canvas.height * 2)
    cover = np.empty(double[::-1], np.uint8)
    tone = np.empty_like(cover)
    step = canvas.supersample // 2
    for top in range(0, len(cover), 64):  # bands that fit the cache
        band = codes[top * step : (top + 64) * step]
        rows = (double[0], len(band) // step)
        covered = cv2.threshold(band, 0, 255, cv2.THRESH_BINARY)[1]
        cover[top : top + 64] = cv2.resize(covered, rows, interpolation=cv2.INTER_AREA)
        tones = cv2.LUT(band, table)
        tone[top : top + 64] = cv2.resize(tones, rows, interpolation=cv2.INTER_AREA)
    planes: dict[str | int, np.ndarray] = {"cover": cover, "tone": tone}
    if canvas.film is not None:
        film = canvas.film
        if not canvas.film_front:
            film = cv2.multiply(film, cv2.bitwise_not(planes["cover"]), scale=1 / 255)
        planes["film"] = film
    single = (canvas.width, canvas.height)
    # The sensor's own blur, a third of a pixel, before the last halving.
    planes = {name: cv2.GaussianBlur(p, (3, 3), 0) for name, p in planes.items()}
    planes = {
        name: cv2.resize(p, single, interpolation=cv2.INTER_AREA) for name, p in planes.items()
    }
    for material in canvas.boxes:
        planes[material] = _material_plane(canvas, material)
    return planes


def _material_plane(canvas: Canvas, material: int) -> np.ndarray:
    """The coverage of one material, worked out only where it was drawn."""
    plane = np.zeros((canvas.height, canvas.width), np.uint8)
    left, top, right, bottom = _box(canvas, material, 2)
    step = canvas.supersample
    window = canvas.codes[top * step : bottom * step, left * step : right * step]
    if window.size:
        mask = cv2.inRange(window, 1 + material * TONES, (material + 1) * TONES)
        half = ((right - left) * 2, (bottom - top) * 2)
        mask = cv2.GaussianBlur(cv2.resize(mask, half, interpolation=cv2.INTER_AREA), (3, 3), 0)
        mask = cv2.resize(mask, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
        plane[top:bottom, left:right] = mask
    return plane


def _box(canvas: Canvas, material: int, margin: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of a material in pixels, with a margin, inside the frame."""
    low, high = canvas.boxes[material]
    low = np.clip(low // canvas.supersample - margin, 0, [canvas.width, canvas.height])
    high = np.clip(high // canvas.supersample + 1 + margin, 0, [canvas.width, canvas.height])
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _lay(
    canvas: Canvas, picture: np.ndarray, alpha: np.ndarray, cover: np.ndarray, material: int
) -> None:
    """Mixes a material's paint into the picture by its share of the coverage, in place."""
    left, top, right, bottom = _box(canvas, material, 4 + int(0.06 * canvas.side))
    if right <= left or bottom <= top:
        return
    window = np.s_[top:bottom, left:right]
    share = cover[window].astype(np.float32) / np.maximum(alpha[window], 1)
    share = np.minimum(share, 1) + 1e-6
    other = canvas.picture(material)
    other = np.broadcast_to(other, picture.shape)[window].copy()
    ours = np.ascontiguousarray(picture[window])
    picture[window] = cv2.blendLinear(ours, other, 1.00001 - share, share)


def _through_lens(plane: np.ndarray, lens: Lens, side: int) -> np.ndarray:
    reach = np.hypot(*lens.motion) * side
    if reach > 1:
        taps = int(reach) | 1
        kernel = np.zeros((taps, taps), np.float32)
        step = np.array(lens.motion) / np.hypot(*lens.motion) * (taps / 2 - 0.5)
        ends = np.rint((taps / 2 - 0.5 + np.stack([-step, step])) * 16).astype(int)
        cv2.line(kernel, ends[0].tolist(), ends[1].tolist(), 1.0, 1, cv2.LINE_8, 4)
        plane = cv2.filter2D(plane, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)
    if lens.defocus * side > 0.3:
        blurred = cv2.GaussianBlur(
            plane, (0, 0), lens.defocus * side, borderType=cv2.BORDER_REPLICATE
        )
        height, width = plane.shape
        x = np.linspace(-1, 1, width, dtype=np.float32)[None] * lens.across[0]
        y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] * lens.across[1]
        share = np.clip(x + y, 0, 1) ** 2
        plane = cv2.blendLinear(plane, blurred, 1 - share + 1e-6, share + 1e-6)
    return plane


def _gain(alpha: np.ndarray, tone: np.ndarray) -> np.ndarray:
    """What the tone multiplies the paint by, in hundredths, uint8 [H,W,3]."""
    cover = alpha.astype(np.float32)
    total = float(cover.sum())
    mean = float(tone.sum(dtype=np.int64)) / total if total else 0.5
    straight = (tone.astype(np.float32) + _FEW * mean) / (cover + _FEW)
    level = cv2.convertScaleAbs(straight, alpha=255)
    u = np.arange(256, dtype=np.float32)[:, None] / 255
    # Dark hair is a little warmer than bright hair, as light that passed through it is.
    warm = np.array([0.94, 1.0, 1.07], np.float32)
    table = np.clip(100 * (2 * u) ** (1.15 * warm), 0, 255).astype(np.uint8)
    return cv2.LUT(cv2.merge([level, level, level]), table[None])


def _with_film(
    canvas: Canvas, foreground: np.ndarray, body: np.ndarray, film: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Lays the film over (or under) the body; film already excludes the body where it is under."""
    if canvas.film_front:
        body = cv2.multiply(body, cv2.bitwise_not(film), scale=1 / 255)
    alpha = cv2.add(body, film)
    shade = canvas.film_colour * (0.25 + 0.75 * canvas.light.mean)
    texture = 1 + 0.16 * canvas.noise(7)
    cloth = cv2.resize(to_bytes(texture[..., None] * shade), film.shape[::-1])
    ours, theirs = _reaching(film), _reaching(body)
    return cv2.blendLinear(foreground, cloth, theirs, ours), alpha


def _reaching(cover: np.ndarray) -> np.ndarray:
    """Coverage that fades out slowly around, to weigh colours where nothing covers."""
    height, width = cover.shape
    small = cv2.resize(
        cover, (max(1, width // 8), max(1, height // 8)), interpolation=cv2.INTER_AREA
    )
    wide = cv2.GaussianBlur(small.astype(np.float32), (0, 0), 0.06 * min(small.shape))
    return cover + 0.02 * cv2.resize(wide, (width, height)) + 1e-3
