"""What a run writes: the `pair_table`, whose shards a `shard_folder` keeps, and the `failure_log`."""
