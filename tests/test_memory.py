import subprocess
import sys

from jaxmatte import memory
from tests import tiny

PROGRAM = """
import resource, sys
from jaxmatte import memory
if sys.argv[1] == "keep":
    assert memory.keep()
import jax, jax.numpy as jnp
layout = ("NHWC", "HWIO", "NHWC")
def loss(kernels, x):
    for kernel in kernels:
        x = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)
    return jnp.square(jax.nn.relu(x)).mean()
def descend(kernels, x):
    return jax.tree.map(lambda k, g: k - g, kernels, jax.grad(loss)(kernels, x))
step = jax.jit(descend)
kernels, x = [jnp.full((3, 3, 16, 16), 0.01)] * 6, jnp.ones((8, 128, 128, 16))
def run(steps):
    global kernels
    for _ in range(steps):
        kernels = jax.block_until_ready(step(kernels, x))
run(8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
run(8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(choice):
    command = [sys.executable, "-c", PROGRAM, choice]
    done = subprocess.run(command, env=tiny.environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_scratch_memory_is_faulted_in_once_not_every_step():
    assert faults("keep") < 0.3 * faults("leave")


def test_only_where_steps_run_on_the_cpu(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    assert not memory.keep()
    monkeypatch.delenv("JAX_PLATFORMS")
    monkeypatch.setattr(memory, "_ACCELERATORS", ("/dev/null",))
    assert not memory.keep()
