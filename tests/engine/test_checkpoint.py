import os
import pathlib
import signal
import subprocess
import sys
import textwrap

import jax
import numpy as np
import pytest

from configs import common
from jaxmatte.engine.checkpoint import FOLDER, Checkpoints, Position
from jaxmatte.engine.parallel import Parallel
from jaxmatte.errors import UserError
from tests import tiny
from tests.engine import toys


@pytest.fixture(name="parallel", scope="module")
def _parallel():
    return Parallel("jit")


def settings(**changes):
    config = common.base().checkpoint
    config.update(changes)
    return config


def position(step):
    return Position(16 * step, "a fingerprint")


def some_state(parallel, number, averaged=False):
    now = toys.new_state(averaged)
    now = now.replace(params=jax.tree.map(lambda leaf: leaf + number, now.params))
    return parallel.place(now)


def abstract(parallel, averaged=False):
    return parallel.abstract(jax.eval_shape(lambda: toys.new_state(averaged)))


def test_what_was_saved_comes_back_bit_for_bit(tmp_path, parallel):
    saved = some_state(parallel, 0.1)
    with Checkpoints(tmp_path, settings(), parallel) as checkpoints:
        checkpoints.save(3, saved, position(3), {})
        checkpoints.wait()
        found, where = checkpoints.restore(3, abstract(parallel))
    assert where == position(3)
    assert toys.difference(found.params, saved.params) == 0
    np.testing.assert_array_equal(jax.random.key_data(found.key), jax.random.key_data(saved.key))


def test_the_newest_and_the_best_are_kept(tmp_path, parallel):
    with Checkpoints(tmp_path, settings(keep=2), parallel) as checkpoints:
        for step, mad in enumerate([0.3, 0.1, 0.2, 0.4, 0.5], start=1):
            checkpoints.save(step, some_state(parallel, step), position(step), {"mad": mad})
        checkpoints.save(6, some_state(parallel, 6), position(6), {})  # not evaluated
        checkpoints.wait()
        assert checkpoints.best() == 2
        assert checkpoints.latest() == 6
    kept = {int(path.name) for path in (tmp_path / FOLDER).iterdir()}
    assert kept == {2, 5, 6}


def test_a_metric_that_is_not_a_number_is_never_the_best(tmp_path, parallel):
    with Checkpoints(tmp_path, settings(), parallel) as checkpoints:
        checkpoints.save(1, some_state(parallel, 1), position(1), {"mad": 0.3})
        checkpoints.save(2, some_state(parallel, 2), position(2), {"mad": float("nan")})
        checkpoints.wait()
        assert checkpoints.best() == 1


def test_a_part_of_the_model_is_read_from_an_earlier_stage(tmp_path, parallel):
    saved = some_state(parallel, 1.0)
    shapes = parallel.abstract(jax.eval_shape(lambda: dict(toys.new_state().variables)))
    later = jax.ShapeDtypeStruct((3,), np.float32)
    larger = {**shapes, "params": {**shapes["params"], "refiner": {"bias": later}}}
    with Checkpoints(tmp_path, settings(), parallel) as checkpoints:
        checkpoints.save(1, saved, position(1), {})
        checkpoints.wait()
        found = checkpoints.restore_variables(1, larger, part=True)
        assert toys.difference(found, saved.variables) == 0
        with pytest.raises(UserError, match="lacks params/refiner/bias"):
            checkpoints.restore_variables(1, larger)
        smaller = {**shapes, "params": {"first": shapes["params"]["first"]}}
        with pytest.raises(UserError, match="has besides params/last/bias"):
            checkpoints.restore_variables(1, smaller, part=True)
        other = {"params": {"refiner": {"bias": later}}, "batch_stats": {}}
        with pytest.raises(UserError, match="lacks params/refiner/bias"):
            checkpoints.restore_variables(1, other, part=True)


def test_the_averaged_parameters_are_what_evaluation_reads(tmp_path, parallel):
    saved = some_state(parallel, 1.0, averaged=True)
    with Checkpoints(tmp_path, settings(), parallel) as checkpoints:
        checkpoints.save(1, saved, position(1), {})
        checkpoints.wait()
        shapes = {"params": saved.params, "batch_stats": saved.batch_stats}
        found = checkpoints.restore_variables(1, parallel.abstract(shapes))
    assert toys.difference(found["params"], saved.ema) == 0
    assert toys.difference(found["params"], saved.params) == 1.0


@pytest.mark.parametrize("place", [0.3, 0.5, 0.7])
def test_a_flipped_bit_is_found_out(tmp_path, parallel, place):
    saved, wanted = some_state(parallel, 0.7), abstract(parallel)
    noise = np.random.default_rng(0).random(1 << 16, np.float32)  # does not compress: all payload
    saved.params["noise"] = parallel.place(noise)
    wanted.params["noise"] = parallel.abstract(saved.params["noise"])
    with Checkpoints(tmp_path, settings(), parallel) as checkpoints:
        checkpoints.save(1, saved, position(1), {})
    files = [path for path in (tmp_path / FOLDER / "1" / "state").rglob("*") if path.is_file()]
    large = [path for path in files if path.stat().st_size > noise.nbytes // 16]
    assert large
    for path in large:
        content = bytearray(path.read_bytes())
        content[int(len(content) * place)] ^= 16
        path.write_bytes(content)
    with (
        Checkpoints(tmp_path, settings(), parallel) as checkpoints,
        pytest.raises(UserError, match="damaged"),
    ):
        checkpoints.restore(1, wanted)


def test_a_numbered_folder_without_a_checkpoint_is_not_taken_for_one(tmp_path, parallel, capsys):
    with Checkpoints(tmp_path, settings(), parallel) as checkpoints:
        checkpoints.save(1, some_state(parallel, 1), position(1), {})
    (tmp_path / FOLDER / "7").mkdir()
    with Checkpoints(tmp_path, settings(), parallel) as checkpoints:
        assert checkpoints.latest() == 1
    assert "no finished checkpoint" in capsys.readouterr().err


def test_leaves_that_do_not_fit_are_named(tmp_path, parallel):
    with Checkpoints(tmp_path, settings(), parallel) as checkpoints:
        checkpoints.save(1, some_state(parallel, 1), position(1), {})
        checkpoints.wait()
        wanted = abstract(parallel)
        wanted.params["first"]["kernel"] = jax.ShapeDtypeStruct((3, 3, 3, 8), np.float32)
        wanted.params["second"] = {"kernel": jax.ShapeDtypeStruct((1,), np.float32)}
        del wanted.params["last"]
        with pytest.raises(UserError) as caught:
            checkpoints.restore(1, wanted)
    message = str(caught.value)
    assert "params/second/kernel" in message
    assert "params/last/" in message
    assert "params/first/kernel (3, 3, 3, 4) instead of (3, 3, 3, 8)" in message


def test_killed_while_it_writes_leaves_the_checkpoint_before(tmp_path, parallel):
    """A real process is killed between the first bytes on the disk and the finished rename."""
    program = textwrap.dedent(
        """
        import os, pathlib, signal, sys, threading, time
        from tests.engine import test_checkpoint as t
        folder = pathlib.Path(sys.argv[1])
        parallel = t.Parallel("jit")
        with t.Checkpoints(folder, t.settings(), parallel) as checkpoints:
            checkpoints.save(1, t.some_state(parallel, 1), t.position(1), {})
            checkpoints.wait()
            def kill_when_bytes_are_there():
                while not any(p.is_file() for p in (folder / t.FOLDER).glob("2.*/state/**/*")):
                    time.sleep(0.0002)
                os.kill(os.getpid(), signal.SIGKILL)
            threading.Thread(target=kill_when_bytes_are_there, daemon=True).start()
            big = t.some_state(parallel, 2)
            big.params["ballast"] = t.np.random.rand(64 << 20 >> 3)
            checkpoints.save(2, big, t.position(2), {})
            checkpoints.wait()
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=tiny.ROOT,
        env=tiny.environment(8),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = [path.name for path in (tmp_path / FOLDER).iterdir()]
    assert any(name.startswith("2.") for name in left), left  # it was cut off in the middle
    with Checkpoints(tmp_path, settings(), parallel) as checkpoints:
        assert checkpoints.latest() == 1
        found, where = checkpoints.restore(1, abstract(parallel))
        assert where == position(1)
        assert toys.difference(found.params, some_state(parallel, 1).params) == 0
        checkpoints.save(2, some_state(parallel, 2), position(2), {})  # and step 2 can be had anew
        checkpoints.wait()
        assert checkpoints.latest() == 2


def test_saved_here_read_with_another_number_of_devices(tmp_path):
    program = (
        "import sys, pathlib; from tests.engine import test_checkpoint as t\n"
        "parallel = t.Parallel('jit'); print(parallel.devices)\n"
        "with t.Checkpoints(pathlib.Path(sys.argv[1]), t.settings(), parallel) as c:\n"
        "    s, _ = c.restore(1, t.abstract(parallel))\n"
        "    print(t.toys.difference(s.params, t.some_state(parallel, 1).params))\n"
    )
    parallel = Parallel("jit")
    with Checkpoints(tmp_path, settings(), parallel) as checkpoints:
        checkpoints.save(1, some_state(parallel, 1), position(1), {})
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=tiny.ROOT,
        env=tiny.environment(2),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.split() == ["2", "0.0"], done.stderr


def test_synchronous_saving_is_a_switch(tmp_path, parallel):
    with Checkpoints(tmp_path, settings(asynchronous=False), parallel) as checkpoints:
        checkpoints.save(1, some_state(parallel, 1), position(1), {})
        assert (pathlib.Path(tmp_path) / FOLDER / "1" / "_CHECKPOINT_METADATA").exists()
        assert os.path.isdir(checkpoints.path(1))
