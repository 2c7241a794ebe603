"""What every test shares: eight simulated devices, a warm compilation cache, parsed flags."""

import atexit
import os
import pathlib
import shutil
import signal
import tempfile

# XLA's thread pool must exceed the device count, or collectives on few cores wait for ever.
os.environ.setdefault("NPROC", "32")
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest
from absl import flags

# Workers of `pytest -n` inherit what is set below, and find the user's cache by a name of its own.
_USERS_CACHE = os.environ.get("XDG_CACHE_HOME", str(pathlib.Path.home() / ".cache"))
_CACHE = pathlib.Path(os.environ.setdefault("JAXMATTE_TESTS_CACHE", _USERS_CACHE))
jax.config.update("jax_compilation_cache_dir", str(_CACHE / "jaxmatte" / "tests"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

# What the product remembers of folders is not for the user's cache when the folders are ours.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="jaxmatte-tests-")
atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)

# Started in the background (`pytest &`) Ctrl-C is ignored, and so it would be by every process that
# a test starts.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# grain's workers read absl flags, which nothing parses under pytest.
flags.FLAGS.mark_as_parsed()


@pytest.fixture(autouse=True, scope="module")
def _hasty_compiler(request):
    """Networks take far longer to compile than to run once: their programs are left as they are.

    Everything else, real processes among it, is optimised as users' programs are.
    """
    hasty = request.path.parent.name in ("papers", "encoders")
    jax.config.update("jax_disable_most_optimizations", hasty)
