"""Real data sets and pretrained weights, one step a module.

    coco, davis   the formats on disk
    content       what must be in a file
    registry      the list: addresses, sizes, hashes, licences, places, and its content check
    manifest      what was in a file when it was good
    access        the way in for readers: the path, quickly checked
    examples      the ten images of the CLIP notebook, each with a substitute
    verify        every byte of every file
    download      one file over the network; unpack: what is in an archive
    fetch         an entry, whole and verified, at its place; adopt: from another place on the disk

from dl.data import require
path = require("coco")  # the fetched file, or an error that names the command which fetches it
"""

from dl.data.access import locate, read_weights, require
from dl.data.registry import ENTRIES, Entry

__all__ = ["ENTRIES", "Entry", "locate", "read_weights", "require"]
