"""MobileNetV2: its maps, its sizes, its start. Values are checked by the papers' parity tests."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from jax.extend import core

from jaxmatte.encoders import mobilenet
from jaxmatte.papers.contract import renamed

KEY = jax.random.key(0)
IMAGE = jax.ShapeDtypeStruct((2, 64, 96, 3), jnp.float32)


def shapes(encoder):
    """The maps and the parameters, as shapes."""
    key = jax.random.key(0)
    maps, variables = jax.eval_shape(
        lambda k, x: encoder.init_with_output(k, x, train=False), key, IMAGE
    )
    return maps, flatten_dict(variables["params"], sep="/")


def test_maps_and_parameters():
    maps, params = shapes(mobilenet.MobileNetV2())
    assert [m.shape[-1] for m in maps] == [16, 24, 32, 96, 1280]
    assert [(64 // m.shape[1], 96 // m.shape[2]) for m in maps] == [
        (s, s) for s in (2, 4, 8, 16, 32)
    ]
    # torchvision's total without the classifier's 1,281,000.
    assert sum(int(np.prod(p.shape)) for p in params.values()) == 3_504_872 - 1_281_000


def test_dilation_in_place_of_the_last_halving():
    """torchvision's rule: what would halve is not dilated yet; the block names stay the same."""
    encoder = mobilenet.MobileNetV2(output_stride=16, last=False)
    image = jax.ShapeDtypeStruct((1, 65, 96, 6), jnp.float32)
    run = lambda k, x: encoder.init_with_output(k, x, train=False)  # noqa: E731
    maps, variables = jax.eval_shape(run, jax.random.key(0), image)
    assert [m.shape[1:] for m in maps] == [(33, 48, 16), (17, 24, 24), (9, 12, 32), (5, 6, 320)]
    _, params = shapes(mobilenet.MobileNetV2())
    found = flatten_dict(variables["params"], sep="/")
    stem = "stem/conv/kernel"
    assert found.pop(stem).shape == (3, 3, 6, 32)
    kept = {path: p for path, p in params.items() if "last" not in path and path != stem}
    assert found == kept
    assert dilations(encoder, image) == [((1, 1), (2, 2))] * 3


def dilations(encoder, image):
    """Stride and dilation of every dilated convolution in a program for a device."""
    found = []

    def collect(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name == "conv_general_dilated":
                of = equation.params
                found.append((of["window_strides"], of["rhs_dilation"]))
            for inner in core.jaxprs_in_params(equation.params):
                collect(inner)

    variables = jax.eval_shape(lambda k, x: encoder.init(k, x, train=False), KEY, image)
    run = lambda v, x: encoder.apply(v, x, train=False)  # noqa: E731
    collect(jax.make_jaxpr(run)(variables, image).jaxpr)
    return [(stride, dilation) for stride, dilation in found if dilation != (1, 1)]


def test_width_scales_the_channels():
    maps, _ = shapes(mobilenet.MobileNetV2(width=0.25))
    assert [m.shape[-1] for m in maps] == [8, 8, 8, 24, 320]


def test_both_public_layouts_name_every_module_once():
    _, params = shapes(mobilenet.MobileNetV2())
    modules = {path.rpartition("/")[0] for path in params}
    for table, some in (
        (mobilenet.TORCHVISION, {"features.0.0", "features.1.conv.2", "features.17.conv.1.1"}),
        (mobilenet.FLAT, {"features.18.1", "features.1.conv.4", "features.17.conv.7"}),
    ):
        names = {renamed(module, [(f"^{p}", n) for p, n in table]) for module in modules}
        assert len(names) == len(modules) == 2 * 52
        assert None not in names
        assert some <= names


@pytest.mark.parametrize(("features", "stride", "added"), [(8, 1, 1), (8, 2, 0), (16, 1, 0)])
def test_the_input_is_added_where_nothing_changes_shape(features, stride, added):
    block = mobilenet.InvertedResidual(features, stride, expansion=1)
    x = jax.random.normal(jax.random.key(0), (1, 4, 4, 8))
    shapes = jax.eval_shape(lambda k: block.init(k, x, train=False), jax.random.key(1))
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape), shapes)
    found = block.apply(zeros, x, train=False)
    np.testing.assert_array_equal(found, added * x if added else 0 * found)
