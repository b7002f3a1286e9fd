"""Tiny models with tokenizers and chat templates, made on the spot, and reward models behind servers.

Heavy imports wait until a test asks for one.
"""

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import datetime, tzinfo
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# No test depends on speed, as the machine may be busy.
settings.register_profile("music", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("music")

# What passed the self-test on this machine before says nothing of the code that is tested.
os.environ["XDG_CACHE_HOME"] = os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp(prefix="music-tests-")
atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)

# A shell that starts the tests in the background leaves Ctrl-C ignored, here and in the processes that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Small models gain nothing from more threads, and on a busy machine lose by far.
os.environ.setdefault("OMP_NUM_THREADS", "1")

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
    "<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|pad|>", "<|bos|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
CORPUS = [
    "Name a fruit. An apple is a fruit, and so is a pear.",
    "Please answer in one short sentence. Yes, of course I will do that for you.",
    "What is the weather in the city? It is good, bad, warm or cold, and the plan is to walk.",
]
FAMILIES = ("llama", "gemma2")


class _Page(HTMLParser):
    """A page as a browser reads it: its tags with their attributes, text, scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.styles = "", ""
        self.scripts: list[str] = []
        self._sink: str | None = None
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._sink = tag if tag in ("script", "style") else None
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._sink = None

    def handle_data(self, data: str) -> None:
        if self._sink == "script":
            self.scripts[-1] += data
        elif self._sink == "style":
            self.styles += data
        else:
            self.text += data


@pytest.fixture(scope="session")
def read_page() -> Callable[[Path], _Page]:
    """Return a reader of HTML files."""
    return lambda path: _Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[..., Any]:
    """Return a maker of byte-level BPE tokenizers of 400 tokens."""
    return _tokenizer


@pytest.fixture(scope="session")
def reward_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a maker of reward models, without a score contract, whose scores differ by some tenths."""

    def make(family: str = "llama") -> Path:
        import torch
        from transformers import AutoModelForSequenceClassification

        config = _config(family)
        config.num_labels = 1
        torch.manual_seed(0)
        classifier = AutoModelForSequenceClassification.from_config(config)
        torch.nn.init.normal_(classifier.score.weight, std=0.5)
        return _save(classifier, tmp_path_factory.mktemp(f"{family}-rm"))

    return make


@pytest.fixture(scope="session")
def language_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a maker of language models."""

    def make(family: str = "llama") -> Path:
        import torch
        from transformers import AutoModelForCausalLM

        torch.manual_seed(0)
        return _save(AutoModelForCausalLM.from_config(_config(family)), tmp_path_factory.mktemp(f"{family}-lm"))

    return make


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that sets the clock of chat templates: `strftime_now` of transformers."""

    def set_to(*day: int) -> None:
        class Stopped(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> "Stopped":
                return cls(*day, tzinfo=tz)

        monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", Stopped)

    return set_to


@pytest.fixture
def count_tokens() -> Callable[[Any], AbstractContextManager[list[int]]]:
    """Return a context in which the tokens of each of a reward model's forward passes are listed."""

    @contextmanager
    def counting(model: Any) -> Iterator[list[int]]:
        counts: list[int] = []
        embeddings = model._classifier.get_input_embeddings()
        hook = embeddings.register_forward_pre_hook(lambda _, inputs: counts.append(inputs[0].numel()))
        try:
            yield counts
        finally:
            hook.remove()

    return counting


class RewardServer:
    """A process that serves a reward by vLLM's classify protocol (`tests/reward/classify_server.py`)."""

    def __init__(self, reward: str, stack: ExitStack) -> None:
        self._reward, self._stack, self._port = reward, stack, 0
        self.start()

    def start(self) -> None:
        """Start, or start again at the same address."""
        script = Path(__file__).parent / "reward" / "classify_server.py"
        command = [sys.executable, str(script), self._reward, str(self._port)]
        env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        pipe = subprocess.PIPE
        self._process = self._stack.enter_context(
            subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=env, start_new_session=True)
        )
        self._stack.callback(self.kill)
        assert self._process.stdout
        self._port = int(self._process.stdout.readline())
        self.url = f"http://127.0.0.1:{self._port}"

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="session")
def reward_server() -> Iterator[str]:
    """Serve the reward `length` for the whole session; return the base URL."""
    with ExitStack() as stack:
        yield RewardServer("length", stack).url


@pytest.fixture
def killable_reward_server() -> Iterator[RewardServer]:
    """Serve the reward `length`; it can be killed and started again."""
    with ExitStack() as stack:
        yield RewardServer("length", stack)


@pytest.fixture(scope="session")
def drawn() -> Callable[[Any], list[dict[str, Any]]]:
    """Return what gives the rows of data in a plot, its panels' together."""

    def rows(plot: Any) -> list[dict[str, Any]]:
        chart = plot.chart
        return [row for part in (*chart.get("vconcat", ()), chart) for row in part.get("data", {}).get("values", ())]

    return rows


def _tokenizer(template: str = TEMPLATE, pad_token: str | None = "<|pad|>") -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|bos|>", pad_token=pad_token)
    fast.chat_template = template
    return fast


def _config(family: str) -> Any:
    from transformers import Gemma2Config, LlamaConfig

    shape: dict[str, Any] = {
        "vocab_size": 400,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 5,
    }
    if family == "llama":
        return LlamaConfig(**shape)
    # A window shorter than the conversations, and a softcap tight enough to matter.
    return Gemma2Config(**shape, head_dim=8, sliding_window=24, attn_logit_softcapping=2.0, query_pre_attn_scalar=8)


def _save(model: Any, path: Path) -> Path:
    model.save_pretrained(path)
    _tokenizer().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def judges() -> Iterator[str]:
    """Serve judges of a fixed mind (`judges/judge_server.py`); return the base URL."""
    pipe = subprocess.PIPE
    command = [sys.executable, Path(__file__).parent / "judges" / "judge_server.py"]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        yield process.stdout.readline().strip()
        process.stdin.close()


@pytest.fixture(scope="session")
def stats() -> Callable[[str], dict[str, Any]]:
    """Return a reader of what a server has counted."""

    def read(url: str) -> dict[str, Any]:
        with urllib.request.urlopen(url.removesuffix("/v1") + "/stats", timeout=30) as response:
            return json.load(response)

    return read
