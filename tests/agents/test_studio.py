import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GRAPHS = json.loads((ROOT / "langgraph.json").read_text())["graphs"]
SEED = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]


def open_graph(place):
    """Load a graph as LangGraph's server does: the file by its path, then the function by its name."""
    path, name = place.split(":")
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)()


@pytest.mark.parametrize("place", GRAPHS.values(), ids=list(GRAPHS))
async def test_every_graph_of_langgraph_json_runs_from_json_to_json(place):
    result = await open_graph(place).ainvoke({"seed_messages": SEED, "run_seed": 3})
    result = json.loads(json.dumps(result))
    assert result["chosen"][:2] == result["rejected"][:2] == SEED
    assert len(result["chosen"]) == len(result["rejected"]) == 12
    assert len(result["contrasts"]) == 5


@pytest.mark.parametrize("place", GRAPHS.values(), ids=list(GRAPHS))
async def test_studio_sees_the_nodes_within_and_the_form_to_fill_in(place):
    graph = open_graph(place)
    nodes = set(graph.get_graph(xray=1).nodes)
    assert {"pair:user", "pair:assistant", "pair:contrast"} <= nodes
    assert set(graph.get_input_jsonschema()["properties"]) == {"seed_messages", "run_seed", "num_turns"}
    assert set(graph.get_output_jsonschema()["properties"]) == {"chosen", "rejected", "contrasts"}


@pytest.mark.parametrize("wrong", [{"num_turns": 0}, {"seed_messages": [{"role": "user", "content": " "}]}])
async def test_what_is_filled_in_wrong_is_refused(wrong):
    with pytest.raises(ValueError, match=r"greater than 0|blank"):
        await open_graph(GRAPHS["pair"]).ainvoke(wrong)
