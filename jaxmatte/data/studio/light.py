"""Light, colour and smooth noise: what subjects and backdrops are painted with."""

import colorsys
import dataclasses

import cv2
import numpy as np


def stream(seed: int, index: int, purpose: int) -> np.random.Generator:
    """The generator of one purpose of one scene; purposes never share numbers."""
    return np.random.default_rng([seed, index, purpose])


@dataclasses.dataclass(frozen=True)
class Light:
    """One lamp and its surroundings.

    direction: unit vector towards the lamp, x right, y down, z towards the camera.
    colour, ambient: gain of each channel; the sum is near 1 for a surface that faces the lamp.
    """

    direction: np.ndarray
    colour: np.ndarray
    ambient: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """What a surface at a middling angle receives, per channel [3]."""
        return self.ambient + 0.6 * self.colour


def random_light(rng: np.random.Generator) -> Light:
    """A lamp above the horizon: daylight, a warm evening or a cool shade."""
    side = rng.uniform(-1.2, 1.2)
    height = rng.uniform(0.35, 1.0)
    direction = np.array([side, -height, rng.uniform(0.35, 1.0)])
    warmth = rng.choice([rng.normal(0, 0.03), rng.uniform(0.08, 0.2), rng.uniform(-0.12, -0.04)])
    tint = np.array([1 + warmth, 1 + 0.2 * warmth, 1 - warmth])
    ambient = rng.uniform(0.32, 0.55)
    counter = np.array([1 - 0.5 * warmth, 1.0, 1 + 0.5 * warmth])
    return Light(
        direction=(direction / np.linalg.norm(direction)).astype(np.float32),
        colour=(tint * (1.08 - ambient)).astype(np.float32),
        ambient=(counter * ambient).astype(np.float32),
    )


def smooth_noise(
    rng: np.random.Generator, height: int, width: int, cells: int, octaves: int = 3
) -> np.ndarray:
    """Value noise in about -1..1, float32 [height, width]; the picture does not depend on the size.

    `cells` lattice cells span the shorter side; every octave doubles them and halves the swing.
    """
    total = np.zeros((height, width), np.float32)
    scale = 1.0
    for _ in range(octaves):
        rows = cols = cells
        if height > width:
            rows = max(1, round(cells * height / width))
        else:
            cols = max(1, round(cells * width / height))
        lattice = rng.random((rows + 3, cols + 3), dtype=np.float32) - 0.5
        if rows < 1.5 * height:  # a finer lattice than the picture would only alias
            total += scale * cv2.resize(lattice, (width, height), interpolation=cv2.INTER_CUBIC)
        scale *= 0.5
        cells *= 2
    return total * 2.0


def to_bytes(picture: np.ndarray) -> np.ndarray:
    """Float colours in 0..1 to uint8, saturating."""
    return cv2.convertScaleAbs(np.maximum(picture, 0), alpha=255.0)


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """RGB in 0..1, float32 [3]; hue in turns."""
    return np.array(colorsys.hsv_to_rgb(hue % 1.0, saturation, value), np.float32)


def hsv_many(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
    """RGB in 0..1, float32 [N,3], of N hues in turns, saturations and values."""
    offsets = np.array([0.0, 2 / 3, 1 / 3])
    wave = np.abs(((hue[:, None] + offsets) % 1.0) * 6 - 3) - 1
    colours = value[:, None] * (1 - saturation[:, None] * (1 - np.clip(wave, 0, 1)))
    return colours.astype(np.float32)
