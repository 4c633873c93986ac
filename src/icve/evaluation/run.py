"""Scores edited clips: what was scored before comes from the cache, what cannot be scored is missing and says why."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icve.data.worker_pool import Failure, WorkerPool
from icve.evaluation.cache import ScoreCache, case_content, score_key
from icve.evaluation.cases import Case
from icve.evaluation.clips import Clips
from icve.evaluation.content import file_content
from icve.evaluation.edits import Edits
from icve.evaluation.scorers import Scorer
from icve.evaluation.scoring import Outcome, ScoringJob, outcome, score_clip, why

CLIP_SECONDS = 900.0  # for the model-free scores of one clip; what takes longer hangs

Bar = Callable[[Iterable[Any], int, str], Iterable[Any]]
"""(things, how many, what is done to them) to the same things, shown as they go: a progress bar."""


def no_bar(things: Iterable[Any], _count: int, _what: str) -> Iterable[Any]:
    """Shows nothing."""
    return things


@dataclass(frozen=True)
class Item:
    """One edited clip; `content` are the hashes of its case and of its file."""

    case: Case
    editor: str
    edited: Path
    content: tuple[str, str]


def at_once(scorer: Scorer) -> int:
    """How many clips a scorer takes at a time: a judge that waits for its server says more than 1."""
    return getattr(scorer, "at_once", 1)


def _ask(asked: Sequence[tuple[Item, Scorer]]) -> Iterator[tuple[Item, Scorer, Outcome]]:
    """The outcomes of scorers that wait for servers, as they come, many at a time."""
    if not asked:
        return
    with ThreadPoolExecutor(max(at_once(scorer) for _, scorer in asked)) as threads:
        futures = {
            threads.submit(lambda i, s: outcome(s, i.case, Clips(i.case, i.edited)), item, scorer): (item, scorer)
            for item, scorer in asked
        }
        try:
            for future in as_completed(futures):
                yield *futures[future], future.result()
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise


class Run:
    """Scores of `cases` as `editors` edited them.

    Model-free scorers run in processes, where a file that crashes or hangs a decoder costs itself alone; those with a
    model in this one, on the clips that were read there without harm. Each process holds one case's clips at a time.

    Attributes:
        contents: a hash of each case, by its id.
        outcomes: by editor, case id and scorer: its figures, or why there are none.
    """

    def __init__(
        self, cases: Sequence[Case], editors: Sequence[Edits], scorers: Sequence[Scorer], cache: ScoreCache
    ) -> None:
        self.cases, self.editors, self.scorers, self.cache = cases, editors, scorers, cache
        self.contents: dict[str, str] = {}
        self.outcomes: dict[tuple[str, str, str], Outcome] = {}
        self.broken: dict[str, str] = {}  # why a scorer cannot score anything

    def score(self, *, workers: int = 1, bar: Bar = no_bar) -> None:
        """Scores everything that the cache does not have."""
        items = [
            item
            for case in bar(self.cases, len(self.cases), "reading")
            for editor in self.editors
            if (item := self._item(case, editor))
        ]
        for scorer in self.scorers:
            if any(scorer in self._open(item) for item in items):
                self._load(scorer)
        items = [item for item in items if self._open(item)]
        whole = []
        for item, unreadable in bar(self._score_light(items, workers), len(items), "scoring"):
            if unreadable is None:
                whole.append(item)
            else:
                self._miss(item, unreadable)
        models = [item for item in whole if any(at_once(scorer) == 1 for scorer in self._open(item))]
        for item in bar(models, len(models), "scoring with models"):
            clips = Clips(item.case, item.edited)
            for scorer in self._open(item):
                if at_once(scorer) == 1:
                    self._keep(item, scorer, outcome(scorer, item.case, clips))
        asked = [(item, scorer) for item in whole for scorer in self._open(item)]
        for item, scorer, given in bar(_ask(asked), len(asked), "asking judges"):
            self._keep(item, scorer, given)

    def _item(self, case: Case, editor: Edits) -> Item | None:
        """An edited clip with what the cache has of it; without a clip every scorer's outcome is the reason."""
        try:
            if case.id not in self.contents:
                self.contents[case.id] = case_content(case)
            edited = editor.files.get(case.id)
            reason = editor.reason(case.id) if edited is None else None
            if edited is not None:
                item = Item(case, editor.name, edited, (self.contents[case.id], file_content(edited)))
        except OSError as error:
            reason = f"{error.filename} cannot be read ({error.strerror})."
        if reason is not None:
            self.outcomes |= {(editor.name, case.id, scorer.name): reason for scorer in self.scorers}
            return None
        for scorer in self.scorers:
            if (figures := self.cache.get(score_key(scorer, *item.content))) is not None:
                self.outcomes[item.editor, case.id, scorer.name] = figures
        return item

    def _open(self, item: Item) -> list[Scorer]:
        """Scorers that have said nothing of a clip yet."""
        return [s for s in self.scorers if (item.editor, item.case.id, s.name) not in self.outcomes]

    def _load(self, scorer: Scorer) -> None:
        try:
            scorer.load()
        except Exception as error:  # a package or weights are not there: the other scorers go on
            self.broken[scorer.name] = why(error)

    def _score_light(self, items: Sequence[Item], workers: int) -> Iterator[tuple[Item, str | None]]:
        """Each item, when its model-free scores are kept, with why its clip cannot be read or None."""

        def jobs() -> Iterator[tuple[Item, ScoringJob]]:
            for item in items:
                for scorer in self._open(item):
                    if scorer.name in self.broken:
                        self._keep(item, scorer, self.broken[scorer.name])
                if waiting := self._open(item):
                    light = [scorer for scorer in waiting if not scorer.heavy]
                    yield item, ScoringJob(item.case, item.edited, light)

        with WorkerPool[Item, ScoringJob, Any](
            workers, score_clip, seconds=CLIP_SECONDS, name=lambda job: str(job.edited)
        ) as pool:
            for item, result in pool.run(jobs()):
                if isinstance(result, Failure):
                    yield item, result.reason
                    continue
                outcomes, unreadable = result
                light = [scorer for scorer in self._open(item) if not scorer.heavy]
                for scorer, given in zip(light, outcomes, strict=True):
                    self._keep(item, scorer, given)
                yield item, unreadable

    def _miss(self, item: Item, reason: str) -> None:
        for scorer in self._open(item):
            self._keep(item, scorer, reason)

    def _keep(self, item: Item, scorer: Scorer, given: Outcome) -> None:
        self.outcomes[item.editor, item.case.id, scorer.name] = given
        if not isinstance(given, str):
            self.cache.put(score_key(scorer, *item.content), scorer.name, given)
