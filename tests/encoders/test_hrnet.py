"""HRNet, STDC and ResNet-vd: shapes, padding, statistics. Their numbers: tests/papers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jaxmatte.encoders.hrnet import HRNet
from jaxmatte.encoders.resnet_vd import ResNet34Vd
from jaxmatte.encoders.stdc import STDC1


def shapes_of(encoder):
    """Shapes of the variables, and channels and strides of the maps."""
    image = jax.ShapeDtypeStruct((2, 96, 64, 3), jnp.float32)
    key = jax.random.key(0)
    variables = jax.eval_shape(lambda x: encoder.init(key, x, train=False), image)
    maps = jax.eval_shape(lambda v, x: encoder.apply(v, x, train=False), variables, image)
    for x in maps:
        assert 96 / x.shape[1] == 64 / x.shape[2]
    return variables, [(x.shape[-1], 96 // x.shape[1]) for x in maps]


def test_hrnet_gives_five_maps():
    variables, maps = shapes_of(HRNet(channels=18))
    assert maps == [(64, 2), (18, 4), (36, 8), (72, 16), (144, 32)]
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == 9_562_260
    _, wide = shapes_of(HRNet(channels=48, modules=(1, 1, 1), blocks=1))
    assert wide == [(64, 2), (48, 4), (96, 8), (192, 16), (384, 32)]


@pytest.mark.parametrize(
    ("encoder", "channels"),
    [(STDC1, (32, 64, 256, 512, 1024)), (ResNet34Vd, (64, 64, 128, 256, 512))],
)
def test_the_others_give_five_maps(encoder, channels):
    _, maps = shapes_of(encoder())
    assert maps == list(zip(channels, (2, 4, 8, 16, 32), strict=True))
    _, narrow = shapes_of(encoder(width=0.25))
    assert narrow == [(c // 4, stride) for c, stride in maps]


def test_hrnet_can_be_narrow_and_shallow():
    variables, maps = shapes_of(HRNet(18, width=0.25, modules=(1, 2, 1), blocks=1))
    assert maps == [(16, 2), (8, 4), (8, 8), (16, 16), (40, 32)]
    modules = {path.split("/")[0] for path in flatten_dict(variables["params"], sep="/")}
    assert {"stage3_module2", "stage1_block1", "transition3_4"} <= modules
    assert not modules & {"stage3_module3", "stage1_block2"}


def stem(padding="same", train=False, unbiased=False):
    """A picture, the first layer's parameters, its output and its running variance after it."""
    encoder = HRNet(18, 0.125, padding=padding, unbiased=unbiased, modules=(1, 1, 1), blocks=1)
    draw = np.random.default_rng(0)
    image = jnp.asarray(draw.random((2, 32, 32, 3)), jnp.float32)
    shapes = jax.eval_shape(lambda x: encoder.init(jax.random.key(0), x, train=False), image)
    variables = jax.tree.map(lambda x: jnp.asarray(1 + draw.random(x.shape), x.dtype), shapes)

    @jax.jit  # XLA leaves out all that the first layer does not need
    def first(variables):
        maps, after = encoder.apply(variables, image, train=train, mutable="batch_stats")
        return maps[0], after["batch_stats"]["stem1"]["norm"]

    given = jax.tree.map(np.asarray, variables)
    params, statistics = given["params"]["stem1"], given["batch_stats"]["stem1"]["norm"]
    return np.asarray(image), params, statistics, *first(variables)


def test_strided_convolutions_are_padded_as_asked():
    image, params, statistics, half, _ = stem()
    factor = params["norm"]["scale"] / np.sqrt(statistics["var"] + 1e-5)
    # Paddle's "same": nothing above and left, one row below, one column to the right.
    padded = np.pad(image[0], ((0, 1), (0, 1), (0, 0)))
    for row, column in ((0, 0), (1, 15), (15, 15)):
        part = padded[2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
        value = np.einsum("hwc,hwcf->f", part, params["conv"]["kernel"])
        expected = np.maximum((value - statistics["mean"]) * factor + params["norm"]["bias"], 0)
        np.testing.assert_allclose(half[0, row, column], expected, rtol=1e-5)
    shifted = stem("torch")[3]
    assert shifted.shape == half.shape
    assert not np.allclose(shifted[0, 0], half[0, 0])


def test_running_variances_take_the_biased_one():
    before = stem()[2]["var"]
    biased, unbiased = (stem(train=True, unbiased=choice)[4]["var"] for choice in (False, True))
    count = 2 * 16 * 16
    batch = [(after - 0.9 * before) / 0.1 for after in (biased, unbiased)]
    np.testing.assert_allclose(batch[1] / batch[0], count / (count - 1), rtol=1e-4)
