"""What a run writes: `shards` of pairs (columns in `schema`), and the `failure_log`."""
