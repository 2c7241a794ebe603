import subprocess
import sys

import pytest

from jaxmatte import memory
from tests import tiny

PROGRAM = """
import resource, sys
from jaxmatte import memory
if sys.argv[1] == "large":
    memory.in_large_pages()
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


WISHES = """
import os, sys
from jaxmatte import memory
memory.in_large_pages()
print(os.environ.get("GLIBC_TUNABLES"), *sys.argv[1:])
"""

offered = pytest.mark.skipif(
    not memory.large_pages_offered(), reason="this kernel gives no large pages"
)


def told(program, *arguments, **environment):
    command = [sys.executable, "-c", program, *arguments]
    environment = tiny.environment() | environment
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def faults(choice):
    return int(told(PROGRAM, choice))


def test_scratch_memory_is_faulted_in_once_not_every_step():
    assert faults("keep") < 0.3 * faults("leave")


@offered
def test_large_pages_are_faulted_in_instead_of_many_small_ones():
    assert faults("large") < 0.3 * faults("leave")


@offered
@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("", "glibc.malloc.hugetlb=1"),
        ("glibc.malloc.arena_test=3", "glibc.malloc.arena_test=3:glibc.malloc.hugetlb=1"),
        ("glibc.malloc.hugetlb=0", "glibc.malloc.hugetlb=0"),
    ],
)
def test_a_process_starts_anew_with_its_arguments_and_the_wishes_it_had(given, found):
    said = told(WISHES, "--one", "two words", GLIBC_TUNABLES=given)
    assert said == f"{found} --one two words\n"


def test_a_process_with_an_accelerator_goes_on_as_it_is():
    said = told(WISHES, JAX_PLATFORMS="cuda", GLIBC_TUNABLES="glibc.malloc.arena_test=3")
    assert said == "glibc.malloc.arena_test=3\n"


def test_only_where_steps_run_on_the_cpu(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    assert not memory.keep()
    monkeypatch.delenv("JAX_PLATFORMS")
    monkeypatch.setattr(memory, "_ACCELERATORS", ("/dev/null",))
    assert not memory.keep()
