import os
import subprocess
import sys
from pathlib import Path


def test_sharded_by_fsdp_over_two_processes(tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    script = Path(__file__).with_name("two_processes.py")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launch, script, tmp_path], env=environment, capture_output=True, text=True)
    # Not by the exit status: torch's threads now and then abort a process that is done, while it exits.
    assert done.stdout.count("as expected") == 2, done.stderr
