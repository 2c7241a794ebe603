"""Data and training together: what goes on, what is refused, what stops, what is passed over."""

import contextlib
import json
import os
import re
import shutil

import jax
import pytest

from jaxmatte import evaluate
from jaxmatte.data import catalog, pipeline, store
from jaxmatte.engine import workdir
from jaxmatte.engine.parallel import Parallel
from jaxmatte.errors import UserError
from jaxmatte.train import train
from tests import tiny
from tests.data import folders, stores
from tests.test_main import config_of

# The tiny run of the other tests, on data of its own: its programs are compiled already.
CHANGES = {
    "data__source": "store",
    "data__store": "prepared",
    "data__backgrounds": "BG-20k/train",
    "data__backgrounds_per_foreground": 1,
    "data__threads": 0,
    "evaluation__store": "measured",
    "evaluation__every": "6 steps",
    "checkpoint__every": "6 steps",
    "train__batch": 4,
}


@pytest.fixture(autouse=True, scope="module")
def _compiled_once():
    """One device, and each program traced once for all tests here, which share them."""
    known = {}

    def once(method):
        def compiled(self, step):
            name = f"{method.__name__} {step.func.__name__}"
            return known.setdefault(name, method(self, step))

        return compiled

    def create(self, function, *arguments):
        if "create" not in known:
            hasty = {"xla_backend_optimization_level": 0}
            known["create"] = jax.jit(
                function, out_shardings=self._replicated, compiler_options=hasty
            )
        return known["create"](*arguments)

    with pytest.MonkeyPatch.context() as patch:
        one = jax.devices()[:1]
        patch.setattr(jax, "devices", lambda: one)
        patch.setattr(jax, "device_count", lambda: 1)
        patch.setattr(Parallel, "create", create)
        for method in (Parallel.compile_train, Parallel.compile_rows):
            patch.setattr(Parallel, method.__name__, once(method))
        yield


def prepare(root, out="prepared", split="train", **settings):
    source = catalog.open("am2k", root, split)
    stores.prepared(root / out, source, trimap=9, **settings)


@pytest.fixture(name="root", scope="module")
def _root(tmp_path_factory):
    """What the runs read; who changes something brings it back."""
    root = folders.am2k(tmp_path_factory.mktemp("data"), 12, 64, 72)
    for number in range(12):  # each record is another: they are searched for by their bytes
        mask = root / f"AM-2k/train/mask/m_{number:08d}.png"
        folders.write(mask, folders.matte(64, 72, soft=4.0 + number))
    folders.am2k(root, 3, 64, 64, split="validation")
    folders.backgrounds(root)
    prepare(root)
    prepare(root, "measured", "validation")
    return root


def configuration(root, **changes):
    return config_of(data__root=str(root), **(CHANGES | changes))


@contextlib.contextmanager
def kept(folder):
    """Brings a folder's files back as they were."""
    files = {path: path.read_bytes() for path in folder.iterdir()}
    try:
        yield
    finally:
        for path, content in files.items():
            path.unlink(missing_ok=True)
            path.write_bytes(content)


@pytest.fixture(name="run", scope="module")
def _run(root, tmp_path_factory):
    """A run that has come to its end."""
    path = tmp_path_factory.mktemp("runs") / "run"
    train(configuration(root), path)
    return path


def steps_of(path):
    return sorted(int(p.name) for p in (path / "checkpoints").iterdir() if p.name.isdigit())


def lines(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def stopped(config, path):
    """The one line with which training stops."""
    with pytest.raises(UserError) as caught:
        train(config, path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def fingerprint(config):
    return pipeline.open_training(config.data, config.seed).fingerprint


def assert_both_told(told, before, after):
    assert before != after
    assert f"[{before}] there, [{after}] here" in told


def test_the_same_data_are_those_of_the_checkpoint(run, root, capsys):
    train(configuration(root), run)
    assert "going on from step 6" in capsys.readouterr().out


def test_a_file_with_other_bytes_is_refused(run, root):
    config = configuration(root)
    before = fingerprint(config)
    folder = root / "BG-20k/train"
    with kept(folder):
        folders.write(folder / "new.jpg", folders.picture(77, 80, 150))
        os.replace(folder / "new.jpg", folder / "h_00000003.jpg")
        assert_both_told(stopped(config, run), before, fingerprint(config))
    assert fingerprint(config) == before


def test_a_store_prepared_anew_is_refused(run, root, tmp_path):
    config = configuration(root)
    before = fingerprint(config)
    os.rename(root / "prepared", tmp_path / "former")
    prepare(root, colour="png")
    try:
        assert_both_told(stopped(config, run), before, fingerprint(config))
    finally:
        shutil.rmtree(root / "prepared")
        os.rename(tmp_path / "former", root / "prepared")


def test_another_seed_is_refused(run, root, tmp_path):
    config, other = configuration(root), configuration(root, seed=7)
    assert "seed: 0 there, 7 here" in stopped(other, run)
    # Its record may be lost; the checkpoint knows all the same.
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / workdir.CONFIG).unlink()
    told = stopped(other, tmp_path / "run")
    assert_both_told(told, fingerprint(config), fingerprint(other))


def test_another_version_of_the_pipeline_is_refused(run, root, monkeypatch):
    config = configuration(root)
    before = fingerprint(config)
    monkeypatch.setattr(pipeline, "VERSION", pipeline.VERSION + 1)
    assert_both_told(stopped(config, run), before, fingerprint(config))


@contextlib.contextmanager
def damaged(path, row, field="image"):
    """A store with a flipped bit in a record."""
    content = bytes(store.Store(path).content(row, field))
    with kept(path):
        (file,) = [f for f in path.glob("data-*") if content in f.read_bytes()]
        whole = bytearray(file.read_bytes())
        whole[whole.index(content) + len(content) // 2] ^= 1
        file.write_bytes(whole)
        yield


def first_needed_in(config, batch):
    """A row that a batch is the first to need, as its foreground."""
    drawn = pipeline.open_training(config.data, config.seed).batches(config.train.batch)
    *earlier, rows = [set(next(drawn)["index"].tolist()) for _ in range(batch)]
    return min(rows - set().union(*earlier))


def test_a_broken_row_stops_the_run_and_nothing_learned_is_lost(run, root, tmp_path):
    config = configuration(root)
    row = first_needed_in(config, 3)
    with damaged(root / "prepared", row):
        told = stopped(config, tmp_path)
    assert f"the image of row {row} (m_{row:08d}.jpg)" in told
    (step,) = steps_of(tmp_path)
    assert step in (1, 2)  # a batch is fetched while the one before is in use
    train(config, tmp_path)  # once the shard is mended
    assert lines(tmp_path) == lines(run)


def test_broken_rows_are_passed_over_and_counted(root, tmp_path, capsys):
    config = configuration(root, data__broken="skip")
    with damaged(root / "prepared", 5), damaged(root / "prepared", 8, "alpha"):
        batches = pipeline.open_training(config.data, config.seed).batches(4)
        skipped = sum(int(next(batches)["skipped"].sum()) for _ in range(6))
        capsys.readouterr()
        train(config, tmp_path)
    out, err = capsys.readouterr()
    assert skipped > 3
    assert lines(tmp_path)[-2]["train/skipped"] == skipped
    assert f"{skipped} broken rows were passed over" in out.splitlines()[-1]
    warnings = [line for line in err.replace("\r", "\n").splitlines() if "warning" in line]
    assert sorted(line.split("(")[1][:14] for line in warnings) == [
        "m_00000005.jpg",
        "m_00000008.jpg",
    ]


def test_measuring_never_passes_over(root, tmp_path):
    config = configuration(root, data__broken="skip")
    last = configuration(root, data__broken="skip", evaluation__checkpoint="last")
    with damaged(root / "measured", 1):
        assert "(m_00000001.jpg) is not what was written" in stopped(config, tmp_path)
        assert steps_of(tmp_path) == [6]
        with pytest.raises(UserError, match=r"\(m_00000001.jpg\) is not what was written"):
            evaluate.evaluate(last, tmp_path)


def test_a_trained_model_is_loaded_as_it_is_measured(root, run):
    config = configuration(root)
    assert evaluate.load(config, run, "last")[0].dtype == config.model.dtype == "float32"
    with config.unlocked():
        config.evaluation.model.dtype = "bfloat16"
    assert evaluate.load(config, run, "last")[0].dtype == "bfloat16"


def test_workers_stop_the_real_command_with_one_line(root, tmp_path):
    config = configuration(root)
    row = first_needed_in(config, 3)
    changes = CHANGES | {"data__root": root, "data__workers": 2, "data__threads": 1}
    with damaged(root / "prepared", row):
        done = tiny.run(tiny.arguments(tmp_path, **changes))
    assert done.returncode == 2
    told = [line for line in re.split(r"[\r\n]+", done.stderr) if line.strip()]
    assert len(told) == 1, told
    assert told[0].startswith("error: ")
    assert f"the image of row {row} (m_{row:08d}.jpg)" in told[0]
    assert steps_of(tmp_path) in ([1], [2])
