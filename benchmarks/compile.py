"""How long a paper's full-size train step takes to compile, and how much memory it wants.

PYTHONPATH=. python benchmarks/compile.py --config=configs/gfm.py:track=ori --batch=32
"""

import argparse
import functools
import pathlib
import resource
import time

import jax
import jax.numpy as jnp

from jaxmatte import papers
from jaxmatte.engine import optimizer, state, steps
from jaxmatte.engine.parallel import Parallel
from jaxmatte.main import load_module

PLANES = ("alpha", "trimap", "dilation", "erosion")


def configuration(text):
    path, _, arguments = text.partition(":")
    return load_module(path).get_config(arguments)


def abstract_batch(rows, side):
    batch = {
        name: jax.ShapeDtypeStruct((rows, side, side, 3), jnp.uint8)
        for name in ("image", "foreground", "background")
    }
    batch |= {name: jax.ShapeDtypeStruct((rows, side, side, 1), jnp.uint8) for name in PLANES}
    return batch | {"mask": jax.ShapeDtypeStruct((rows,), jnp.bool_)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="configs/gfm.py:track=ori")
    parser.add_argument("--batch", type=int, default=32)
    options = parser.parse_args()
    jax.config.update("jax_enable_compilation_cache", False)
    config = configuration(options.config)
    parallel = Parallel("jit", options.batch)
    model = papers.build(config.paper, **config.model)
    shapes = jax.eval_shape(lambda key: state.initial_variables(model, key), jax.random.key(0))
    rate = config.optimizer.learning_rate
    built = optimizer.build(config.optimizer, shapes["params"], lambda step: rate)
    abstract = jax.eval_shape(
        functools.partial(state.create, model, built, averaged=False), jax.random.key(0)
    )
    objective = functools.partial(papers.module(config.paper).objective, **config.objective)
    step = parallel.compile_train(
        functools.partial(steps.train_step, model=model, objective=objective, optimizer=built)
    )
    began = time.time()
    lowered = step.lower(abstract, abstract_batch(options.batch, config.data.size))
    traced = time.time()
    compiled = lowered.compile()
    done = time.time()
    memory = compiled.memory_analysis()
    parameters = sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
    gib = 1 / 2**30
    print(f"{config.name}: {parameters:,} parameters, batch {options.batch} of {config.data.size}")
    print(f"machine: {parallel.describe()}, {pathlib.os.cpu_count()} cores")
    print("| traced | compiled | arguments | scratch | peak of the compiling process |")
    print("|---|---|---|---|---|")
    print(
        f"| {traced - began:.1f} s | {done - traced:.1f} s "
        f"| {memory.argument_size_in_bytes * gib:.2f} GiB "
        f"| {memory.temp_size_in_bytes * gib:.2f} GiB "
        f"| {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB |"
    )


if __name__ == "__main__":
    main()
