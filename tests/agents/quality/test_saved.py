import pyarrow as pa
import pyarrow.parquet as pq

from music.pairs import ContrastivePair, TurnContrast, Usage
from music_agents.output.shard_folder import PAIR_SCHEMA
from music_agents.quality import read_saved_pairs


def test_pairs_come_back_as_they_were_written(make_pair, tmp_path):
    contrast = TurnContrast(turn=0, strategy="forget", modified_instruction="", parameters={"turns": 1})
    fields = {"models": {"user": "u"}, "usage": Usage(1, 2, 3), "persona": "{}", "retries": ("user:reply_empty",)}
    fields["judgement"] = "first,tie"
    pairs = [make_pair(["a", "b"], ["c", "d"], index, **fields) for index in range(5)]
    pairs = [pair.model_copy(update={"contrasts": (contrast,)}) for pair in pairs]
    for number, part in enumerate((pairs[:3], pairs[3:])):
        table = pa.Table.from_pylist([pair.to_row() for pair in part], schema=PAIR_SCHEMA)
        pq.write_table(table, tmp_path / f"pairs-{number:05d}.parquet")
    read = list(read_saved_pairs(tmp_path))
    assert read == pairs
    assert [ContrastivePair.model_validate(pair.model_dump()) for pair in read] == pairs
