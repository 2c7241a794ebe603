"""PP-Matting's rule: sizes on the way to the network and back."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmatte import inference
from jaxmatte.errors import UserError
from jaxmatte.inference import ppmatting as rules

RULE = inference.get("ppmatting")


@pytest.mark.parametrize(
    ("size", "encoder", "limit", "expected"),
    [
        ((2000, 3000), "hrnet_w48", 1536, [(1536, 2304), (1536, 2304)]),
        ((2048, 2049), "hrnet_w48", 1536, [(1536, 1537), (1536, 1536)]),
        ((1536, 4000), "hrnet_w48", 1536, [(1536, 4000)]),
        ((800, 601), "hrnet_w18", 512, [(682, 512), (672, 512)]),
        ((800, 601), "hrnet_w18", 0, [(800, 576)]),
        ((33, 45), "hrnet_w18", 512, [(32, 32)]),
        ((33, 450), "stdc1", 512, [(64, 448)]),
        ((100, 300), "resnet34_vd", 2048, [(128, 256)]),
    ],
)
def test_sizes(size, encoder, limit, expected):
    assert rules.working_sizes(size, encoder, limit) == expected


def stand_in(shown):
    """A network whose matte is the mean of the colours."""

    def predict(image):
        shown.append(image)
        return {"alpha": image.mean(-1, keepdims=True)}

    return predict


def test_every_step_is_opencvs_and_is_taken_back():
    image, shown = np.random.default_rng(0).random((1, 95, 131, 3), np.float32), []
    matte = RULE(stand_in(shown), jnp.asarray(image), encoder="hrnet_w18", limit=72)
    limited = cv2.resize(image[0], (99, 72), interpolation=cv2.INTER_LINEAR)
    expected = cv2.resize(limited, (96, 64), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(shown[0][0], expected, rtol=0, atol=2e-6)
    back = cv2.resize(expected.mean(-1), (99, 72), interpolation=cv2.INTER_LINEAR)
    back = cv2.resize(back, (131, 95), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(matte[0, ..., 0], back, rtol=0, atol=2e-6)


@pytest.mark.parametrize("encoder", ["hrnet_w48", "stdc1", "resnet34_vd"])
def test_any_height_and_width(encoder):
    multiple, least = rules.SIDES.get(encoder, (32, 32))
    for height, width in ((32, 32), (33, 2047), (2048, 35), (2047, 2048), (127, 129), (641, 480)):
        shown = []
        image = jax.ShapeDtypeStruct((2, height, width, 3), jnp.float32)
        rule = lambda x, s=shown: RULE(stand_in(s), x, encoder=encoder, limit=512)  # noqa: E731
        assert jax.eval_shape(rule, image).shape == (2, height, width, 1)
        (given,) = shown
        assert all(s % multiple == 0 and s >= least for s in given.shape[1:3])


def test_mattes_stay_within_bounds():
    image = jnp.asarray(np.random.default_rng(1).random((1, 45, 70, 3)) > 0.5, jnp.float32)
    matte = RULE(stand_in([]), image)
    assert matte.shape == (1, 45, 70, 1)
    assert 0 <= matte.min() < matte.max() <= 1


def test_mistakes_are_named():
    with pytest.raises(UserError, match="limit=-1"):
        RULE(stand_in([]), jnp.zeros((1, 64, 64, 3)), limit=-1)
