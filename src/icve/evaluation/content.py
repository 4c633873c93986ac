"""Hashes of what scores and answers depend on: no name, place or date of a file counts."""

import functools
import hashlib
import json
from pathlib import Path

BLOCK = 1 << 20
MODEL_FILES = ("*.safetensors", "*.json", "*.txt", "*.model")  # weights, configs and tokenizers
SAMPLES, SAMPLE = 256, 4096  # places in a model's file, and bytes at each: training changes nearly every number


def file_content(path: Path) -> str:
    """A hash of a file's bytes; of a folder, of the names and bytes of the files in it.

    A file is read once in a process, and again only when its size, its date or the file itself is another.

    Raises:
        OSError: it cannot be read.
    """
    if path.is_dir():
        inside = sorted(file for file in path.iterdir() if file.is_file())
        return digest(*(part for file in inside for part in (file.name, file_content(file))))
    state = path.stat()
    return _file_content(path, (state.st_ino, state.st_mtime_ns, state.st_size))


@functools.lru_cache(maxsize=4096)
def _file_content(path: Path, _state: tuple[int, ...]) -> str:
    hashed = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            hashed.update(block)
    return hashed.hexdigest()


def model_content(folder: Path) -> str:
    """A hash that tells a model's folder, in the hub's layout, from one with other weights or settings.

    Of each file in the folder and in those one below: its name, its size and 1 MiB spread evenly over it, so that 16 GB
    need not be read.

    Raises:
        OSError: a file cannot be read.
    """
    files = {file for pattern in MODEL_FILES for place in ("", "*/") for file in folder.glob(place + pattern)}
    return digest(
        *(part for file in sorted(files) if file.is_file() for part in (str(file.relative_to(folder)), _sampled(file)))
    )


def _sampled(path: Path) -> str:
    size = path.stat().st_size
    hashed = hashlib.blake2b(str(size).encode(), digest_size=16)
    with path.open("rb") as file:
        if size <= SAMPLES * SAMPLE:
            hashed.update(file.read())
        else:
            for number in range(SAMPLES):
                file.seek(number * (size - SAMPLE) // (SAMPLES - 1))
                hashed.update(file.read(SAMPLE))
    return hashed.hexdigest()


def digest(*parts: str) -> str:
    """A hash of texts, each apart from the next."""
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()
