"""README's commands: what they name exists, and CI runs the two that set everything up."""

import re

import pytest

from configs import gfm
from jaxmatte.main import _require_field
from tests import tiny

README = (tiny.ROOT / "README.md").read_text()
COMMANDS = [
    line.replace("\\\n", " ").strip()
    for block in re.findall(r"```\n(.*?)```", README, re.S)
    for line in re.split(r"(?<!\\)\n", block)
    if line.strip()
]


def marked(name):
    return re.search(rf"<!-- {name} -->\n```\n(.*?)\n```", README, re.S)[1]


def test_the_two_commands_of_the_start():
    assert marked("quickstart") == (
        "pip install -r requirements.txt && python -m jaxmatte.main --config=configs/gfm.py"
    )
    assert marked("tests") == "pip install -r requirements-dev.txt && pytest"


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


@pytest.mark.parametrize("command", [c for c in COMMANDS if "--config=" in c])
def test_configs_and_fields_that_commands_name_exist(command):
    path, _, arguments = re.search(r"--config=(\S+)", command)[1].partition(":")
    assert path == "configs/gfm.py"
    config = gfm.get_config(arguments)
    for name in re.findall(r"--config\.([a-z_.]+)=", command):
        _require_field(config, name)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"--config\.([a-z_.]+)=", README))))
def test_fields_named_in_the_text_exist(name):
    _require_field(gfm.get_config(), name)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)h][^)]*)\)", README))))
def test_links_and_pictures_exist(target):
    assert (tiny.ROOT / target).exists()


def test_no_placeholder_is_left():
    assert not re.findall(r"@[A-Z]+@", README)
