"""The report of an evaluation: one HTML file that needs no network, for people."""

from pipeline.evaluation.report.page import choose, write

__all__ = ["choose", "write"]
