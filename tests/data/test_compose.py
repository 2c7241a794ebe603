"""GFM's composition against what the original loader made (tests/parity/gfm_rssn.npz)."""

import json
import pathlib
import zlib

import cv2
import numpy as np
import pytest

from configs import routes
from jaxmatte import resampling
from jaxmatte.data import compose
from jaxmatte.data.rows import Pixels
from tests.parity import fill

PARITY = pathlib.Path(__file__).parent.parent / "parity"
CASES = json.loads((PARITY / "gfm_rssn.json").read_text())["cases"]
SHAPE = (96, 128)
WHOLE = (slice(0, 96), slice(0, 128))


def picture(name, height=96, width=128):
    values = fill.picture(f"gfm/rssn/{name}", (1, height, width, 3))[0]
    return np.round(255 * values).astype(np.uint8)


@pytest.fixture(name="reference", scope="module")
def _reference():
    with np.load(PARITY / "gfm_rssn.npz") as arrays:
        return dict(arrays)


@pytest.fixture(name="alpha", scope="module")
def _alpha():
    values = fill.picture("gfm/rssn/mask", (1, 96, 128, 1))[0, ..., 0].astype(np.float64)
    return np.round(255 * np.clip((values - 0.35) / 0.3, 0, 1)).astype(np.uint8)


def noise():
    return np.random.RandomState(zlib.crc32(b"gfm/rssn/noise")).normal(0, 10, (96, 128, 3))


def run(name, alpha, window=WHOLE, wraps=True):
    case = CASES[name]
    denoised = "_denoise" if name in ("denoise", "all") else ""
    plane = Pixels(picture(f"bg{denoised}", 70, 170))
    behind = compose.behind(plane, (70, 170), SHAPE, window, blur=case["blur"] or 0)
    field = noise()[window] if name in ("noise", "all") else None
    front = picture(f"fg{denoised}")[window]
    return compose.rssn(front, behind, alpha[window], field, wraps)


@pytest.mark.parametrize("name", CASES)
def test_every_coin_gives_what_the_original_loader_gave(name, alpha, reference):
    composite, front, behind = run(name, alpha)
    rows = slice(None, None, 4)  # the rows that the fixture keeps
    for part, found in (("composite", composite), ("fg", front), ("bg", behind)):
        expected = reference[f"{name}_{part}"].astype(np.float64)
        difference = np.abs(found[rows].astype(np.float64) - expected)
        difference = np.minimum(difference, 256 - difference)  # both wrap
        # Cutting to uint8 turns a rounding of 1e-5 into 1 where a value is a whole number.
        assert difference.max() <= 1
        assert (difference > 1e-3).mean() < 2e-3


def test_plain_blending_over_coco(alpha, reference):
    behind = fit(picture("bg", 70, 170), WHOLE)
    np.testing.assert_allclose(behind[::4], reference["coco_bg"], atol=1e-4)
    composite = compose.blend(picture("fg"), behind, alpha)[::4].astype(int)
    assert np.abs(composite - reference["coco_composite"]).max() <= 1


def fit(background, window, step=1, shape=SHAPE):
    return compose.fit(Pixels(background), background.shape[:2], shape, window, step)


@pytest.mark.parametrize("size", [(70, 170), (96, 128), (40, 50), (300, 411)])
def test_fit_is_scikit_images_resize_whatever_the_sizes(size):
    background = picture("bg", *size)
    expected = resampling.resize(background, SHAPE, "skimage")
    np.testing.assert_allclose(fit(background, WHOLE), expected, atol=255 * 411 * 2.0**-24)


@pytest.mark.parametrize("size", [(70, 170), (96, 128), (300, 411)])
@pytest.mark.parametrize("blur", [20, 50])
def test_blurring_in_whole_numbers_is_off_by_less_than_a_thousandth(size, blur):
    background = picture("bg", *size)
    expected = cv2.blur(resampling.resize(background, SHAPE, "skimage"), (blur, blur))
    for window in (WHOLE, (slice(0, 40), slice(70, 128))):
        found = compose.behind(Pixels(background), size, SHAPE, window, blur=blur)
        np.testing.assert_allclose(found, expected[window], atol=1e-3)


def test_fit_reads_no_more_than_the_window_needs():
    seen = []

    class Spy(Pixels):
        def read(self, window=None):
            seen.append(window)
            return super().read(window)

    window = (slice(32, 64), slice(64, 96))
    compose.fit(Spy(picture("bg", 192, 256)), (192, 256), SHAPE, window)
    ((rows, columns),) = seen
    assert 64 - 8 <= rows.start <= 64
    assert 128 <= rows.stop <= 128 + 8
    assert 128 - 8 <= columns.start <= 128
    assert 192 <= columns.stop <= 192 + 8


@pytest.mark.parametrize("step", range(3, 32, 2))
def test_sampling_by_an_odd_step_is_what_shrinking_bilinearly_takes(step):
    pixels = np.random.default_rng(step).integers(0, 256, (5 * step, 5 * step, 3), np.uint8)
    shrunk = cv2.resize(pixels, (5, 5), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(compose.sampled(pixels, step), shrunk)
    np.testing.assert_array_equal(compose.sampled(pixels[..., 0], step), shrunk[..., 0])


@pytest.mark.parametrize("blur", [0, 20])
def test_sampling_first_gives_what_sampling_last_gives(blur):
    background = picture("bg", 70, 170)
    window = (slice(3, 93), slice(20, 110))
    whole = compose.behind(Pixels(background), (70, 170), SHAPE, window, 1, blur)
    first = compose.behind(Pixels(background), (70, 170), SHAPE, window, 3, blur)
    np.testing.assert_allclose(first, compose.sampled(whole, 3), atol=255 * 170 * 2.0**-24)


@pytest.mark.parametrize("name", ["plain", "blur50", "all"])
def test_a_window_is_cut_from_the_whole(name, alpha):
    window = (slice(30, 70), slice(20, 60))
    for whole, part in zip(run(name, alpha), run(name, alpha, window), strict=True):
        difference = np.abs(whole[window].astype(np.float64) - part)
        assert np.minimum(difference, 256 - difference).max() <= 1
        assert (difference > 1e-3).mean() < 2e-3


def test_noise_is_clipped_unless_asked_to_wrap():
    pixels = np.full((4, 4, 3), 3, np.uint8)
    assert compose.add_noise(pixels, np.full((4, 4, 3), -10.0)).max() == 0
    assert (
        compose.add_noise(pixels, np.full((4, 4, 3), -6.9), wraps=True).min() == 253
    )  # -3.9 wraps
    assert (
        compose.add_noise(np.full((4, 4, 3), 255, np.uint8), np.full((4, 4, 3), 11.0)).min() == 255
    )


def test_drawn_noise_is_gaussian_and_the_examples_own():
    field = compose.draw_noise((200, 300, 3), 10.0, np.random.default_rng(3))
    again = compose.draw_noise((200, 300, 3), 10.0, np.random.default_rng(3))
    np.testing.assert_array_equal(field, again)
    values = field.astype(np.float64) + 0.5  # rounded down
    assert abs(values.mean()) < 0.1
    assert abs(values.std() - 10) < 0.1
    shares = [(np.abs(values) < 10 * reach).mean() for reach in (1, 2, 3)]
    np.testing.assert_allclose(shares, [0.6827, 0.9545, 0.9973], atol=0.003)
    flat = values.ravel()
    assert abs(np.corrcoef(flat[:-1], flat[1:])[0, 1]) < 0.01


def test_whole_levels_of_noise_give_the_cut_of_any_noise():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    exact = rng.normal(0, 10, pixels.shape)
    levels = np.floor(exact).astype(np.int16)
    np.testing.assert_array_equal(
        compose.add_noise(pixels, levels), compose.add_noise(pixels, exact)
    )


def test_white_alpha_shows_the_foreground_and_black_the_background():
    front, behind = picture("fg"), picture("ori")
    np.testing.assert_array_equal(
        compose.blend(front, behind, np.full(SHAPE, 255, np.uint8)), front
    )
    np.testing.assert_array_equal(compose.blend(front, behind, np.zeros(SHAPE, np.uint8)), behind)


def test_coins_have_their_probabilities():
    options = routes.gfm().compose
    rng = np.random.default_rng(0)
    drawn = [compose.draw(rng, options) for _ in range(2000)]
    assert 0.45 < np.mean([d.denoise for d in drawn]) < 0.55
    assert 0.45 < np.mean([d.noise for d in drawn]) < 0.55
    sizes = [d.blur for d in drawn if d.blur]
    assert 0.45 < len(sizes) / 2000 < 0.55
    assert set(sizes) == set(options.blur_kernels)
    never = options.copy_and_resolve_references()
    never.update({"denoise": 0.0, "blur": 0.0, "noise": 0.0})
    assert compose.draw(rng, never) == compose.Draw()
