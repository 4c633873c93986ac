"""Renders examples/world.mp4, a clip of the procedural world. Run: .venv/bin/python examples/world.py"""

from fractions import Fraction
from pathlib import Path

from icve.data.world.render import render
from icve.data.world.scene import COLOURS, SIZES, Background, Scene, Thing
from icve.video import VideoInfo, VideoWriter

FRAMES, SIDE, RATE = 72, 480, 24


def thing(shape: str, colour: str, at: tuple[float, float], velocity: tuple[float, float]) -> Thing:
    return Thing(shape, colour, "large", at, velocity, radius=SIZES["large"], rgb=COLOURS[colour])


SCENE = Scene(
    Background("gradient", ("cyan", "white"), angle=1.2),
    (
        thing("circle", "red", at=(-0.55, 0.5), velocity=(0.5, 0.0)),
        thing("star", "purple", at=(0.55, -0.45), velocity=(-0.6, -0.1)),
    ),
)

info = VideoInfo(None, SIDE, SIDE, time_base=Fraction(1, RATE), average_rate=Fraction(RATE))
with VideoWriter(Path(__file__).with_name("world.mp4"), info, overwrite=True) as writer:
    for number, image in enumerate(render(SCENE, FRAMES, SIDE, SIDE)):
        writer.write(image, number, 1)
