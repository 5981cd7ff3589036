"""The verbs of `python -m dl` that have no room of their own: run (and build), doctor, check, status, data."""
