"""Videos around the segmentation lesson: the data set, DINO tokens of its frames, overlays, and MP4 files."""

from dl.video.dataset import DavisDataset
from dl.video.overlay import class_colours, create_segmentation_overlay, outline_objects
from dl.video.reader import open_video
from dl.video.tokens import FRAME_SIZE, frame_tensor
from dl.video.writer import write_video_from_array

__all__ = [
    "FRAME_SIZE",
    "DavisDataset",
    "class_colours",
    "create_segmentation_overlay",
    "frame_tensor",
    "open_video",
    "outline_objects",
    "write_video_from_array",
]
