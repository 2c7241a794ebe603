import os
import pathlib
import time

import numpy as np
import pytest

from jaxmatte.data import manifest, sources
from jaxmatte.errors import UserError
from tests.data.folders import picture, write

LONG_AGO = 1_000_000_000  # seconds; a folder changed just now is listed anew


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path_factory):
    home = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    return home / "jaxmatte/manifests"


@pytest.fixture
def root(tmp_path):
    for name in ("b.jpg", "a.PNG", "c.txt", "._b.jpg", "x/d.jpg", "x/y/e.jpg", "z.jpg/f.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return settle(tmp_path)


def settle(folder):
    """As if nothing below had changed for long."""
    for inside, _, _ in os.walk(folder):
        os.utime(inside, (LONG_AGO, LONG_AGO))
    return folder


@pytest.fixture
def asked(monkeypatch):
    """The paths whose state was asked for."""
    paths = []
    real = os.stat
    monkeypatch.setattr(
        os, "stat", lambda path, **more: (paths.append(str(path)), real(path, **more))[1]
    )
    return paths


def fill(folder, count):
    folder.mkdir()
    for number in range(count):
        os.close(os.open(folder / f"h_{number:08x}.jpg", os.O_CREAT | os.O_WRONLY))
    return settle(folder)


def test_names_are_sorted_and_of_the_endings_asked_for(root):
    found = manifest.scan(root)
    assert found.names == ("a.PNG", "b.jpg")
    assert found.bytes == (5, 5)
    assert len(found) == 2
    assert manifest.scan(root, suffixes=(".TXT",)).names == ("c.txt",)


def test_folders_below_are_looked_into_when_asked(root):
    (root / "linked").symlink_to(root / "x/y")
    (root / "x/loop").symlink_to(root)
    names = manifest.scan(settle(root), recursive=True).names
    assert names == ("a.PNG", "b.jpg", "linked/e.jpg", "x/d.jpg", "x/y/e.jpg", "z.jpg/f.jpg")


@pytest.mark.parametrize("recursive", [False, True])
def test_a_second_scan_without_time_asks_only_the_folders(root, asked, recursive, monkeypatch):
    monkeypatch.setattr(manifest, "PATIENCE", -1.0)
    first = manifest.scan(root, recursive=recursive)
    assert sum(".jpg" in path or ".PNG" in path for path in asked) >= 2
    asked.clear()
    assert manifest.scan(root, recursive=recursive) == first
    assert not [path for path in asked if path.endswith(("a.PNG", "b.jpg", "d.jpg", "e.jpg"))]


@pytest.mark.parametrize("change", [b"other bytes", None])
def test_a_file_overwritten_in_its_place_is_seen(root, change):
    before = manifest.scan(root, recursive=True)
    assert manifest.scan(root, recursive=True) == before
    path = root / "x/y/e.jpg"
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change)
    settle(root)  # the folders tell nothing
    assert manifest.scan(root, recursive=True).fingerprint != before.fingerprint


@pytest.mark.parametrize("name", ["new.jpg", "x/y/new.jpg"])
def test_a_new_file_is_seen(root, name):
    before = manifest.scan(root, recursive=True)
    (root / name).write_bytes(b"")
    after = manifest.scan(root, recursive=True)
    assert set(after.names) - set(before.names) == {name}
    assert after.fingerprint != before.fingerprint


def test_a_folder_changed_just_now_is_not_trusted(root):
    manifest.scan(root)
    now = time.time_ns()
    os.utime(root, ns=(now, now))
    manifest.scan(root)
    (root / "new.jpg").write_bytes(b"")
    os.utime(root, ns=(now, now))  # a clock too coarse to tell
    assert "new.jpg" in manifest.scan(root).names


def test_the_fingerprint_follows_names_and_bytes_but_not_place_or_time(root, tmp_path_factory):
    before = manifest.scan(root).fingerprint
    copy = tmp_path_factory.mktemp("copy")
    for name in ("a.PNG", "b.jpg"):
        (copy / name).write_bytes((root / name).read_bytes())
    assert manifest.scan(copy).fingerprint == before
    (copy / "b.jpg").write_bytes(b"longer")
    os.utime(copy)
    longer = manifest.scan(copy).fingerprint
    (copy / "b.jpg").rename(copy / "c.jpg")
    assert len({before, longer, manifest.scan(copy).fingerprint}) == 3


@pytest.mark.parametrize("damage", [b"", b"{}", b"nonsense\n{}"])
def test_a_damaged_cache_is_made_anew(root, cache, asked, damage, monkeypatch):
    first = manifest.scan(root)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    for content in (damage, whole[:-9], whole.replace(b"b.jpg", b"q.jpg")):
        file.write_bytes(content)
        assert manifest.scan(root) == first
    monkeypatch.setattr(manifest, "PATIENCE", -1.0)
    asked.clear()
    manifest.scan(root)
    assert not [path for path in asked if path.endswith("b.jpg")]


def test_a_cache_that_cannot_be_written_is_done_without(root, monkeypatch, tmp_path_factory):
    file = tmp_path_factory.mktemp("no") / "file"
    file.write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))
    assert manifest.scan(root) == manifest.scan(root)


def test_a_cache_on_a_full_disk_leaves_nothing_half_written(root, monkeypatch, cache):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert len(manifest.scan(root)) == 2
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("recursive", [False, True])
def test_links_that_lead_nowhere_are_listed_and_loops_end(tmp_path, recursive):
    (tmp_path / "a.png").symlink_to("gone.png")
    (tmp_path / "b.png").symlink_to("b.png")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "self").symlink_to(".")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "c.png").write_bytes(b"123")
    found = manifest.scan(tmp_path, recursive=recursive)
    assert found.names == ("a.png", "b.png", "c.png")
    assert found.bytes[2] == 3
    assert manifest.scan(tmp_path, recursive=recursive).fingerprint == found.fingerprint


def test_a_user_without_a_home_has_a_cache(monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(pathlib.Path, "home", homeless)
    assert str(os.getuid()) in str(manifest.cache_folder())


def test_what_cannot_be_listed_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no folder .*nowhere"):
        manifest.scan(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file is not a folder"):
        manifest.scan(tmp_path / "file")


def test_sizes_are_read_once(tmp_path):
    folder = tmp_path / "pictures"
    for name, size in (("a.png", (20, 30)), ("b.jpg", (24, 16))):
        write(folder / name, picture(0, *size))
    read = []

    def read_size(path):
        read.append(path.name)
        return sources.read_size(path)

    listed = manifest.scan(settle(folder))
    np.testing.assert_array_equal(listed.sizes(read_size), [[20, 30], [24, 16]])
    np.testing.assert_array_equal(manifest.scan(folder).sizes(read_size), [[20, 30], [24, 16]])
    assert sorted(read) == ["a.png", "b.jpg"]
    write(folder / "b.jpg", picture(0, 40, 50))  # in place: the folder does not change
    write(folder / "c.png", picture(0, 10, 10))
    sizes = manifest.scan(folder).sizes(read_size)
    np.testing.assert_array_equal(sizes, [[20, 30], [40, 50], [10, 10]])
    assert sorted(read) == ["a.png", "b.jpg", "b.jpg", "c.png"]


def test_sizes_of_an_unreadable_file_name_it(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"a\.png"):
        manifest.scan(tmp_path).sizes(sources.read_size)


def test_sizes_of_nothing_are_an_empty_table(tmp_path):
    assert manifest.scan(tmp_path).sizes(sources.read_size).shape == (0, 2)


def test_thousands_of_files_are_listed_fast(tmp_path):
    assert_fast(fill(tmp_path / "many", 3000), 3000, 5.0)


@pytest.mark.slow
def test_two_hundred_thousand_files_start_within_ten_seconds(tmp_path):
    assert_fast(fill(tmp_path / "many", 200_000), 200_000, 10.0)


def assert_fast(folder: pathlib.Path, count: int, limit: float) -> None:
    taken = []
    for _ in range(2):
        begun = time.perf_counter()
        assert len(manifest.scan(folder)) == count
        taken.append(time.perf_counter() - begun)
    print(f"{count} files: cold {taken[0]:.2f} s, warm {taken[1]:.2f} s")
    assert max(taken) < limit


def test_slow_answers_are_waited_for_together_and_stay_in_order(tmp_path):
    for number in range(300):
        (tmp_path / f"{number:03d}.png").touch()

    def read_size(path):
        time.sleep(0.01)  # as a network file system answers
        return int(path.stem) + 1, 7

    listed, begun = manifest.scan(tmp_path), time.perf_counter()
    sizes = listed.sizes(read_size)
    assert time.perf_counter() - begun < 2  # one after the other: 3
    np.testing.assert_array_equal(sizes, [[number + 1, 7] for number in range(300)])
