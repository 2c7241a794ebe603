import math

import cv2
import numpy as np
import pytest

from jaxmatte import metrics
from jaxmatte.errors import UserError
from jaxmatte.evaluate import folders
from jaxmatte.evaluate.matching import Folders
from jaxmatte.metrics.colours import foreground_mse
from jaxmatte.metrics.measure import measure
from jaxmatte.metrics.video import dtssd, dtssd_of_clip
from tests.data.folders import picture, write
from tests.evaluate import mattes
from tests.evaluate.mattes import HEIGHT, WIDTH

FRAMES = {"x/1": 0, "x/2": 1, "x/10": 2, "y/z/1": 3, "y/z/2": 4, "2": 5, "3": 6}


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def videos(root):
    return mattes.pairs(root, tuple(FRAMES))


def test_every_protocol_measures_each_picture_as_the_metrics_do(tmp_path):
    given = mattes.pairs(tmp_path, more=("trimaps",))
    measured = folders.evaluate(given, "dim, gfm-foreground,ppmatting")
    assert [row["name"] for row in measured.rows] == ["a.png", "b.png", "c.png"]
    for seed, row in enumerate(measured.rows):
        arrays = mattes.prediction(seed), mattes.truth(seed), mattes.trimap(seed)
        assert {name: row[name] for name in metrics.measure(*arrays)} == measure(*arrays)
        for protocol in ("gfm-foreground", "ppmatting"):
            for name, value in measure(*arrays, protocol).items():
                assert row[f"{name}[{protocol}]"] == value
    means = measured.means()
    assert list(means)[:5] == [
        f"{name}[dim, unknown]" for name in ("SAD", "MSE", "MAD", "Grad", "Conn")
    ]
    assert means["SAD[dim, unknown]"] == math.fsum(row["sad"] for row in measured.rows) / 3
    assert measured.over()["SAD[ppmatting, unknown]"] == "3 pictures"
    assert (measured.pictures, measured.problems, measured.notes) == (3, {}, {})


def test_without_trimaps_the_whole_picture_is_measured(tmp_path):
    measured = folders.evaluate(mattes.pairs(tmp_path), metrics=["sad"])
    expected = [metrics.sad(mattes.prediction(seed), mattes.truth(seed)) for seed in range(3)]
    assert [row["sad"] for row in measured.rows] == expected
    assert list(measured.means()) == ["SAD[dim, whole]"]


def test_mattes_may_lie_in_any_form_that_is_grey(tmp_path):
    given = mattes.pairs(tmp_path, "abcd")
    expected = folders.evaluate(given).rows
    grey = [mattes.prediction(seed) for seed in range(4)]
    wide = grey[0].astype(np.int32) * 257 + np.random.default_rng(0).integers(
        -128, 129, grey[0].shape
    )
    write(given.predictions / "a.png", np.clip(wide, 0, 65535).astype(np.uint16))
    write(given.predictions / "b.png", np.dstack([grey[1]] * 3))
    write(given.predictions / "c.png", np.dstack([*[grey[2]] * 3, np.full_like(grey[2], 255)]))
    (given.predictions / "d.png").unlink()
    write(given.predictions / "d.tif", grey[3])
    measured = folders.evaluate(given)
    assert measured.rows == expected
    assert not measured.notes


def test_unreadable_files_and_wrong_sizes_are_named_and_the_others_measured(tmp_path):
    given = mattes.pairs(tmp_path, "abcdefg", ("trimaps",))
    content = (given.predictions / "a.png").read_bytes()
    (given.predictions / "a.png").write_bytes(content[:300])
    (given.truth / "a.png").write_bytes(b"")
    write(given.predictions / "b.png", mattes.prediction(1, 20, 30))
    write(given.trimaps / "c.png", mattes.trimap(2, 10, 12))
    rgba = np.dstack([picture(1, HEIGHT, WIDTH), mattes.prediction(3)])
    write(given.predictions / "d.png", rgba)
    (given.predictions / "e.png").unlink()
    (given.predictions / "e.png").symlink_to("nowhere")
    write(given.predictions / "f.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    measured = folders.evaluate(given, metrics=["mad"])
    assert [row["name"] for row in measured.rows] == ["f.png", "g.png"]
    assert measured.pictures == 7
    unreadable = measured.problems.pop("unreadable files")
    parts = [
        (f"{given.predictions / 'a.png'}", "does not decode"),
        (f"{given.truth / 'a.png'}", "does not decode"),
        (f"{given.predictions / 'd.png'}", "is it a cut-out?"),
        (f"{given.predictions / 'e.png'}", "No such file"),
    ]
    assert len(unreadable) == len(parts)
    for line, (name, reason) in zip(unreadable, parts, strict=True):
        assert name in line
        assert reason in line
    assert measured.problems == {
        "wrong sizes": [
            f"{given.predictions / 'b.png'} is 30x20, {given.truth / 'b.png'} 32x24",
            f"{given.trimaps / 'c.png'} is 12x10, {given.truth / 'c.png'} 32x24",
        ]
    }


def test_empty_regions_odd_trimaps_and_coloured_mattes_are_noted(tmp_path):
    given = mattes.pairs(tmp_path, more=("trimaps",))
    write(given.trimaps / "a.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    odd = mattes.trimap(1)
    odd[0, :12] = range(100, 112)
    write(given.trimaps / "b.png", odd)
    write(given.predictions / "c.png", picture(0, HEIGHT, WIDTH))
    measured = folders.evaluate(given, "dim,gfm,gfm-foreground")
    assert measured.rows[0]["sad"] == measured.rows[0]["conn"] == 0
    assert measured.rows[0]["sad[gfm]"] > 0
    assert measured.notes == {
        "empty regions": ["a.png [dim]", "a.png [gfm-foreground]"],
        "unusual trimaps": [
            f"{given.trimaps / 'b.png'}: 100, 101, 102, 103, 104, 105, 106, 107 and 4 more"
        ],
        "coloured mattes": [str(given.predictions / "c.png")],
    }
    assert not measured.problems


@pytest.mark.parametrize("frames", [1, 2, 32])
@pytest.mark.parametrize("threads", [1, 3])
def test_clips_are_folders_and_count_alike(tmp_path, monkeypatch, frames, threads):
    monkeypatch.setattr(folders, "_FRAMES", frames)
    measured = folders.evaluate(videos(tmp_path), "rvm,dim", ["mad", "dtssd"], threads)
    clips = [[5, 6], [0, 1, 2], [3, 4]]
    order = [seed for clip in clips for seed in clip]
    names = {seed: f"{name}.png" for name, seed in FRAMES.items()}
    assert [row["name"] for row in measured.rows] == [names[seed] for seed in order]
    pairs = {seed: (mattes.prediction(seed), mattes.truth(seed)) for seed in order}
    changes = [dtssd_of_clip(*zip(*map(pairs.get, clip), strict=True)) for clip in clips]
    mads = [math.fsum(metrics.mad(*pairs[s], protocol="rvm") for s in c) / len(c) for c in clips]
    assert measured.means() == {
        "MAD[rvm, whole] x 1000": pytest.approx(math.fsum(mads) / 3, rel=1e-12),
        "dtSSD[rvm, whole]": pytest.approx(math.fsum(changes) / 3, rel=1e-12),
        "MAD[dim, whole]": math.fsum(row["mad[dim]"] for row in measured.rows) / 7,
    }
    assert measured.over()["dtSSD[rvm, whole]"] == "3 clips (7 frames)"
    assert measured.rows[0]["dtssd"] == 0
    assert measured.rows[1]["dtssd"] == dtssd(pairs[5][0], pairs[6][0], pairs[5][1], pairs[6][1])


def test_a_frame_after_a_broken_one_has_no_dtssd(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "_FRAMES", 1)
    given = mattes.pairs(tmp_path, [f"{n}" for n in range(8)])
    (given.predictions / "0.png").unlink()
    (given.predictions / "3.png").write_bytes(b"")
    for seed in (6, 7):
        write(given.predictions / f"{seed}.png", mattes.prediction(seed, 20, 30))
        write(given.truth / f"{seed}.png", mattes.truth(seed, 20, 30))
    measured = folders.evaluate(given, "rvm", threads=2)
    none = [row["name"] for row in measured.rows if row["dtssd"] is None]
    assert none == ["1.png", "4.png", "6.png"]
    assert measured.notes == {"frames without dtSSD": none}
    assert [len(lines) for lines in measured.problems.values()] == [1, 1]
    kept = [row["dtssd"] for row in measured.rows if row["dtssd"] is not None]
    assert measured.means()["dtSSD[rvm, whole]"] == math.fsum(kept) / 3
    assert measured.over()["dtSSD[rvm, whole]"] == "1 clip (3 frames)"
    assert measured.over()["MAD[rvm, whole] x 1000"] == "1 clip (6 frames)"


def test_foregrounds_are_measured_where_both_are_given(tmp_path):
    given = mattes.pairs(tmp_path, more=("foregrounds", "true_foregrounds"))
    measured = folders.evaluate(given, "dim,rvm", ["mad"])
    assert [label for label in measured.means() if "foreground" in label] == [
        "foreground SAD[dim, whole]",
        "foreground MSE[dim, whole]",
        "foreground MAD[dim, whole]",
        "foreground SAD[rvm, whole]",
        "foreground MSE[rvm, whole] x 1000",
        "foreground MAD[rvm, whole] x 1000",
    ]
    colours = picture(8, HEIGHT, WIDTH), picture(1, HEIGHT, WIDTH)
    expected = foreground_mse(*colours, mattes.truth(1), protocol="rvm")
    assert measured.rows[1]["foreground_mse[rvm]"] == expected > 0
    (given.true_foregrounds / "b.png").unlink()
    write(given.foregrounds / "c.png", picture(1, 10, 10))
    measured = folders.evaluate(given, metrics=["mad"])
    assert [row["name"] for row in measured.rows] == ["a.png"]
    assert list(measured.problems) == ["missing true foregrounds", "wrong sizes"]
    assert not measured.notes  # colours may differ from channel to channel


@pytest.mark.parametrize(
    ("protocols", "chosen", "message"),
    [
        ("dimm", None, "no protocol 'dimm'; did you mean 'dim'"),
        ("dim,", None, "no name in it, or between commas"),
        ("gfm-transition", None, "needs a trimap"),
        ("dim", ["sda"], "no metric 'sda'; did you mean 'sad'"),
        ("dim", ["sad", "dtssd"], "dtssd is of videos"),
        ("dim", ["foreground_mse"], r"no metric 'foreground_mse'.*conn, dtssd$"),
    ],
)
def test_wrong_names_are_told_with_the_nearest(tmp_path, protocols, chosen, message):
    with pytest.raises(UserError, match=message):
        folders.evaluate(mattes.pairs(tmp_path), protocols, chosen)


def test_foregrounds_go_together(tmp_path):
    given = Folders(tmp_path, tmp_path, foregrounds=tmp_path)
    with pytest.raises(UserError, match="go together"):
        folders.evaluate(given)


def test_nothing_measured_has_no_means(tmp_path):
    given = mattes.pairs(tmp_path, "a")
    (given.predictions / "a.png").rename(given.predictions / "b.png")
    measured = folders.evaluate(given, "dim,rvm", ["mad"])
    assert measured.rows == []
    assert set(measured.means().values()) == {None}
    assert measured.over()["MAD[rvm, whole] x 1000"] == "0 clips (0 frames)"
    assert list(measured.problems) == ["missing predictions", "extra predictions"]


def test_few_pictures_are_begun_before_they_are_asked_for(tmp_path, monkeypatch):
    given = mattes.pairs(tmp_path, [f"{n}" for n in range(60)])
    begun = []
    score = folders.Scorer.score
    monkeypatch.setattr(
        folders.Scorer, "score", lambda *arguments: begun.append(1) or score(*arguments)
    )
    matches = folders.matching.match(given)
    scorer = folders.Scorer(matches, folders.choose(given, "dim", ["mad"]))
    results = folders._in_threads(scorer, 60, 2, None)
    next(results)
    assert len(begun) <= 2 * folders._AHEAD + 1
    results.close()
    assert scorer.stop.is_set()
    assert len(begun) < 60


def test_inputs_stay_as_they_are(tmp_path):
    given = mattes.pairs(tmp_path, more=("trimaps", "images", "foregrounds", "true_foregrounds"))

    def state():
        files = sorted(path for path in tmp_path.rglob("*"))
        return [(p, p.stat().st_mtime_ns, p.is_file() and p.read_bytes()) for p in files]

    before = state()
    folders.evaluate(given, "dim,rvm,gfm-transition")
    assert state() == before


def test_names_that_are_no_text_are_told(tmp_path):
    given = mattes.pairs(tmp_path, "a")
    odd = "b\udcff\n.png"
    (given.truth / odd).write_bytes(cv2.imencode(".png", mattes.truth(0))[1].tobytes())
    measured = folders.evaluate(given, metrics=["mad"])
    assert measured.problems == {"missing predictions": ["b\\udcff\\n.png"]}
