"""Opening videos: files of a few containers, and never what those might lead to."""

from __future__ import annotations

import os
from pathlib import Path

import cv2

from fewframes.core.errors import UserError
from fewframes.core.images import MAX_PIXELS

_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_ONLY = "format_whitelist;mov,avi|protocol_whitelist;file"
"""FFmpeg tells a file by its content, and some formats are lists of other files and addresses: these two are not."""


def open_video(path: Path) -> cv2.VideoCapture:
    """The video, to be released by the caller; raises `UserError` where it is none, or its frames are far too large."""
    os.environ[_OPTIONS] = _ONLY  # OpenCV looks there whenever it opens a video
    # FFmpeg by name, and a whole path: otherwise a name with `%` or `:` would mean a series or a stream.
    capture = cv2.VideoCapture(os.path.abspath(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        reason = "it is no video, or truncated" if path.stat().st_size else "it is empty"
        raise UserError(f"{path} cannot be opened ({reason}): replace it with an intact mp4.")
    width, height = (int(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    if width * height > MAX_PIXELS:
        capture.release()
        raise UserError(f"{path} claims frames of {width}x{height} pixels: replace it with a true video.")
    return capture
