"""Which pieces of long work are done, kept in a file that outlives the process."""

import re
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

_NOTE = re.compile(rb"^(\d+) ([0-9a-f]{8})$", re.MULTILINE)


class Journal:
    """Notes of number and checksum, one a line; open it as a context.

    `noted` is what an earlier run left. The first line says how the work is cut into pieces: notes of
    other pieces do not count, nor does a line that the end of the process cut short.
    """

    def __init__(self, path: Path, pieces: str) -> None:
        text = path.read_bytes() if path.is_file() else b""
        fits = text.startswith(f"{pieces}\n".encode())
        notes = _NOTE.findall(text) if fits else []
        self.noted: dict[int, str] = {int(number): checksum.decode() for number, checksum in notes}
        self._lock = threading.Lock()
        self._stream = path.open("a" if fits else "w", encoding="ascii")
        self._stream.write("\n" if fits else f"{pieces}\n")  # a line that was cut short ends here
        self._stream.flush()

    def add(self, number: int, checksum: str) -> None:
        """Note a piece; the note is with the system when this returns."""
        with self._lock:
            self._stream.write(f"{number} {checksum}\n")
            self._stream.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
