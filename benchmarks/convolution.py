"""Time of convolutions of maps without zeros around them: XLA's own, and ours.

PYTHONPATH=. python benchmarks/convolution.py

Forward, and forward with both gradients, the median of some runs; the second column of each is what
`jaxmatte.convolution` runs on the CPU. Elsewhere both are the same program. The last column has
XLA's own with as many zeros around as keep the size.
"""

import statistics
import time

import jax
import jax.numpy as jnp
from jax import lax

from jaxmatte import memory
from jaxmatte.convolution import convolve

SHAPES = (  # batch, side, inputs, outputs, and where such a one is; kernels of 3 x 3
    (8, 100, 22, 12, "BGMv2's refiner in training"),
    (1, 1084, 22, 12, "the same, of a large picture"),
    (1, 542, 42, 24, "the same, at half of its sides"),
    (5000, 6, 22, 12, "the same, of patches"),
    (1, 514, 32, 32, "a narrow decoder at 512 pixels"),
    (1, 258, 64, 64, "an encoder"),
    (1, 66, 256, 256, "the same, further in"),
)
COLUMNS = ("convolution", "XLA's", "ours", "with gradients, XLA's", "ours", "with zeros, XLA's")


def xlas(x, kernel, padding="VALID"):
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=numbers)


def padded(x, kernel):
    return xlas(x, kernel, "SAME")


def milliseconds(function, *operands, runs=7):
    compiled, taken = jax.jit(function), []
    jax.block_until_ready(compiled(*operands))
    for _ in range(runs):
        start = time.perf_counter()
        jax.block_until_ready(compiled(*operands))
        taken.append(time.perf_counter() - start)
    return 1e3 * statistics.median(taken)


def with_gradients(form):
    def loss(x, kernel):
        return jnp.square(form(x, kernel)).sum()

    return jax.value_and_grad(loss, (0, 1))


def main() -> None:
    memory.keep(compiles=True)
    print(f"jax {jax.__version__} on {jax.default_backend()}, milliseconds\n")
    print(f"| {' | '.join(COLUMNS)} |")
    print(f"|{' --- |' * len(COLUMNS)}")
    for batch, side, inputs, outputs, where in SHAPES:
        x = jax.random.normal(jax.random.key(0), (batch, side, side, inputs))
        kernel = jax.random.normal(jax.random.key(1), (3, 3, inputs, outputs))
        forms = [xlas, convolve, with_gradients(xlas), with_gradients(convolve), padded]
        cells = [f"{milliseconds(form, x, kernel):.1f}" for form in forms]
        name = f"{batch} x {side} x {side}, {inputs} to {outputs}: {where}"
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
