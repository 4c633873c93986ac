"""Files are told apart by their bytes alone."""

import os

import numpy as np
import pytest
from safetensors.numpy import save_file

from icve.evaluation.content import digest, file_content, model_content


def test_bytes_count_and_names_and_dates_do_not(tmp_path):
    one, other = tmp_path / "one.mp4", tmp_path / "other.mp4"
    one.write_bytes(b"clip")
    other.write_bytes(b"clip")
    os.utime(other, (1, 1))
    assert file_content(one) == file_content(other)
    other.write_bytes(b"clap")
    assert file_content(one) != file_content(other)
    with pytest.raises(FileNotFoundError):
        file_content(tmp_path / "none.mp4")


def test_a_file_put_in_anothers_place_is_read_again_though_size_and_date_are_the_same(tmp_path):
    path, new = tmp_path / "clip.mp4", tmp_path / "new"
    for file, content in ((path, b"clip"), (new, b"clap")):
        file.write_bytes(content)
        os.utime(file, (1, 1))
    before = file_content(path)
    new.rename(path)
    assert file_content(path) != before


def test_a_folder_is_its_files(tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        (folder / "00001.png").write_bytes(b"mask")
    assert file_content(folders[0]) == file_content(folders[1])
    (folders[1] / "00001.png").rename(folders[1] / "00002.png")
    assert file_content(folders[0]) != file_content(folders[1])
    assert digest("ab", "c") != digest("a", "bc")


def test_a_large_model_is_told_from_another_wherever_its_weights_differ(tmp_path):
    folder = tmp_path / "transformer"
    folder.mkdir()
    weights = np.arange(2 << 20, dtype=np.uint32)  # 8 MB: not all of it is read
    names = set()
    for part in (slice(0, 0), slice(0, 50_000), slice(1_000_000, 1_100_000), slice(-50_000, None)):
        changed = weights.copy()
        changed[part] += 1
        save_file({"weight": changed}, folder / "model.safetensors")
        names.add(model_content(tmp_path))
    (folder / "config.json").write_text("{}")
    names.add(model_content(tmp_path))
    assert len(names) == 5
    assert model_content(tmp_path.rename(tmp_path.with_name("moved"))) in names
