"""Real data sets and pretrained weights, one step a module.

    registry   the list: addresses, sizes, hashes, licences, places
    download   one file over the network; unpack: what is in an archive
    fetch      an entry, whole and verified, at its place; adopt: from another place on the disk
    content    what must be in a file; manifest: what was in it; verify: both, and the way in for readers
    examples   the ten images of the CLIP notebook, each with a substitute

from dl.data import require
path = require("coco")  # the fetched file, or an error that names the command which fetches it
"""

from dl.data.registry import ENTRIES, Entry
from dl.data.verify import read_weights, require

__all__ = ["ENTRIES", "Entry", "read_weights", "require"]
