"""Labels: bit for bit OpenCV's."""

import json
import pathlib

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmatte import labels
from jaxmatte.errors import UserError
from tests.parity.fill import picture

PARITY = pathlib.Path(__file__).parent / "parity"


def cv2_ellipse(size):
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))


def test_ellipse_is_opencvs():
    for size in range(1, 102):
        np.testing.assert_array_equal(labels.ellipse(size), cv2_ellipse(size), err_msg=str(size))
    assert labels.ellipse(25).sum() == 477
    assert labels.ellipse(50).sum() == 1995
    with pytest.raises(UserError, match="size of 1 or more"):
        labels.ellipse(0)


@pytest.mark.parametrize("size", [1, 2, 3, 24, 25, 50])
def test_dilate_and_erode_are_opencvs(size):
    """Sparse and dense masks, set pixels on the borders, an image smaller than the ellipse."""
    rng = np.random.default_rng(size)
    dilate, erode = (jax.jit(f, static_argnums=1) for f in (labels.dilate, labels.erode))
    for shape in ((60, 83), (17, 11)):
        masks = np.stack([rng.random(shape) < p for p in (0, 0.002, 0.05, 0.95, 0.998, 1)])
        masks[:, 0, -1] ^= True
        dilated, eroded = (f(jnp.asarray(masks)[..., None], size) for f in (dilate, erode))
        for mask, wider, narrower in zip(masks.astype(np.uint8), dilated, eroded, strict=True):
            np.testing.assert_array_equal(wider[..., 0], cv2.dilate(mask, cv2_ellipse(size)) > 0)
            np.testing.assert_array_equal(narrower[..., 0], cv2.erode(mask, cv2_ellipse(size)) > 0)


def test_labels_of_a_photograph_are_the_references():
    """All of a 480x640 matte, compared as packed bits."""
    expected = json.loads((PARITY / "gfm_labels.json").read_text())
    packed = np.load(PARITY / "gfm_labels.npz")
    soft = picture("gfm/label/alpha", (1, 480, 640, 1)).astype(np.float64)
    byte = np.round(255 * np.clip((soft - 0.46) / 0.08, 0, 1)).astype(np.uint8)[0, ..., 0]
    alpha = jnp.asarray(byte, jnp.float32)[None, ..., None] / 255
    result = {
        "trimap_25": jax.jit(labels.trimap)(alpha),
        "dilation_50": jax.jit(labels.dilation)(alpha),
        "erosion_50": jax.jit(labels.erosion)(alpha),
    }
    for name, label in result.items():
        assert label.dtype == jnp.float32
        ours = np.round(np.asarray(label)[0, ..., 0] * 255).astype(np.uint8)
        values, counts = np.unique(ours, return_counts=True)
        assert dict(zip(map(str, values), counts, strict=True)) == expected["counts"][name]
        for value in values[1:]:
            np.testing.assert_array_equal(np.packbits(ours >= value), packed[f"{name}_{value}"])
    np.testing.assert_array_equal(np.unique(result["trimap_25"]), [0, 0.5, 1])
    sums = {
        "dilation_sub": result["dilation_50"] - alpha,
        "erosion_sub": alpha - result["erosion_50"],
    }
    for name, band in sums.items():
        total = np.round(np.asarray(band, np.float64) * 255).sum()
        assert total == expected["sums"][name]


def test_near_opaque_is_not_opaque():
    """The byte 254 is not certain foreground, the byte 1 is possible foreground."""
    alpha = jnp.zeros((1, 9, 9, 1)).at[0, 4, 4].set(1 / 255)
    assert labels.trimap(alpha, 3).sum() == 0.5 * 5
    assert labels.erosion(1 - alpha, 3).sum() == 81 - 5
