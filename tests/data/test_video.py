"""Videos: an animation as it is, and what a program that speaks as ffmpeg does hands over."""

import itertools
import shutil
import stat
import sys

import numpy as np
import pytest
from PIL import Image

from tfsegkd.data import video, video_frames

FRAMES = [np.full((4, 6, 3), value, np.uint8) for value in (10, 100, 200)]
FRAMES[1][0, 0] = (10, 10, 35)  # a line feed and '#' mean something in headers of PPM


def stand_in(path, script):
    """A program called ffmpeg, in `path`."""
    program = path / "ffmpeg"
    program.write_text(f"#!{sys.executable}\nimport os, sys\nwrite = sys.stdout.buffer.write\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def clip(tmp_path, monkeypatch):
    """A video that only the stand-in reads: its first lines go where a test says."""
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "a clip.mp4").write_bytes(b"".join(b"P6\n6 4\n255\n" + f.tobytes() for f in FRAMES))
    return tmp_path / "a clip.mp4"


COPY = """
path = sys.argv[sys.argv.index('-i') + 1]
assert path.startswith('file:/')
write(open(path[5:], 'rb').read())
sys.stdout.flush()
"""


def test_an_animation_gives_its_frames(tmp_path):
    pictures = [Image.fromarray(frame) for frame in FRAMES]
    pictures[0].save(tmp_path / "a.GIF", save_all=True, append_images=pictures[1:])
    frames = list(video_frames(tmp_path / "a.GIF"))
    assert [frame.shape for frame in frames] == [(4, 6, 3)] * 3
    assert [frame[2, 2].tolist() for frame in frames] == [[10] * 3, [100] * 3, [200] * 3]


def test_frames_come_from_ffmpeg(clip):
    stand_in(clip.parent, COPY)
    for frame, expected in zip(video_frames(clip), FRAMES, strict=True):
        np.testing.assert_array_equal(frame, expected)


def test_whoever_stops_early_does_not_wait(clip):
    stand_in(clip.parent, f"{COPY}import time\ntime.sleep(600)")
    assert len(list(itertools.islice(video_frames(clip), 2))) == 2


def test_what_ffmpeg_complains_of_is_passed_on(clip):
    stand_in(clip.parent, f"{COPY}sys.stderr.write('moov atom not found\\n')\nsys.exit(1)")
    frames = video_frames(clip)
    assert len(list(itertools.islice(frames, 3))) == 3
    with pytest.raises(ValueError, match=r"Cannot read video .*a clip\.mp4': moov atom not found\."):
        next(frames)


@pytest.mark.parametrize("left", [3, 12, 40])
def test_a_frame_that_is_cut_off_is_no_frame(clip, left):
    clip.write_bytes(clip.read_bytes()[:-left])
    stand_in(clip.parent, f"{COPY}sys.exit(3)")
    frames = []
    with pytest.raises(ValueError, match="ffmpeg ended with 3"):
        frames.extend(video_frames(clip))


def test_without_ffmpeg_it_is_said_what_to_install(clip, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ImportError, match="pip install imageio-ffmpeg"):
        video_frames(clip)


def test_missing_and_broken_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No video .*gone\.mp4"):
        video_frames(tmp_path / "gone.mp4")
    (tmp_path / "a.gif").write_bytes(b"GIF89a no more")
    with pytest.raises(ValueError, match=r"Cannot read video .*a\.gif"):
        list(video_frames(tmp_path / "a.gif"))
    assert ".mp4" in video.VIDEO_SUFFIXES


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_a_real_video(tmp_path):
    import subprocess

    clip = tmp_path / "clip.avi"
    source = ["-f", "lavfi", "-i", "testsrc=size=32x24:rate=5:duration=1"]
    subprocess.run(["ffmpeg", "-v", "error", *source, "-c:v", "ffv1", str(clip)], check=True)
    frames = list(video_frames(clip))
    assert len(frames) == 5 and {frame.shape for frame in frames} == {(24, 32, 3)}
