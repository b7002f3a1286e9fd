import asyncio
import gc
import os
import shutil
import signal
import threading
import weakref
from pathlib import Path

import pytest
import torch
from aiohttp import ClientSession
from safetensors.torch import load_file, save_file

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.reward import RewardModel
from music.serving import reward_server
from music.serving.config import ServingConfig
from music.serving.engine import ScoringEngine
from music.serving.metrics import ServerMetrics
from music.serving.protocols import RefusedError
from music.serving.reloading import Reloader
from music.serving.served_model import load_served
from music.serving.server import _serve, listening

CONVERSATIONS = [Conversation().user("Name a fruit.").assistant("An apple " * number) for number in range(1, 5)]
MESSAGES = [conversation.to_messages() for conversation in CONVERSATIONS]


@pytest.fixture
def folder(checkpoint, tmp_path):
    """Return a folder of two checkpoints, `first` and `second`, whose scores differ."""
    shutil.copytree(checkpoint, tmp_path / "first")
    shutil.copytree(checkpoint, tmp_path / "second")
    change_weights(tmp_path / "second", lambda weight: -2 * weight)
    return tmp_path


def change_weights(path, change):
    """Write other weights of the score head to a checkpoint's own file."""
    tensors = {name: tensor.clone() for name, tensor in load_file(path / "model.safetensors").items()}
    tensors["score.weight"] = change(tensors["score.weight"])
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})


@pytest.fixture
async def make_reloader(folder):
    engines = []

    def make(**settings):
        config = ServingConfig(device="cpu", **settings)
        engines.append(ScoringEngine(load_served(str(folder / "first"), config)))
        return engines[-1], Reloader(engines[-1], config, ServerMetrics())

    yield make
    for engine in engines:
        await engine.aclose()


async def refusal(reloader, path=None):
    with pytest.raises(RefusedError) as error:
        await reloader.reload(None if path is None else str(path))
    return error.value.status, error.value.code


def score(served):
    return served.model.score(CONVERSATIONS)


async def test_only_what_it_was_started_with_and_folders_below_the_given_one_are_loaded(
    make_reloader, folder, tmp_path
):
    (folder / "below").mkdir()
    shutil.move(folder / "second", folder / "below" / "second")
    (folder / "below" / "link").symlink_to(folder / "first")
    engine, reloader = make_reloader(reload_from=folder / "below")
    for path in (
        folder / "below" / ".." / "first" / ".",
        folder / "below" / "link",
        folder / "below" / "nothing",
        "gpt2",
        "a\x00b",
        "a" * 10_000,
    ):
        assert await refusal(reloader, path) == (403, "not_allowed")
    assert (await reloader.reload(str(folder / "below" / "second"))) is engine.served
    assert engine.served.name == str(folder / "below" / "second")
    await reloader.reload()
    assert engine.served.name == str(folder / "below" / "second")
    await reloader.reload(str(folder / "first"))
    assert engine.served.name == str(folder / "first")


async def test_by_default_only_the_model_itself_is_loaded_again(make_reloader, folder):
    engine, reloader = make_reloader()
    assert await refusal(reloader, folder / "second") == (403, "not_allowed")
    before = engine.served
    change_weights(folder / "first", lambda weight: -2 * weight)
    after = await reloader.reload()
    assert after.fingerprint != before.fingerprint
    assert score(after) == pytest.approx([-2 * each for each in score(before)], abs=1e-5)
    assert after.model.max_cached_tokens == before.model.max_cached_tokens


async def test_a_frozen_server_loads_nothing(make_reloader):
    _, reloader = make_reloader(frozen=True)
    assert await refusal(reloader) == (403, "frozen")


async def test_one_checkpoint_is_loaded_at_a_time_even_if_who_asked_has_gone(make_reloader, monkeypatch):
    engine, reloader = make_reloader()
    gate, is_loading = threading.Event(), threading.Event()

    def slowly(path, config):
        is_loading.set()
        assert gate.wait(60)
        return load_served(path, config)

    monkeypatch.setattr("music.serving.reloading.load_served", slowly)
    before = engine.served
    asked = asyncio.create_task(reloader.reload())
    await asyncio.to_thread(is_loading.wait)
    asked.cancel()
    assert await refusal(reloader) == (409, "loading")
    gate.set()
    async with asyncio.timeout(60):
        while engine.served is before:  # noqa: ASYNC110 - nobody waits for this load
            await asyncio.sleep(0.01)


def break_weights(path):
    change_weights(path, lambda weight: weight * float("nan"))


def cut_off(path):
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5_000])


@pytest.mark.parametrize(
    "fault", [shutil.rmtree, break_weights, cut_off, lambda path: (path / "config.json").write_text("{")]
)
async def test_the_model_stays_if_the_next_one_vanishes_or_is_broken(make_reloader, folder, fault):
    engine, reloader = make_reloader()
    before, expected = engine.served, score(engine.served)
    fault(folder / "first")
    assert await refusal(reloader) == (422, "not_loaded")
    assert engine.served is before
    assert score(before) == expected


async def test_a_checkpoint_that_is_written_while_it_is_read_is_refused(make_reloader, folder, monkeypatch):
    engine, reloader = make_reloader()
    load = RewardModel.from_pretrained

    def load_and_write(path, **options):
        model = load(path, **options)
        change_weights(Path(path), torch.neg)
        return model

    monkeypatch.setattr(RewardModel, "from_pretrained", load_and_write)
    before = engine.served
    assert await refusal(reloader) == (422, "not_loaded")
    assert engine.served is before


def test_weights_that_are_written_in_place_do_not_change_a_served_model(folder):
    """The file keeps its inode, as a trainer that saves to the same folder keeps it."""
    served = load_served(str(folder / "first"), ServingConfig(device="cpu"))
    before = score(served)
    file = folder / "first" / "model.safetensors"
    shutil.copy(folder / "second" / "model.safetensors", file)
    assert score(served) == before
    file.write_bytes(b"")
    assert score(served) == before


def test_a_share_of_gpu_memory_needs_a_gpu(folder):
    with pytest.raises(InvalidInputError, match="--gpu-memory: expected a CUDA device, got the CPU"):
        load_served(str(folder / "first"), ServingConfig(device="cpu", gpu_memory=0.5))


def test_no_request_is_dropped_while_checkpoints_are_swapped(folder):
    """Clients ask without a pause; each answer is that of the model whose fingerprint it carries."""
    expected = {}
    for name in ("first", "second"):
        model = RewardModel.from_pretrained(folder / name, device="cpu")
        expected[model.fingerprint] = model.score(CONVERSATIONS)

    async def drive(url):
        answers, is_over = [], asyncio.Event()

        async def ask(session):
            while not is_over.is_set():
                async with session.post("/v1/score", json={"conversations": MESSAGES}) as response:
                    answers.append((response.status, await response.json()))

        async def reload(session, body):
            async with session.post("/v1/reload", json=body) as response:
                return response.status, await response.json()

        async with ClientSession(url) as session:
            clients = [asyncio.create_task(ask(session)) for _ in range(4)]
            reloaded = [await reload(session, {"model": str(folder / name)}) for name in ("second", "first", "second")]
            shutil.rmtree(folder / "first")
            reloaded.append(await reload(session, {"model": str(folder / "first")}))
            is_over.set()
            await asyncio.gather(*clients)
        return answers, reloaded

    with reward_server(str(folder / "first"), "--reload-from", str(folder), "--device", "cpu") as url:
        answers, reloaded = asyncio.run(drive(url))
    assert [status for status, _ in reloaded] == [200, 200, 200, 422]
    assert {status for status, _ in answers} == {200}
    assert {answer["fingerprint"] for _, answer in answers} == set(expected)
    assert answers[-1][1]["fingerprint"] == reloaded[-2][1]["fingerprint"]
    for _, answer in answers:
        assert [item["score"] for item in answer["data"]] == pytest.approx(expected[answer["fingerprint"]], abs=1e-5)


async def test_a_server_frees_the_model_that_it_started_with(folder, monkeypatch):
    config = ServingConfig(device="cpu", port=0)
    loaded, ready = [load_served(str(folder / "first"), config)], asyncio.Event()
    first = weakref.ref(loaded[0].model)
    monkeypatch.setattr("music.serving.server._announce", lambda url: ready.set())
    with listening(config) as (listener, url):
        server = asyncio.create_task(_serve(loaded, config, listener, url, False))
        await asyncio.wait({server, asyncio.create_task(ready.wait())}, return_when=asyncio.FIRST_COMPLETED)
        async with ClientSession() as session:
            async with session.post(f"{url}/v1/score", json={"conversations": MESSAGES}) as response:
                assert response.status == 200
            async with session.post(f"{url}/v1/reload", json={}) as response:
                assert response.status == 200
        gc.collect()
        assert first() is None
        os.kill(os.getpid(), signal.SIGTERM)
        await server
