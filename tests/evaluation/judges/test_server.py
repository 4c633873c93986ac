"""A judge at a real server: `transformers serve` with a tiny model that chooses among whole answers by what it sees."""

import json
from contextlib import closing
from pathlib import Path

from icve.evaluation.judges import RUBRICS, JudgeScorer
from tests.evaluation.judges.endpoint import Benchmark, judge
from tests.vlm_server import PATCH, SIDE, save_model

VERDICTS = [
    {"reason": f"It is {mark}.", "compliance": mark, "consistency": 5, "quality": 6 - mark} for mark in range(1, 6)
]


def test_a_real_model_sees_the_clips_and_its_marks_become_scores(vlm_server: str, bench: Benchmark, tmp_path: Path):
    save_model(tmp_path / "model", [json.dumps(verdict) for verdict in VERDICTS])
    values = {"model": str(tmp_path / "model"), "max_tokens": 16, "timeout": 60.0}
    with closing(judge(vlm_server, tmp_path, **values)) as one:
        scorer = JudgeScorer(one, RUBRICS["openve"])
        edits = [(0, 0), (12, 5), (15, 15), (5, 3)]
        found = [scorer.score(*bench.clips(*edit)) for edit in edits]
        for scores in found:
            mark = int(scores["openve_compliance@judge"])
            capped = [mark, mark, min(mark, 6 - mark)]
            assert [*scores.values()] == [*capped, sum(capped) / 3]
            assert scores.reasons == (f"It is {mark}.",)
        assert len({scores["openve_compliance@judge"] for scores in found}) > 1  # nothing but pictures differs much
        usage = one.usage
        assert (usage.requests, usage.retries) == (4, 0)
        assert usage.completion_tokens == 4 * 16
        assert usage.prompt_tokens > 4 * 6 * (SIDE // PATCH) ** 2
    with closing(judge(vlm_server, tmp_path, **values)) as one:
        scorer = JudgeScorer(one, RUBRICS["openve"])
        assert [scorer.score(*bench.clips(*edit)) for edit in edits] == found
        assert one.usage.requests == 0
