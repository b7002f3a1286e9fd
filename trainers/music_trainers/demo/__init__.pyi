from .config import FULL, QUICK, DemoConfig, DemoSizes
from .results import DemoResult
from .run import run_demo

__all__ = ["FULL", "QUICK", "DemoConfig", "DemoResult", "DemoSizes", "run_demo"]
