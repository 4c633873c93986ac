"""Text alignment: does the edited clip show what was asked for?"""

from collections.abc import Mapping

from icve.evaluation.cases import Case
from icve.evaluation.clips import Clips
from icve.evaluation.metrics.encoders import image_encoder
from icve.evaluation.metrics.metric import Encoded
from icve.evaluation.metrics.weights import weights_version
from icve.evaluation.scorers import Figure, MissingError


class CLIPText(Encoded):
    """CLIPScore (Hessel et al. 2021) without its factor 2.5, as torchmetrics and FiVE-Bench give it: 100 times the
    cosine of a frame and the sentence, at least 0; mean over frames.

    The sentence is the target prompt, or the instruction where there is none. Range 0 to 100, higher is better.
    """

    name, what, option = "clip_text", "CLIP", "clip"
    figures: tuple[Figure, ...] = (
        Figure("clip_text", "higher", 0, 100, "", "CLIP similarity of frames and target prompt."),
    )

    def score(self, case: Case, clips: Clips) -> Mapping[str, float]:
        """See `Scorer`."""
        text = self.encoder.texts([case.target_prompt or case.instruction])
        cosines = self.encoder.of(clips, "edited") @ text[0]
        return {"clip_text": 100 * float(cosines.clamp(min=0).mean())}


class CLIPDirection(Encoded):
    """Directional CLIP similarity (Gal et al. 2022, "StyleGAN-NADA"; Brooks et al. 2023, "InstructPix2Pix"): the cosine
    of the way from source to edited frame and the way from source to target prompt; mean over frames.

    Ways are differences of unit vectors. A frame that did not change counts 0. Range -1 to 1, higher is better.
    """

    name, what, option = "clip_direction", "CLIP", "clip"
    figures: tuple[Figure, ...] = (
        Figure("clip_direction", "higher", -1, 1, "", "CLIP: does the clip change as the prompt does?"),
    )

    def score(self, case: Case, clips: Clips) -> Mapping[str, float]:
        """See `Scorer`."""
        from torch.nn.functional import cosine_similarity

        if not (case.source_prompt and case.target_prompt):
            raise MissingError(f"Case {case.id} has no source and target prompt.")
        before, after = self.encoder.texts([case.source_prompt, case.target_prompt])
        source, edited = self.encoder.of(clips, "source"), self.encoder.of(clips, "edited")
        frames = min(len(source), len(edited))
        ways = edited[:frames] - source[:frames]
        return {"clip_direction": float(cosine_similarity(ways, after - before, dim=-1).mean())}


class PickScore(Encoded):
    """PickScore (Kirstain et al. 2023): what people prefer, by a CLIP-H tuned on their choices: its cosine of frame and
    sentence times the learnt scale (about 100); mean over frames.

    The sentence as for `clip_text`. Range -100 to 100, usually 17 to 24; higher is better.

    Args:
        processor: PickScore uses that of the CLIP it was tuned from.
    """

    name, what, option = "pickscore", "PickScore", "pickscore"
    figures: tuple[Figure, ...] = (
        Figure("pickscore", "higher", -100, 100, "", "PickScore of frames and target prompt."),
    )

    def __init__(self, location: str, processor: str) -> None:
        super().__init__(location)
        self.version = f"1 {weights_version(location, processor)}"
        self.processor = processor

    def load(self) -> None:
        """Load model and processor; MissingError where they are not."""
        self.encoder = image_encoder(self.location, self.what, self.option, self.processor)

    def score(self, case: Case, clips: Clips) -> Mapping[str, float]:
        """See `Scorer`."""
        text = self.encoder.texts([case.target_prompt or case.instruction])
        cosines = self.encoder.of(clips, "edited") @ text[0]
        return {"pickscore": float(self.encoder.model.logit_scale.exp().item() * cosines.mean())}
