"""What does GCA-Matting's attention cost in memory and time, plain and in blocks?

PYTHONPATH=. python benchmarks/attention.py                  prints a table
PYTHONPATH=. python benchmarks/attention.py --sides 256 --chunks 0 64      a quick look

Each line is a process of its own, which compiles one program and runs it: the attention block
alone (128 channels at an eighth of the picture's size), its gradient, or the whole network.
`temporary` is what XLA plans for intermediate results, `peak` the most memory that the process
ever held, with Python, XLA and the inputs, of which `before` was held before the program ran. Times
are the least of several runs, by the clock and of all processors together, which other programs
disturb less. A chunk of 0 is the plain form. What does not fit into the machine is told as such.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import jax
import jax.numpy as jnp

from jaxmatte import papers
from jaxmatte.papers.gca.attention import GuidedContextualAttention

PROGRAMS = ("block", "gradient", "network")
COLUMNS = (
    *("program", "side", "places", "chunk", "temporary", "before", "peak"),
    *("time", "processor time"),
)


def block(side, chunk):
    """The attention block with its inputs."""
    model = GuidedContextualAttention(chunk)
    keys = jax.random.split(jax.random.key(0), 3)
    guidance, x = (jax.random.normal(key, (1, side // 8, side // 8, 128)) for key in keys[:2])
    # A band in the middle is unknown.
    unknown = jnp.zeros((1, side // 16, side // 16), bool).at[:, side // 64 : side // 32].set(True)
    variables = jax.jit(lambda key: model.init(key, guidance, x, unknown, train=False))(keys[2])

    def run(variables, guidance, x):
        return model.apply(variables, guidance, x, unknown, train=False)[0]

    return run, (variables, guidance, x)


def gradient(side, chunk):
    """The block's gradient by its inputs."""
    run, given = block(side, chunk)
    return jax.grad(lambda *given: jnp.sum(jnp.square(run(*given))), (1, 2)), given


def network(side, chunk):
    """The whole network at test time."""
    model = papers.build("gca", chunk=chunk)
    keys = jax.random.split(jax.random.key(0), 2)
    image = jax.random.uniform(keys[0], (1, side, side, 3))
    trimap = jnp.zeros((1, side, side, 1)).at[:, side // 4 : side // 2].set(0.5)
    small = [jnp.zeros((1, 64, 64, channels)) for channels in (3, 1)]
    variables = jax.jit(lambda key: model.init(key, *small, train=False))(keys[1])
    return lambda *given: model.apply(*given, train=False)["alpha"], (variables, image, trimap)


def held():
    """The most memory that this process ever held, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure(program, side, chunk, runs):
    """Compiles and runs one program; prints what it took."""
    jax.config.update("jax_enable_compilation_cache", False)
    run, given = {"block": block, "gradient": gradient, "network": network}[program](side, chunk)
    compiled = jax.jit(run).lower(*given).compile()
    before, clock, processor = held(), [], []
    for _ in range(runs):
        began, busy = time.perf_counter(), time.process_time()
        jax.block_until_ready(compiled(*given))
        clock.append(time.perf_counter() - began)
        processor.append(time.process_time() - busy)
    temporary = compiled.memory_analysis().temp_size_in_bytes
    print(json.dumps([temporary, before, held(), min(clock), min(processor)]))


def line(program, side, chunk, runs):
    """The table's line of one program, measured in a process of its own."""
    flags = [f"--one={program}", f"--sides={side}", f"--chunks={chunk}", f"--runs={runs}"]
    done = subprocess.run(
        [sys.executable, __file__, *flags], check=False, capture_output=True, text=True
    )
    cells = [program, side, (side // 16) ** 2, chunk]
    if done.returncode:
        killed = f"killed by signal {-done.returncode}"
        told = killed if done.returncode < 0 else (done.stderr.strip().splitlines() or [""])[-1]
        return f"| {' | '.join(map(str, cells))} | did not run: {told[:80]} | | | | |"
    found = json.loads(done.stdout.splitlines()[-1])
    cells += [f"{size / 2**20:,.0f} MiB" for size in found[:3]]
    cells += [f"{seconds:.2f} s" for seconds in found[3:]]
    return f"| {' | '.join(map(str, cells))} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--programs", nargs="+", default=PROGRAMS, choices=PROGRAMS)
    parser.add_argument("--sides", type=int, nargs="+", default=(1024, 2048))
    parser.add_argument("--chunks", type=int, nargs="+", default=(0, 256, 1024))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--one", choices=PROGRAMS, help="measure here, and print numbers only")
    options = parser.parse_args()
    if options.one:
        measure(options.one, options.sides[0], options.chunks[0], options.runs)
        return
    print(f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}")
    for program in options.programs:
        for side in options.sides:
            for chunk in options.chunks:
                print(line(program, side, chunk, options.runs), flush=True)


if __name__ == "__main__":
    main()
