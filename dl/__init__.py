"""Tools, data and lessons around the four notebooks of this course.

The two lesson modules at the top of the project (`rnn_lstm_captioning.py`, `transformers.py`) and
the lessons inside this package (`dl.simclr`, `dl.clip_dino`) import these tools, never the reverse.
Importing `dl` loads nothing else; `python -m dl --help` lists the commands. It asks OpenMP, which torch starts later, to
let waiting threads sleep: on a machine with other work, threads that spin while they wait make everything crawl. GNU's
OpenMP spins for a moment first, which costs nothing on an idle machine (`python -m benchmarks busy`). Set
OMP_WAIT_POLICY to choose otherwise.
"""

import os

if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")

__version__ = "0.1.0"
