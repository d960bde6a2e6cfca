"""Images of one revision of a DVC repository, kept in a store keyed by content hash.

DVC tells which objects a revision consists of; fetching is done here, because DVC does not notice an object
that was altered in the remote. Each object is hashed before it enters the store, the listings too.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from oodtune.config import DataConfig, DvcConfig
from oodtune.data.listing import Listing, SourceImage
from oodtune.data.origin import Origin
from oodtune.data.sources.cell import limit_cell
from oodtune.data.sources.layout import LAYOUT, check_domain_name, is_visible
from oodtune.data.sources.object_store import ObjectStore, one_line
from oodtune.errors import DataError, UserError
from oodtune.progress import Progress, silent

_DEPTH = 3  # <domain>/<class>/<image>


@dataclass(frozen=True)
class _Image:
    path: PurePosixPath
    """`<domain>/<class>/<image>`."""
    md5: str
    tracked_by: str
    """Hash of what DVC tracks: `md5-dir:...` for a directory, `md5:...` for a single file."""


def list_dvc(config: DataConfig, _work_dir: Path, downloads_dir: Path, progress: Progress = silent) -> Listing:
    """Fetch the images of `config.dvc.rev` and list them, where the store has them.

    An Origin's version is the commit; its integrity names what DVC tracks, as `md5-dir:<hash>` (several are
    divided by spaces). Objects stay in `downloads_dir/dvc`: what is there is not fetched again. Raises
    UserError if the repository or its remote cannot be used, DataError for altered or unusable data.
    """
    settings = config.dvc
    assert settings is not None
    store = ObjectStore(downloads_dir / "dvc")
    with _open_repo(settings, store.path) as repo:
        commit = repo.get_rev()
        store.attach(lambda: _open_remote(repo, settings), _where(settings))
        images = _limit(_list_images(repo, settings, store), config.limit_per_cell)
        store.fetch({image.md5: str(image.path) for image in images}, progress)
    listed = [SourceImage(str(image.path), store.locate(image.md5)) for image in images]
    return Listing(tuple(listed), tuple(_describe(images, settings, commit)))


def resolve_revision(config: DvcConfig, work_dir: Path) -> str:
    """Return the commit that `config.rev` is now. Raises UserError if there is no such repository or revision."""
    with _open_repo(config, work_dir) as repo:
        return str(repo.get_rev())


@contextmanager
def _open_repo(config: DvcConfig, store_dir: Path) -> Iterator[Any]:
    """Yield DVC's view of the repository at `config.rev`; nothing is checked out."""
    try:
        from dvc.api import DVCFileSystem
        from dvc.exceptions import DvcException
        from dvc.repo.open_repo import clean_repos
        from scmrepo.exceptions import SCMError
    except ImportError:
        raise UserError("data.source dvc: expected the package dvc, found none; pip install 'oodtune[data]'") from None
    scratch = str((store_dir / "scratch").absolute())
    settings = {"core": {"site_cache_dir": scratch}, "cache": {"dir": scratch}}
    override = {"endpointurl": config.endpoint_url} if config.endpoint_url else None
    try:
        filesystem = DVCFileSystem(
            config.url, rev=config.rev, remote=config.remote, remote_config=override, config=settings
        )
        yield filesystem.repo
    except UserError:
        raise
    except (DvcException, SCMError) as error:
        raise UserError(
            f"{_where(config)}: expected a DVC repository with this revision; {one_line(_root_cause(error))}; "
            f"check data.dvc.url, rev and remote"
        ) from None
    finally:
        clean_repos()


def _open_remote(repo: Any, config: DvcConfig) -> tuple[Any, str | None]:
    """Return DVC's object database of the remote, and its endpoint if one is set."""
    remote = repo.cloud.get_remote_odb(name=config.remote)
    return remote, remote.fs.config.get("endpointurl")


def _list_images(repo: Any, config: DvcConfig, store: ObjectStore) -> list[_Image]:
    root = PurePosixPath(config.path)
    _refuse_plain_files(repo, root, config)
    images = []
    for out in repo.index.outs:
        out_path = PurePosixPath(*repo.fs.relparts(out.fs_path, repo.root_dir))
        if not (out_path.is_relative_to(root) or root.is_relative_to(out_path)):
            continue
        for path, md5, tracked_by in _list_out(out, out_path, store):
            if path.is_relative_to(root) and all(is_visible(part) for part in path.relative_to(root).parts):
                images.append(_Image(path.relative_to(root), md5, tracked_by))
    # Loose files beside the domains are not images, as with `source: folder`.
    images = [image for image in images if len(image.path.parts) > 1]
    if not images:
        raise DataError(f"{_where(config)}: expected images tracked by DVC below {config.path!r}, found none; {LAYOUT}")
    for image in images:
        if len(image.path.parts) != _DEPTH or ".." in image.path.parts:
            raise DataError(f"{_where(config)}: expected <domain>/<class>/<image>, found {image.path}; {LAYOUT}")
        check_domain_name(f"{_where(config)}/{image.path.parts[0]}", image.path.parts[0])
    return images


def _list_out(out: Any, out_path: PurePosixPath, store: ObjectStore) -> Iterator[tuple[PurePosixPath, str, str]]:
    """Yield (path in the repository, md5, what tracks it) of every file of one thing that DVC tracks."""
    hash_info = out.hash_info
    if not hash_info:
        raise DataError(f"{out_path}: expected a hash recorded by DVC, found none; run `dvc commit` and `dvc push`")
    if hash_info.name != "md5":
        raise DataError(
            f"{out_path}: expected data tracked by DVC 3 (md5), found {hash_info.name}; "
            f"run `dvc cache migrate --dvc-files`, push and commit"
        )
    if not hash_info.isdir:
        yield out_path, hash_info.value, f"md5:{hash_info.value}"
        return
    store.fetch({hash_info.value: f"the listing of {out_path}"}, silent)
    tracked_by = f"md5-dir:{hash_info.value.removesuffix('.dir')}"
    for entry in json.loads(store.locate(hash_info.value).read_bytes()):
        yield out_path / entry["relpath"], entry["md5"], tracked_by


def _refuse_plain_files(repo: Any, root: PurePosixPath, config: DvcConfig) -> None:
    """Raise DataError for images that are tracked by git alone: nothing would check or count them."""
    top = repo.fs.join(repo.root_dir, *root.parts)
    if not repo.fs.exists(top):
        return
    for found in repo.fs.find(top):
        parts = repo.fs.relparts(found, top)
        if len(parts) >= _DEPTH and all(is_visible(part) for part in parts) and not parts[-1].endswith(".dvc"):
            raise DataError(
                f"{_where(config)}: expected images tracked by DVC, found {'/'.join(parts)} in git; "
                f"run `dvc add` on its domain"
            )


def _limit(images: list[_Image], limit: int | None) -> list[_Image]:
    cells: dict[PurePosixPath, dict[str, _Image]] = {}
    for image in images:
        cells.setdefault(image.path.parent, {})[image.path.name] = image
    return [cells[cell][name] for cell in sorted(cells) for name in limit_cell(cells[cell], limit)]


def _describe(images: list[_Image], config: DvcConfig, commit: str) -> list[Origin]:
    tracked: dict[str, set[str]] = {}
    for image in images:
        tracked.setdefault(image.path.parts[0], set()).add(image.tracked_by)
    source = f"dvc {config.repository} {config.path}"
    return [
        Origin(domain=domain, title=domain, source=source, version=commit, integrity=" ".join(sorted(hashes)))
        for domain, hashes in tracked.items()
    ]


def _root_cause(error: BaseException) -> BaseException:
    """Return the first error of a chain: DVC's own last word is often only `SCM error`."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _where(config: DvcConfig) -> str:
    return f"dvc {config.url} at {config.rev}"
