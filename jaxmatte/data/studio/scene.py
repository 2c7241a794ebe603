"""One scene: light, subject, backdrop, lens, grade and grain, put together."""

import dataclasses
import numbers

import cv2
import numpy as np

from jaxmatte.data.studio import backdrop, subjects
from jaxmatte.data.studio.canvas import Canvas
from jaxmatte.data.studio.develop import develop, random_lens
from jaxmatte.data.studio.light import random_light, stream
from jaxmatte.errors import UserError

MODES = ("natural", "composite")
_SUBJECT, _BACKDROP, _CAMERA, _GRAIN, _LIGHT = range(5)


@dataclasses.dataclass(frozen=True)
class Scene:
    """One rendered example. Colours are straight RGB.

    image: uint8 [H,W,3], exactly `round(alpha * foreground + (1 - alpha) * background)` of the
        uint8 parts below (alpha / 255), halves rounded up.
    foreground, background: uint8 [H,W,3], each defined at every pixel.
    alpha: uint8 [H,W], the covered share of each pixel.
    """

    image: np.ndarray
    foreground: np.ndarray
    background: np.ndarray
    alpha: np.ndarray


def render(
    seed: int,
    index: int,
    size: int | tuple[int, int] = 512,
    mode: str = "natural",
    supersample: int = 4,
) -> Scene:
    """Renders scene `index` of the endless series `seed`.

    Both modes show the same subject with the same alpha. In `natural` one camera took the whole
    picture: subject and backdrop share the light, the grade and the very same grain, all applied
    to foreground and background *before* they are blended, so the identity of `Scene` holds to
    the last bit and grain does not fade where alpha is fractional. In `composite` subject and
    backdrop come from two pictures: other light, sharpness, grade and grain.

    Args:
        seed: which series of scenes, from 0.
        index: which scene of it, from 0.
        size: side, or (height, width). A smaller size shows the same scene with hair about as
            thin in pixels and fewer strands.
        mode: "natural" or "composite".
        supersample: samples per pixel and axis of the coverage: 2, 4, 6, 8 or 16.
    """
    height, width = _checked(seed, index, size, mode, supersample)
    light = random_light(stream(seed, index, _LIGHT))
    other = light
    if mode == "composite":
        other = random_light(stream(seed, index, _LIGHT + 20))
    canvas = Canvas(seed, index, (height, width), light, supersample)
    subjects.draw(canvas, stream(seed, index, _SUBJECT))
    camera = stream(seed, index, _CAMERA)
    foreground, alpha = develop(canvas, random_lens(camera))
    background = backdrop.paint(
        stream(seed, index, _BACKDROP), (height, width), other, sharp=mode == "composite"
    )
    foreground, background = _expose(foreground, background, camera, mode)
    foreground, background = _grain(foreground, background, stream(seed, index, _GRAIN), mode)
    return Scene(blend(foreground, background, alpha), foreground, background, alpha)


def blend(foreground: np.ndarray, background: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """`round(alpha * foreground + (1 - alpha) * background)` in whole numbers, uint8 [H,W,3]."""
    image = np.empty_like(foreground)
    for top in range(0, len(alpha), 64):  # bands that fit the cache
        rows = np.s_[top : top + 64]
        weight = np.repeat(alpha[rows, :, None].astype(np.uint16), 3, 2)
        total: np.ndarray = foreground[rows] * weight + background[rows] * (255 - weight)
        total += np.uint16(128)
        total += total >> 8  # (x + 128 + (x + 128 >> 8)) >> 8 is round(x / 255) here
        image[rows] = total >> 8
    return image


def _expose(
    foreground: np.ndarray, background: np.ndarray, camera: np.random.Generator, mode: str
) -> tuple[np.ndarray, np.ndarray]:
    """Grades both alike, or each its own way."""
    grade = _random_grade(camera, 0.5)
    if mode == "natural":
        return cv2.LUT(foreground, grade), cv2.LUT(background, grade)
    soften = camera.random()
    if soften < 0.3:
        foreground = cv2.GaussianBlur(foreground, (3, 3), 0)
    elif soften < 0.6:
        background = cv2.addWeighted(
            background, 1.7, cv2.GaussianBlur(background, (5, 5), 0), -0.7, 0
        )
    first, second = _random_grade(camera, 1.0), _random_grade(camera, 1.0)
    return cv2.LUT(foreground, first), cv2.LUT(background, second)


def _random_grade(rng: np.random.Generator, strength: float) -> np.ndarray:
    """A tone curve with a tint, uint8 [1,256,3]."""
    u = np.arange(256, dtype=np.float64)[:, None] / 255
    gamma = np.exp(strength * rng.normal(0, 0.15) + strength * rng.normal(0, 0.05, 3))
    contrast = strength * rng.uniform(-0.1, 0.35)
    curve = u**gamma
    curve = curve + contrast * (curve * curve * (3 - 2 * curve) - curve)
    lift = strength * rng.uniform(0, 0.04)
    return np.rint(255 * (lift + (1 - lift) * curve)).clip(0, 255).astype(np.uint8)[None]


def _grain(
    foreground: np.ndarray, background: np.ndarray, rng: np.random.Generator, mode: str
) -> tuple[np.ndarray, np.ndarray]:
    """Adds sensor noise: the same field to both, or two of different strength."""
    sigmas = rng.uniform(0.4, 4.5, 2)
    if mode == "natural":
        brighter, darker = _noise_field(rng, foreground.shape, sigmas[0])
        return _add(foreground, brighter, darker), _add(background, brighter, darker)
    if abs(sigmas[0] - sigmas[1]) < 1.5:
        sigmas[1] = (sigmas[0] + 3.0) % 5.0
    fields = [_noise_field(rng, foreground.shape, sigma) for sigma in sigmas]
    return _add(foreground, *fields[0]), _add(background, *fields[1])


def _noise_field(
    rng: np.random.Generator, shape: tuple[int, ...], sigma: float
) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian noise as its positive and negative parts, uint8: random bytes through quantiles."""
    chance = np.frombuffer(rng.bytes(int(np.prod(shape))), np.uint8).reshape(shape)
    quantile = np.rint(sigma * _normal_quantiles())
    brighter = np.maximum(quantile, 0).astype(np.uint8)
    darker = np.maximum(-quantile, 0).astype(np.uint8)
    return cv2.LUT(chance, brighter), cv2.LUT(chance, darker)


def _normal_quantiles() -> np.ndarray:
    """Normal deviates at the middles of 256 equal shares [256]."""
    x = np.linspace(-4, 4, 2001)
    share = np.cumsum(np.exp(-0.5 * x * x))
    return np.interp((np.arange(256) + 0.5) / 256, share / share[-1], x)


def _add(picture: np.ndarray, brighter: np.ndarray, darker: np.ndarray) -> np.ndarray:
    return cv2.subtract(cv2.add(picture, brighter), darker)


def _checked(
    seed: int, index: int, size: int | tuple[int, int], mode: str, supersample: int
) -> tuple[int, int]:
    if mode not in MODES:
        raise UserError(f"studio: mode {mode!r} is unknown; use one of {', '.join(MODES)}")
    if min(seed, index) < 0:
        raise UserError(f"studio: seed {seed} and index {index} must not be negative")
    if supersample not in (2, 4, 6, 8, 16):
        raise UserError(f"studio: supersample {supersample} must be 2, 4, 6, 8 or 16")
    return checked_size(size)


def checked_size(size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width), or a UserError."""
    sides = tuple(size) if isinstance(size, tuple | list) else (size, size)
    whole = all(isinstance(side, numbers.Integral) for side in sides)
    if len(sides) != 2 or not whole or min(sides) < 32 or max(sides) > 4096:
        raise UserError(f"studio: size {size!r} must be a side or (height, width) of 32 to 4096")
    return int(sides[0]), int(sides[1])
