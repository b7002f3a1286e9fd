from typing import Any

import pytest

from music.sandbox.artifacts import BACKBONE


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(BACKBONE)


@pytest.fixture
def policy() -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(BACKBONE)
