"""What an adapter of a benchmark is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from icve.evaluation.cases import Case


class Benchmark(Protocol):
    """Reads a folder in the layout that the benchmark's authors publish.

    Attributes:
        name: on the command line: "openve-bench".
        title: as its authors write it.
        home: where it comes from (a URL), for `icve evaluate list`; "bundled" where nothing is fetched.
        licence: in few words.
        size: how many edits, videos and categories, in few words.
        needs: one sentence: what must lie in the folder.
        scorers: names of the scorers that stand for what its authors report, the judge first.

    An adapter may also say in `edited` what the authors' own code calls a case's edit, as in "{id}/generate.mp4".
    """

    name: str
    title: str
    home: str
    licence: str
    size: str
    needs: str

    @property
    def scorers(self) -> tuple[str, ...]:
        """See above; read-only, so that a tuple of any length will do."""
        ...

    def cases(self, root: Path) -> Sequence[Case]:
        """All cases, in a fixed order.

        Raises:
            InputError: `root` is not in the layout: says which file is missing, and where it comes from.
        """
        ...
