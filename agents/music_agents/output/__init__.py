"""The files of a run: the `pair_table` in the shards of a `shard_folder`, and the `failure_log`."""
