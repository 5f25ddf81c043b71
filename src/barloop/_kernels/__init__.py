"""Compiled loops: numpy and numba only, no frames."""
