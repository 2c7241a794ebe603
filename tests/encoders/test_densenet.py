"""DenseNet-121: its maps, its size. Values are checked by the papers' parity tests."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmatte.encoders.densenet import DenseNet121


def initialised(encoder, height=64, width=96):
    image = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
    return jax.eval_shape(
        lambda k, x: encoder.init_with_output(k, x, train=False), jax.random.key(0), image
    )


def test_maps_and_parameters():
    maps, variables = initialised(DenseNet121())
    assert [64 // m.shape[1] for m in maps] == [2, 4, 8, 16, 32]
    assert [m.shape[-1] for m in maps] == [64, 128, 256, 512, 512]
    params = dict(variables["params"])
    added = params.pop("reduction")
    count = sum(int(np.prod(p.shape)) for p in jax.tree.leaves(params))
    # torchvision's 7,978,856 without the classifier (1,025,000) and norm5 (2,048).
    assert count == 7_978_856 - 1_025_000 - 2_048
    assert added["conv"]["kernel"].shape == (3, 3, 1024, 512)


@pytest.mark.parametrize(("width", "channels"), [(0.5, [32, 64, 128, 256, 256])])
def test_width_scales_the_channels(width, channels):
    maps, _ = initialised(DenseNet121(width=width))
    assert [m.shape[-1] for m in maps] == channels


def test_layers_add_to_what_came_before():
    encoder = DenseNet121(counts=(2, 1, 1, 1), width=0.125)
    _, variables = initialised(encoder)
    block = variables["params"]["block1"]
    inputs = [block[f"layer{i}_bottleneck"]["conv"]["kernel"].shape[2] for i in (1, 2)]
    assert inputs == [8, 16]
