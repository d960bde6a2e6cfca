import random

from oodtune.data.splits import Shares, assign_splits, undivided_cells

IDS = [f"{domain}/{cls}/{n:03}.png" for domain in ("ink", "oil") for cls in ("cat", "dog") for n in range(50)]


def test_splits_are_disjoint_and_cover_every_domain() -> None:
    rows = assign_splits(IDS, Shares(0.2), seed=0)
    assert sorted(row.id for row in rows) == sorted(IDS)


def test_the_out_split_is_its_fraction_of_every_class_of_every_domain() -> None:
    rows = assign_splits(IDS, Shares(0.2), seed=0)
    for domain in ("ink", "oil"):
        for cls in ("cat", "dog"):
            cell = [row.split for row in rows if (row.domain, row.class_name) == (domain, cls)]
            assert cell.count("out") == 10


def test_splits_do_not_depend_on_the_order_of_files() -> None:
    shuffled = random.Random(1).sample(IDS, len(IDS))
    assert assign_splits(shuffled, Shares(0.2), seed=0) == assign_splits(IDS, Shares(0.2), seed=0)


def test_images_added_to_another_domain_move_nothing() -> None:
    more = [*IDS, *(f"oil/cat/new{n}.png" for n in range(20))]
    before = [row for row in assign_splits(IDS, Shares(0.2), seed=0) if row.domain == "ink"]
    assert [row for row in assign_splits(more, Shares(0.2), seed=0) if row.domain == "ink"] == before


def test_another_seed_gives_another_split() -> None:
    assert assign_splits(IDS, Shares(0.2), seed=0) != assign_splits(IDS, Shares(0.2), seed=1)


def test_the_smallest_cell_has_an_image_in_each_split() -> None:
    rows = assign_splits(["ink/cat/a.png", "ink/cat/b.png"], Shares(0.01), seed=0)
    assert sorted(row.split for row in rows) == ["in", "out"]
    rows = assign_splits(["ink/cat/a.png", "ink/cat/b.png"], Shares(0.99), seed=0)
    assert sorted(row.split for row in rows) == ["in", "out"]


def test_images_of_one_group_are_on_one_side() -> None:
    pairs = {one: one.rsplit("/", 1)[0] + f"/{int(one[-7:-4]) // 2}" for one in IDS}
    rows = assign_splits(IDS, Shares(0.2), seed=0, groups=pairs)
    sides: dict[str, set[str]] = {}
    for row in rows:
        sides.setdefault(pairs[row.id], set()).add(row.split)
    assert all(len(side) == 1 for side in sides.values())
    assert sum(row.split == "out" for row in rows) == 40


def test_groups_of_one_change_nothing() -> None:
    alone = {one: one for one in IDS}
    assert assign_splits(IDS, Shares(0.2), seed=0, groups=alone) == assign_splits(IDS, Shares(0.2), seed=0)


def test_a_cell_of_one_group_is_trained_on_and_said_to_be_undivided() -> None:
    groups = {one: "copy" if one.startswith("ink/cat") else one for one in IDS}
    rows = assign_splits(IDS, Shares(0.2), seed=0, groups=groups)
    assert {row.split for row in rows if row.id.startswith("ink/cat")} == {"in"}
    assert undivided_cells(rows) == [("ink", "cat")]


def test_three_splits_have_their_shares_of_every_cell() -> None:
    rows = assign_splits(IDS, Shares(0.2, 0.2), seed=0)
    for domain in ("ink", "oil"):
        for cls in ("cat", "dog"):
            cell = [row.split for row in rows if (row.domain, row.class_name) == (domain, cls)]
            assert (cell.count("in"), cell.count("out"), cell.count("test")) == (30, 10, 10)


def test_a_test_split_takes_nothing_from_the_out_split() -> None:
    two, three = (assign_splits(IDS, Shares(0.2, test), seed=0) for test in (0.0, 0.2))
    assert [row for row in two if row.split == "out"] == [row for row in three if row.split == "out"]


def test_groups_over_classes_stay_together_and_shares_stay_close() -> None:
    random.seed(3)
    patients = {one: f"patient {random.randrange(25)}" for one in IDS}  # each in both classes, and in both domains
    rows = assign_splits(IDS, Shares(0.2, 0.2), seed=0, groups=patients)
    for domain in ("ink", "oil"):
        sides: dict[str, set[str]] = {}
        for row in rows:
            if row.domain == domain:
                sides.setdefault(patients[row.id], set()).add(row.split)
        assert all(len(side) == 1 for side in sides.values())
        for cls in ("cat", "dog"):
            cell = [row.split for row in rows if (row.domain, row.class_name) == (domain, cls)]
            assert 6 <= cell.count("out") <= 14
            assert 6 <= cell.count("test") <= 14


def test_large_groups_still_leave_one_to_choose_by_and_one_to_train_on() -> None:
    halves = {one: one.rsplit("/", 1)[0] + str(int(one[-7:-4]) // 25) for one in IDS}
    rows = assign_splits(IDS, Shares(0.1), seed=0, groups=halves)
    assert undivided_cells(rows) == []
    assert sum(row.split == "in" for row in rows) == 100
