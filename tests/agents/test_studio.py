import json
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[2]


async def test_every_graph_of_langgraph_json_runs_from_json_to_json():
    graphs = json.loads((ROOT / "langgraph.json").read_text())["graphs"]
    assert graphs
    for place in graphs.values():
        path, name = place.split(":")
        assert (ROOT / path).is_file()
        graph = getattr(import_module(f"music_agents.{Path(path).stem}"), name)()
        seed = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
        result = json.loads(json.dumps(await graph.ainvoke({"seed_messages": seed, "run_seed": 3})))
        assert result["chosen"][:2] == result["rejected"][:2] == seed
        assert len(result["chosen"]) == len(result["rejected"]) == 12
        assert len(result["contrasts"]) == 5
