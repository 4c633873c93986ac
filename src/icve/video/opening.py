"""Opens video files that may be anything: checks them against limits, decodes what can be decoded."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from icve.errors import InputError

# Room for 8K (DCI 8192x4320 is 35.4 megapixels). More is a header that lies or an attack: each frame is held
# several times over, as YUV, RGB and float, and the last alone is half a gigabyte at this size.
MAX_PIXELS = 40_000_000

# A header that claims more than a day is broken or hostile; a real day of video is better cut into pieces.
MAX_SECONDS = 24 * 3600

# Only formats that hold one video: playlists and scripts (HLS, DASH, concat) name other files and addresses,
# so a hostile one that calls itself clip.mp4 could read them.
FORMATS = "mov,matroska,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,flv,asf,ogg,gif,ivf,mxf,nut,dv"


def header_seconds(container: InputContainer) -> float | None:
    """The length of the longest stream as the file's header tells it, or None."""
    return container.duration / av.time_base if container.duration else None


@contextmanager
def open_input(path: Path) -> Iterator[InputContainer]:
    """A media file opened for reading, or an InputError that says why it cannot be."""
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a video file in it.")
    if not path.is_file():
        raise InputError(f"{path} does not exist; check the name.")
    # max_pixels: opening already decodes a little.
    options = {"format_whitelist": FORMATS, "max_pixels": str(MAX_PIXELS)}
    try:
        container = av.open(f"file:{path}", options=options, metadata_errors="replace")
    except PermissionError:
        raise InputError(f"{path} cannot be read; give yourself permission to read it.") from None
    except FFmpegError:
        raise InputError(
            f"{path} is not a video that can be read: its format is unknown or its index is cut off; "
            "export or copy it again."
        ) from None
    with container:
        yield container


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A file's container and its first video stream, checked against the limits above."""
    with open_input(path) as container:
        streams: list[Any] = [s for s in container.streams.video if Disposition.attached_pic not in s.disposition]
        if not streams:
            raise InputError(f"{path} has no video stream; name a file with pictures in it.")
        stream = streams[0]
        if stream.codec_context is None:
            raise InputError(f"{path} is coded in a way that cannot be decoded; convert it to H.264 first.")
        seconds = max(header_seconds(container) or 0, float((stream.duration or 0) * stream.time_base))
        if seconds > MAX_SECONDS:
            raise too_long(path, seconds)
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        yield container, stream


def too_long(path: Path, seconds: float) -> InputError:
    hours, limit = round(seconds / 3600), MAX_SECONDS // 3600
    return InputError(f"{path} claims to last {hours} hours, above the limit of {limit}; cut it or export it again.")


HOLE = bytes(16)
WITHOUT_ZEROS = ("h264", "hevc")  # three zero bytes never follow each other in them, but for padding at the end


@dataclass
class Damage:
    """What went wrong while decoding, and how far it came."""

    errors: int = 0
    packets: int = 0
    end: float = 0.0  # seconds: the end of the latest packet of any stream


def decode(container: InputContainer, stream: VideoStream, damage: Damage) -> Iterator[tuple[int | None, VideoFrame]]:
    """(pts, frame) for every frame of `stream` that decodes whole; what does not is counted in `damage`.

    Packets of all streams are read, so that `damage.end` can be compared with the length of the file.
    """
    packets = container.demux()
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except FFmpegError:
            damage.errors += 1
            return
        if packet.pts is not None:
            damage.end = max(damage.end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if packet.stream.index != stream.index:
            continue
        damage.packets += packet.size > 0
        if stream.codec_context.name in WITHOUT_ZEROS and HOLE in bytes(packet).rstrip(b"\0"):
            damage.errors += 1  # what a download that was broken off leaves; the decoder takes it for a picture
            continue
        try:
            frames = stream.decode(packet)
        except FFmpegError:
            damage.errors += 1
            continue
        for frame in frames:
            if frame.is_corrupt:
                damage.errors += 1
            else:
                yield frame.pts, frame


# Headers round their length, and some do not count the last frame; a file short of it by more is cut.
TOLERANCE = 3  # frames


def promised_packets(stream: VideoStream) -> int:
    """How many packets the file's index promises; 0 where it has none. Only an MP4's index is whole."""
    return min(len(stream.index_entries), stream.frames or len(stream.index_entries))


def cut_short(container: InputContainer, stream: VideoStream, damage: Damage, frame_seconds: float) -> bool:
    """Whether a file that was decoded to its end has less in it than its header or its index says."""
    begin = (container.start_time or 0) / av.time_base
    short = damage.end - begin < (header_seconds(container) or 0) - TOLERANCE * frame_seconds
    return damage.packets < promised_packets(stream) or short
