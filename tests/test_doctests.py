"""Every example in a docstring prints what it says."""

import doctest
import importlib
import pkgutil

import pytest

import claimlab

MODULES = [m.name for m in pkgutil.walk_packages(claimlab.__path__, "claimlab.") if not m.name.endswith("__main__")]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert result.failed == 0
