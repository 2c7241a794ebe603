"""Whole runs in real processes: they end, go on, are killed, and agree with each other."""

import json
import os
import signal
import sys
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from jaxmatte.engine.checkpoint import FOLDER
from tests import tiny
from tests.data import folders

POD = (str(tiny.ROOT / "launch/local_pod.sh"), "2")


def saved(workdir, step):
    """Every leaf of a checkpoint's state, as numbers, and its record."""
    folder = workdir / FOLDER / str(step)
    with ocp.PyTreeCheckpointer() as reader:
        shapes = reader.metadata(folder / "state").item_metadata.tree
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), shapes)
        arguments = ocp.args.PyTreeRestore(restore_args=as_numpy)
        tree = reader.restore(folder / "state", args=arguments)
    leaves = {jax.tree_util.keystr(k): v for k, v in jax.tree_util.tree_leaves_with_path(tree)}
    leaves = {name: np.asarray(value) for name, value in leaves.items()}
    return leaves, json.loads((folder / "record" / "metadata").read_text())


def steps_of(workdir):
    return sorted(int(p.name) for p in (workdir / FOLDER).iterdir() if p.name.isdigit())


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def assert_same(one, other, step=6, tolerance=0.0):
    """Compares checkpoints: every leaf to the bit, or the parameters within a tolerance."""
    (leaves, record), (others, other_record) = saved(one, step), saved(other, step)
    assert leaves.keys() == others.keys()
    assert record["examples_seen"] == other_record["examples_seen"]
    assert record["fingerprint"] == other_record["fingerprint"]
    for name, value in leaves.items():
        if not tolerance or name.startswith("['params']"):
            difference = np.abs(value.astype(np.float64) - others[name].astype(np.float64)).max()
            assert difference <= tolerance, f"{name} differs by {difference}"


@pytest.fixture(name="whole", scope="module")
def _whole(tmp_path_factory):
    """Six steps without a break."""
    workdir = tmp_path_factory.mktemp("whole")
    done = tiny.run(tiny.arguments(workdir))
    assert done.returncode == 0, done.stderr
    return workdir, done


def test_a_run_leaves_all_that_it_promises(whole):
    workdir, done = whole
    assert done.stderr == ""
    last = done.stdout.strip().splitlines()[-1]
    for part in ("done", "MAD[gfm, whole]", "pictures", "checkpoints", "metrics.jsonl"):
        assert part in last
    assert str(workdir) in last
    assert steps_of(workdir) == [3, 6]
    assert (workdir / "pictures/validation_0000006.png").stat().st_size > 1000
    assert json.loads((workdir / "config.json").read_text())["train"]["total"] == "6 steps"
    (environment,) = json.loads((workdir / "environment.json").read_text())
    assert environment["packages"]["jax"]
    assert len(environment["commit"] or "") >= 40
    assert [line["step"] for line in lines(workdir) if "train/loss" in line] == [1, 2, 3, 4, 5, 6]
    table = (workdir / "evaluations/step_0000006.csv").read_text().splitlines()
    assert len(table) == 1 + 4
    names = ("SAD", "MSE", "MAD", "Grad", "Conn")
    assert table[0] == "index,name," + ",".join(f'"{name}[gfm, whole]"' for name in names)


def test_the_same_command_again_finds_everything_done(whole):
    workdir, first = whole
    before = lines(workdir)
    done = tiny.run(tiny.arguments(workdir))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == first.stdout.strip().splitlines()[-1]
    assert [line["step"] for line in lines(workdir) if "train/loss" in line] == [1, 2, 3, 4, 5, 6]
    assert len(before) == len(lines(workdir))


def test_measuring_gives_the_numbers_of_the_training(whole):
    workdir, _ = whole
    done = tiny.run([*tiny.arguments(workdir, evaluation__checkpoint="last"), "--mode=eval"])
    assert done.returncode == 0, done.stderr
    found = json.loads((workdir / "evaluations/last_0000006.json").read_text())
    during = json.loads((workdir / "evaluations/step_0000006.json").read_text())
    assert found.keys() == during.keys()
    for name, value in during.items():
        assert found[name] == (value if name == "set" else pytest.approx(value, rel=1e-6))


@pytest.mark.slow
def test_one_two_and_four_processes_measure_the_same_digits(whole):
    """Each device takes two pictures; the batches of four processes do not come out even."""
    workdir, _ = whole
    tables = workdir / "evaluations"
    changes = {"evaluation__batch": 2, "evaluation__protocol": "gfm,dim", "evaluation__pictures": 1}
    found = []
    for processes in (1, 2, 4):
        flags = [*tiny.arguments(workdir, **changes), "--mode=eval"]
        done = tiny.run(flags, command=(*POD[:1], str(processes)), env={"DEVICES": "1"})
        assert done.returncode == 0, done.stderr
        (name,) = {path.stem for path in tables.glob("best_*")}
        files = [tables / f"{name}.{ending}" for ending in ("json", "csv", "md")]
        found.append([path.read_bytes() for path in files])
        for path in tables.glob("best_*"):
            path.unlink()
    assert found[0] == found[1] == found[2]
    assert b"Conn[dim, whole]" in found[0][1]


# Kills itself in step 5, when step 4 is done and everything before is on the disk.
KILLED_LATER = """
import os, signal
from jaxmatte import main, train
write = train.Run._write_pending
def deadly(self, writer, progress, checkpoints):
    if self.pending is not None and self.pending.step == 4:
        checkpoints.wait()
        os.kill(os.getpid(), signal.SIGKILL)
    write(self, writer, progress, checkpoints)
train.Run._write_pending = deadly
main.run()
"""
# Kills itself while the checkpoint of step 4 is being written.
KILLED_WRITING = """
import os, signal, time
from jaxmatte import main, train
save = train.Run._save
def deadly(self, now, step, checkpoints, metrics):
    save(self, now, step, checkpoints, metrics)
    while step == 4:
        if any(path.is_file() for path in checkpoints.folder.glob("4.*/state*/**/*")):
            os.kill(os.getpid(), signal.SIGKILL)
        assert not checkpoints.path(4).exists(), "it was too fast to be caught writing"
        time.sleep(0.0002)
train.Run._save = deadly
main.run()
"""


@pytest.mark.parametrize(
    ("every", "program", "left"),
    [
        pytest.param(3, KILLED_LATER, 3, id="3+3", marks=pytest.mark.slow),
        pytest.param(2, KILLED_WRITING, 2, id="2+4"),
    ],
)
def test_killed_and_started_again_equals_never_killed(whole, tmp_path, every, program, left):
    flags = tiny.arguments(tmp_path, checkpoint__every=f"{every} steps")
    killed = tiny.run(flags, command=(sys.executable, "-c", program))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert steps_of(tmp_path)[-1] == left
    if program is KILLED_WRITING:
        assert any(p.name.startswith("4.") for p in (tmp_path / FOLDER).iterdir())
    done = tiny.run(flags)
    assert done.returncode == 0, done.stderr
    assert f"going on from step {left}" in done.stdout
    assert_same(whole[0], tmp_path)
    trained = [line["step"] for line in lines(tmp_path) if "train/loss" in line]
    assert trained == [1, 2, 3, 4, 5, 6]
    assert lines(tmp_path) == lines(whole[0])


def wait_for_step(process, workdir, step, seconds=300):
    """Until a line of that step is on the disk."""
    end = time.time() + seconds
    while time.time() < end and process.poll() is None:
        if (workdir / "metrics.jsonl").exists() and any(
            line["step"] >= step for line in lines(workdir)
        ):
            return
        time.sleep(0.02)
    raise AssertionError(process.communicate(timeout=5))


def test_sigterm_saves_and_leaves_with_zero(tmp_path):
    flags = tiny.arguments(
        tmp_path,
        train__total="4000 steps",
        evaluation__every="4000 steps",
        checkpoint__every="4000 steps",
    )
    process = tiny.start(flags)
    wait_for_step(process, tmp_path, 2)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "stopped by a signal" in out.splitlines()[-1]
    (step,) = steps_of(tmp_path)
    assert f"step {step} is saved" in out.splitlines()[-1]
    assert saved(tmp_path, step)[1]["examples_seen"] == 4 * step


def pod(flags, devices=1, **extra):
    return tiny.run(flags, command=POD, env={"DEVICES": str(devices)}, **extra)


def test_two_processes_equal_one_with_two_devices_to_the_bit(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    assert tiny.run(tiny.arguments(one), devices=2).returncode == 0
    done = pod(tiny.arguments(two))
    assert done.returncode == 0, done.stderr
    assert "in 2 process(es)" in done.stdout
    assert done.stdout.count("done:") == 1
    assert_same(one, two)


@pytest.mark.slow
def test_two_processes_train_as_one_and_go_on_from_its_checkpoint(tmp_path):
    # One device adds up in another order than two. The fusion's argmax and Adam's division by the
    # size of a gradient turn that rounding into steps of full length, so: plain, small steps.
    changes = {"optimizer__name": "sgd", "optimizer__learning_rate": 1e-4}
    one, two = tmp_path / "one", tmp_path / "two"
    assert tiny.run(tiny.arguments(one, **changes)).returncode == 0
    killed = tiny.run(tiny.arguments(two, **changes), command=(sys.executable, "-c", KILLED_LATER))
    assert killed.returncode == -signal.SIGKILL
    done = pod(tiny.arguments(two, **changes))
    assert done.returncode == 0, done.stderr
    assert "going on from step 3" in done.stdout
    assert_same(one, two, tolerance=1e-5)


@pytest.mark.slow
def test_sigterm_to_one_of_two_processes_saves_and_ends_both(tmp_path):
    flags = tiny.arguments(
        tmp_path,
        train__total="4000 steps",
        evaluation__every="4000 steps",
        checkpoint__every="4000 steps",
    )
    process = tiny.start(flags, command=POD)
    wait_for_step(process, tmp_path, 2)
    children = [int(p) for p in os.popen(f"pgrep -P {process.pid}").read().split()]
    assert len(children) == 2
    os.kill(children[1], signal.SIGTERM)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert "stopped by a signal" in out
    assert len(steps_of(tmp_path)) == 1


@pytest.mark.slow
def test_pmap_over_two_processes_equals_pmap_over_two_devices(tmp_path):
    changes = {"parallel__mode": "pmap", "model__bn_axis": "data"}
    one, two = tmp_path / "one", tmp_path / "two"
    assert tiny.run(tiny.arguments(one, **changes), devices=2).returncode == 0
    done = pod(tiny.arguments(two, **changes))
    assert done.returncode == 0, done.stderr
    assert_same(one, two)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["ori,rosta=BT", "comp_coco,rosta=FT", "rssn,rosta=RIM"])
def test_the_papers_tracks_train_and_are_measured_by_the_papers_rule(tmp_path, variant):
    changes = {
        "data__root": folders.whole(tmp_path / "data"),
        "train__total": "2 steps",
        "evaluation__every": "2 steps",
        "checkpoint__every": "2 steps",
    }
    config = f"configs/gfm.py:track={variant}"
    done = tiny.run(tiny.arguments(tmp_path / "run", config, **changes))
    assert done.returncode == 0, done.stderr
    assert "starting from random weights" in done.stdout
    summary = json.loads((tmp_path / "run/evaluations/step_0000002.json").read_text())
    assert summary["pictures"] == 3
    assert 0 < summary["MAD[gfm, whole]"] < 1
    table = (tmp_path / "run/evaluations/step_0000002.csv").read_text().splitlines()
    assert table[1].startswith("0,m_00000000.jpg,")
