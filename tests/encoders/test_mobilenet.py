"""MobileNetV2: its maps, its sizes, its start. Values are checked by the papers' parity tests."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jaxmatte.encoders import mobilenet
from jaxmatte.papers.contract import renamed

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
