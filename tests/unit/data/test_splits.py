import random

import pytest

from oodtune.data.splits import assign_splits
from oodtune.errors import DataError

IDS = [f"{domain}/{cls}/{n:03}.png" for domain in ("ink", "oil") for cls in ("cat", "dog") for n in range(50)]


def test_splits_are_disjoint_and_cover_every_domain() -> None:
    rows = assign_splits(IDS, 0.2, seed=0)
    assert sorted(row.id for row in rows) == sorted(IDS)


def test_the_out_split_is_its_fraction_of_every_class_of_every_domain() -> None:
    rows = assign_splits(IDS, 0.2, seed=0)
    for domain in ("ink", "oil"):
        for cls in ("cat", "dog"):
            cell = [row.split for row in rows if (row.domain, row.class_name) == (domain, cls)]
            assert cell.count("out") == 10


def test_splits_do_not_depend_on_the_order_of_files() -> None:
    shuffled = random.Random(1).sample(IDS, len(IDS))
    assert assign_splits(shuffled, 0.2, seed=0) == assign_splits(IDS, 0.2, seed=0)


def test_images_added_to_another_domain_move_nothing() -> None:
    more = [*IDS, *(f"oil/cat/new{n}.png" for n in range(20))]
    before = [row for row in assign_splits(IDS, 0.2, seed=0) if row.domain == "ink"]
    assert [row for row in assign_splits(more, 0.2, seed=0) if row.domain == "ink"] == before


def test_another_seed_gives_another_split() -> None:
    assert assign_splits(IDS, 0.2, seed=0) != assign_splits(IDS, 0.2, seed=1)


def test_the_smallest_cell_has_an_image_in_each_split() -> None:
    rows = assign_splits(["ink/cat/a.png", "ink/cat/b.png"], 0.01, seed=0)
    assert sorted(row.split for row in rows) == ["in", "out"]
    rows = assign_splits(["ink/cat/a.png", "ink/cat/b.png"], 0.99, seed=0)
    assert sorted(row.split for row in rows) == ["in", "out"]


def test_images_of_one_group_are_on_one_side() -> None:
    pairs = {one: one.rsplit("/", 1)[0] + f"/{int(one[-7:-4]) // 2}" for one in IDS}
    rows = assign_splits(IDS, 0.2, seed=0, groups=pairs)
    sides: dict[str, set[str]] = {}
    for row in rows:
        sides.setdefault(pairs[row.id], set()).add(row.split)
    assert all(len(side) == 1 for side in sides.values())
    assert sum(row.split == "out" for row in rows) == 40


def test_groups_of_one_change_nothing() -> None:
    assert assign_splits(IDS, 0.2, seed=0, groups={one: one for one in IDS}) == assign_splits(IDS, 0.2, seed=0)


def test_a_cell_of_copies_of_one_image_is_refused() -> None:
    groups = {one: "copy" if one.startswith("ink/cat") else one for one in IDS}
    with pytest.raises(DataError, match=r"ink/cat: expected at least 2 different images.*found 50 that are the same"):
        assign_splits(IDS, 0.2, seed=0, groups=groups)
