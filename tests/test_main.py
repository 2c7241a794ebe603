"""What a person sees who mistypes: one line, exit code 2, and nothing half-written."""

import functools
import json
import shutil

import numpy as np
import pytest
from ml_collections import config_flags

from configs import gfm
from jaxmatte import evaluate, main
from jaxmatte.engine import workdir
from jaxmatte.errors import UserError
from jaxmatte.train import train
from tests import tiny
from tests.data import folders

CONFIGS = ", ".join(
    f"configs/{path.name}"
    for path in sorted((tiny.ROOT / "configs").glob("*.py"))
    if path.stem not in ("__init__", "common", "routes")
)


def config_of(arguments="", **changes):
    """The tiny configuration in this process, which has eight devices."""
    config = gfm.get_config(arguments)
    fields = {name.replace(".", "__"): value for name, value in tiny.OVERRIDES.items()}
    fields |= {"train__batch": 8, "data__crop__sizes": (48, 64)}
    fields |= {"optimizer__step_at": ("5 steps",)} | changes
    for name, value in fields.items():
        *groups, field = name.split("__")
        functools.reduce(getattr, groups, config)[field] = value
    return config.lock()


def refused(config, path):
    """The message with which training refuses; it must be one line and leave nothing behind."""
    with pytest.raises(UserError) as caught:
        train(config, path / "run")
    assert "\n" not in str(caught.value)
    assert not (path / "run").exists()
    return str(caught.value)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ([], f"give --config=FILE; there are: {CONFIGS}"),
        (["--config=configs/nope.py"], f"no config file 'configs/nope.py'; there are: {CONFIGS}"),
        (["--config=configs/gfm.py:track=rsn"], "did you mean rssn?"),
        (["--config=configs/gfm.py:encodr=r34"], "did you mean encoder?"),
        (["--config=configs/gfm.py:rosta"], "needs a value"),
        (
            ["--config=configs/gfm.py", "--config.optimizer.learning_rat=1"],
            "no field config.optimizer.learning_rat; did you mean config.optimizer.learning_rate?",
        ),
        (["--config=configs/gfm.py", "--config.sed=1"], "did you mean config.seed?"),
        (["--config=configs/gfm.py", "--config.optimiser.x=1"], "did you mean config.optimizer?"),
        (["--config=configs/gfm.py", "--config.train.batch=many"], "train.batch"),
        (["--config=configs/gfm.py", "--wokdir=x"], "wokdir"),
        (["--config=configs/gfm.py", "--mode=trian"], "mode"),
        (["--config=configs/gfm.py", "stray"], "unexpected arguments: stray"),
    ],
)
def test_the_command_line_in_a_process(flags, told, tmp_path):
    done = tiny.run(flags, cwd=tiny.ROOT) if flags == [] else None
    if done is None:
        message = parse_alone(flags)
    else:
        assert done.returncode == 2, done.stderr
        assert done.stdout == ""
        (message,) = done.stderr.strip().splitlines()
    assert told in message
    assert "\n" not in message


def parse_alone(flags):
    """Parses with flags of its own, so that tests do not see each other's."""
    from absl import flags as absl_flags

    values = absl_flags.FlagValues()
    holder = config_flags.DEFINE_config_file("config", None, "", values, lock_config=True)
    absl_flags.DEFINE_string("workdir", None, "", values)
    absl_flags.DEFINE_enum("mode", "train", ["train", "eval"], "", values)
    with pytest.raises(UserError) as caught:
        main.parse_flags(["main", *flags], values, holder)
    return str(caught.value)


def test_a_root_that_is_not_there(tmp_path):
    config = config_of("track=ori", data__root=str(tmp_path / "nowhere"))
    assert "is not a directory" in refused(config, tmp_path)
    assert "--config.data.root=DIR" in refused(config_of("track=ori"), tmp_path)


def test_an_empty_root(tmp_path):
    (tmp_path / "data").mkdir()
    config = config_of("track=ori", data__root=str(tmp_path / "data"))
    assert "no folder" in (told := refused(config, tmp_path))
    assert "config.data.images" in told
    assert "holds: nothing" in told


def test_pairs_and_sizes_that_do_not_match(tmp_path):
    root = folders.whole(tmp_path / "data")
    config = config_of("track=ori", data__root=str(root))
    mask = root / "AM-2k/train/mask/m_00000002.png"
    mask.unlink()
    assert "m_00000002.jpg" in refused(config, tmp_path)
    folders.write(mask, folders.matte(50, 60))
    assert "m_00000002.jpg is 128x96, m_00000002.png 60x50" in refused(config, tmp_path)


def test_a_validation_set_that_does_not_match(tmp_path):
    root = folders.whole(tmp_path / "data")
    shutil.rmtree(root / "AM-2k/validation/mask")
    config = config_of("track=ori", data__root=str(root))
    assert "config.evaluation.alphas" in refused(config, tmp_path)


def test_missing_backgrounds(tmp_path):
    root = folders.am2k(tmp_path / "data")
    config = config_of("track=rssn", data__root=str(root))
    assert "config.data.backgrounds" in refused(config, tmp_path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"train__batch": 12}, "train.batch=12 is not divisible by the 8 devices"),
        ({"train__total": "soon"}, "train.total='soon' is not a duration"),
        ({"evaluation__protocol": "gmf"}, "did you mean 'gfm'"),
        ({"checkpoint__best": "iou"}, "checkpoint.best='iou' is not measured"),
        ({"evaluation__metrics": ("mda",)}, "did you mean 'mad'"),
        ({"evaluation__rule": "gfm_hybird"}, "did you mean 'gfm_hybrid'"),
        ({"model__bn_axis": "data"}, "needs parallel.mode=pmap"),
        ({"model__d6_dilation": 2}, "d6_dilation=2"),
        ({"parallel__mode": "pjit"}, "there are: jit, pmap"),
        ({"data__source": "cloud"}, "there are: studio, folder"),
        ({"data__compose__route": "rsn"}, "there are: none, blend, rssn"),
        ({"data__foreground": "x"}, "there are: estimate, image, premultiplied"),
        ({"optimizer__freeze": ("nothing_here",)}, "optimizer.freeze: no parameter"),
        ({"init__weights": "/no/such/file.pth"}, "/no/such/file.pth"),
    ],
)
def test_fields_that_make_no_sense(changes, told, tmp_path):
    assert told in refused(config_of(**changes), tmp_path)


def test_a_directory_of_another_run_names_the_fields(tmp_path):
    config = config_of()
    (tmp_path / "run").mkdir()
    workdir.record(tmp_path / "run", config, "a device")
    other = config_of(
        seed=7, optimizer__learning_rate=0.5, log__every="2 steps", data__broken="skip"
    )
    with pytest.raises(UserError) as caught:
        train(other, tmp_path / "run")
    told = str(caught.value)
    assert "optimizer.learning_rate: 0.002 there, 0.5 here" in told
    assert "seed: 0 there, 7 here" in told
    assert "log.every" not in told  # that may change
    assert "data.broken" not in told
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        "config.json",
        "environment.json",
    ]


def test_evaluating_what_was_never_trained(tmp_path):
    with pytest.raises(UserError, match="run has no best checkpoint; train first: --mode=train"):
        evaluate.evaluate(config_of(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_picture_that_does_not_decode_stops_the_run_and_loses_nothing(tmp_path):
    root = folders.backgrounds(folders.am2k(tmp_path / "data"))
    folders.am2k(root, 3, 64, 64, split="validation")
    # Folders beside the scenes of the other tests: their programs are compiled already.
    flags = tiny.arguments(
        tmp_path / "run",
        data__source="folder",
        data__root=root,
        data__images="AM-2k/train/original",
        data__alphas="AM-2k/train/mask",
        data__backgrounds="BG-20k/train",
        data__threads=0,
        evaluation__images="AM-2k/validation/original",
        evaluation__alphas="AM-2k/validation/mask",
    )
    broken = root / "AM-2k/train/original/m_00000001.jpg"
    content = broken.read_bytes()
    broken.write_bytes(content[: len(content) // 2])  # its size can still be read
    done = tiny.run(flags)
    assert done.returncode == 2, done.stderr
    assert "cannot decode" in done.stderr
    assert "m_00000001.jpg" in done.stderr
    assert "Traceback" not in done.stderr
    broken.write_bytes(content)
    assert tiny.run(flags).returncode == 0


def test_numbers_that_are_not_finite_stop_the_run(tmp_path):
    flags = tiny.arguments(
        tmp_path,
        optimizer__learning_rate=1e30,
        optimizer__warmup="0 steps",
        optimizer__schedule="constant",
        checkpoint__every="1 steps",
        evaluation__every="6 steps",
        optimizer__name="sgd",
    )
    done = tiny.run(flags)
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert "not finite" in line
    assert "batch of the rows [" in line
    assert "scene" in line
    kept = [int(p.name) for p in (tmp_path / "checkpoints").iterdir()]
    step = int(line.split("step ")[1].split(":")[0])
    assert all(number < step for number in kept)
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        assert "NaN" not in line
        assert np.isfinite(json.loads(line).get("train/loss", 0.0))
