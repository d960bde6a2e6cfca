"""Progress of long work: library functions report it to a callback, stages show it as a bar."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int, int, str], None]
"""Called with (done, total, what): how many of how many units are done, and a few words on the latest."""


def silent(done: int, total: int, what: str) -> None:
    """A Progress that shows nothing."""


@contextmanager
def progress_bar(title: str) -> Iterator[Progress]:
    """Yield a Progress that draws one bar on stderr, and nothing where stderr is no terminal."""
    from rich import progress as bars
    from rich.console import Console

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TimeElapsedColumn(),
        bars.TimeRemainingColumn(),
        bars.TextColumn("{task.fields[what]}"),
    )
    console = Console(stderr=True)
    with bars.Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None, what="")

        def report(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total, what=what)

        yield report
