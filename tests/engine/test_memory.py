import subprocess
import sys

from jaxmatte.engine import memory
from tests import tiny

PROGRAM = """
import resource, sys
from jaxmatte.engine import memory
if sys.argv[1] == "keep":
    assert memory.keep()
import jax, jax.numpy as jnp
step = jax.jit(lambda x: jax.lax.fori_loop(0, 2, lambda i, y: jnp.roll(y, 1) + x, x).sum())
x = jnp.ones(20_000_000)
step(x).block_until_ready()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step(x).block_until_ready()
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
