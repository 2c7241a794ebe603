"""Parameters and operations of every paper's network for one picture, beside the published counts.

PYTHONPATH=. python benchmarks/cost.py [--paper=gfm] [--compile]

Operations are those of XLA's own cost analysis of the program that gives one output; what that
output does not need, such as heads that only training has, is cut away by XLA. A multiply-add is
two operations. Three counts, all in units of 10^9 operations:

- `XLA`: as it is. XLA leaves out products with the zeros around a picture, which the published
  counts have, and adds what is done value by value (normalisation, activations, enlarging), which
  they leave out.
- `zeros too`: the same analysis, the zeros put there before each convolution instead of by it, so
  that their products count.
- `products`: convolutions and products of matrices alone, from their shapes, as the published
  counts are made; none of it is XLA's.

Each has its ratio to the published count in brackets. XLA is asked before it compiles; `--compile`
compiles as well and adds the first count of what it made of the program.
"""

import argparse
import math
import time
from unittest import mock

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend import core
from jax.interpreters import partial_eval as pe

from jaxmatte import layers, papers
from jaxmatte.engine import state
from jaxmatte.papers.contract import CHANNELS

SIDE = 512
ALL = "all outputs"
convolve = lax.conv_general_dilated  # as it is before `zeros_before` takes its place

# What is built, what of it is asked for, the published parameters (of all that the forward pass
# reaches) and 10^9 multiply-adds at 512 x 512: our own counts of the authors' code.
ROWS = (
    ("gfm", {"encoder": "r34"}, "alpha", 54_773_316, 53.99),
    ("gfm", {"encoder": "r34_2b"}, "alpha", 125_061_316, 623.76),
    ("gfm", {"encoder": "d121"}, "alpha", 45_934_724, 98.86),
    ("gfm", {"encoder": "r101"}, "alpha", 495_207_556, 307.77),
    ("modnet", {"variant": "released"}, "alpha", 6_487_075, 15.466),
    ("modnet", {"variant": "released"}, ALL, 6_487_075, 18.117),
    ("modnet", {"variant": "easpp"}, "alpha", 6_506_275, 15.678),
    ("modnet", {"variant": "easpp"}, ALL, 6_506_275, 18.329),
    ("ppmatting", {"encoder": "hrnet_w48"}, "alpha", 86_197_934, 164.786),
    ("ppmatting", {"encoder": "hrnet_w18"}, "alpha", 24_503_954, 90.758),
    ("ppmatting", {"encoder": "stdc1"}, "alpha", 8_947_488, 7.445),
    ("bisenetv2", {"classes": 19}, "logits", 5_231_487, 12.302),
    ("bisenetv2", {"classes": 19}, ALL, 5_231_487, 17.779),
    ("bisenetv2", {"classes": 3}, "logits", 5_193_263, 12.235),
    ("bisenetv2", {"classes": 2}, "logits", 5_190_874, 12.230),
    ("dim", {"layout": "mmagic"}, "alpha", 26_200_001, 154.70),
    ("dim", {"layout": "mmagic", "refine": True}, "alpha", 26_276_802, 174.79),
    ("dim", {"layout": "hct_v15"}, "alpha", 28_297_153, 155.24),
    ("gca", {"attention": True}, "alpha", 25_164_529, 47.612),
    ("gca", {"attention": False}, "alpha", 25_072_481, 41.704),
    ("bgmv2", {"encoder": "mobilenet_v2", "refine": "none"}, ALL, 4_991_395, 14.894),
    ("bgmv2", {"encoder": "resnet50", "refine": "none"}, ALL, 40_232_259, 63.997),
    ("bgmv2", {"encoder": "resnet101", "refine": "none"}, ALL, 59_224_387, 83.391),
)


def zeros_before(x, kernel, window_strides, padding, **options):
    """A convolution whose zeros are put around the picture first."""
    if isinstance(padding, str):
        dilation = options.get("rhs_dilation", (1, 1))
        spans = [(n - 1) * d + 1 for n, d in zip(kernel.shape, dilation, strict=False)]
        padding = lax.padtype_to_pads(x.shape[1:3], spans, window_strides, padding)
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    return convolve(x, kernel, window_strides, "VALID", **options)


def products(jaxpr):
    """Multiply-adds of a program's convolutions and products of matrices, from their shapes."""
    total = 0
    for equation in jaxpr.eqns:
        inner = map(products, core.jaxprs_in_params(equation.params))
        # Of the ways to do the same on several platforms, one is taken.
        total += max(inner, default=0) if equation.primitive.name == "cond" else sum(inner)
        if equation.primitive.name == "conv_general_dilated":
            kernel, out = equation.invars[1].aval.shape, equation.outvars[0].aval.shape
            total += math.prod(out) * math.prod(kernel[:-1])
        elif equation.primitive.name == "dot_general":
            (summed, _), _ = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            total += math.prod(equation.outvars[0].aval.shape) * math.prod(shape[i] for i in summed)
    return total


def measured(paper, fields, output, compiles):
    """The network's parameters, and its operations counted in each way."""
    model = papers.build(paper, **fields)
    variables = jax.eval_shape(lambda key: state.initial_variables(model, key), jax.random.key(0))

    def network(variables, *inputs):
        outputs = model.apply(variables, *inputs, train=False)
        return outputs if output == ALL else outputs[output]

    sides = (1, SIDE, SIDE)
    inputs = [jax.ShapeDtypeStruct((*sides, CHANNELS[name]), jnp.float32) for name in model.inputs]
    traced = jax.jit(network).trace(variables, *inputs)
    lowered = traced.lower()
    with mock.patch.object(layers.lax, "conv_general_dilated", zeros_before):
        padded = jax.jit(lambda *given: network(*given)).lower(variables, *inputs)
    counts = {"XLA": flops(lowered), "zeros too": flops(padded)}
    needed = pe.dce_jaxpr(traced.jaxpr.jaxpr, [True] * len(traced.jaxpr.jaxpr.outvars))[0]
    counts["products"] = 2 * products(needed)
    if compiles:
        counts["compiled"] = flops(lowered.compile())
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"])), counts


def flops(program):
    return program.cost_analysis()["flops"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--paper", default="", help="only this one")
    parser.add_argument("--compile", action="store_true", help="also count compiled programs")
    options = parser.parse_args()
    jax.config.update("jax_enable_compilation_cache", False)
    began = time.process_time()
    ways = ["XLA", "zeros too", "products"] + ["compiled"] * options.compile
    print(f"10^9 operations for one picture of {SIDE} x {SIDE}, by jax {jax.__version__}\n")
    print("| network | of it | parameters | published | operations |", " | ".join(ways), "|")
    print("|---" * (5 + len(ways)) + "|")
    for paper, fields, output, published, multiply_adds in ROWS:
        if options.paper not in ("", paper):
            continue
        parameters, counts = measured(paper, fields, output, options.compile)
        published_operations = 2e9 * multiply_adds
        print(
            f"| {paper} {' '.join(str(value) for value in fields.values())} | {output} "
            f"| {parameters:,} | {published:,} | {published_operations / 1e9:.2f} |",
            " | ".join(f"{n / 1e9:.2f} ({n / published_operations:.3f})" for n in counts.values()),
            "|",
            flush=True,
        )
    print(f"\n{time.process_time() - began:.0f} s of processor time")


if __name__ == "__main__":
    main()
