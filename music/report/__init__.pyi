from .cell_plots import histograms, matrix
from .curve_plots import curves
from .interval_plots import intervals
from .page import Plot, Report, write_report
from .points import Curve, CurvePoint, Histogram, Point
from .style import Palette
from .table import Cell, Interval, Table, cell_text, compact

__all__ = ["Cell", "Curve", "CurvePoint", "Histogram", "Interval", "Palette", "Plot", "Point", "Report", "Table"]
__all__ += ["cell_text", "compact", "curves", "histograms", "intervals", "matrix", "write_report"]
