"""Contact sheets: every row is there, whatever the label says."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from icve.errors import InputError
from icve.video import contact_sheet
from tests.video.samples import picture


def test_rows_show_their_frames(tmp_path: Path) -> None:
    red, blue = np.zeros((20, 48, 64, 3), np.uint8), np.zeros((3, 48, 64, 3), np.uint8)
    red[..., 0], blue[..., 2] = 255, 255
    path = tmp_path / "sheet.png"
    contact_sheet([("source", red), ("make it blue", list(blue))], path)
    sheet = np.array(Image.open(path))
    assert (sheet == (255, 0, 0)).all(axis=-1).sum() == pytest.approx(2 * (sheet == (0, 0, 255)).all(axis=-1).sum())
    assert (sheet < 100).all(axis=-1).sum() > 50  # ink
    assert list(tmp_path.iterdir()) == [path]


def test_frames_from_first_to_last(tmp_path: Path) -> None:
    frames = np.stack([np.full((40, 40, 3), 10 * i, np.uint8) for i in range(1, 12)])
    path = tmp_path / "sheet.png"
    contact_sheet([("", frames)], path, columns=3)
    centre = np.array(Image.open(path))[-100]
    assert {10, 60, 110} <= set(centre[:, 0].tolist())


@pytest.mark.parametrize(
    "label",
    [
        "把圆圈变成红色",
        "اجعل الدائرة حمراء",
        "🟥🔴 make it \U0001f9d1‍🚀",
        "a\nb\tc\0d",
        "\udcff\udc80",
        "long " * 400,
        "",
    ],
)
def test_any_label(tmp_path: Path, label: str) -> None:
    path = tmp_path / "sheet.png"
    contact_sheet([(label, [picture(0)])], path)
    assert Image.open(path).size[0] > 200


def test_not_writable(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        contact_sheet([("a", [picture(0)])], tmp_path / "missing" / "sheet.png")


def test_video_package_does_not_import_torch() -> None:
    program = "import sys, icve.video; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
