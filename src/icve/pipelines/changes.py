"""What an edit changed: a mask, from the edit and the source's own round trip through the autoencoder.

Shapes: F frames of h x w pixels at the model's size, RGB float32 in [0, 1]. Lengths are pixels of that size, where
the autoencoder's cells are 8 wide; differences are Euclidean over RGB.

Edit and round trip went through the same decoder, so its blur cancels and what differs is the edit and the sampler's
noise. An edit is told from the noise by being strong, or by being weak but of one sign over a wide area (a look).
"""

import cv2
import numpy as np

# Fitted on synthetic edits with a known truth (tests/pipelines/test_preservation.py): at 27 to 37 dB between an edit's
# unchanged part and the round trip, nothing unchanged is found and every changed object is.
WEAK, STRONG = 0.05, 0.14  # a change holds at least one strong place and reaches as far as it is weak
MOST_NOISE = 0.05  # a typical difference above this is a global edit, not noise
FEWEST_STRONG = 4  # pixels
WIDE = 0.05  # the mean difference over a wide area that is a change of that area
BLURS = (1.0, 1.5, 2.0, 3.0)  # sigmas of an edit that blurs
BLUR_EXPLAINS = 0.6  # the share of the difference that may remain when the edit is a blur


def smooth(image: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian blur of (h, w) or (h, w, C)."""
    return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)


def is_blur(edit: np.ndarray, round_trip: np.ndarray) -> bool:
    """Whether the edit is the round trip, blurred: the one look that leaves mean colours alone, so no mask finds it."""
    unchanged = np.square(edit - round_trip).mean()
    blurred = min(np.square(edit - np.stack([smooth(frame, sigma) for frame in round_trip])).mean() for sigma in BLURS)
    return bool(blurred < BLUR_EXPLAINS * unchanged)


def changed_mask(source: np.ndarray, edit: np.ndarray, round_trip: np.ndarray) -> np.ndarray:
    """Where the edit changed the picture, (F, h, w) float32, 1 on the change and a margin around it, else 0.

    `source`, `edit`, `round_trip`: (F, h, w, 3), all without padding.
    """
    difference = _steady(edit - round_trip)
    size = np.linalg.norm(difference, axis=-1)
    noise = min(float(np.median(size)), MOST_NOISE)
    # the decoder's own errors (edges, fine texture) come out a little differently each time
    errors = np.linalg.norm(_steady(round_trip - source), axis=-1)
    masks = []
    for signed, strength, error in zip(difference, size, errors, strict=True):
        tolerance = noise + 0.5 * cv2.blur(error, (5, 5), borderType=cv2.BORDER_REFLECT)
        fine = _connected(strength > WEAK + tolerance, strength > STRONG + noise + tolerance)
        masks.append(np.maximum(fine, _wide_change(signed, fine)))
    return np.stack(masks)


def _steady(frames: np.ndarray) -> np.ndarray:
    """Less noise: averaged over neighbouring pixels and, 1-2-1, over neighbouring frames."""
    padded = np.concatenate([frames[:1], frames, frames[-1:]])
    averaged = 0.25 * (padded[:-2] + 2 * padded[1:-1] + padded[2:])
    return np.stack([smooth(frame, 0.8) for frame in averaged])


def _connected(weak: np.ndarray, strong: np.ndarray) -> np.ndarray:
    """The connected parts of `weak` that hold `strong` pixels, grown by a margin of 2 pixels."""
    closed = cv2.morphologyEx(weak.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    count, labels = cv2.connectedComponents(closed, connectivity=8)
    kept = np.bincount(labels[strong], minlength=count) >= FEWEST_STRONG
    kept[0] = False
    margin = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    return cv2.dilate(kept[labels].astype(np.uint8), margin).astype(np.float32)


def _wide_change(signed: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Where what `found` left has one mean difference over a wide area: noise averages out there, a look does not."""
    rest = 1 - found
    sigma = min(found.shape) / 12
    weight = smooth(rest, sigma)
    mean = smooth(signed * rest[..., None], sigma) / np.maximum(weight, 1e-6)[..., None]
    return (rest * (weight > 0.05) * (np.linalg.norm(mean, axis=-1) > WIDE)).astype(np.float32)
