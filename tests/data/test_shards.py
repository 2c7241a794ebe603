"""Writing a store while processes are killed and disks run full."""

import errno
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxmatte.data import prepare, shards, store
from jaxmatte.data.precompute import Settings, code_row
from jaxmatte.errors import UserError
from tests.data.stores import SHARD, Rows, Stopping, files, go, interrupted, prepared

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def in_one_go(tmp_path_factory):
    out = tmp_path_factory.mktemp("stores") / "store"
    prepared(out)
    return files(out)


def test_one_process_at_a_time(tmp_path):
    plan = prepare.make_plan(Rows(), "rows", "train", Settings(), SHARD)
    first = shards.Unfinished(tmp_path / "store", plan)
    with pytest.raises(UserError, match="is being prepared by another process"):
        go(Rows(), tmp_path / "store")
    first.close()
    go(Rows(), tmp_path / "store")


def test_a_store_that_another_process_finished_meanwhile_is_not_written_again(tmp_path):
    out = tmp_path / "store"
    prepared(out)
    before = files(out)
    (out / store.UNFINISHED).mkdir()  # not removed yet
    plan = prepare.make_plan(Rows(), "rows", "train", Settings(), SHARD)
    with pytest.raises(UserError, match="was finished by another process just now"):
        shards.Unfinished(out, plan)
    go(Rows(), out)
    assert files(out) == before


def test_an_interrupted_store_goes_on(tmp_path, in_one_go, monkeypatch):
    out = tmp_path / "store"
    interrupted(out)
    assert store.is_store(out)  # for `Store` to say what it lacks
    with pytest.raises(UserError, match=r"has no manifest.json"):
        store.Store(out)
    done = sorted((out / store.UNFINISHED).glob("*.array_record"))
    assert len(done) >= 1
    read = []
    monkeypatch.setattr(
        prepare, "code_row", lambda *given: read.append(given[1]) or code_row(*given)
    )
    go(Rows(), out)
    assert files(out) == in_one_go
    assert 0 not in read  # rows of finished shards are not read again
    assert {7, 11} <= set(read)


KILLED = """
import sys, time, pathlib
from tests.data.stores import Rows, go

class Waiting(Rows):
    def __getitem__(self, index):
        if index == 7:
            print("waiting", flush=True)
            time.sleep(60)
        return super().__getitem__(index)

go(Waiting(), pathlib.Path(sys.argv[1]))
"""


def test_a_killed_process_leaves_what_goes_on(tmp_path, in_one_go):
    out = tmp_path / "store"
    command = [sys.executable, "-c", KILLED, str(out)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout.readline() == b"waiting\n"
    deadline = time.monotonic() + 20
    while not (out / store.UNFINISHED / "00000.json").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    with pytest.raises(UserError, match=r"has no manifest.json"):
        store.Store(out)
    go(Rows(), out)
    assert files(out) == in_one_go


# Dies at each step that gives a file its name, before it and after it, and then goes on. The
# children are forked of a process that has no threads; they report by their exit codes.
DIES = """
import os, pathlib, shutil, sys
from jaxmatte.data import store
from tests.data.stores import Rows, files, go

out, replace, rows = pathlib.Path(sys.argv[1]), os.replace, Rows(6)

def child(step, after):
    calls = iter(range(10_000))
    def dying(source, target):
        last = next(calls) == step
        if not last or after:
            replace(source, target)
        if last:
            os._exit(9)
    os.replace = dying
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    go(rows, out)
    os._exit(0)

def forked(*given):
    pid = os.fork()
    if not pid:
        child(*given)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

assert forked(-1, False) == 0
wanted, step = files(out), 0
while True:
    for after in (False, True):
        shutil.rmtree(out)
        code = forked(step, after)
        whole = (out / store.MANIFEST).exists()
        assert forked(-1, False) == 0
        assert files(out) == wanted, (step, after)
    if code == 0:
        break
    print("died", whole)
    step += 1
"""


def test_death_at_any_step_leaves_what_goes_on(tmp_path):
    command = [sys.executable, "-c", DIES, str(tmp_path / "store")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    deaths = [line for line in done.stdout.splitlines() if line.startswith("died")]
    assert len(deaths) > 8
    assert deaths.count("died True") == 1  # only the last step makes a store of it


def stopped_at_the_manifest(monkeypatch, *given, **options):
    """Prepares a store and stops when its shards have got their names."""

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shards.Unfinished, "_manifest", stop)
        with pytest.raises(KeyboardInterrupt):
            go(*given, **options)


def test_named_shards_are_not_written_again(tmp_path, in_one_go, monkeypatch):
    out = tmp_path / "store"
    stopped_at_the_manifest(monkeypatch, Rows(), out)
    assert list(out.glob("data-*"))
    monkeypatch.setattr(prepare, "code_row", lambda *_: pytest.fail("a row is read again"))
    go(Rows(), out)
    assert files(out) == in_one_go


def test_another_end_leaves_nothing_of_the_first(tmp_path, in_one_go, monkeypatch):
    out, bad = tmp_path / "store", Stopping(bad=range(1, 9))
    stopped_at_the_manifest(monkeypatch, bad, out, skip_broken=True)
    assert not {path.name for path in out.glob("data-*")} <= set(in_one_go)
    go(Rows(), out)
    assert files(out) == in_one_go


@pytest.mark.parametrize("how", ["gone", "cut"])
def test_a_finished_shard_that_is_damaged_is_written_again(tmp_path, in_one_go, how):
    out = tmp_path / "store"
    interrupted(out)
    shard = out / store.UNFINISHED / "00000.array_record"
    shard.unlink() if how == "gone" else os.truncate(shard, 5000)
    go(Rows(), out)
    assert files(out) == in_one_go


def test_a_part_tells_of_its_own_shard_alone(tmp_path, monkeypatch):
    """Stopped between a shard that is written again and its part: the old part must be gone."""
    out, bad, write = tmp_path / "store", Stopping(bad=(1,)), shards.write_file
    assert len(go(bad, out)) == 1

    def stop(path, content):
        if path.name == "00000.json":
            raise KeyboardInterrupt
        write(path, content)

    with monkeypatch.context() as patched:
        patched.setattr(shards, "write_file", stop)
        with pytest.raises(KeyboardInterrupt):
            go(Rows(), out)
    assert len(go(bad, out, skip_broken=True)) == 1
    assert store.verify(out) == []
    rows = store.Store(out)
    assert len(rows) == 11
    for index in range(11):
        np.testing.assert_array_equal(rows[index]["label"], Rows()[index + (index > 0)]["label"])


# Full disks


def goes_on_with_room(out, in_one_go, monkeypatch):
    with pytest.raises(UserError, match=r"has no manifest.json"):
        store.Store(out)
    assert not list(out.rglob("*.tmp"))
    monkeypatch.undo()
    go(Rows(), out)
    assert files(out) == in_one_go


def test_a_full_disk_is_one_line(tmp_path, in_one_go, monkeypatch):
    out, real = tmp_path / "store", shutil.disk_usage
    written = []

    def usage(path):
        written.append(path)
        return real(path)._replace(free=real(path).free if len(written) < 8 else 5000)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    with pytest.raises(UserError) as caught:
        go(Rows(), out)
    message = str(caught.value)
    assert message.startswith(f"no space left for {out} (No space left on device): 0.0 MB are free")
    assert "MB wanted; what is done is kept: make room and run the same command again" in message
    assert "\n" not in message
    goes_on_with_room(out, in_one_go, monkeypatch)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", range(14))
def test_a_disk_that_is_full_at_any_moment(tmp_path, in_one_go, monkeypatch, number, call):
    out, real = tmp_path / "store", os.fsync
    calls = iter(range(1000))

    def full(descriptor):
        if next(calls) == call:
            raise OSError(number, os.strerror(number))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"no space left for .*what is done is kept"):
        go(Rows(), out)
    goes_on_with_room(out, in_one_go, monkeypatch)


LIMITED = """
import pathlib, resource, sys
from jaxmatte.errors import UserError
from tests.data.stores import Rows, go

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
try:
    go(Rows(40), pathlib.Path(sys.argv[1]), shard=1 << 20)
except UserError as error:
    print(error)
    sys.exit(2)
"""


def test_a_file_that_may_not_grow(tmp_path):
    """A real refusal by the kernel, in the middle of a shard, from the writer's own thread."""
    out = tmp_path / "store"
    command = [sys.executable, "-c", LIMITED, str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    assert done.stdout.startswith(f"no space left for {out} (File too large): ")
    assert not list(out.rglob("*.tmp"))
    assert not list(out.rglob("*.array_record"))
    go(Rows(40), out, shard=1 << 20)
    assert len(store.Store(out)) == 40


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        go(Rows(), tmp_path / "file" / "store")
