"""README's commands: what they name exists, they open data, and CI runs the two of the start."""

import importlib
import pathlib
import re
import shlex

import absl.flags
import numpy as np
import pytest

from configs import gfm
from jaxmatte.data import __main__ as data_command
from jaxmatte.data import catalog, pipeline
from jaxmatte.data.sets import ENTRIES
from jaxmatte.evaluate import __main__ as evaluate_command
from jaxmatte.evaluate import columns
from jaxmatte.main import _require_field
from jaxmatte.metrics.protocols import PROTOCOLS
from tests import tiny
from tests.data import folders
from tests.test_architecture import imports

README = (tiny.ROOT / "README.md").read_text()
DESIGN = (tiny.ROOT / "DESIGN.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.S | re.M)
COMMANDS = [
    line.replace("\\\n", " ").strip()
    for language, block in BLOCKS
    for line in re.split(r"(?<!\\)\n", block)
    if line.strip() and not language
]
SECTION = README[README.index("## Data\n") : README.index("## Metrics\n")]
METRICS = README[README.index("## Metrics\n") : README.index("## In Python\n")]
RUNS = [command for command in COMMANDS if "--config=" in command]
MEASURING = [shlex.split(c)[3:] for c in COMMANDS if c.startswith("python -m jaxmatte.evaluate ")]
DATA = [shlex.split(c)[3:] for c in COMMANDS if c.startswith("python -m jaxmatte.data ")]


def marked(name):
    return re.search(rf"<!-- {name} -->\n```\n(.*?)\n```", README, re.S)[1]


def test_the_two_commands_of_the_start():
    assert marked("quickstart") == (
        "pip install -r requirements.txt && python -m jaxmatte.main --config=configs/gfm.py"
    )
    assert marked("tests") == "pip install -r requirements-dev.txt && pytest -n 2"


def test_ci_runs_them_as_they_stand_in_a_fresh_environment():
    script = (tiny.ROOT / ".ci/run").read_text()
    for part in (
        "python3 -m venv",
        "README.md",
        "command_of quickstart",
        "command_of tests",
        'eval "$tests"',
    ):
        assert part in script


def configuration(command):
    """The configuration that a command names, and its fields with their values."""
    path, _, arguments = re.search(r"--config=(\S+)", command)[1].partition(":")
    assert (tiny.ROOT / path).is_file()
    fields = re.findall(r"--config\.([a-z_.]+)=(\S*)", command)
    module = importlib.import_module(f"configs.{pathlib.Path(path).stem}")
    return module.get_config(arguments), dict(fields)


@pytest.mark.parametrize("command", RUNS)
def test_configs_and_fields_that_commands_name_exist(command):
    config, fields = configuration(command)
    for name in fields:
        _require_field(config, name)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"--config\.([a-z_.]+)=", README))))
def test_fields_named_in_the_text_exist(name):
    _require_field(gfm.get_config(), name)


@pytest.mark.parametrize(
    "name", sorted(set(re.findall(r"`((?:data|evaluation)\.[a-z_.]+)", README)))
)
def test_fields_named_without_their_group_exist(name):
    _require_field(gfm.get_config(), name)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)h][^)]*)\)", README))))
def test_links_and_pictures_exist(target):
    assert (tiny.ROOT / target).exists()


def test_no_placeholder_is_left():
    assert not re.findall(r"@[A-Z]+@", README)


def options(arguments):
    return data_command._parser(arguments[0] == "prepare").parse_args(arguments)


@pytest.mark.parametrize("arguments", DATA, ids=" ".join)
def test_commands_of_the_data_parse_and_name_what_there_is(arguments):
    given = vars(options(arguments))
    if given.get("name"):
        entry = catalog.get(given["name"])
        assert given.get("split", "") in ("", *entry.splits)


@pytest.mark.parametrize("flag", sorted(set(re.findall(r"`(--[a-z-]+)", SECTION))))
def test_flags_named_in_the_text_are_those_of_the_data(flag, capsys):
    known = ""
    for command in ("check", "prepare"):
        with pytest.raises(SystemExit):
            options([command, "--help"])
        known += capsys.readouterr().out
    assert flag in re.findall(r"--[a-z-]+", known)


def test_the_table_has_every_set_with_the_terms_that_are_known():
    for name, entry in ENTRIES.items():
        title = f"[{entry.title}]({entry.page})" if entry.page else entry.title
        assert f"| `{name}` | {title}: {entry.about} | {entry.licence} |" in README
    assert len(re.findall(r"^\| `\w+` \| .* \| .* \|$", README, re.M)) == len(ENTRIES)


@pytest.fixture(name="root", scope="module")
def _root(tmp_path_factory):
    """What README calls DIR, with everything in it, after the commands that prepare it."""
    root = folders.whole(tmp_path_factory.mktemp("DIR"))
    for number in range(3):
        image, alpha = folders.picture(number, 60, 80), folders.matte(60, 80)
        for folder in ("", "test/"):
            folders.write(root / f"{folder}images/{number}.jpg", image)
            folders.write(root / f"{folder}alphas/{number}.png", alpha)
        folders.write(root / f"cutouts/{number}.png", np.dstack([image, alpha]))
        folders.write(root / f"backgrounds/{number}.jpg", image)
    for mask in (root / "AM-2k/validation/mask").iterdir():
        folders.write(root / "AM-2k/validation/trimap" / mask.name, folders.matte(104, 136))
    for arguments in DATA:
        code = data_command.main([word.replace("DIR", str(root)) for word in arguments])
        assert code == (1 if arguments[0] == "check" else 0)  # there are not as many as there ought
    return root


@pytest.mark.parametrize("command", [c for c in RUNS if "data.root=DIR" in c])
def test_commands_open_their_data(command, root):
    config, fields = configuration(command)
    for name, value in fields.items():
        if name.startswith(("data.", "evaluation.")):
            config.update_from_flattened_dict({name: value.replace("DIR", str(root))})
    absl.flags.FLAGS.mark_as_parsed()
    data = pipeline.open_training(config.data, seed=0)
    batch = next(data.batches(1, threads=0))
    assert batch["image"].shape == (1, config.data.size, config.data.size, 3)
    assert len(pipeline.open_evaluation(config.evaluation, config.data, seed=0)) == 3


def test_what_readme_says_of_python_is_python():
    for language, block in BLOCKS:
        if language == "python":
            compile(block, "README.md", "exec")


@pytest.mark.parametrize("house", ["data", "metrics", "evaluate"])
def test_the_plan_has_every_room_and_its_arrows(house):
    plan = re.search(rf"Rooms of `{house}/`.*?```\n(.*?)```", DESIGN, re.S)[1]
    levels = {
        name: number
        for number, line in enumerate(re.split(r"\n(?! )", plan.strip()))
        for part in line.splitlines()
        for name in re.split(r"/? {2,}", part.strip())[0].split()
    }
    folder = tiny.ROOT / "jaxmatte" / house
    paths = [*folder.glob("*.py"), *folder.glob("routes/*.py"), *folder.glob("studio/*.py")]
    paths = [path for path in paths if path.stem != "__init__"]
    assert {path.stem for path in folder.glob("*.py")} <= {*levels, "__init__"}
    for path in paths:
        here = levels["studio" if path.parent.name == "studio" else path.stem]
        within = f"jaxmatte.{house}."
        rooms = [name.split(".")[2] for name in imports(path) if name.startswith(within)]
        assert all(levels[room] >= here for room in rooms if room in levels), path


@pytest.mark.parametrize("arguments", MEASURING, ids=" ".join)
def test_commands_that_measure_parse_and_name_what_there_is(arguments):
    given = evaluate_command._parser().parse_args(arguments)
    assert columns.columns(given.protocol, given.metrics or columns.METRICS, True)


@pytest.mark.parametrize("flag", sorted(set(re.findall(r"`(--[a-z-]+)", METRICS))))
def test_flags_named_in_the_text_are_those_of_measuring(flag, capsys):
    with pytest.raises(SystemExit):
        evaluate_command._parser().parse_args(["--help"])
    assert flag in re.findall(r"--[a-z-]+", capsys.readouterr().out)


def test_the_table_has_every_protocol():
    rows = re.findall(r"^\| (`[a-z].*?`) \| [^|]* \|$", METRICS, re.M)
    assert [name for row in rows for name in re.findall(r"`(.*?)`", row)] == list(PROTOCOLS)
