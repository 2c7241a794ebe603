import contextlib
import json
import os
import pty
import signal
import subprocess
import sys

import cv2
import pytest

from jaxmatte.evaluate import __main__ as command
from jaxmatte.evaluate import folders
from tests.data.folders import write
from tests.evaluate import mattes

OUTPUTS = {"summary.json", "table.md", "per_image.csv", "worst.png"}


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def arguments(given, out, *more):
    flags = [f"--{role.replace('_', '-')}={folder}" for role, folder in given.given.items()]
    return [*flags, f"--out={out}", *more]


@contextlib.contextmanager
def process(*words, **options):
    line = [sys.executable, "-m", "jaxmatte.evaluate", *words]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, **options) as running:
        try:
            yield running
        finally:
            running.kill()  # what a failed test leaves, which would be waited for without end


def left(out):
    return {path.name for path in out.iterdir()} if out.exists() else set()


def test_a_process_measures_prints_and_writes(tmp_path):
    given = mattes.pairs(tmp_path, more=("trimaps", "images"))
    out = tmp_path / "some/where"
    with process(*arguments(given, out), stderr=subprocess.PIPE) as running:
        told, complaints = running.communicate()
    assert (running.returncode, complaints) == (0, "")
    measured = folders.evaluate(given)
    for label, mean in measured.means().items():
        assert f"| {label} " in told
        assert command.report.number(mean) in told
    assert left(out) == OUTPUTS
    summary = json.loads((out / "summary.json").read_text())
    assert summary["means"] == measured.means()
    assert summary["flags"]["--trimaps"] == str(given.trimaps)
    rows = (out / "per_image.csv").read_text().splitlines()
    assert rows[0].startswith('name,"SAD[dim, unknown]"')
    assert [row.split(",")[0] for row in rows[1:]] == ["a.png", "b.png", "c.png"]
    assert (out / "table.md").read_text().startswith("| metric")
    picture = cv2.imread(str(out / "worst.png"))
    assert picture.shape[0] > 3 * 240
    assert picture.shape[1] > 5 * 320


def test_a_process_names_problems_once_and_exits_with_1(tmp_path):
    given = mattes.pairs(tmp_path)
    content = (given.predictions / "a.png").read_bytes()
    (given.predictions / "a.png").write_bytes(content[:300])  # libpng complains of it by itself
    (given.truth / "b.png").rename(given.truth / "d.png")
    with process(*arguments(given, tmp_path / "out"), stderr=subprocess.PIPE) as running:
        told, complaints = running.communicate()
    assert (running.returncode, complaints) == (1, "")
    assert "missing predictions: 1\n  d.png\nextra predictions: 1\n  b.png\n" in told
    assert f"unreadable files: 1\n  {given.predictions / 'a.png'} does not decode\n" in told
    problems = json.loads((tmp_path / "out/summary.json").read_text())["problems"]
    assert list(problems) == ["missing predictions", "extra predictions", "unreadable files"]


def test_ctrl_c_stops_at_once_and_leaves_nothing(tmp_path):
    given = mattes.pairs(tmp_path, "a")
    for folder in (given.predictions, given.truth):
        pixels = mattes.prediction(0, 400, 400)
        write(folder / "a.png", pixels)
        for number in range(12_000):  # far more than are measured before the signal
            (folder / f"{number}.png").hardlink_to(folder / "a.png")
    main, terminal = pty.openpty()
    with process(*arguments(given, tmp_path / "out"), stderr=terminal) as running:
        os.close(terminal)
        told = b""
        while b"measuring" not in told:  # the bar is drawn when the first picture is begun
            told += os.read(main, 1000)
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=20) == 130
        assert running.stdout.read() == ""
    assert b"stopped" in os.read(main, 1000000)
    os.close(main)
    assert left(tmp_path / "out") == set()


def test_the_same_bytes_for_any_number_of_threads(tmp_path, capsys):
    given = mattes.pairs(tmp_path, ("a", "b", "x/1", "x/2", "x/3", "y/1"), ("trimaps", "images"))
    (given.predictions / "y/1.png").write_bytes(b"")
    for threads in (1, 4):
        words = arguments(given, tmp_path / f"{threads}", f"--threads={threads}")
        assert command.main([*words, "--protocol=dim,rvm"]) == 1
    for name in OUTPUTS:
        assert (tmp_path / f"1/{name}").read_bytes() == (tmp_path / f"4/{name}").read_bytes()
    capsys.readouterr()


def test_protocols_and_metrics_are_chosen(tmp_path, capsys):
    given = mattes.pairs(tmp_path)
    words = arguments(given, tmp_path / "out", "--protocol=gfm, rvm", "--metrics=mad, dtssd")
    assert command.main(words) == 0
    told = capsys.readouterr().out
    for label in ("MAD[gfm, whole]", "MAD[rvm, whole] x 1000", "dtSSD[rvm, whole]"):
        assert f"| {label} " in told
    assert "SAD" not in told
    flags = json.loads((tmp_path / "out/summary.json").read_text())["flags"]
    assert (flags["--protocol"], flags["--metrics"]) == ("gfm, rvm", "mad,dtssd")


def test_where_nothing_could_be_measured_the_code_is_2_and_no_old_result_stays(tmp_path, capsys):
    given = mattes.pairs(tmp_path)
    words = arguments(given, tmp_path / "out")
    assert command.main(words) == 0
    for path in given.predictions.iterdir():
        path.write_bytes(b"")
    assert command.main(words) == 2
    error = capsys.readouterr().err
    assert (
        error == f"error: nothing could be measured; {tmp_path}/out/summary.json has all problems\n"
    )
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["means"]["SAD[dim, whole]"] is None
    assert len(summary["problems"]["unreadable files"]) == 3
    assert left(tmp_path / "out") == OUTPUTS - {"worst.png"}
    assert (tmp_path / "out/per_image.csv").read_text().count("\n") == 1


def test_the_gallery_can_be_left_out(tmp_path, capsys):
    given = mattes.pairs(tmp_path)
    assert command.main(arguments(given, tmp_path / "out", "--worst=0")) == 0
    assert "worst.png" not in capsys.readouterr().out
    assert left(tmp_path / "out") == OUTPUTS - {"worst.png"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--protocol=dmi"], "did you mean 'dim'"),
        (["--metrics=sda"], "did you mean 'sad'"),
        (["--truth=nowhere"], "error: --truth nowhere is not there\n"),
        (["--foregrounds=nowhere"], "give both"),
        (["--threads=0"], "'0' is no whole number above 0"),
        (["--worst=-1"], "'-1' is no whole number"),
        (["--wrost=3"], "unrecognized arguments: --wrost=3"),
        (["--out="], "argument --out: the path is empty"),
        (["--out=truth"], "error: --out truth is the folder of --truth"),
        (["--out=a_file"], "a_file is a file"),
        (["--out=a_file/below/it"], "a_file is a file"),
    ],
)
def test_mistakes_are_one_line_and_code_2(tmp_path, monkeypatch, capsys, words, message):
    given = mattes.pairs(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").touch()
    try:
        code = command.main([*arguments(given, "out"), *words])
    except SystemExit as error:  # argparse's own
        code = error.code
    assert code == 2
    complaint = capsys.readouterr().err
    assert message in complaint
    assert complaint.count("error: ") == 1
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "a_file").read_bytes() == b""


def test_a_folder_that_cannot_be_written_is_told_before_measuring(tmp_path, monkeypatch, capsys):
    given = mattes.pairs(tmp_path)
    monkeypatch.setattr(command.os, "access", lambda path, _: path != tmp_path)
    monkeypatch.setattr(command.folders, "evaluate", None)
    assert command.main(arguments(given, tmp_path / "out")) == 2
    assert f"change the rights of {tmp_path}" in capsys.readouterr().err


def test_a_full_disk_is_told_after_the_table(tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise OSError(28, "No space left on device")

    given = mattes.pairs(tmp_path)
    monkeypatch.setattr(command, "write_atomically", fail)
    assert command.main(arguments(given, tmp_path / "out")) == 2
    told = capsys.readouterr()
    assert "| SAD[dim, whole]" in told.out
    assert "per_image.csv: No space left on device" in told.err


@pytest.mark.parametrize("reader", ["gone", "full", "closed", "ascii"])
def test_results_are_kept_whoever_reads_the_terminal(tmp_path, reader):
    given = mattes.pairs(tmp_path, ("a", "b"))
    (given.predictions / "b.png").rename(given.predictions / "\N{SNOWMAN}.png")
    shut = ["sh", "-c", 'exec "$@" >&-', "sh"] if reader == "closed" else []
    words = [*shut, sys.executable, "-m", "jaxmatte.evaluate", *arguments(given, tmp_path / "out")]
    reading, pipe = os.pipe()
    with (
        open(reading, "rb") as told,
        open(pipe, "wb") as pipe_end,
        open("/dev/full", "wb") as full,
    ):
        if reader == "gone":
            told.close()
        done = subprocess.run(
            words,
            stdout=full if reader == "full" else pipe_end,
            stderr=subprocess.PIPE,
            env=os.environ | ({"PYTHONIOENCODING": "ascii"} if reader == "ascii" else {}),
            check=False,
        )
        pipe_end.close()
        assert (done.returncode, done.stderr) == (1, b"")
        assert reader != "ascii" or rb"\u2603.png" in told.read()
    assert left(tmp_path / "out") == OUTPUTS


def test_results_may_lie_beside_the_predictions(tmp_path, capsys):
    given = mattes.pairs(tmp_path)
    words = arguments(given, given.predictions / "evaluation")
    assert command.main(words) == 0
    assert command.main(words) == 0  # the gallery of the first is no extra prediction
    capsys.readouterr()


def test_opencv_keeps_its_threads(tmp_path, monkeypatch, capsys):
    seen = []
    score = folders.Scorer.score

    def look(*words):
        seen.append(cv2.getNumThreads())
        return score(*words)

    monkeypatch.setattr(folders.Scorer, "score", look)
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        assert command.main(arguments(mattes.pairs(tmp_path), tmp_path / "out")) == 0
        assert (set(seen), cv2.getNumThreads()) == ({1}, 3)
    finally:
        cv2.setNumThreads(before)
    capsys.readouterr()


def test_neither_jax_nor_the_pipeline_is_imported():
    code = (
        "import sys, jaxmatte.evaluate.__main__; "
        "print(sorted({'jax', 'flax', 'grain', 'tensorboardX'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
