"""Light and lens, each against a definition of its own: plain NumPy, colorsys, or PIL itself."""

import colorsys
import statistics

import cv2
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image, ImageEnhance, ImageFilter

from jaxmatte.data import photometric
from jaxmatte.data.photometric import Jitter
from jaxmatte.errors import UserError
from tests.data import folders

RANGES = {
    "style": "pil",
    "brightness": (0.5, 1.5),
    "contrast": (0.6, 1.4),
    "saturation": (0.7, 1.3),
    "hue": (-18.0, 18.0),
    "each": 0.5,
    "shuffled": True,
}


@pytest.fixture(name="pixels", scope="module")
def _pixels():
    pixels = folders.picture(3, 24, 32)
    pixels[:2, :4] = [[0, 0, 0], [255, 255, 255], [255, 0, 0], [9, 9, 10]]
    pixels.flags.writeable = False  # nothing below may change its input
    return pixels


def change(pixels, style, name, amount):
    return photometric.jitter(pixels, Jitter(style, ((name, amount),)))


def assert_near(found, expected, most=1.0):
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found.astype(float), np.clip(expected, 0, 255), atol=most)


@pytest.mark.parametrize("factor", [0.5, 0.85, 1.0, 1.15, 1.5])
@pytest.mark.parametrize(
    ("name", "enhance"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("saturation", ImageEnhance.Color),
    ],
)
def test_pil_jitter_is_what_pil_does(pixels, name, enhance, factor):
    expected = np.asarray(enhance(Image.fromarray(pixels)).enhance(factor)).astype(float)
    assert_near(change(pixels, "pil", name, factor), expected)


@pytest.mark.parametrize("steps", [-25.6, -18.0, -1.0, 0.0, 12.4, 18.0, 128.0])
@pytest.mark.parametrize("style", ["pil", "kornia"])
def test_hue_is_turned_in_steps_of_a_byte(pixels, steps, style):
    turned = np.empty(pixels.shape)
    for place in np.ndindex(*pixels.shape[:2]):
        hue, saturation, value = colorsys.rgb_to_hsv(*(pixels[place] / 255.0))
        turned[place] = colorsys.hsv_to_rgb((hue + round(steps) / 256) % 1, saturation, value)
    # A step of hue is 6 levels of a full colour: half a step on the way there, and back.
    found = change(pixels, style, "hue", steps)
    assert_near(found, 255 * turned, 6.5)
    assert np.abs(found - 255 * turned).mean() < 0.8


def test_hue_wraps_as_pils_byte_does(pixels):
    hsv = np.asarray(Image.fromarray(pixels).convert("HSV")).copy()
    hsv[..., 0] += np.uint8(256 - 18)
    expected = np.asarray(Image.fromarray(hsv, "HSV").convert("RGB")).astype(float)
    difference = np.abs(change(pixels, "pil", "hue", -18.0) - expected)
    assert difference.max() <= 12  # PIL cuts where OpenCV rounds
    assert difference.mean() < 2


def test_a_hue_of_nothing_and_grey_stay():
    grey = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(16, 16, 3)
    np.testing.assert_array_equal(change(grey, "pil", "hue", 77.0), grey)
    np.testing.assert_array_equal(change(grey, "pil", "saturation", 0.3), grey)


@pytest.mark.parametrize("amount", [-0.18, 0.0, 0.18])
def test_kornia_adds_brightness(pixels, amount):
    assert_near(change(pixels, "kornia", "brightness", amount), pixels + 255 * amount, 0.51)


@pytest.mark.parametrize("factor", [0.82, 1.0, 1.18])
def test_kornia_scales_contrast_and_saturation(pixels, factor):
    assert_near(change(pixels, "kornia", "contrast", factor), pixels * factor, 0.51)
    expected = np.empty(pixels.shape)
    for place in np.ndindex(*pixels.shape[:2]):
        hue, saturation, value = colorsys.rgb_to_hsv(*(pixels[place] / 255.0))
        expected[place] = colorsys.hsv_to_rgb(hue, min(saturation * factor, 1), value)
    found = change(pixels, "kornia", "saturation", factor)
    assert_near(found, 255 * expected, 6.5)
    assert np.abs(found - 255 * expected).mean() < 0.8


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.4])
def test_bisenet_jitter_by_its_formulas(pixels, factor):
    values = pixels.astype(float)
    assert_near(change(pixels, "bisenet", "brightness", factor), values * factor)
    assert_near(change(pixels, "bisenet", "contrast", factor), 74 + (values - 74) * factor)
    own = (1 + 2 * factor) / 3
    other = (1 - factor) / 3
    red, green, blue = np.moveaxis(values, -1, 0)
    mixed = [
        own * red + other * (green + blue),
        own * green + other * (red + blue),
        own * blue + other * (red + green),
    ]
    assert_near(change(pixels, "bisenet", "saturation", factor), np.stack(mixed, -1))


def test_steps_are_made_in_their_order(pixels):
    steps = (("brightness", 1.5), ("contrast", 0.6))
    one = photometric.jitter(pixels, Jitter("pil", steps))
    other = photometric.jitter(pixels, Jitter("pil", steps[::-1]))
    assert np.abs(one.astype(int) - other).max() > 5
    by_hand = change(change(pixels, "pil", *steps[0]), "pil", *steps[1])
    np.testing.assert_array_equal(one, by_hand)


def test_jitter_is_drawn_with_its_probabilities():
    rng = np.random.default_rng(0)
    options = ConfigDict(RANGES)
    drawn = [photometric.draw_jitter(rng, options).steps for _ in range(2000)]
    for name in photometric.STEPS:
        amounts = np.array([dict(steps)[name] for steps in drawn if name in dict(steps)])
        assert 0.46 < len(amounts) / 2000 < 0.54
        low, high = options[name]
        assert low <= amounts.min() < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < amounts.max() <= high
    orders = {tuple(name for name, _ in steps) for steps in drawn if len(steps) == 4}
    assert len(orders) == 24
    firsts = [steps[0][0] for steps in drawn if steps]
    assert all(0.2 < firsts.count(name) / len(firsts) < 0.3 for name in photometric.STEPS)


def test_jitter_in_order_always_and_without_what_is_empty():
    options = ConfigDict(RANGES | {"each": 1.0, "shuffled": False, "hue": ()})
    drawn = photometric.draw_jitter(np.random.default_rng(1), options)
    assert [name for name, _ in drawn.steps] == ["brightness", "contrast", "saturation"]
    given = photometric.draw_jitter(np.random.default_rng(1), options, ("contrast", "brightness"))
    assert [name for name, _ in given.steps] == ["contrast", "brightness"]
    never = ConfigDict(RANGES | {"each": 0.0})
    assert photometric.draw_jitter(np.random.default_rng(1), never) == Jitter("pil")


def test_mistakes_of_the_style_are_named(pixels):
    with pytest.raises(UserError, match=r"style='pill'.*pil, kornia, bisenet"):
        change(pixels, "pill", "hue", 1.0)
    with pytest.raises(UserError, match="has no hue"):
        change(pixels, "bisenet", "hue", 1.0)


@pytest.mark.parametrize("radius", [0, 1, 2.5, 5, 5.75])
def test_box_blur_is_pils(pixels, radius):
    expected = np.asarray(Image.fromarray(pixels).filter(ImageFilter.BoxBlur(radius)))
    assert_near(photometric.box_blur(pixels, radius), expected)
    plane = np.ascontiguousarray(pixels[..., 0])
    expected = np.asarray(Image.fromarray(plane).filter(ImageFilter.BoxBlur(radius)))
    assert_near(photometric.box_blur(plane, radius), expected)


@pytest.mark.parametrize(
    "kernel",
    [
        np.array([1, 2, 1]) / 4,
        np.array([1, 4, 6, 4, 1]) / 16,
        np.array([2, 7, 14, 18, 14, 7, 2]) / 64,
        np.array([4, 13, 30, 51, 60, 51, 30, 13, 4]) / 256,
    ],
    ids=len,
)
def test_gaussian_blur_by_opencvs_kernels(pixels, kernel):
    half = len(kernel) // 2
    padded = np.pad(pixels.astype(float), ((half, half), (half, half), (0, 0)), "reflect")
    rows = sum(w * padded[i : i + pixels.shape[0]] for i, w in enumerate(kernel))
    expected = sum(w * rows[:, i : i + pixels.shape[1]] for i, w in enumerate(kernel))
    assert_near(photometric.gaussian_blur(pixels, len(kernel)), expected, 0.6)


def test_sharpen_is_pils(pixels):
    expected = np.asarray(Image.fromarray(pixels).filter(ImageFilter.SHARPEN))
    np.testing.assert_array_equal(photometric.sharpen(pixels), expected)
    plane = np.ascontiguousarray(pixels[..., 1])
    expected = np.asarray(Image.fromarray(plane).filter(ImageFilter.SHARPEN))
    np.testing.assert_array_equal(photometric.sharpen(plane), expected)


@pytest.mark.parametrize(("sigma", "mean"), [(7.65, 0.0), (2.0, 5.1)])
def test_noise_is_normal(sigma, mean):
    noise = photometric.rounded_noise((200, 250, 3), sigma, np.random.default_rng(0), mean)
    assert noise.dtype == np.int16
    assert noise.mean() == pytest.approx(mean, abs=0.1)
    assert noise.std() == pytest.approx(np.hypot(sigma, 12**-0.5), rel=0.01)  # and its rounding
    normal = statistics.NormalDist(mean, sigma)
    for level in range(-8, 9):
        expected = normal.cdf(level + 0.5) - normal.cdf(level - 0.5)
        assert (noise == level).mean() == pytest.approx(expected, abs=0.003)
    pairs = np.corrcoef(noise[:, :-1].ravel(), noise[:, 1:].ravel())[0, 1]
    assert abs(pairs) < 0.01


def test_no_noise_is_none():
    assert not photometric.rounded_noise((9, 9, 3), 0.0, np.random.default_rng(0)).any()
    assert not photometric.rounded_noise((9, 9, 3), 0.1, np.random.default_rng(0)).any()


def test_jpeg_keeps_colours_apart_and_loses_with_quality(pixels):
    large = cv2.resize(pixels, (160, 120), interpolation=cv2.INTER_CUBIC)
    errors = [
        np.abs(photometric.jpeg(large, quality).astype(int) - large).mean()
        for quality in (95, 70, 20)
    ]
    assert errors[0] < errors[1] < errors[2] < 12
    red = np.full((16, 16, 3), (200, 30, 60), np.uint8)
    assert_near(photometric.jpeg(red, 95), red.astype(float), 6)


@pytest.mark.parametrize("side", [4, 5, 20, 39])
def test_shadow_by_its_definition(pixels, side):
    alpha = np.zeros((24, 32), np.uint8)
    alpha[4:16, 9:20] = 255
    alpha[8:12, 10:14] = 77
    across, down = 3, 2  # the shadow lies so far to the right and below
    matrix = np.array([[1.0, 0.0, -across], [0.0, 1.0, -down]])
    moved = np.zeros((24, 32))
    moved[down:, across:] = alpha[:-down, :-across]
    before, after = (side - 1) // 2, side - 1 - (side - 1) // 2
    padded = np.pad(moved, ((before, after), (before, after)), "reflect")
    soft = np.lib.stride_tricks.sliding_window_view(padded, (side, side)).mean((2, 3))
    expected = pixels - np.round(0.25 * soft)[..., None]
    found = photometric.cast_shadow(pixels, alpha, matrix, 0.25, side)
    assert_near(found, expected)
    assert (found < pixels).any()
    np.testing.assert_array_equal(photometric.cast_shadow(pixels, alpha, matrix, 0.0, side), pixels)
