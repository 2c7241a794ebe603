"""Stand-in weights and pictures that any framework can rebuild from a name and a shape.

The reference networks behind the fixtures of this folder were filled by this rule and fed these
pictures, so no checkpoint is needed. NumPy's legacy generator never changes its numbers.
"""

import zlib

import numpy as np


def _random(name: str) -> np.random.RandomState:
    return np.random.RandomState(zlib.crc32(name.encode()))


def tensor(name: str, shape: tuple[int, ...], gain: float = 1.0) -> np.ndarray:
    """The tensor called `name` of a reference state dict, in PyTorch's layout."""
    kind = name.split(".")[-1]
    if kind == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    noise = 2.0 * _random(name).random_sample(tuple(shape)) - 1.0
    if kind in ("running_var", "_variance"):
        noise = 1.0 + 0.5 * noise
    elif kind in ("weight_u", "weight_v"):
        noise = noise / np.linalg.norm(noise)
    elif kind in ("running_mean", "_mean"):
        noise = 0.1 * noise
    elif len(shape) > 1:  # kernels: variance 2 / fan-in, times the gain squared
        noise *= gain * np.sqrt(2.0 / np.prod(shape[1:])) * np.sqrt(3.0)
    elif kind == "weight":
        noise = 1.0 + 0.5 * noise
    else:
        noise = 0.1 * noise
    return noise.astype(np.float32)


def picture(name: str, shape: tuple[int, int, int, int]) -> np.ndarray:
    """A smooth picture with a little noise, [B, H, W, C] in 0..1."""
    batch, height, width, channels = shape
    y, x = (axis.astype(np.float64) for axis in np.mgrid[:height, :width])
    x, y = 2.0 * np.pi * x / width, 2.0 * np.pi * y / height
    waves = np.empty((batch, channels, height, width))
    for i, j in np.ndindex(batch, channels):
        a, b, c, d, e, f = _random(f"{name}/{i}/{j}").random_sample(6)
        wave = np.sin(4 * a * x + 2 * np.pi * b) + np.cos(4 * c * y + 2 * np.pi * d)
        waves[i, j] = 0.5 + (wave + np.sin(7 * e * x + 7 * f * y)) / 6.0
    noise = _random(f"{name}/noise").random_sample(waves.shape)
    values = np.clip(0.95 * waves + 0.05 * noise, 0.0, 1.0).astype(np.float32)
    return values.transpose(0, 2, 3, 1)
