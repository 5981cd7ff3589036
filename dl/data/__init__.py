"""Real data sets and pretrained weights: the list (`registry`), fetching (`fetch`), what must be in them (`content`).

from dl.data import require
path = require("coco")  # the fetched file, or an error that names the command which fetches it
"""

from dl.data.registry import ENTRIES, Entry, require

__all__ = ["ENTRIES", "Entry", "require"]
