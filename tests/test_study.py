import json

import pytest

from jaxmatte import study
from jaxmatte.errors import UserError
from tests import tiny

PUBLISHED = tiny.ROOT / "notebooks/published/gfm.json"


def test_missing_runs_say_what_they_need_and_found_ones_their_number():
    rows = study.published(PUBLISHED)
    ours = {("AM-2k, ORI-Track", "GFM(r) TT"): {"SAD[gfm, whole]": 11.25, "MSE[gfm, whole]": 0.003}}
    text = study.table(rows, ours)
    assert text.count("not run: needs AM-2k") == 3 * 3
    assert "| 10.89 / 11.25 | 0.0029 / 0.003 | 0.0064 / not measured |" in text
    assert len(text.splitlines()) == 2 + len(rows)


def test_measured_reads_the_newest_summary(tmp_path):
    (tmp_path / "evaluations").mkdir()
    for step in (100, 200):
        for name, more in (("", 0), ("_faces", 1), ("_faces_more", 2)):
            path = tmp_path / f"evaluations/best_{step:07d}{name}.json"
            path.write_text(json.dumps({"SAD[gfm, whole]": step + more}))
    assert study.measured(tmp_path)["SAD[gfm, whole]"] == 200
    assert study.measured(tmp_path, name="faces")["SAD[gfm, whole]"] == 201
    with pytest.raises(UserError, match="no evaluation 'face'; there are: best_0000100, best_"):
        study.measured(tmp_path, name="face")
    with pytest.raises(UserError, match="--mode=eval"):
        study.measured(tmp_path / "nothing")


def test_a_broken_table_is_named(tmp_path):
    (tmp_path / "x.json").write_text('[{"set": "a"}]')
    with pytest.raises(UserError, match=r"x.json is no table .*model"):
        study.published(tmp_path / "x.json")
