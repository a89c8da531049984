"""One offline HTML page that shows a run: numbers, curves, mistakes, recipe, environment."""

from pictorch.reporting.report import render_report, report

__all__ = ["render_report", "report"]
