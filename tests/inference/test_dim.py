"""Deep Image Matting's test-time rules; the network is a stand-in."""

import pathlib

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmatte import inference
from jaxmatte.errors import UserError
from jaxmatte.inference import dim as rules
from tests.parity import fill

PARITY = pathlib.Path(__file__).parent.parent / "parity"
SIDES = ((32, 2048), (2047, 33), (63, 101), (511, 513), (35, 32), (32, 32))
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


class StandIn:
    """A network that gives a matte, or the picture's red, and keeps what it was shown."""

    def __init__(self, matte=None):
        self.matte, self.image, self.trimap = matte, None, None

    def __call__(self, image, trimap):
        self.image, self.trimap = image, trimap
        return {"alpha": image[..., :1] if self.matte is None else jnp.asarray(self.matte)}


def pictures(height, width, tag=""):
    """A picture in whole levels, as files have it, and a trimap."""
    image = fill.picture(f"dim/rgb{tag}", (1, height, width, 3))
    level = 255 * fill.picture(f"dim/trimap{tag}", (1, height, width, 1))
    return image, np.digitize(level, [85, 170]).astype(np.float32) / 2


@pytest.mark.parametrize("stage", ["stage1", "stage3"])
def test_mmagics_rule_gives_its_bytes(stage):
    """What the network was shown, and the levels made of what it gave."""
    with np.load(PARITY / "dim_predict.npz") as file:
        shown, alpha, levels = (file[n] for n in ("shown", f"{stage}/alpha", f"{stage}/bytes"))
    network = StandIn(alpha)
    image, trimap = pictures(70, 101)
    found = rules.dim(network, jnp.asarray(image), jnp.asarray(trimap))
    assert network.image.shape == (1, 96, 128, 3)
    seen = np.concatenate(
        [(network.image - MEAN) / STD, np.where(network.trimap == 0.5, 128 / 255, network.trimap)],
        axis=-1,
    )
    np.testing.assert_allclose(seen[:, ::3, ::3], shown, rtol=0, atol=2e-6)
    np.testing.assert_array_equal(np.round(255 * found[0, ..., 0]), levels)


def test_levels_are_asked_for():
    image, trimap = pictures(33, 40)
    network = StandIn(np.full((1, 64, 64, 1), 0.501 / 255, np.float32))
    unknown = trimap == 0.5
    for levels, expected in (("round", 1 / 255), ("truncate", 0.0), ("none", 0.501 / 255)):
        alpha = np.asarray(rules.dim(network, image, trimap, levels=levels))
        np.testing.assert_allclose(alpha[unknown], expected, atol=1e-7)
        np.testing.assert_array_equal(alpha[~unknown], trimap[~unknown])


def resized(plane, size):
    return cv2.resize(plane, size[::-1], interpolation=cv2.INTER_LINEAR)


def emulated(image, trimap, size, predict):
    """hct's way of one pass at another size, on bytes, by OpenCV: what is shown, and the matte."""
    levels = np.where(trimap == 0.5, 128, 255 * trimap).astype(np.uint8)
    shown = resized(np.round(255 * image).astype(np.uint8), size)
    guide = resized(levels, size)
    return shown, guide, resized(predict(shown / np.float32(255)), image.shape[:2])


def compare(network, shown, guide):
    """OpenCV resizes bytes in fixed point: a level more or less."""
    levels = 255 * np.asarray(network.trimap)[..., 0], 255 * np.asarray(network.image)
    for ours, theirs in zip(levels, (guide, shown), strict=True):
        np.testing.assert_allclose(ours, np.round(ours), atol=1e-3)
        error = np.abs(ours - theirs)
        assert error.max() < 1.1
        assert error.mean() < 0.3


def red(image):
    return image[..., 0]


@pytest.mark.parametrize(
    ("height", "width", "longest", "size"),
    [(70, 101, 1600, (64, 96)), (70, 101, 64, (64, 64)), (64, 96, 1600, (64, 96))],
)
def test_hcts_whole_pictures(height, width, longest, size):
    image, trimap = pictures(height, width)
    network = StandIn()
    alpha = rules.dim_hct(network, jnp.asarray(image), jnp.asarray(trimap), longest=longest)
    assert network.image.shape[1:3] == size
    shown, guide, matte = emulated(image[0], trimap[0, ..., 0], size, red)
    compare(network, shown[None], guide[None])
    # Resized trimaps hold other values than three, where the size changed.
    assert (len(np.unique(guide)) > 3) == (size != (height, width))
    expected = np.floor(255 * np.clip(matte, 0, 1))
    found = 255 * np.asarray(alpha)[0, ..., 0]
    unknown = trimap[0, ..., 0] == 0.5
    assert np.abs(found - expected)[unknown].max() < 2.1
    np.testing.assert_array_equal(found[~unknown], 255 * trimap[0, ..., 0][~unknown])


def test_hct_truncates():
    image, trimap = pictures(32, 32)
    network = StandIn(np.full((1, 32, 32, 1), 99.9 / 255, np.float32))
    unknown = trimap == 0.5
    alpha = np.asarray(rules.dim_hct(network, image, trimap))
    np.testing.assert_allclose(alpha[unknown], 99 / 255, atol=1e-7)
    kept = np.asarray(rules.dim_hct(network, image, trimap, levels="none"))
    np.testing.assert_allclose(kept[unknown], 99.9 / 255, atol=1e-7)


def test_hcts_square():
    image, trimap = pictures(70, 101)
    network = StandIn()
    rules.dim_hct(network, jnp.asarray(image), jnp.asarray(trimap), form="resize", side=64)
    shown, guide, _ = emulated(image[0], trimap[0, ..., 0], (64, 64), red)
    compare(network, shown[None], guide[None])


def test_hcts_tiles():
    """Whole tiles are shown as they are, those at the borders are enlarged, and come back."""
    image, trimap = pictures(70, 101)
    network = StandIn()
    options = {"form": "crop", "side": 64, "levels": "none"}
    alpha = rules.dim_hct(network, jnp.asarray(image), jnp.asarray(trimap), **options)
    assert network.image.shape == (4, 64, 64, 3)
    corners = [(0, 0), (0, 64), (64, 0), (64, 64)]
    parts = [
        emulated(
            image[0, i : i + 64, j : j + 64], trimap[0, i : i + 64, j : j + 64, 0], (64,) * 2, red
        )
        for i, j in corners
    ]
    compare(network, np.stack([p[0] for p in parts]), np.stack([p[1] for p in parts]))
    whole = np.concatenate(
        [np.concatenate([parts[2 * i + j][2] for j in (0, 1)], axis=1) for i in (0, 1)]
    )
    unknown = trimap[0, ..., 0] == 0.5
    error = np.abs(np.asarray(alpha)[0, ..., 0] - whole)[unknown]
    assert error.max() < 1.6 / 255


@pytest.mark.parametrize(
    ("name", "options"),
    [("dim", {}), *[("dim_hct", {"form": form}) for form in rules.FORMS]],
)
@pytest.mark.parametrize(("height", "width"), SIDES)
def test_every_size_comes_back_as_it_was(name, options, height, width):
    network = StandIn()
    inputs = [jax.ShapeDtypeStruct((2, height, width, c), jnp.float32) for c in (3, 1)]
    alpha = jax.eval_shape(lambda *x: inference.get(name)(network, *x, **options), *inputs)
    assert alpha.shape == (2, height, width, 1)
    assert network.image.shape[:3] == network.trimap.shape[:3]
    assert not any(side % 32 for side in network.image.shape[1:3])
    assert max(network.image.shape[1:3]) <= (2048 if name == "dim" else 1600)


def test_mistakes_are_named():
    inputs = (StandIn(), *(jnp.asarray(x) for x in pictures(32, 32)))
    with pytest.raises(UserError, match="did you mean 'whole'"):
        rules.dim_hct(*inputs, form="hole")
    with pytest.raises(UserError, match="side=100 of dim_hct"):
        rules.dim_hct(*inputs, form="crop", side=100)
    with pytest.raises(UserError, match="longest=0 of dim_hct"):
        rules.dim_hct(*inputs, longest=0)
    with pytest.raises(UserError, match="did you mean 'round'"):
        rules.dim(*inputs, levels="rund")
    assert {"dim", "dim_hct"} <= inference.SAME_SIZE
