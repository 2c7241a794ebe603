"""VGG-16: poolings and their undoing, shapes, torchvision's names. Its numbers: tests/papers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmatte.encoders import vgg
from jaxmatte.errors import UserError

# Windows with a single maximum, ties in every pair of places, all equal, below zero.
WINDOWS = np.array(
    [
        [[1, 2], [3, 4]],
        [[5, 5], [1, 0]],
        [[1, 5], [5, 0]],
        [[0, 1], [5, 5]],
        [[0, 0], [0, 0]],
        [[-3, -2], [-2, -3]],
    ],
    np.float32,
)
PLACES = [3, 0, 1, 2, 0, 1]


def tiled():
    """The windows side by side, with a second channel turned by half: [1, 2, 12, 2]."""
    row = np.concatenate(list(WINDOWS), axis=1)
    return np.stack([row, row[::-1, ::-1]], axis=-1)[None]


def test_the_first_of_equal_maxima_wins():
    best, index = vgg.pool(tiled())
    np.testing.assert_array_equal(best[0, 0, :, 0], WINDOWS.max((1, 2)))
    np.testing.assert_array_equal(index[0, 0, :, 0], PLACES)
    turned = [int(np.argmax(window[::-1, ::-1])) for window in WINDOWS[::-1]]
    np.testing.assert_array_equal(index[0, 0, :, 1], turned)
    assert index.dtype == jnp.uint8


def test_nan_is_not_lost():
    x = np.zeros((1, 2, 8, 1), np.float32)
    for place, (row, column) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        x[0, row, 2 * place + column] = np.nan
    best, index = vgg.pool(x)
    assert np.isnan(best).all()
    np.testing.assert_array_equal(index[0, 0, :, 0], range(4))


def test_unpooling_writes_at_the_places_and_zeros_elsewhere():
    draw = np.random.default_rng(0)
    values = draw.normal(size=(2, 3, 5, 4)).astype(np.float32)
    index = draw.integers(0, 4, values.shape).astype(np.uint8)
    expected = np.zeros((2, 6, 10, 4), np.float32)
    for b, i, j, c in np.ndindex(values.shape):
        row, column = divmod(int(index[b, i, j, c]), 2)
        expected[b, 2 * i + row, 2 * j + column, c] = values[b, i, j, c]
    np.testing.assert_array_equal(vgg.unpool(values, index), expected)
    # Half precision stays what it is.
    assert vgg.unpool(values.astype(jnp.bfloat16), index).dtype == jnp.bfloat16


def test_gradients_go_where_the_values_went():
    x = tiled()
    slopes = np.arange(1.0, 13.0, dtype=np.float32).reshape(1, 1, 6, 2)

    def loss(x):
        best, _ = vgg.pool(x)
        return (best * slopes).sum()

    index = vgg.pool(x)[1]
    np.testing.assert_array_equal(jax.grad(loss)(x), vgg.unpool(slopes, index))

    def undone(values):
        return (vgg.unpool(values, index) * x).sum()

    np.testing.assert_array_equal(jax.grad(undone)(slopes), vgg.pool(x)[0])


def test_odd_sides_are_named():
    with pytest.raises(UserError, match="3 x 4 has no whole windows"):
        vgg.pool(np.zeros((1, 3, 4, 1), np.float32))


@pytest.mark.parametrize("norm", [False, True])
def test_maps_and_places(norm):
    encoder = vgg.VGG16(norm=norm, width=0.25)
    image = jax.ShapeDtypeStruct((2, 64, 96, 3), jnp.float32)
    key = jax.random.key(0)
    variables = jax.eval_shape(lambda x: encoder.init(key, x, train=False), image)
    x, maps, places = jax.eval_shape(
        lambda v, x: encoder.apply(v, x, train=False), variables, image
    )
    assert x.shape == (2, 2, 3, 128)
    assert [m.shape for m in maps] == [
        (2, 64 // s, 96 // s, c)
        for s, c in zip((1, 2, 4, 8, 16), (16, 32, 64, 128, 128), strict=True)
    ]
    for before, place in zip(maps, places, strict=True):
        assert place.shape[1] == before.shape[1] // 2
        assert place.shape[3] == before.shape[3]
    assert ("batch_stats" in variables) == norm
    full = vgg.VGG16(norm=norm)
    shapes = jax.eval_shape(lambda x: full.init(key, x, train=False), image)["params"]
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert count == 14_714_688 + 2 * 4_224 * norm  # torchvision's features


@pytest.mark.parametrize(
    ("table", "places"),
    [
        (vgg.TORCHVISION, (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)),
        (vgg.TORCHVISION_NORM, (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40)),
    ],
)
def test_torchvisions_names(table, places):
    """Its features are counted with their ReLUs, poolings and, in vgg16_bn, normalisations."""
    convolutions = [name for pattern, name in table if "norm" not in pattern]
    assert convolutions == [f"features.{place}" for place in places]
    norms = [name for pattern, name in table if "norm" in pattern]
    assert norms == ([f"features.{place + 1}" for place in places] if norms else [])
