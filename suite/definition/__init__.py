"""Definitions: their format, what they say, the runs that they mean, and what those cost. Imports no torch."""
