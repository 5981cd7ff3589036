"""Videos around the segmentation lesson: the data set, DINO tokens of its frames, overlays, and an MP4 writer."""

from dl.video.dataset import DavisDataset
from dl.video.overlay import class_colours, create_segmentation_overlay, outline_objects
from dl.video.tokens import FRAME_SIZE, frame_tensor
from dl.video.writer import read_video, write_video_from_array

__all__ = [
    "FRAME_SIZE",
    "DavisDataset",
    "class_colours",
    "create_segmentation_overlay",
    "frame_tensor",
    "outline_objects",
    "read_video",
    "write_video_from_array",
]
