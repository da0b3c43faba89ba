"""Confinement of one process, in the standard library only: it runs between a fork and the first guest code."""
