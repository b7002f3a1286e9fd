from .curves import curves
from .diagnosis import diagnosis_report
from .evaluation import evaluation_report
from .histograms import histograms
from .intervals import intervals
from .matrix import matrix
from .page import write_report
from .points import Point
from .report import Plot, Report
from .style import Palette
from .table import Cell, Interval, Table, cell_text, compact

__all__ = ["Cell", "Interval", "Palette", "Plot", "Point", "Report", "Table"]
__all__ += ["cell_text", "compact", "curves", "histograms", "intervals", "matrix"]
__all__ += ["diagnosis_report", "evaluation_report", "write_report"]
