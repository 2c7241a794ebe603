import pickle

import numpy as np
import pytest
from PIL import Image

from jaxmatte.data import catalog, frozen, layouts, sets, sources
from jaxmatte.errors import BrokenData, UserError
from tests.data import lookalikes
from tests.data.folders import matte, write
from tests.data.lookalikes import HEIGHT, WIDTH

SPLITS = [(name, split) for name, splits in lookalikes.ROWS.items() for split in splits]
FIELDS = {
    ("am2k", "train"): {"image", "alpha", "foreground"},
    ("am2k", "validation"): {"image", "alpha", "trimap"},
    ("bg20k", "train"): {"background", "denoised"},
    ("bg20k", "testval"): {"background"},
    ("coco", "train"): {"background"},
    ("coco", "val2017"): {"background"},
    ("p3m10k", "train"): {"image", "alpha"},
    ("composition1k", "train"): {"foreground", "alpha"},
    ("composition1k", "test"): {"image", "foreground", "background", "alpha", "trimap"},
    ("composition1k", "train_composed"): {"image", "foreground", "background", "alpha"},
    ("distinctions646", "train"): {"foreground", "alpha"},
    ("distinctions646", "test"): {"foreground", "alpha"},
    ("distinctions646", "test_composed"): {"image", "foreground", "background", "alpha"},
    ("ppm100", "test"): {"image", "alpha"},
    ("videomatte240k", "train"): {"foreground", "alpha"},
    ("videomatte240k", "test"): {"foreground", "alpha"},
    ("photomatte85", "test"): {"foreground", "alpha"},
    ("cityscapes", "train"): {"image", "label"},
    ("cityscapes", "val"): {"image", "label"},
    ("segmentation", "all"): {"image", "label"},
    ("pairs", "all"): {"image", "alpha", "trimap", "foreground"},
    ("cutouts", "all"): {"foreground", "alpha"},
}


@pytest.fixture(autouse=True)
def _small(monkeypatch, tmp_path_factory):
    lookalikes.shrink(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def test_every_set_has_a_lookalike():
    assert set(lookalikes.MAKERS) == set(catalog.names()) == set(lookalikes.ROWS)


@pytest.mark.parametrize(("name", "split"), SPLITS)
def test_every_split_opens(tmp_path, name, split):
    lookalikes.MAKERS[name](tmp_path)
    source = catalog.open(name, tmp_path, split)
    assert len(source) == lookalikes.ROWS[name][split]
    row = source[0]
    assert set(row.planes) == FIELDS.get((name, split), {"image", "alpha", "trimap"})
    assert source.has_trimaps == ("trimap" in row)
    for number, row in enumerate(source):
        assert (row.index, row.name) == (number, source.name(number))
        assert row.size == source.size(number)
        for field in row.planes:
            colours = field in ("image", "foreground", "background", "denoised")
            assert row[field].shape == row.size + ((3,) if colours else ())
            assert row[field].dtype == np.uint8
            window = (slice(2, 9), slice(3, 11))
            np.testing.assert_array_equal(row.read(field, window), row[field][window])
    again = pickle.loads(pickle.dumps(source))
    assert again.fingerprint == source.fingerprint
    first = next(iter(again[0].planes))
    np.testing.assert_array_equal(again[0][first], source[0][first])


@pytest.mark.parametrize("name", catalog.names())
def test_the_sets_own_folder_is_a_root_too(tmp_path, name):
    lookalikes.MAKERS[name](tmp_path)
    inside = catalog.base_of(catalog.get(name), tmp_path)
    assert catalog.open(name, inside).fingerprint == catalog.open(name, tmp_path).fingerprint


@pytest.mark.parametrize("name", catalog.names())
def test_what_is_not_there_is_named_with_how_to_get_it(tmp_path, name):
    with pytest.raises(UserError) as error:
        catalog.open(name, tmp_path)
    text = str(error.value)
    assert "\n" not in text
    assert str(tmp_path) in text
    assert f"show {name}" in text
    entry = catalog.get(name)
    assert entry.plain or entry.get in text


def test_a_root_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no folder .*nowhere.*AM-2k"):
        catalog.open("am2k", tmp_path / "nowhere")


def test_names_are_forgiving_and_near_misses_are_hinted_at():
    assert catalog.get("AM-2k") is catalog.get("am2k")
    assert catalog.get("alphamatting.com").name == "alphamatting"
    with pytest.raises(UserError, match="did you mean am2k"):
        catalog.get("am2")


def test_a_split_that_is_not_is_answered_with_those_that_are(tmp_path):
    lookalikes.am2k(tmp_path)
    with pytest.raises(UserError, match="no split 'test'; there are: train, validation"):
        catalog.open("am2k", tmp_path, "test")


def test_rows_come_sorted_by_name_and_belong_together(tmp_path):
    lookalikes.am2k(tmp_path)
    write(tmp_path / "AM-2k/train/mask/m_2.png", 255 - matte(HEIGHT, WIDTH))
    source = catalog.open("am2k", tmp_path)
    assert [row.name for row in source] == ["m_1.png", "m_2.png", "m_3.png"]
    np.testing.assert_array_equal(source[1]["alpha"], 255 - matte(HEIGHT, WIDTH))
    path = tmp_path / "AM-2k/train/original/m_2.png"
    np.testing.assert_array_equal(source[1]["image"], sources.read_colour(path))


def test_frames_are_called_by_their_clip(tmp_path):
    lookalikes.videomatte240k(tmp_path)
    source = catalog.open("videomatte240k", tmp_path)
    assert [row.name for row in source][1:3] == ["0001/00001.jpg", "0002/00000.jpg"]


def test_rows_without_a_partner_are_named(tmp_path):
    lookalikes.p3m10k(tmp_path)
    (tmp_path / "P3M-10k/train/mask/p_2.png").unlink()
    with pytest.raises(UserError, match="1 of 2 rows have no file of the field alpha: p_2"):
        catalog.open("p3m10k", tmp_path)


def test_two_files_of_one_name_are_refused(tmp_path):
    lookalikes.p3m10k(tmp_path)
    lookalikes.colour(tmp_path / "P3M-10k/train/blurred_image/p_1.png")
    with pytest.raises(UserError, match=r"p_1.png has the name of another file"):
        catalog.open("p3m10k", tmp_path)


def test_a_missing_group_is_no_smaller_set(tmp_path):
    lookalikes.composition1k(tmp_path)
    (tmp_path / "Combined_Dataset/Training_set/Other").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"no folder of the field foreground in .*Other"):
        catalog.open("composition1k", tmp_path)


def test_the_fingerprint_follows_files_and_their_bytes_but_not_their_place(tmp_path):
    lookalikes.cutouts(tmp_path / "one")
    lookalikes.cutouts(tmp_path / "two")
    one, two = catalog.open("cutouts", tmp_path / "one"), catalog.open("cutouts", tmp_path / "two")
    assert one.fingerprint == two.fingerprint
    lookalikes.cutout(tmp_path / "two/c.png")
    assert catalog.open("cutouts", tmp_path / "two").fingerprint != one.fingerprint


def test_denoised_backgrounds_are_where_they_are(tmp_path):
    lookalikes.bg20k(tmp_path)
    source = catalog.open("bg20k", tmp_path)
    assert ["denoised" in row for row in source] == [True, False, False]


def test_folders_below_a_plain_root_are_splits(tmp_path):
    lookalikes.own_pairs(tmp_path / "train")
    assert len(catalog.open("pairs", tmp_path, "train")) == 3
    with pytest.raises(UserError, match="no split 'val'; there are: all, or a folder below"):
        catalog.open("pairs", tmp_path, "val")


def test_binary_alphas_of_a_plain_folder_are_warned_of(tmp_path, capsys):
    lookalikes.own_pairs(tmp_path)
    catalog.open("pairs", tmp_path)
    assert capsys.readouterr().err == ""
    write(tmp_path / "alphas/2.png", (matte(HEIGHT, WIDTH) > 99) * np.uint8(255))
    catalog.open("pairs", tmp_path)
    assert "1 of 3 alphas" in capsys.readouterr().err


def test_a_map_of_detail_becomes_a_trimap(tmp_path):
    lookalikes.realworldportrait636(tmp_path)
    row = catalog.open("realworldportrait636", tmp_path)[0]
    expected = np.where(matte(HEIGHT, WIDTH) > 127, 255, 0)
    expected[5:9] = 128
    np.testing.assert_array_equal(row["trimap"], expected)


def test_the_two_trimaps_are_two_splits_of_the_same_pictures(tmp_path):
    lookalikes.alphamatting(tmp_path)
    every = np.full((HEIGHT, WIDTH), 128, np.uint8)
    folder = tmp_path / "alphamatting/trimap_training_lowres/Trimap2"
    write(folder / "GT01.png", every)
    one, two = (catalog.open("alphamatting", tmp_path, f"trimap{n}")[0] for n in (1, 2))
    np.testing.assert_array_equal(one["image"], two["image"])
    np.testing.assert_array_equal(two["trimap"], every)
    assert (one["trimap"] != every).any()


def test_label_numbers_become_training_classes(tmp_path):
    lookalikes.cityscapes(tmp_path)
    label = catalog.open("cityscapes", tmp_path)[0]["label"]
    # road 7, sidewalk 8, pole 17, sky 23, bicycle 33; 0 to 6, 9, 10, 14 to 16, 18, 29, 30: ignored
    numbers = np.arange(34)
    expected = {7: 0, 8: 1, 11: 2, 17: 5, 23: 10, 24: 11, 26: 13, 28: 15, 31: 16, 33: 18}
    classes = label.ravel()[:34]
    assert {int(n): int(classes[n]) for n in expected} == expected
    assert numbers[classes == 255].tolist() == [*range(7), 9, 10, 14, 15, 16, 18, 29, 30]
    assert sorted(set(classes.tolist()) - {255}) == list(range(19))


def test_palette_maps_give_numbers_and_colour_maps_are_refused(tmp_path):
    numbers = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH) % 3
    picture = Image.fromarray(numbers, "P")
    picture.putpalette([200, 10, 10, 10, 200, 10, 10, 10, 200])
    picture.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(layouts.read_label(tmp_path / "palette.png"), numbers)
    picture.convert("RGB").save(tmp_path / "colour.png")
    with pytest.raises(UserError, match=r"colour.png is no map of classes"):
        layouts.read_label(tmp_path / "colour.png")


def test_composites_follow_the_lists(tmp_path):
    lookalikes.composition1k(tmp_path)
    source = catalog.open("composition1k", tmp_path, "test")
    assert [row.name for row in source] == ["b_0.png", "b_1.png", "a_0.png", "a_1.png"]
    folder = tmp_path / "Combined_Dataset/Test_set/Adobe-licensed images"
    for number, row in enumerate(source):
        foreground = sources.read_colour(folder / f"fg/{row.name[0]}.png")
        path = tmp_path / f"VOCdevkit/VOC2012/JPEGImages/2008_{number:06d}.jpg"
        background = frozen.cover(sources.read_colour(path), (HEIGHT, WIDTH))
        np.testing.assert_array_equal(row["foreground"], foreground)
        np.testing.assert_array_equal(row["background"], background)
        composed = frozen.composed(foreground, background, row["alpha"])
        np.testing.assert_array_equal(row["image"], composed)


def test_composites_are_those_of_the_released_script_for_all_values():
    values = np.arange(256, dtype=np.uint8)
    front, behind = (np.stack([plane] * 3, 2) for plane in np.meshgrid(values, values))
    for value in (0, 1, 51, 128, 204, 254, 255):
        found = frozen.composed(front, behind, np.full((256, 256), value, np.uint8))
        opacity = value / 255  # Python's numbers, cut off by int(), as the script has it
        for f, b in ((0, 0), (255, 255), (200, 200), (10, 240), (255, 5), (85, 170)):
            assert found[b, f].tolist() == [int(opacity * f + (1 - opacity) * b)] * 3
        wanted = [[int(opacity * f + (1 - opacity) * b) for f in range(256)] for b in range(256)]
        np.testing.assert_array_equal(found[..., 1], wanted)


def test_a_broken_alpha_among_those_looked_at_is_left_to_its_reader(tmp_path, capsys):
    lookalikes.pairs(tmp_path, ["1", "2", "3"], "images", "alphas")
    (tmp_path / "alphas/2.png").write_bytes(b"")
    source = catalog.open("pairs", tmp_path)
    assert len(source) == 3
    assert capsys.readouterr().err == ""
    with pytest.raises(BrokenData, match=r"2\.png"):
        source[1]["alpha"]


def test_composites_on_file_go_before_composing(tmp_path):
    lookalikes.composition1k(tmp_path)
    path = tmp_path / "Combined_Dataset/Test_set/merged/a_1.png"
    lookalikes.colour(path)
    (tmp_path / "VOCdevkit/VOC2012/JPEGImages/2008_000003.jpg").unlink()
    row = catalog.open("composition1k", tmp_path, "test")[3]
    np.testing.assert_array_equal(row["image"], sources.read_colour(path))
    assert "background" not in row


def test_a_composite_without_background_is_named(tmp_path):
    lookalikes.composition1k(tmp_path)
    (tmp_path / "VOCdevkit/VOC2012/JPEGImages/2008_000003.jpg").unlink()
    with pytest.raises(UserError, match=r"1 of 4 composites .* a_1"):
        catalog.open("composition1k", tmp_path, "test")


def test_lists_that_do_not_go_together_are_refused(tmp_path):
    lookalikes.composition1k(tmp_path)
    path = tmp_path / "Combined_Dataset/Test_set/test_bg_names.txt"
    path.write_text("2008_000000.jpg\n")
    with pytest.raises(
        UserError, match=r"test_bg_names.txt has 1 lines where 2 foregrounds with 2"
    ):
        catalog.open("composition1k", tmp_path, "test")
    path.unlink()
    with pytest.raises(UserError, match=r"no list .*test_bg_names.txt"):
        catalog.open("composition1k", tmp_path, "test")


def test_fixed_backgrounds_follow_the_lists_also_by_their_newer_names(tmp_path):
    lookalikes.composition1k(tmp_path)
    old = catalog.fixed_backgrounds("composition1k", tmp_path)
    assert list(old) == ["t_2.png", "o.1.jpg", "t_1.png"]
    assert [path.name[-7:] for path in old["o.1.jpg"]] == ["002.jpg", "003.jpg"]
    for path in (tmp_path / "train2014").iterdir():
        path.rename(path.with_name(path.name[15:]))
    (tmp_path / "train2014").rename(tmp_path / "train2017")
    new = catalog.fixed_backgrounds("composition1k", tmp_path)
    assert [path.name for path in new["o.1.jpg"]] == ["002.jpg", "003.jpg"]
    with pytest.raises(UserError, match="has no frozen lists"):
        catalog.fixed_backgrounds("composition1k", tmp_path, "train")
    (tmp_path / "train2017/003.jpg").unlink()
    with pytest.raises(
        UserError, match=r"1 backgrounds are not there, among them COCO_\w+_003.jpg"
    ):
        catalog.fixed_backgrounds("composition1k", tmp_path)


@pytest.mark.parametrize("shape", [(10, 40), (40, 10), (24, 32), (23, 32), (90, 33)])
def test_backgrounds_cover_from_their_top_left_corner(shape):
    background = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    before = background.copy()
    covered = frozen.cover(background, (24, 32))
    assert covered.shape == (24, 32, 3)
    np.testing.assert_array_equal(background, before)
    if shape[0] >= 24 and shape[1] >= 32:
        np.testing.assert_array_equal(covered, background[:24, :32])
    if shape == (10, 40):  # enlarged by 2.4 to 24 x 96
        whole = np.asarray(Image.fromarray(background).resize((96, 24), Image.Resampling.BICUBIC))
        np.testing.assert_array_equal(covered, whole[:, :32])


def test_the_fingerprint_of_composites_follows_their_backgrounds(tmp_path):
    lookalikes.composition1k(tmp_path)
    before = catalog.open("composition1k", tmp_path, "test").fingerprint
    folder = tmp_path / "VOCdevkit/VOC2012/JPEGImages"
    lookalikes.colour(folder / "unlisted.jpg")
    assert catalog.open("composition1k", tmp_path, "test").fingerprint == before
    (folder / "2008_000001.jpg").unlink()
    lookalikes.colour(folder / "2008_000001.jpg", 50, 60)
    assert catalog.open("composition1k", tmp_path, "test").fingerprint != before


def test_every_entry_says_its_licence_and_how_to_get_it():
    for entry in sets.ENTRIES.values():
        assert entry.licence
        assert entry.get
        assert entry.plain or entry.page.startswith("http")
    assert catalog.get("cityscapes").checks == ("pairs and sizes", "class numbers")
    assert catalog.get("photomatte85").checks == ("alphas",)
    assert "frozen lists" in catalog.get("composition1k").checks
