"""The example of the contributing guide does what the guide says."""

import re
from pathlib import Path

import numpy as np

from claimlab.experiments import catalogue, verify
from claimlab.theory.claims import SMOKE

GUIDE = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_the_example_of_the_guide(tmp_path):
    (source,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    file = tmp_path / "my_paper.py"
    file.write_text(source, encoding="utf-8")
    found = verify(catalogue.load_file(file).CLAIMS, SMOKE)
    assert found.as_expected
    assert [row.verdict for row in found.rows] == ["supported", "refuted", "supported"]
    assert found.rows[0].tightness > 0.999  # attained by the indicator of where p is larger
    refuted = {name: np.array(found.rows[1].counterexample[name]) for name in ("p", "q", "reward")}
    gap = abs((refuted["p"] - refuted["q"]) @ refuted["reward"])
    assert gap > (refuted["p"] * np.log(refuted["p"] / refuted["q"])).sum() + 1e-7


def test_the_files_that_the_guide_names_exist():
    root = Path(__file__).parents[1]
    named = set(re.findall(r"`((?:experiments|tests)/[\w/.]+)`", GUIDE))
    assert len(named) > 5
    assert {name for name in named if not (root / name).exists() and "my_paper" not in name} == set()
