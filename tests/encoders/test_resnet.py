"""ResNets: their maps, their sizes, their start. Values are checked by the papers' parity tests."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jaxmatte.encoders import resnet

IMAGE = jax.ShapeDtypeStruct((2, 64, 96, 3), jnp.float32)


def shapes(encoder):
    """The maps' strides and channels, and the number of parameters."""
    key = jax.random.key(0)
    maps, variables = jax.eval_shape(
        lambda k, x: encoder.init_with_output(k, x, train=False), key, IMAGE
    )
    count = sum(int(np.prod(p.shape)) for p in jax.tree.leaves(variables["params"]))
    strides = [64 // m.shape[1] for m in maps]
    assert [96 // m.shape[2] for m in maps] == strides
    return strides, [m.shape[-1] for m in maps], count


@pytest.mark.parametrize(
    ("encoder", "strides", "channels", "count"),
    [
        # torchvision's totals without the classifiers' 513,000 and 2,049,000.
        (resnet.ResNet34, [2, 4, 8, 16, 32], [64, 64, 128, 256, 512], 21_797_672 - 513_000),
        (resnet.ResNet101, [2, 4, 8, 16, 32], [64, 256, 512, 1024, 2048], 44_549_160 - 2_049_000),
    ],
)
def test_maps_and_parameters(encoder, strides, channels, count):
    assert shapes(encoder()) == (strides, channels, count)


def test_dilation_in_place_of_the_last_halving():
    """torchvision's rule: the stage's first block keeps stride and dilation of 1."""
    encoder = resnet.ResNet50(output_stride=16, width=0.25)
    strides, channels, count = shapes(encoder)
    assert strides == [2, 4, 8, 16, 16]
    plain, others, same = shapes(resnet.ResNet50(width=0.25))
    assert (plain[-1], channels, count) == (32, others, same)
    image = jnp.zeros((1, 32, 32, 6))
    block = resnet.Stage(resnet.Bottleneck, 2, 8, dilation=2)
    variables = jax.eval_shape(lambda x: block.init(jax.random.key(0), x, train=False), image)
    program = str(jax.make_jaxpr(lambda v, x: block.apply(v, x, train=False))(variables, image))
    # Of the two 3x3s the first is not dilated yet; the shortcut keeps the size.
    assert program.count("rhs_dilation=(2, 2)") == 1
    assert "window_strides=(2, 2)" not in program


def test_full_resolution_variant():
    strides, channels, _ = shapes(resnet.FullResolutionResNet34())
    assert strides == [1, 1, 2, 4, 8, 16, 32]
    assert channels == [64, 64, 128, 256, 512, 512, 512]


@pytest.mark.parametrize("encoder", [resnet.ResNet34, resnet.FullResolutionResNet34])
def test_width_scales_the_channels(encoder):
    _, channels, _ = shapes(encoder())
    _, narrow, _ = shapes(encoder(width=0.25))
    assert narrow == [c // 4 for c in channels]


def test_pretrained_stages_start_by_he_and_new_ones_by_pytorchs_default():
    encoder = resnet.FullResolutionResNet34(width=0.25)
    variables = encoder.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False)
    params = flatten_dict(variables["params"], sep="/")
    old = np.asarray(params["stage4/block1/layer1/conv/kernel"])
    new = np.asarray(params["new_stage5/block1/layer1/conv/kernel"])
    np.testing.assert_allclose(old.std(), (2 / (9 * 128)) ** 0.5, rtol=0.02)
    assert 0.99 * (9 * 128) ** -0.5 < np.abs(new).max() <= (9 * 128) ** -0.5


def test_the_stride_is_on_the_3x3_and_the_shortcut():
    block = resnet.Bottleneck(features=8, stride=2)
    x = jax.random.normal(jax.random.key(1), (1, 8, 8, 16))
    y, variables = block.init_with_output(jax.random.key(0), x, train=False)
    assert y.shape == (1, 4, 4, 32)
    # A 1x1 with stride 2 would never see the odd pixels; the 3x3 does.
    moved = block.apply(variables, x.at[:, 1, 1].add(1.0), train=False)
    assert np.abs(moved - y).max() > 1e-3
    plain = resnet.Bottleneck(features=4)
    variables = plain.init(jax.random.key(0), x, train=False)
    assert "shortcut" not in variables["params"]
