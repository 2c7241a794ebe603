"""GCA-Matting's test-time rules: padding, the trimap's last word, bytes; stand-in networks.

The published predictions: tests/papers/test_gca.py.
"""

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmatte import inference
from jaxmatte.errors import UserError
from jaxmatte.inference import gca as rules

SIDES = ((32, 2048), (33, 35), (63, 101), (511, 513), (641, 480), (2047, 1999))


class StandIn:
    """A network whose matte is the picture's red; it keeps what it was shown."""

    def __init__(self):
        self.shown = []

    def __call__(self, image, trimap):
        self.shown.append((image, trimap))
        return {"alpha": image[..., :1]}


def example(height=70, width=101):
    draw = np.random.default_rng(0)
    image = draw.random((1, height, width, 3), np.float32)
    return jnp.asarray(image), jnp.asarray(draw.integers(0, 3, (1, height, width, 1)) / 2)


@pytest.mark.parametrize(("name", "margin"), [("gca", 0), ("gca_mmagic", 0), ("gca_demo", 32)])
def test_mirrored_to_multiples_and_cropped_back(name, margin):
    network, (image, trimap) = StandIn(), example()
    matte = inference.get(name)(network, image, trimap)
    edges = ((0, 0), (margin, 26 + margin), (margin, 27 + margin), (0, 0))
    for shown, given in zip(network.shown[0], (image, trimap), strict=True):
        np.testing.assert_array_equal(shown, np.pad(given, edges, mode="reflect"))
    levels = image[..., :1] * 255
    levels = np.rint(levels) if name == "gca_mmagic" else np.floor(levels)
    expected = np.where(trimap == 1, 255, np.where(trimap == 0, 0, levels)) / 255
    np.testing.assert_allclose(matte, expected, rtol=0, atol=1e-6)


def test_a_trimap_between_its_values_rules_by_thirds():
    image = jnp.full((1, 32, 32, 3), 0.3)
    trimap = jnp.full((1, 32, 32, 1), 0.9).at[:, 0].set(0.2).at[:, 1].set(0.6)
    matte = inference.get("gca")(StandIn(), image, trimap, levels="none")[0, :3, 0, 0]
    np.testing.assert_allclose(matte, [0, 0.3, 1], atol=1e-6)


def test_squeezed_to_a_square_and_brought_back():
    network, (image, trimap) = StandIn(), example()
    matte = rules.gca_resize(network, image, trimap, size=64, levels="none")
    shown, classes = network.shown[0]
    expected = cv2.resize(np.asarray(image[0]), (64, 64), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(shown[0], expected, rtol=0, atol=2e-6)
    nearest = cv2.resize(np.asarray(trimap[0]), (64, 64), interpolation=cv2.INTER_NEAREST)
    np.testing.assert_array_equal(classes[0, ..., 0], nearest)
    back = cv2.resize(expected[..., 0], (101, 70), interpolation=cv2.INTER_LINEAR)
    unknown = np.asarray(trimap[0, ..., 0]) == 0.5
    np.testing.assert_allclose(matte[0, ..., 0][unknown], back[unknown], rtol=0, atol=2e-6)
    np.testing.assert_array_equal(matte[trimap == 1], 1)


@pytest.mark.parametrize(("size", "overlap"), [(64, 40), (96, 1), (256, 32)])
def test_crops_of_a_network_that_sees_single_pixels_make_its_matte(size, overlap):
    image, trimap = example(150, 200)
    unknown = jnp.full_like(trimap, 0.5)
    network = StandIn()
    matte = rules.gca_crop(network, image, unknown, size=size, overlap=overlap, levels="none")
    np.testing.assert_allclose(matte, image[..., :1], rtol=0, atol=1e-6)
    assert network.shown[0][0].shape == (1, min(size, 160), min(size, 224), 3)
    assert len(network.shown) == 1  # compiled once, however many crops


def test_crops_fade_into_each_other():
    """A network that gives each crop a constant of its own: no steps where they meet."""

    def predict(image, trimap):
        return {"alpha": jnp.broadcast_to(image[:, :1, :1, :1], trimap.shape)}

    ramp = jnp.broadcast_to(jnp.linspace(0, 1, 160)[None, None, :, None], (1, 32, 160, 3))
    trimap = jnp.full((1, 32, 160, 1), 0.5)
    matte = rules.gca_crop(predict, ramp, trimap, size=64, overlap=32, levels="none")[0, 0, :, 0]
    assert float(matte[0]) == 0
    assert float(matte[-1]) == pytest.approx(96 / 159, abs=1e-6)
    assert np.abs(np.diff(matte)).max() < 0.02


@pytest.mark.parametrize("name", sorted(rules.RULES))
@pytest.mark.parametrize(("height", "width"), SIDES)
def test_every_size_comes_back_as_it_was(name, height, width):
    network = StandIn()
    given = [jax.ShapeDtypeStruct((2, height, width, n), jnp.float32) for n in (3, 1)]
    matte = jax.eval_shape(lambda *x: inference.get(name)(network, *x), *given)
    assert matte.shape == (2, height, width, 1)
    for shown in network.shown[0]:
        assert not any(side % 32 for side in shown.shape[1:3])


def test_mistakes_are_named():
    given = example()
    with pytest.raises(UserError, match="size=100: it must be a multiple of 32"):
        rules.gca_resize(StandIn(), *given, size=100)
    with pytest.raises(UserError, match="overlap=64: give 1 pixel or more, less than size=64"):
        rules.gca_crop(StandIn(), *given, size=64, overlap=64)
    with pytest.raises(UserError, match="'cut'"):
        rules.gca(StandIn(), *given, levels="cut")
    assert set(rules.RULES) <= inference.SAME_SIZE
