"""The networks of LPIPS, built to hold the published weights: convolutions of AlexNet, VGG-16 or SqueezeNet 1.1."""

import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# What the weights were trained with: https://github.com/richzhang/PerceptualSimilarity, lpips.ScalingLayer
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
EPSILON = 1e-10
# The layers of torchvision's `features` whose outputs are compared
TAPS = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29), "squeeze": (1, 4, 7, 9, 10, 11, 12)}
WIDTHS = {
    "alex": (64, 192, 384, 256, 256),
    "vgg": (64, 128, 256, 512, 512),
    "squeeze": (64, 128, 256, 384, 384, 512, 512),
}
VGG = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool", 512, 512, 512)


class Fire(nn.Module):
    """SqueezeNet's module: a narrow layer, then 1x1 and 3x3 convolutions side by side."""

    def __init__(self, channels: int, narrow: int, wide: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, narrow, 1)
        self.expand1x1 = nn.Conv2d(narrow, wide, 1)
        self.expand3x3 = nn.Conv2d(narrow, wide, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return F.relu(torch.cat([self.expand1x1(x), self.expand3x3(x)], dim=1))


def features(net: str) -> nn.Sequential:
    """The convolutions of `net`, numbered as in torchvision's `features`, up to the last that is compared."""
    relu = nn.ReLU()
    if net == "alex":
        pool = nn.MaxPool2d(3, 2)
        return nn.Sequential(
            *(nn.Conv2d(3, 64, 11, 4, 2), relu, pool, nn.Conv2d(64, 192, 5, padding=2), relu, pool),
            *(nn.Conv2d(192, 384, 3, padding=1), relu, nn.Conv2d(384, 256, 3, padding=1), relu),
            *(nn.Conv2d(256, 256, 3, padding=1), relu),
        )
    if net == "squeeze":
        pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        return nn.Sequential(
            *(nn.Conv2d(3, 64, 3, 2), relu, pool, Fire(64, 16, 64), Fire(128, 16, 64), pool),
            *(Fire(128, 32, 128), Fire(256, 32, 128), pool),
            *(Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256)),
        )
    layers: list[nn.Module] = []
    channels = 3
    for width in VGG:
        if isinstance(width, int):
            layers += [nn.Conv2d(channels, width, 3, padding=1), relu]
            channels = width
        else:
            layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*layers)


class LPIPSNet(nn.Module):
    """LPIPS 0.1 (Zhang et al. 2018): squared differences of unit feature vectors, weighted and summed."""

    def __init__(self, net: str) -> None:
        super().__init__()
        self.taps = TAPS[net]
        self.features = features(net)
        self.heads = nn.ParameterList([nn.Parameter(torch.zeros(width)) for width in WIDTHS[net]])

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Two batches (N, 3, H, W) of values in [-1, 1] to distances (N,)."""
        shift, scale = (torch.tensor(values, device=a.device).view(1, 3, 1, 1) for values in (SHIFT, SCALE))
        x = (torch.cat([a, b]) - shift) / scale
        total = torch.zeros(len(a), device=a.device)
        heads = iter(self.heads)
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self.taps:
                unit = x / (x.square().sum(1, keepdim=True).sqrt() + EPSILON)
                squares = (unit[: len(a)] - unit[len(a) :]).square()
                total = total + torch.einsum("nchw,c->nhw", squares, next(heads)).mean((1, 2))
        return total


def from_published(weights: Mapping[str, Tensor]) -> LPIPSNet:
    """The network that holds the state dict of `lpips.LPIPS`, whichever of the three it is.

    Raises:
        ValueError: the weights are of something else.
    """
    state = {}
    for name, tensor in weights.items():
        if part := re.fullmatch(r"net\.slice\d\.(.+)", name):
            state[f"features.{part[1]}"] = tensor
        elif part := re.fullmatch(r"lin(\d)\.model\.1\.weight", name):
            state[f"heads.{part[1]}"] = tensor.flatten()
    widths = tuple(len(state[f"heads.{i}"]) for i in range(7) if f"heads.{i}" in state)
    net = next((net for net, known in WIDTHS.items() if known == widths), None)
    if net is None:
        raise ValueError(f"no LPIPS network has heads of {widths} channels")
    module = LPIPSNet(net)
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(str(error)) from error
    return module.eval().requires_grad_(False)
