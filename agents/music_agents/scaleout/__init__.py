"""One run spread over worker processes on one machine, or over a Ray cluster.

- `coordinator`: allocates partitions of the run's indices to a pool of workers until there are enough good pairs, and
  merges the results.
- `tasks`: the tasks of workers, and how a worker runs one; `aggregate`: the sum of the progress of all workers.
- `partitions`: one partition on disk, and the outcomes of all of them.
- `processes`, `cluster`: the two pools.
"""

from music_agents.scaleout.coordinator import run_distributed
from music_agents.scaleout.partitions import is_partitioned
from music_agents.scaleout.processes import ProcessWorkerPool
from music_agents.scaleout.tasks import PartitionFailedError, PartitionFailure, PartitionTask, WorkerPool

__all__ = ["PartitionFailedError", "PartitionFailure", "PartitionTask", "ProcessWorkerPool", "WorkerPool"]
__all__ += ["is_partitioned", "run_distributed"]
