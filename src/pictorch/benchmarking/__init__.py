"""Measurements on this machine: the networks side by side, what each step is worth, where time goes."""
