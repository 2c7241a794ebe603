import dataclasses
import inspect

import cv2
import numpy as np
import pytest

from jaxmatte.data.denoise import Denoiser, denoise
from jaxmatte.errors import UserError
from tests.data import folders


def noisy(clean, sigma, seed=0):
    noise = np.random.default_rng(seed).normal(0, sigma, clean.shape)
    return np.clip(np.round(clean + noise), 0, 255).astype(np.uint8)


def error(picture, clean):
    return np.sqrt(np.square(picture.astype(float) - clean).mean())


def test_noise_falls_and_edges_stay():
    clean = np.full((64, 96, 3), (60, 90, 120), np.uint8)
    clean[:, 48:] = (190, 160, 110)
    given = noisy(clean, 4)
    quiet = denoise(given, 8.0, 3.0, 7, 21)
    for side in (slice(0, 40), slice(56, 96)):
        assert quiet[:, side].std((0, 1)).max() < 0.4 * given[:, side].std((0, 1)).min()
    assert error(quiet, clean) < 0.6 * error(given, clean)  # CIELAB in 8 bits rounds colours
    edge = (slice(None), slice(44, 52))
    assert error(quiet[edge], clean[edge]) < error(given[edge], clean[edge])
    steps = quiet[:, 48].astype(float) - quiet[:, 47]
    np.testing.assert_allclose(steps.mean(0), (130, 70, -10), atol=6)


def test_the_defaults_help_a_photograph_like_picture():
    clean = folders.picture(4, 80, 120)
    given = noisy(clean, 3)
    assert error(Denoiser()(given), clean) < 0.8 * error(given, clean)


def test_channels_are_red_green_blue():
    """Lightness and colour are told apart by their channels: another order is another picture."""
    given = noisy(folders.picture(2, 48, 64), 8)
    wanted = cv2.fastNlMeansDenoisingColored(
        cv2.cvtColor(given, cv2.COLOR_RGB2BGR), None, 6.0, 3.0, 5, 11
    )
    got = denoise(given, 6.0, 3.0, 5, 11)
    np.testing.assert_array_equal(got, cv2.cvtColor(wanted, cv2.COLOR_BGR2RGB))
    swapped = cv2.fastNlMeansDenoisingColored(given, None, 6.0, 3.0, 5, 11)
    assert np.abs(got.astype(int) - swapped).max() > 8


def test_the_same_picture_gives_the_same_on_any_threads():
    given = noisy(folders.picture(3, 60, 70), 5)
    kept, before = given.copy(), cv2.getNumThreads()
    try:
        results = []
        for threads in (0, 2, 4):
            cv2.setNumThreads(threads)
            results.append(Denoiser()(given))
    finally:
        cv2.setNumThreads(before)
    assert all(np.array_equal(results[0], result) for result in results)
    np.testing.assert_array_equal(given, kept)
    assert results[0].flags.c_contiguous


@pytest.mark.parametrize("size", [(1, 1), (3, 40)])
def test_tiny_pictures(size):
    assert Denoiser()(folders.picture(1, *size)).shape == (*size, 3)


@pytest.mark.parametrize("bad", [{"strength": 0}, {"colour": -1}, {"patch": 6}, {"search": 0}])
def test_impossible_parameters_are_refused(bad):
    with pytest.raises(UserError, match=f"denoiser: {next(iter(bad))}="):
        Denoiser(**bad)


def test_the_fields_are_those_of_the_function():
    names = [field.name for field in dataclasses.fields(Denoiser)]
    assert names == list(inspect.signature(denoise).parameters)[1:]
