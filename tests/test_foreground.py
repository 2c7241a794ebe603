"""Foreground estimation on scenes whose layers are known."""

import cv2
import numpy as np
import pytest

from jaxmatte import foreground
from jaxmatte.errors import UserError


def scene(side=256, soft=12.0):
    """Foreground, background `[side, side, 3]`, alpha with strands `[side, side]`, the image."""
    y, x = np.mgrid[0:side, 0:side] / side
    waves = [np.sin(2 * np.pi * (n * x + m * y)) for n, m in ((1, 2), (2, -1), (1, 1))]
    layer = np.stack([0.7 + 0.2 * waves[0], 0.4 + 0.2 * waves[1], 0.2 + 0.1 * waves[2]], -1)
    behind = np.stack([0.2 + 0.1 * waves[1], 0.5 + 0.2 * waves[2], 0.8 + 0.1 * waves[0]], -1)
    alpha = np.clip((0.28 * side - np.hypot(y - 0.5, x - 0.5) * side) / soft + 0.5, 0, 1)
    alpha = alpha.astype(np.float32)
    for angle in np.linspace(0, 2 * np.pi, 60, endpoint=False):
        near, far = (
            (int(side * (0.5 + r * np.cos(angle))), int(side * (0.5 + r * np.sin(angle))))
            for r in (0.25, 0.36)
        )
        cv2.line(alpha, near, far, 0.8, 1)
    image = alpha[..., None] * layer + (1 - alpha[..., None]) * behind
    return layer, behind, alpha, image.astype(np.float32)


def error(estimate, truth, weight):
    """Mean absolute error where the matte is mixed, by the layer's own visibility."""
    mixed = (weight > 0.02) & (weight < 0.98)
    difference = np.abs(estimate - truth).mean(-1)
    return (difference * weight)[mixed].sum() / weight[mixed].sum()


@pytest.mark.parametrize("side", [128, 256, 512])
def test_beats_the_image_itself(side):
    layer, behind, alpha, image = scene(side, soft=side / 20)
    front, back = foreground.estimate(image, alpha)
    assert error(front, layer, alpha) < error(image, layer, alpha) / 2
    assert error(back, behind, 1 - alpha) < error(image, behind, 1 - alpha) / 2


def test_layers_recompose_the_image():
    _, _, alpha, image = scene()
    front, back = foreground.estimate(image, alpha)
    opacity = alpha[..., None]
    gap = np.abs(opacity * front + (1 - opacity) * back - image)
    assert gap.mean() < 1e-3
    np.testing.assert_allclose(front[alpha == 1], image[alpha == 1], atol=1e-4)
    np.testing.assert_allclose(back[alpha == 0], image[alpha == 0], atol=1e-4)


def test_bytes_and_floats_agree_and_are_left_alone():
    _, _, alpha, image = scene(128)
    pixels, matte = (np.rint(array * 255).astype(np.uint8) for array in (image, alpha))
    kept = pixels.copy(), matte.copy()
    layers = foreground.estimate(pixels, matte)
    floats = foreground.estimate(pixels / 255.0, (matte / 255.0)[..., None])
    for byte, value in zip(layers, floats, strict=True):
        assert byte.dtype == np.uint8
        assert value.dtype == np.float64
        assert value.min() >= 0
        assert value.max() <= 1
        assert np.abs(byte - value * 255).max() < 0.5 + 1e-3
    np.testing.assert_array_equal(pixels, kept[0])
    np.testing.assert_array_equal(matte, kept[1])


def test_extreme_mattes():
    """With nothing to separate, the visible layer is the image and the other is finite."""
    _, _, _, image = scene(64)
    front, back = foreground.estimate(image, np.ones(image.shape[:2], np.float32))
    np.testing.assert_allclose(front, image, atol=1e-4)
    assert np.isfinite(back).all()
    front, back = foreground.estimate(image, np.zeros(image.shape[:2], np.float32))
    np.testing.assert_allclose(back, image, atol=1e-4)
    assert np.isfinite(front).all()


def test_mistakes_are_named():
    _, _, alpha, image = scene(64)
    with pytest.raises(UserError, match="do not go together"):
        foreground.estimate(image, alpha[1:])
    with pytest.raises(UserError, match="alpha is int64"):
        foreground.estimate(image, alpha.astype(np.int64))
