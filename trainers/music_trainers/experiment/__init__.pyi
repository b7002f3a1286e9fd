from .arm import Ablation, Arm, ArmSettings
from .grid import Grid, read_grid
from .records import ExperimentResult
from .run import run_experiment

__all__ = ["Ablation", "Arm", "ArmSettings", "ExperimentResult", "Grid", "read_grid", "run_experiment"]
