"""Frames of videos."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence

VIDEO_SUFFIXES = {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".gif"}
_LARGEST_HEADER = 32  # bytes of "P6\n<width> <height>\n255\n"


def video_frames(path: str | os.PathLike) -> Iterator[np.ndarray]:
    """Yields the frames of a video, upright, as (H, W, 3) uint8 RGB.

    Animated GIFs need no other program. Other videos are decoded by `ffmpeg` on the PATH, or by that of the
    package imageio-ffmpeg. Only one frame is in memory at a time.

    Args:
        path: A file with one of the suffixes of videos, or an animated GIF.

    Returns:
        An iterator over the frames.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: if there is no ffmpeg.
        ValueError: if the file cannot be decoded, after the intact frames.

    Example:
        frames = [Image.fromarray(source[index][0]) for index in range(3)]
        frames[0].save("film.gif", save_all=True, append_images=frames[1:])
        len(list(data.video_frames("film.gif")))  # 3
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No video {str(path)!r}. Expected a file.")
    return _animation(path) if path.suffix.lower() == ".gif" else _decoded(path, _ffmpeg())


def _animation(path):
    try:
        with Image.open(path, formats=("GIF",)) as image:
            for frame in ImageSequence.Iterator(image):
                yield np.asarray(frame.convert("RGB"))
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from None


def _ffmpeg() -> str:
    found = shutil.which("ffmpeg")
    if found:
        return found
    try:
        import imageio_ffmpeg
    except ImportError:
        raise ImportError(
            "Videos need ffmpeg, which is not on the PATH. Install it, or the package imageio-ffmpeg, which "
            "contains it: pip install imageio-ffmpeg."
        ) from None
    return imageio_ffmpeg.get_ffmpeg_exe()


def _decoded(path, program):
    # The file's name cannot be read as an option or a protocol, and only files are opened.
    source = ("-protocol_whitelist", "file", "-i", f"file:{path.resolve()}")
    # PPM has the size in front of each frame.
    form = ("-map", "0:v:0", "-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "-")
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            [program, "-nostdin", "-v", "error", *source, *form], stdout=subprocess.PIPE, stderr=complaints
        )
        try:
            yield from _ppm_frames(process.stdout)
            process.wait()
        except EOFError:
            process.wait()
        finally:
            # If the caller stops early, do not wait for the rest of the video.
            process.kill()
            process.stdout.close()
            process.wait()
        if process.returncode:
            complaints.seek(0)
            lines = complaints.read().decode(errors="replace").strip().splitlines()
            raise _unreadable(path, lines[-1] if lines else f"ffmpeg ended with {process.returncode}")


def _ppm_frames(stream):
    """Yields the frames of a stream of PPM images.

    Raises:
        EOFError: if the last one is incomplete.
    """
    while magic := stream.readline(_LARGEST_HEADER):
        size, depth = stream.readline(_LARGEST_HEADER), stream.readline(_LARGEST_HEADER)
        if (magic, depth) != (b"P6\n", b"255\n"):
            raise EOFError
        width, height = (int(word) for word in size.split())
        pixels = stream.read(3 * width * height)
        if len(pixels) < 3 * width * height:
            raise EOFError
        yield np.frombuffer(pixels, np.uint8).reshape(height, width, 3)


def _unreadable(path, why):
    return ValueError(f"Cannot read video {str(path)!r}: {why}. Expected a video; convert it or replace it.")
