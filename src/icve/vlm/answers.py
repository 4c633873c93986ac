"""Keeps every answer on disk the moment it is there, so that nothing is asked, or paid for, twice.

One SQLite file in WAL mode: a process that is killed loses nothing that it has kept, and a power cut at most the last
answers. It belongs to one process at a time.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from icve.errors import InputError
from icve.vlm.records import Refused

APPLICATION = 0x69637665  # "icve": how SQLite's own header tells this file from others
VERSION = 1
TABLE = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY,
    answer TEXT,
    kind TEXT NOT NULL,
    reason TEXT NOT NULL,
    requests INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL
) WITHOUT ROWID
"""


@dataclass
class Spent:
    """What one answer, or all together, took: requests that were answered, and their tokens."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Answers:
    """The file of answers. To be used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        """
        Args:
            path: of the file, new or from earlier runs.

        Raises:
            InputError: it is another kind of file, is damaged, cannot be written, or another run uses it.
        """
        self.path = path
        with self._explained():
            path.parent.mkdir(parents=True, exist_ok=True)
            self.database = sqlite3.connect(path, timeout=0.5, isolation_level=None, check_same_thread=False)
        try:
            with self._explained():
                self._open()
        except BaseException:
            self.database.close()
            raise

    def close(self) -> None:
        """Lets go of the file."""
        self.database.close()

    def get(self, key: str) -> str | Refused | None:
        """The answer kept under a key: its JSON, or why there is none; None where it was never asked."""
        with self._explained():
            row = self.database.execute("SELECT answer, kind, reason FROM answers WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        answer, kind, reason = row
        return Refused(kind, reason) if answer is None else str(answer)

    def put(self, key: str, answer: str | Refused, spent: Spent) -> None:
        """Keeps an answer; when this returns, killing the process does not lose it."""
        text, refused = (None, answer) if isinstance(answer, Refused) else (answer, Refused("", ""))
        row = (key, text, refused.kind, refused.reason, spent.requests, spent.prompt_tokens, spent.completion_tokens)
        with self._explained():
            self.database.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def spent(self) -> Spent:
        """What all kept answers took, over all runs."""
        sums = "COALESCE(SUM(requests), 0), COALESCE(SUM(prompt_tokens), 0), COALESCE(SUM(completion_tokens), 0)"
        with self._explained():
            return Spent(*self.database.execute(f"SELECT {sums} FROM answers").fetchone())

    def _open(self) -> None:
        # Exclusive: a second writer is refused, and WAL needs no shared memory, which network disks do not have.
        self.database.execute("PRAGMA locking_mode = EXCLUSIVE")
        application, version, tables = (
            self.database.execute(query).fetchone()[0]
            for query in ("PRAGMA application_id", "PRAGMA user_version", "SELECT COUNT(*) FROM sqlite_master")
        )
        if tables and (application, version) != (APPLICATION, VERSION):
            raise InputError(f"{self.path} is another program's or version's database; name another file.")
        self.database.execute("PRAGMA journal_mode = WAL")
        self.database.execute("PRAGMA synchronous = NORMAL")
        self.database.execute("BEGIN EXCLUSIVE")
        self.database.execute(f"PRAGMA application_id = {APPLICATION}")
        self.database.execute(f"PRAGMA user_version = {VERSION}")
        self.database.execute(TABLE)
        self.database.execute("COMMIT")

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turns SQLite's errors into sentences."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            code = getattr(error, "sqlite_errorname", "")
            if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                raise InputError(f"{self.path} is used by another run; wait for its end.") from None
            if code in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
                raise InputError(f"{self.path} is damaged or no file of answers; move it away.") from None
            raise InputError(f"{self.path} cannot be used ({error}); free space or name another file.") from None
