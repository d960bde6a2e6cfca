"""Images: building the cache, reading batches from it, checking a set; each against the plain way.

    python -m benchmarks.data

Prints a line for every ratio and exits with 1 if a target is missed.
"""

import argparse
import multiprocessing
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from PIL import Image

from benchmarks.figures import describe_machine, write_figures
from benchmarks.photographs import DOMAINS, draw_photographs
from benchmarks.ratio import Contest, measure
from oodtune.config import AugmentConfig, DataConfig, PreprocessConfig, TrainConfig
from oodtune.cpus import count_cpus
from oodtune.stages import cache, check, prepare

BATCH_PER_DOMAIN = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=8000, help="how many photographs to draw (default: 8000)")
    parser.add_argument("--width", type=int, default=500, help="in pixels (default: 500, as VLCS and others)")
    parser.add_argument("--height", type=int, default=375, help="in pixels (default: 375)")
    parser.add_argument("--size", type=int, default=224, help="height and width in the cache (default: 224)")
    parser.add_argument("--repeats", type=int, default=3, help="measured turns of each contest (default: 3)")
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="oodtune-bench-") as directory:
        root = Path(directory)
        draw_photographs(root / "images", options.images, options.width, options.height)
        data = DataConfig(source="folder", root=root / "images")
        prepare.run(root / "dataset", prepare.Params(data=data))
        contests = list(_contests(root, data, PreprocessConfig(size=options.size), options.images))
        results = []
        for contest in contests:
            results.append(measure(contest, options.repeats))
            print(results[-1], flush=True)
    write_figures(options, describe_machine("oodtune", "pillow", "torch", "torchvision"), results)
    sys.exit(0 if all(one.met for one in results) else 1)


def _contests(root: Path, data: DataConfig, preprocess: PreprocessConfig, count: int) -> Iterator[Contest]:
    paths = sorted((root / "dataset/images").glob("*/*/*"))
    build = partial(cache.run, root / "dataset", root / "cache", cache.Params(preprocess=preprocess))
    yield Contest(
        "cache build",
        ("oodtune cache: decode, resize, write, hash, manifest", _anew(build, root / "cache")),
        ("Pillow decode and resize, nothing kept, one process per CPU", partial(_in_processes, paths, preprocess.size)),
        count,
        target=0.9,
    )
    yield Contest(
        "data check",
        ("oodtune data check: every finding, JSON, page", partial(check.run, root / "check", data, root)),
        ("Pillow decode, nothing kept, one process per CPU", partial(_in_processes, paths, None)),
        count,
        target=1 / 1.5,
    )
    steps = max(1, count // (BATCH_PER_DOMAIN * (len(DOMAINS) - 1)))
    yield Contest(
        "batches",
        ("batches of the cache, uint8", partial(_read_cache, root / "cache", steps)),
        ("torchvision ImageFolder and DataLoader, uint8", partial(_read_folder, root, preprocess.size, steps)),
        steps * BATCH_PER_DOMAIN * (len(DOMAINS) - 1),
        target=10.0,
    )


def _anew(build: Callable[[], None], out: Path) -> Callable[[], None]:
    def run() -> None:
        shutil.rmtree(out, ignore_errors=True)
        build()

    return run


def _in_processes(paths: list[Path], size: int | None) -> None:
    with multiprocessing.get_context("fork").Pool(count_cpus()) as pool:
        for _ in pool.imap(partial(_decode, size=size), paths, chunksize=16):
            pass


def _decode(path: Path, size: int | None) -> int:
    with Image.open(path) as image:
        pixels = image.convert("RGB")
    return (pixels if size is None else pixels.resize((size, size), Image.Resampling.BICUBIC)).width


def _read_cache(path: Path, steps: int) -> None:
    import torch

    from oodtune.stages.feed import open_feed
    from oodtune.train.ranks import Ranks

    train = TrainConfig(batch_per_domain=BATCH_PER_DOMAIN)
    with open_feed(path, DOMAINS[0], 0, AugmentConfig(), train, Ranks(torch.device("cpu"))) as feed:
        for step in range(steps):
            feed.batches.draw(step)


def _read_folder(root: Path, size: int, steps: int) -> None:
    from torch.utils.data import ConcatDataset, DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import Compose, InterpolationMode, PILToTensor, Resize

    decode = Compose([Resize((size, size), InterpolationMode.BICUBIC), PILToTensor()])
    folders = [ImageFolder(str(root / "images" / domain), decode) for domain in DOMAINS[1:]]
    joined: ConcatDataset[object] = ConcatDataset(folders)
    loader = DataLoader(joined, BATCH_PER_DOMAIN * len(folders), shuffle=True, num_workers=count_cpus())
    with _stopping(iter(loader)) as batches:
        for _ in range(min(steps, len(loader))):
            next(batches)


@contextmanager
def _stopping(batches: Iterator[object]) -> Iterator[Iterator[object]]:
    yield batches
    del batches  # ends the workers


if __name__ == "__main__":
    main()
