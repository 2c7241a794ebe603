"""The arrows of DESIGN.md: who may import whom, and which words belong to one room only."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "jaxmatte"
FILES = sorted(PACKAGE.rglob("*.py"))

# From the top to the bottom; a room imports only rooms below it, or of its own row by leave.
LEVELS = (
    {"main", "study"},
    {"train"},
    {"evaluate", "trimap"},
    {"engine"},
    {"data", "papers", "weights"},
    {"metrics", "inference"},
    {"losses", "labels", "encoders", "foreground", "alignment"},
    {"layers"},
    {"resampling", "convolution"},
    {"memory", "terminal"},
    {"errors", ""},
)
SIDEWAYS = {("papers", "weights"), ("weights", "papers")}


def imports(path):
    """Every module that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "" if parts == ("__init__",) else parts[0]


def level(name):
    found = [number for number, rooms in enumerate(LEVELS) if name in rooms]
    assert found, f"{name} has no place in LEVELS"
    return found[0]


def own(path):
    """The rooms of jaxmatte that a file imports."""
    names = [name for name in imports(path) if name.split(".")[0] == "jaxmatte"]
    return {name.split(".")[1] if "." in name else "" for name in names}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_point_down(path):
    here = room(path)
    for there in own(path) - {here}:
        if there == "__version__" or (here, there) in SIDEWAYS:
            continue
        assert level(here) < level(there), f"{here} imports {there}"


def foreign(folder):
    files = [p for p in FILES if p.is_relative_to(PACKAGE / folder) or p == PACKAGE / folder]
    assert files, folder
    return {name.split(".")[0] for path in files for name in imports(path)}


@pytest.mark.parametrize(
    ("rooms", "package"),
    [
        (["data", "trimap", "resampling.py", "foreground.py", "alignment.py", "errors.py"], "jax"),
        (["data", "resampling.py", "foreground.py"], "flax"),
        (["metrics", "losses.py", "labels.py"], "flax"),
        (["losses.py", "labels.py", "layers.py", "convolution.py", "papers", "encoders"], "cv2"),
        (["metrics/device.py", "metrics/components.py", "metrics/padded.py"], "cv2"),
        # Mattes on file are measured without waiting for JAX.
        (["metrics/measure.py", "metrics/matting.py", "metrics/gradient.py"], "jax"),
        (["metrics/connectivity.py", "metrics/video.py", "metrics/colours.py"], "jax"),
    ],
)
def test_rooms_without(rooms, package):
    for name in rooms:
        assert package not in foreign(name), f"{name} imports {package}"


@pytest.mark.parametrize(
    ("package", "only"),
    [
        ("orbax", {"engine/checkpoint.py"}),
        ("grain", {"data"}),
        ("tensorboardX", {"engine/writer.py"}),
        ("tensorflow", set()),
        ("torch", set()),
    ],
)
def test_packages_with_one_room(package, only):
    users = {p for p in FILES if package in {name.split(".")[0] for name in imports(p)}}
    rooms = [PACKAGE / name for name in only]
    assert all(any(p.is_relative_to(r) for r in rooms) for p in users), users
    assert bool(users) == bool(only)


@pytest.mark.parametrize(
    "word", ["Mesh", "NamedSharding", "pmap", "process_index", "process_count"]
)
def test_words_of_parallel(word):
    for path in FILES:
        names = {n.id for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Name)}
        names |= {
            n.attr for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Attribute)
        }
        names |= {name.split(".")[-1] for name in imports(path)}
        if path != PACKAGE / "engine/parallel.py":
            assert word not in names, f"{path.relative_to(ROOT)} names {word}"


def test_configs_import_nothing_of_jaxmatte():
    for path in (ROOT / "configs").glob("*.py"):
        assert not [name for name in imports(path) if name.startswith("jaxmatte")]


def test_every_paper_has_its_four_rooms():
    from jaxmatte import papers

    for name in papers.names():
        for place in (
            f"configs/{name}.py",
            f"tests/papers/test_{name}.py",
            f"notebooks/{name}.ipynb",
        ):
            assert (ROOT / place).exists(), place


def test_rooms_stay_small():
    for path in [*FILES, *(ROOT / "configs").glob("*.py"), *(ROOT / "tests").rglob("*.py")]:
        assert len(path.read_text().splitlines()) <= 450, path.relative_to(ROOT)
