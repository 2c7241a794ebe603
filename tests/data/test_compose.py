"""GFM's composition against what the original loader made (tests/parity/gfm_rssn.npz)."""

import json
import pathlib
import zlib

import numpy as np
import pytest

from configs import common
from jaxmatte.data import compose
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
    drawn = compose.Draw(bool(denoised), case["blur"] or 0, name in ("noise", "all"))
    return compose.rssn(
        picture(f"fg{denoised}")[window],
        picture(f"bg{denoised}", 70, 170),
        alpha[window],
        SHAPE,
        window,
        drawn,
        noise()[window],
        wraps,
    )


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
    behind = compose.fit(picture("bg", 70, 170), SHAPE, WHOLE)
    np.testing.assert_allclose(behind[::4], reference["coco_bg"], atol=1e-4)
    composite = compose.blend(picture("fg"), behind, alpha)[::4].astype(int)
    assert np.abs(composite - reference["coco_composite"]).max() <= 1


@pytest.mark.parametrize("name", ["plain", "blur50", "all"])
def test_a_window_is_cut_from_the_whole(name, alpha):
    window = (slice(30, 70), slice(20, 60))
    for whole, part in zip(run(name, alpha), run(name, alpha, window), strict=True):
        difference = np.abs(whole[window].astype(np.float64) - part)
        assert np.minimum(difference, 256 - difference).max() <= 1
        assert (difference > 1e-3).mean() < 2e-3


def test_noise_is_clipped_unless_asked_to_wrap():
    pixels = np.full((4, 4, 3), 3, np.uint8)
    assert compose.add_noise(pixels, -10.0).max() == 0
    assert compose.add_noise(pixels, -6.9, wraps=True).min() == 253  # -3.9 wraps
    assert compose.add_noise(np.full((2, 2, 3), 255, np.uint8), 11.0).min() == 255


def test_white_alpha_shows_the_foreground_and_black_the_background():
    front, behind = picture("fg"), picture("ori")
    np.testing.assert_array_equal(
        compose.blend(front, behind, np.full(SHAPE, 255, np.uint8)), front
    )
    np.testing.assert_array_equal(compose.blend(front, behind, np.zeros(SHAPE, np.uint8)), behind)


def test_coins_have_their_probabilities():
    options = common.base().data.compose
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
