"""MODNet's test-time rules: sizes, resizing and odd pictures; the network is a stand-in."""

import json
import pathlib

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmatte import inference
from jaxmatte.errors import UserError
from jaxmatte.inference import modnet as rules
from tests.parity import fill

PARITY = pathlib.Path(__file__).parent.parent / "parity"
REFERENCE = json.loads((PARITY / "modnet_pipeline.json").read_text())
SIDES = ((32, 2048), (2047, 33), (63, 101), (511, 513), (1001, 767), (32, 511), (2048, 1999))


class StandIn:
    """A network that gives a matte, or the picture's red, and keeps what it was shown."""

    def __init__(self, matte=None):
        self.matte, self.shown = matte, None

    def __call__(self, image):
        self.shown = image
        return {"alpha": image[..., :1] if self.matte is None else jnp.asarray(self.matte)}


@pytest.mark.parametrize(("height", "width", "rows", "columns"), REFERENCE["sizes"])
def test_sizes_are_the_demos(height, width, rows, columns):
    assert rules.working_size(height, width) == (rows, columns)


@pytest.mark.parametrize("case", REFERENCE["cases"])
def test_pictures_and_mattes_are_resized_as_published(case):
    about = REFERENCE["cases"][case]
    with np.load(PARITY / "modnet_pipeline.npz") as file:
        fixture = {name: file[f"{case}/{name}"] for name in ("net_input", "net_matte", "matte")}
    network = StandIn(fixture["net_matte"])
    image = fill.picture(f"modnet/pipeline/{case}", (1, about["h"], about["w"], 3))
    alpha = rules.modnet(network, jnp.asarray(image), reference=about["ref_size"])
    assert network.shown.shape == (1, about["net_h"], about["net_w"], 3)
    shown = 2 * network.shown[:, ::3, ::3] - 1  # as the published network is fed
    np.testing.assert_allclose(shown, fixture["net_input"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(alpha[:, ::3, ::3], fixture["matte"], rtol=0, atol=1e-6)


def test_video_is_bilinear_and_always_resized():
    image = np.random.default_rng(0).random((1, 64, 100, 3)).astype(np.float32)
    network = StandIn()
    alpha = rules.modnet_video(network, jnp.asarray(image), reference=96)
    assert network.shown.shape == (1, 96, 128, 3)  # 100 / 64 * 96 = 150, down to a multiple of 32
    expected = cv2.resize(image[0], (128, 96), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(network.shown[0], expected, atol=2e-6)
    back = cv2.resize(expected[..., 0], (100, 64), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(alpha[0, ..., 0], back, atol=2e-6)


@pytest.mark.parametrize("name", ["modnet", "modnet_video"])
@pytest.mark.parametrize(("height", "width"), SIDES)
def test_every_size_comes_back_as_it_was(name, height, width):
    network = StandIn()
    image = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
    alpha = jax.eval_shape(lambda x: inference.get(name)(network, x, reference=256), image)
    assert alpha.shape == (1, height, width, 1)
    given = network.shown.shape[1:3]
    assert 32 <= min(given) <= max(given) <= 16 * 256
    assert not any(side % 32 for side in given)


def test_mistakes_are_named():
    with pytest.raises(UserError, match="reference=16"):
        rules.modnet(StandIn(), jnp.zeros((1, 64, 64, 3)), reference=16)
    assert {"modnet", "modnet_video"} <= inference.SAME_SIZE
