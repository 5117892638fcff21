"""Videos as another kind of file: frames in, frames out, and everything around them as it was.

options   what may be chosen, and which names are those of videos
clip      a file: what it is, and its frames as pictures
encoding  how frames are stored
segments  finished parts of a result beside it, from which an interrupted run goes on
assembly  segments and the other streams of the source -> one file
stream    frames through a processor, decoded and encoded beside it
"""

from img2img.video.options import AS_USUAL, CONTAINERS, VIDEOS, VideoOptions, clip_name, is_video

__all__ = ["AS_USUAL", "CONTAINERS", "VIDEOS", "VideoOptions", "clip_name", "is_video"]
