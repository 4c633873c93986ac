"""Copies a file's audio packets into another file, bit for bit, alongside its new pictures."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from av.container import InputContainer, OutputContainer
from av.error import FFmpegError

from icve.video.opening import MAX_SECONDS


class AudioCopy:
    """All audio streams of `source`, declared in `target`; packets follow as the pictures advance.

    Attributes:
        lost: how many damaged packets were left out so far.
    """

    def __init__(self, source: InputContainer, target: OutputContainer) -> None:
        """
        Raises:
            ValueError: the target's format cannot hold one of the streams.
        """
        self.target = target
        self.streams: dict[int, Any] = {}
        for stream in source.streams.audio:
            copy: Any = target.add_stream_from_template(stream)
            copy.metadata.update(stream.metadata)
            copy.disposition = stream.disposition
            self.streams[stream.index] = copy
        self.lost = 0
        self.packets = self._whole_packets(source)
        self.held: Any = None  # a packet that was read, but sounds later than the pictures so far
        self.last: dict[int, int] = {}

    def copy(self, begin: Fraction | None, end: Fraction | None, shift: Fraction) -> None:
        """Writes the packets not yet written that start in [begin, end) seconds, `shift` seconds earlier.

        Packets are never split, so a cut is exact to one packet (about 20 ms). None means no bound.
        """
        while packet := self.held or next(self.packets, None):
            self.held = None
            start = packet.pts * packet.time_base
            if end is not None and start >= end:
                self.held = packet
                return
            if begin is None or start >= begin:
                self._write(packet, round(shift / packet.time_base))

    def _write(self, packet: Any, shift: int) -> None:
        index = packet.stream_index
        # Containers want increasing times, which files with a coarse clock do not always have.
        dts = packet.pts - shift
        dts = max(dts, self.last.get(index, dts - 1) + 1)
        packet.pts = packet.dts = self.last[index] = dts
        packet.stream = self.streams[index]
        try:
            self.target.mux(packet)
        except OSError:  # the disk's fault, not the packet's
            raise
        except FFmpegError:
            self.lost += 1

    def _whole_packets(self, source: InputContainer) -> Iterator[Any]:
        """Audio packets in the file's order, up to where the file is cut off."""
        try:
            for packet in source.demux(list(source.streams.audio)):
                if not packet.size:
                    continue
                if packet.pts is None or packet.is_corrupt or abs(packet.pts * packet.time_base) > MAX_SECONDS:
                    self.lost += 1
                else:
                    yield packet
        except FFmpegError:
            self.lost += 1
