"""Which of the pairs that have words go into the set: no scenes like earlier ones, and the wanted mix of types."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from icve.data.curation.config import CurationConfig
from icve.data.curation.parcels import StoredParcel
from icve.data.curation.quality import near_duplicates
from icve.data.curation.records import Instruction, StageCount
from icve.data.curation.text.balance import Balancer
from icve.data.curation.yields import Yields
from icve.video.files import write_errors

WORDS, VECTORS = "words.jsonl", "scenes.f16"


@dataclass(frozen=True)
class Selected:
    """A pair with words.

    Attributes:
        number: of its source.
        place: of the pair in the source's parcel.
        pair_id: its name.
        instruction: as it is trained.
        original: as the instructor wrote it.
        vector: which of the scenes' vectors is its own; None where near duplicates are not looked for.
    """

    number: int
    place: int
    pair_id: str
    instruction: Instruction
    original: str
    vector: int | None


class SelectionWriter:
    """A context manager that writes pairs with words, and the vectors of their scenes, for `Selection` to read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stack = ExitStack()
        self.vectors = 0
        self.last: tuple[int, int] | None = None  # the scene that the last vector is of

    def __enter__(self) -> Self:
        with write_errors(self.folder / WORDS):
            self.words = self.stack.enter_context((self.folder / WORDS).open("w", encoding="utf-8"))
            self.scenes = self.stack.enter_context((self.folder / VECTORS).open("wb"))
        return self

    def add(self, parcel: StoredParcel, place: int, instruction: Instruction, original: str) -> None:
        """Adds a pair; those of one scene come one after the other."""
        pair = parcel.pairs[place]
        vector = parcel.embeddings.get(pair.scene)
        scene = parcel.source.number, pair.scene
        with write_errors(self.folder / WORDS):
            if vector is not None and scene != self.last:
                self.scenes.write(np.array(vector, np.float16).tobytes())
                self.vectors, self.last = self.vectors + 1, scene
            own = None if vector is None else self.vectors - 1
            selected = Selected(parcel.source.number, place, pair.id, instruction, original, own)
            self.words.write(json.dumps(asdict(selected), ensure_ascii=False) + "\n")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with write_errors(self.folder / WORDS):
            self.stack.close()


class Selection:
    """The pairs with words, and which of them are kept."""

    def __init__(self, folder: Path, config: CurationConfig, yields: Yields) -> None:
        """Looks for scenes that are alike, and counts the types of the rest.

        Args:
            folder: that a `SelectionWriter` wrote to.
            config: of the run.
            yields: gets the counts of what is dropped here.
        """
        self.folder, self.config, self.yields = folder, config, yields
        self.alike = self._find_alike()
        self.balancer = Balancer(config.balance, config.seed)
        for selected in self._different(StageCount("near duplicates")):
            self.balancer.count(selected.pair_id, selected.instruction.type)
        self.balancer.prepare()

    def _find_alike(self) -> np.ndarray | None:
        """(vectors,) bool, true for scenes like an earlier one; None where that is not looked for."""
        wanted = self.config.quality.near_duplicates
        count = self._vector_count()
        if wanted.max_distance is None or not count:
            return None
        start = time.monotonic()
        alike = near_duplicates(
            self.folder / VECTORS,
            (self.folder / VECTORS).stat().st_size // (2 * count),
            threshold=wanted.max_distance,
            clusters=wanted.clusters,
            seed=self.config.seed,
        )
        self.yields.stage("near duplicates").seconds = time.monotonic() - start
        return alike

    def _vector_count(self) -> int:
        return max((selected.vector + 1 for selected in self._all() if selected.vector is not None), default=0)

    def _all(self) -> Iterator[Selected]:
        with (self.folder / WORDS).open(encoding="utf-8") as file:
            for line in file:
                record: dict[str, Any] = json.loads(line)
                yield Selected(**record | {"instruction": Instruction(**record["instruction"])})

    def _different(self, count: StageCount) -> Iterator[Selected]:
        for selected in self._all():
            count.entered += 1
            if self.alike is not None and selected.vector is not None and self.alike[selected.vector]:
                count.drop("a scene like an earlier one")
            else:
                count.left += 1
                yield selected

    def kept(self) -> Iterator[Selected]:
        """The pairs that go into the set, in the order of the list of sources."""
        different, balanced = StageCount("near duplicates"), StageCount("balance")
        for selected in self._different(different):
            balanced.entered += 1
            if self.balancer.keep(selected.pair_id, selected.instruction.type):
                balanced.left += 1
                yield selected
            else:
                balanced.drop(f"{selected.instruction.type} beyond its share")
        self.yields.add([different, balanced] if self.alike is not None else [balanced])
