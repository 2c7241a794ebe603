import pytest

from jaxmatte.errors import UserError
from jaxmatte.evaluate.matching import Folders, match
from tests.evaluate import mattes


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def empty(root, **files):
    """Folders with files that nothing reads."""
    for role, names in files.items():
        (root / role).mkdir()
        for name in names:
            (root / role / name).parent.mkdir(parents=True, exist_ok=True)
            (root / role / name).touch()
    return Folders(**{role: root / role for role in files})


def found(lists):
    return {kind: lines for kind, lines in lists.items() if lines}


def test_names_match_without_their_endings_in_folders_below_too(tmp_path):
    folders = empty(
        tmp_path,
        predictions=["a.jpg", "x/a.PNG", "x/y/b.tif"],
        truth=["x/a.webp", "a.png", "x/y/b.png"],
        trimaps=["a.bmp", "x/a.png", "x/y/b.png"],
    )
    matches = match(folders)
    assert matches.names == ["a.png", "x/a.webp", "x/y/b.png"]
    assert matches.partners["predictions"] == ["a.jpg", "x/a.PNG", "x/y/b.tif"]
    assert matches.path("trimaps", 0) == tmp_path / "trimaps/a.bmp"
    assert matches.path("truth", 1) == tmp_path / "truth/x/a.webp"
    assert matches.path("images", 0) is None
    assert all(matches.whole)
    assert not found(matches.problems)
    assert not found(matches.notes)


def test_numbers_are_in_order_of_their_values_folder_by_folder(tmp_path):
    names = ["9.png", "clip10/1.png", "clip2/10.png", "clip2/9.png", "clip2/x/1.png"]
    matches = match(empty(tmp_path, predictions=names, truth=names))
    assert matches.names == [
        "9.png",
        "clip2/9.png",
        "clip2/10.png",
        "clip2/x/1.png",
        "clip10/1.png",
    ]


def test_what_has_no_partner_is_named(tmp_path):
    folders = empty(
        tmp_path,
        predictions=["b.png", "c.png", "d.png", "e.png", "x/c.png"],
        truth=["a.png", "b.png", "c.png", "d.png"],
        trimaps=["a.png", "c.png", "d.png", "z.png"],
        foregrounds=["a.png", "b.png", "d.png"],
        true_foregrounds=["a.png", "b.png", "c.png", "d.png"],
        images=["a.png", "b.png", "c.png"],
    )
    matches = match(folders)
    assert found(matches.problems) == {
        "missing predictions": ["a.png"],
        "missing trimaps": ["b.png"],
        "missing foregrounds": ["c.png"],
        "extra predictions": ["e.png", "x/c.png"],
    }
    assert found(matches.notes) == {"missing images": ["d.png"]}
    assert matches.whole == [False, False, False, True]
    assert matches.path("predictions", 0) is None


def test_several_files_of_one_name_are_named_and_none_is_chosen(tmp_path):
    folders = empty(
        tmp_path,
        predictions=["a.png", "b.jpg", "b.png", "c.png", "d.png", "d.tif"],
        truth=["a.png", "b.png", "c.png", "c.jpg"],
    )
    matches = match(folders)
    assert found(matches.problems) == {
        "several files of one name": ["c.jpg and c.png in truth", "b.jpg and b.png in predictions"],
        "extra predictions": ["d.png", "d.tif"],
    }
    assert matches.whole == [True, False, False]


def test_folders_inside_others_are_not_searched_as_a_part_of_them(tmp_path):
    folders = mattes.pairs(tmp_path)
    (tmp_path / "predictions").rename(tmp_path / "truth/mine")
    (tmp_path / "truth/mine/out").mkdir()
    (tmp_path / "truth/mine/out/worst.png").touch()
    inside = Folders(tmp_path / "truth/mine", folders.truth)
    matches = match(inside, besides=[tmp_path / "truth/mine/out"])
    assert matches.names == ["a.png", "b.png", "c.png"]
    assert not found(matches.problems)


def test_one_folder_may_be_both(tmp_path):
    folder = mattes.pairs(tmp_path).truth
    assert match(Folders(folder, folder)).whole == [True] * 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"truth": "nowhere"}, r"^--truth .*nowhere is not there$"),
        ({"predictions": "truth/a.png"}, r"^--predictions .*a.png is no folder$"),
        ({"true_foregrounds": "empty"}, r"^--true-foregrounds .*empty holds no pictures \(.jpg"),
    ],
)
def test_wrong_folders_are_named_with_their_flag(tmp_path, change, message):
    mattes.pairs(tmp_path)
    (tmp_path / "empty").mkdir()
    given = {"predictions": "predictions", "truth": "truth"} | change
    with pytest.raises(UserError, match=message):
        match(Folders(**{role: tmp_path / name for role, name in given.items()}))
