"""What passes from stage to stage: plain records that can be written as JSON."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Instruction:
    """What turns a pair's source into its target, in words.

    Attributes:
        text: one imperative sentence.
        type: one of `icve.data.pairs.base.TYPES`.
        source_caption, target_caption: what the clips show, where that is known.
        scores: what its maker measured, by name.
        method: its maker with its version, such as "camera/2".
    """

    text: str
    type: str
    source_caption: str | None = None
    target_caption: str | None = None
    scores: dict[str, float] = field(default_factory=dict)
    method: str = ""


@dataclass(frozen=True)
class Source:
    """One file of footage.

    Attributes:
        number: its place in the list of sources, which fixes the order of all that comes of it.
        uri: a path, or an address that fsspec knows.
        caption: what the list says it shows, where it says so.
    """

    number: int
    uri: str
    caption: str | None = None


@dataclass(frozen=True)
class Scene:
    """Frames `first` to `stop` - 1 of a file, without the margins at its ends; `number` counts from 0."""

    number: int
    first: int
    stop: int


@dataclass(frozen=True)
class Clip:
    """A piece of a scene, exactly as a bucket needs it.

    Attributes:
        id: its name in the set, a function of the file's content and of what is taken of it.
        scene: the number of its scene.
        bucket: FRAMESxHEIGHTxWIDTH.
        fps: frames a second that it is to be shown at.
        frames: the numbers of the file's frames that its frames are.
        start, end: when its first and its last frame are shown in the file, in seconds.
        motion: mean optical flow, in hundredths of the picture's diagonal a second.
        scores: of the quality filters, by name.
    """

    id: str
    scene: int
    bucket: str
    fps: float
    frames: tuple[int, ...]
    start: float
    end: float
    motion: float
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Pair:
    """Two clips of one scene.

    Attributes:
        id: its name in the set.
        source, target: clip ids.
        scene: the number of their scene.
        change_flow: mean displacement between their middles, in hundredths of the picture's diagonal.
        change_colour: mean difference of their middles' colours, 0 to 255.
        change_embedding: distance of their middles' descriptors, 0 (alike) to 2.
        instruction: None until a vision-language model has written it.
    """

    id: str
    source: str
    target: str
    scene: int
    change_flow: float
    change_colour: float
    change_embedding: float
    instruction: Instruction | None = None


@dataclass
class StageCount:
    """What a stage did with one source: how many things came in and went out, why the others did not."""

    stage: str
    entered: int = 0
    left: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def drop(self, reason: str, count: int = 1) -> None:
        """Counts what went no further."""
        self.dropped[reason] = self.dropped.get(reason, 0) + count


@dataclass
class Parcel:
    """All that came of one source, before what is decided over all sources together.

    Attributes:
        source: the file.
        content: a hash of its bytes; "" where it could not be read.
        quarantined: why the file cannot be used, one sentence; None if it can.
        stages: one count for each stage that it went through.
        clips: those that are in a pair, and `media`, the bytes of their files, by clip id.
        pairs: of them.
        embeddings: what each scene with pairs looks like, by its number; only where near duplicates are looked for.
    """

    source: Source
    content: str = ""
    quarantined: str | None = None
    stages: list[StageCount] = field(default_factory=list)
    clips: list[Clip] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    media: dict[str, bytes] = field(default_factory=dict)
    embeddings: dict[int, list[float]] = field(default_factory=dict)
