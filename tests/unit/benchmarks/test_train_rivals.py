import itertools
import sys
import time
from pathlib import Path

import pytest
from torch.utils.data import DataLoader

from benchmarks.train_domainbed import import_checkout
from benchmarks.train_rivals import Counted, Workers
from oodtune.errors import ConfigError


class Slow:
    """Ten numbers, each of which takes a while."""

    def __getitem__(self, key: int) -> int:
        time.sleep(0.01)
        return key

    def __len__(self) -> int:
        return 10


def test_catching_up_leaves_workers_with_nothing_to_load():
    images = Counted(Slow())
    passes = itertools.cycle([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]])
    batches = iter(DataLoader(images, batch_sampler=passes, num_workers=2))
    workers = Workers(images, [4, 4, 2], 2)
    for num_batches in (1, 5):
        for _ in range(num_batches):
            next(batches)
        workers.use(num_batches)
        workers.catch_up()
        loaded = images.loaded.value
        time.sleep(0.1)
        assert images.loaded.value == loaded
    assert loaded == 34  # 6 batches used and 2 of each worker ahead: three passes and a batch


def test_a_package_that_domainbed_lacks_is_named_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    library = tmp_path / "domainbed" / "lib"
    library.mkdir(parents=True)
    (library / "fast_data_loader.py").touch()
    (tmp_path / "domainbed" / "algorithms.py").write_text("import no_such_package")
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(ConfigError, match=r"No module named 'no_such_package'; install it") as caught:
        import_checkout(tmp_path)
    assert "\n" not in str(caught.value)
    for name in [name for name in sys.modules if name.startswith("domainbed")]:
        del sys.modules[name]


def test_a_folder_that_is_no_checkout_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="expected a checkout of DomainBed"):
        import_checkout(tmp_path)
