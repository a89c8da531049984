"""Exporting: from the run folder of a trained network to its bundle."""
