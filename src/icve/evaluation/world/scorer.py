"""The exact judge as a scorer: what `icve evaluate world` scores with."""

from collections.abc import Mapping

from icve.evaluation.benchmarks.world import edit_of
from icve.evaluation.cases import Case
from icve.evaluation.clips import Clips
from icve.evaluation.scorers import Figure, Scores
from icve.evaluation.world.judge import judge


class WorldScorer:
    """Success and preservation of one edit of the world, by `icve.evaluation.world.judge`.

    The edited clip may have another size than the source: the source is resized to it. Frames that only one of the two
    has are left out. The reasons against an edit are the scores' `reasons`.
    """

    name = "world"
    version = "1"
    heavy = False
    figures = (
        Figure("success", "higher", 0, 1, about="the asked edit is done and all else is as it was"),
        Figure(
            "preservation_psnr",
            "higher",
            0,
            100,
            "dB",
            "outside the edited region, against the source; 100 where identical, none for camera moves",
        ),
    )

    def load(self) -> None:
        """Nothing to load."""

    def score(self, case: Case, clips: Clips) -> Mapping[str, float]:
        """See `Scorer`.

        Raises:
            InputError: the case is none of the world benchmark, or a file cannot be read.
        """
        edit = edit_of(case)
        source, edited = clips.pair(clips.source)
        verdict = judge(edit, source, edited)
        figures = {"success": float(verdict.success)}
        if verdict.preservation_psnr is not None:
            figures["preservation_psnr"] = verdict.preservation_psnr
        return Scores(figures, verdict.reasons)
