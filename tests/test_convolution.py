"""The forms of convolutions that are fast on the CPU, against XLA's own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmatte import convolution


def uniform(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def operands(inputs, outputs, size, groups=1):
    x, kernel = uniform(2, 9, 12, inputs), uniform(size, size, inputs // groups, outputs, seed=1)
    return jnp.asarray(x), jnp.asarray(kernel)


def test_taps_beyond_the_map_are_left_out():
    x, kernel = operands(4, 4, 3)
    edges = [(10, 10)] * 2
    traced = jax.jit(functools.partial(convolution.convolve, padding=edges, dilation=10))
    # Of 9 rows only the kernel's middle one reaches any; of 12 columns all do.
    assert "tensor<1x3x4x4xf32>" in traced.lower(x, kernel).as_text()


def program(platform, padding):
    """What a platform runs of a convolution with so many zeros around the map."""
    edges = [(padding, padding)] * 2
    traced = jax.jit(functools.partial(convolution.convolve, padding=edges)).trace(
        *operands(4, 4, 3)
    )
    return traced.lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize(
    ("inputs", "outputs", "size", "stride", "dilation", "padding", "groups"),
    [
        (6, 6, 3, 1, 1, [(1, 1), (1, 1)], 6),
        (6, 18, 3, 2, 1, [(1, 1), (1, 1)], 6),
        (6, 6, 3, 1, 6, [(6, 6), (6, 6)], 6),
        (6, 9, 1, 1, 1, [(0, 0), (0, 0)], 3),
        (6, 4, 3, 2, 1, "SAME", 2),
        (6, 6, 5, 2, 1, "VALID", 6),
        (6, 6, 3, 2, 2, [(2, 1), (0, 2)], 2),
        (5, 3, 3, 1, 1, "VALID", 1),
        (5, 3, 3, 2, 1, "VALID", 1),
        (5, 3, 2, 2, 1, "VALID", 1),  # of 9 rows, where one more gives another row of results
        (5, 3, 5, 2, 1, [(0, 0), (0, 0)], 1),
        (5, 3, 3, 1, 3, "VALID", 1),
        (5, 3, 2, 3, 2, "VALID", 1),
        (5, 3, 1, 1, 1, "VALID", 1),
        (5, 3, 3, 1, 1, [(0, 0), (0, 2)], 1),
        # Taps that reach no pixel of 9 x 12: outer rows; rows and columns; those of one side.
        (5, 3, 3, 1, 9, [(9, 9), (9, 9)], 1),
        (5, 3, 3, 1, 12, [(12, 12), (12, 12)], 1),
        (6, 6, 3, 2, 12, [(12, 12), (12, 12)], 6),
        (5, 3, 5, 1, 7, [(14, 14), (14, 14)], 1),
        (5, 3, 2, 1, 13, [(0, 13), (13, 0)], 1),
        (5, 3, 3, 1, 13, [(12, 14), (20, 13)], 1),
    ],
)
def test_forms_of_the_cpu_equal_xlas_convolution(
    inputs, outputs, size, stride, dilation, padding, groups
):
    x, kernel = operands(inputs, outputs, size, groups)

    def ours(x, kernel):
        return convolution.convolve(
            x, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups
        )

    def xlas(x, kernel):
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            padding,
            rhs_dilation=(dilation, dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )

    expected = xlas(x, kernel)
    np.testing.assert_allclose(ours(x, kernel), expected, rtol=0, atol=1e-5)
    weight = uniform(*expected.shape, seed=2)
    one, other = (
        jax.grad(lambda x, kernel, f=f: jnp.vdot(f(x, kernel), weight), argnums=(0, 1))(x, kernel)
        for f in (ours, xlas)
    )
    for gradient, reference in zip(one, other, strict=True):
        np.testing.assert_allclose(gradient, reference, rtol=0, atol=1e-4)


def test_a_row_of_zeros_is_for_maps_without_padding_on_the_cpu():
    assert "pad = [[0, 1], [0, 0]]" in program("cpu", 0)
    assert "pad = [[1, 1], [1, 1]]" in program("cpu", 1)


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_accelerators_have_none(platform):
    assert "pad = [[0, 0], [0, 0]]" in program(platform, 0)
