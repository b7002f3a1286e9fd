from .diagnosis import Diagnosis, ModelDiagnosis, diagnose
from .history import ProbedPairs, probe_pairs
from .run import run_diagnosis

__all__ = ["Diagnosis", "ModelDiagnosis", "ProbedPairs", "diagnose", "probe_pairs", "run_diagnosis"]
