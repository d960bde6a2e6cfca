"""Artifacts on a volume that all tasks of a pipeline share: made once, resumed by whoever comes next, never copied."""

from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

from oodtune import __version__
from oodtune.artifact import Kind, open_artifact
from oodtune.config import canonical_json
from oodtune.errors import ArtifactError
from oodtune.locks import lock_file
from oodtune.reference import write_reference


def make_shared(
    out: Path,
    kind: Kind,
    made_from: Mapping[str, str],
    make: Callable[[Path], None],
    shared_dir: Path | str = "",
    again: bool = False,
    name: str = "",
) -> None:
    """Make an artifact with `make(path)`: at `out`, or on a shared volume, with a reference to it at `out`.

    In `shared_dir` its place follows from `kind` and `made_from`, all that it depends on. What is finished there is
    taken, unless `again` says that its sources may have changed; a run that was killed there is gone on with. Of two
    tasks that want the same, one waits. `name` makes the place readable. Without `shared_dir` nothing is shared.
    """
    if not str(shared_dir):
        make(out)
        return
    key = sha256(canonical_json({**made_from, "version": __version__}).encode()).hexdigest()[:16]
    place = Path(shared_dir) / kind / (f"{name}-{key}" if name else key)
    lock_path = place.with_name(f".{place.name}.lock")
    _make_file(lock_path)
    with lock_file(lock_path, wait=True):
        if again or not _is_finished(place, kind):
            make(place)
        write_reference(out, place, open_artifact(place, kind, verify=False).digest)


def _is_finished(place: Path, kind: Kind) -> bool:
    try:
        open_artifact(place, kind, verify="once")
    except ArtifactError:
        return False
    return True


def _make_file(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("a").close()
    except OSError as error:
        raise ArtifactError(
            f"{path.parent}: expected a volume that tasks share and can write to, found: {error}; check "
            "resources.volume, or run without one"
        ) from None
