"""The examples in the docstrings of the public face run, as far as they need no checkpoint."""

import doctest
import importlib

import pytest

MODULES = {"functions": 4, "remote.settings": 1, "tokens.contract": 4, "tokens.encoding": 1}


@pytest.mark.parametrize(("name", "num_run"), MODULES.items())
def test_examples_give_what_they_show(name, num_run):
    result = doctest.testmod(importlib.import_module(f"music.reward.{name}"))
    assert result.failed == 0
    assert result.attempted >= num_run
