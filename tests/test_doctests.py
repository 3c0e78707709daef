"""Every example in a docstring prints what it says."""

import doctest
import importlib
import pkgutil

import pytest
from hypothesis import settings

import claimlab

MODULES = [m.name for m in pkgutil.walk_packages(claimlab.__path__, "claimlab.") if not m.name.endswith("__main__")]


@pytest.fixture
def derandomized():
    """Examples that search print the same each time."""
    before = settings.get_current_profile_name()
    settings.register_profile("examples", settings.get_profile(before), derandomize=True, database=None)
    settings.load_profile("examples")
    yield
    settings.load_profile(before)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.usefixtures("derandomized")
def test_examples(name):
    if name.startswith("claimlab.experiments.lm."):
        pytest.importorskip("torch")
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert result.failed == 0
