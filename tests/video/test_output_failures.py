"""Outputs that cannot be written: one sentence, no partial file, nothing overwritten."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from icve.errors import InputError
from icve.video import VideoReader, VideoWriter
from tests.video.samples import make_video

# Writes endless noise to argv[2]; RLIMIT_FSIZE (argv[3] bytes) makes the system refuse, as a full disk does.
WRITE_MUCH = """
import resource, sys
import numpy as np
from icve.errors import InputError
from icve.video import VideoReader, VideoWriter

if len(sys.argv) > 3:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
reader = VideoReader(sys.argv[1])
random = np.random.default_rng(0)
try:
    with VideoWriter(sys.argv[2], reader.info, quality=0, overwrite=True) as writer:
        for pts in range(10_000):
            writer.write(random.integers(0, 256, (120, 160, 3), dtype=np.uint8), pts * 512, 512)
            if pts == 1:
                print("writing", flush=True)
except InputError as error:
    print(error)
    sys.exit(2)
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return make_video(folder / "in.mp4", 2, size=(120, 160), audio="aac")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "out.mp4").write_bytes(b"precious")
    return folder / "out.mp4"


def untouched(out: Path) -> bool:
    return list(out.parent.iterdir()) == [out] and out.read_bytes() == b"precious"


def test_exists_already(source: Path, out: Path) -> None:
    with pytest.raises(InputError, match=r"out\.mp4 exists already.*--overwrite"):
        VideoWriter(out, VideoReader(source).info)
    assert untouched(out)


def test_overwrite(source: Path, out: Path) -> None:
    reader = VideoReader(source)
    with VideoWriter(out, reader.info, overwrite=True) as writer:
        for frame in reader:
            writer.write(frame.image, frame.pts, frame.duration)
            assert out.read_bytes() == b"precious"
    assert len(list(VideoReader(out))) == 2


def test_onto_itself(source: Path) -> None:
    reader = VideoReader(source)
    with VideoWriter(source, reader.info, overwrite=True) as writer:
        for frame in reader:
            writer.write(frame.image, frame.pts, frame.duration)
    assert len(list(VideoReader(source))) == 2
    assert VideoReader(source).info.has_audio


def test_bad_names(source: Path, tmp_path: Path) -> None:
    info = VideoReader(source).info
    for path, words in (
        (tmp_path / "missing" / "out.mp4", "does not exist"),
        (tmp_path / "out.webm", r"\.mp4, \.mov, \.mkv"),
        (tmp_path / "out", r"\.mp4, \.mov, \.mkv"),
    ):
        with pytest.raises(InputError, match=words):
            VideoWriter(path, info)
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        VideoWriter(tmp_path / "folder.mp4", info, overwrite=True)
    with pytest.raises(InputError, match="quality 52"):
        VideoWriter(tmp_path / "out.mp4", info, quality=52)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that even root cannot write to")
def test_folder_that_refuses(source: Path) -> None:
    with (
        pytest.raises(InputError, match="cannot be written"),
        VideoWriter("/proc/self/out.mp4", VideoReader(source).info),
    ):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="RLIMIT_FSIZE")
@pytest.mark.parametrize("limit", [20, 50_000, 2_000_000])
def test_no_space(source: Path, out: Path, limit: int) -> None:
    command = [sys.executable, "-c", WRITE_MUCH, str(source), str(out), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (2, "")
    assert "cannot be written (File too large); free space" in done.stdout
    assert untouched(out)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT to a child")
def test_interrupted(source: Path, out: Path) -> None:
    command = [sys.executable, "-c", WRITE_MUCH, str(source), str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "writing\n"
        assert len(list(out.parent.iterdir())) == 2  # the partial file is there
        time.sleep(0.2)
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=60)
    assert child.returncode != 0
    assert untouched(out)


def test_exception_in_the_block(source: Path, out: Path) -> None:
    reader = VideoReader(source)
    with (  # noqa: PT012
        pytest.raises(OSError, match="somebody else's"),
        VideoWriter(out, reader.info, overwrite=True) as writer,
    ):
        frame = next(iter(reader))
        writer.write(frame.image, frame.pts, frame.duration)
        raise OSError(errno.ENOSPC, "somebody else's")
    assert untouched(out)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting needs root")
def test_full_disk(source: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("this sandbox does not let root mount")
    try:
        command = [sys.executable, "-c", WRITE_MUCH, str(source), str(disk / "out.mp4")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stderr) == (2, "")
        assert "No space left on device" in done.stdout
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", disk], check=True)
