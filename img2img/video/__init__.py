"""Videos as another kind of file: frames in, frames out, and everything around them as it was.

options   what may be chosen, and which names are those of videos
clip      a file: what it is, and its frames as pictures
animation animated GIF, WebP and PNG files, as clips
encoding  how frames are stored; stills, those of animations
segments  finished parts of a result beside it, from which an interrupted run goes on
assembly  segments and the other streams of the source -> one file; animating, segments -> an animation
stream    frames through a processor, decoded and encoded beside it
"""

from img2img.video.options import (
    ANIMATIONS,
    AS_USUAL,
    CONTAINERS,
    VIDEOS,
    VideoOptions,
    clip_name,
    is_video,
)

__all__ = ["ANIMATIONS", "AS_USUAL", "CONTAINERS", "VIDEOS", "VideoOptions", "clip_name", "is_video"]
