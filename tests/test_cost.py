"""The counts of `benchmarks/cost.py`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from benchmarks import cost
from jaxmatte import papers

CASES = {
    "same": {"padding": "SAME"},
    "same, by steps": {"padding": "SAME", "window_strides": (2, 2)},
    "dilated": {"padding": [(2, 2), (2, 2)], "rhs_dilation": (2, 2)},
    "in groups": {"padding": [(1, 1), (1, 1)], "feature_group_count": 2},
    "valid": {"padding": "VALID"},
}
LAYOUT = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}


@pytest.mark.parametrize("case", CASES)
def test_with_its_zeros_before_it_a_convolution_is_the_same_and_all_products_count(case):
    options = {"window_strides": (1, 1)} | CASES[case] | LAYOUT
    x = jax.random.normal(jax.random.key(0), (1, 9, 12, 4))
    kernel = jax.random.normal(
        jax.random.key(1), (3, 3, 4 // options.get("feature_group_count", 1), 6)
    )
    expected = lax.conv_general_dilated(x, kernel, **options)
    np.testing.assert_allclose(cost.zeros_before(x, kernel, **options), expected, atol=1e-5)
    padded = jax.jit(lambda *given: cost.zeros_before(*given, **options)).lower(x, kernel)
    every_product = 2 * expected.size * kernel[..., 0].size
    assert cost.flops(padded) == pytest.approx(every_product, abs=1)  # the zero is converted
    plain = jax.jit(lambda *given: lax.conv_general_dilated(*given, **options)).trace(x, kernel)
    assert 2 * cost.products(plain.jaxpr.jaxpr) == every_product
    assert (cost.flops(plain.lower()) < every_product) == (case != "valid")


def test_products_of_matrices_count_also_inside_of_functions():
    @jax.jit
    def inner(a, b):
        return jax.nn.relu(a) @ b

    traced = jax.jit(lambda a, b: inner(a, b) + 1).trace(jnp.ones((5, 7)), jnp.ones((7, 3)))
    assert cost.products(traced.jaxpr.jaxpr) == 5 * 7 * 3


def test_every_paper_has_a_row():
    assert {row[0] for row in cost.ROWS} == set(papers.names())


@pytest.mark.slow
@pytest.mark.parametrize("row", cost.ROWS, ids=lambda row: f"{row[0]} {row[1]} {row[2]}")
def test_parameters_and_operations_are_the_published_ones(row):
    paper, fields, output, published, multiply_adds = row
    parameters, counts = cost.measured(paper, fields, output, compiles=False)
    assert parameters == published
    assert counts["zeros too"] == pytest.approx(2e9 * multiply_adds, rel=0.02)
    # HRNet's last maps at 1/8 and 1/16 are not needed and not counted here; GCA's transposed
    # convolutions are computed as plain ones, which see a row and a column more.
    exact = 0.007 if paper == "gca" else 0.004
    assert counts["products"] == pytest.approx(2e9 * multiply_adds, rel=exact)
