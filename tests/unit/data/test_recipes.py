import pytest

from oodtune.data.recipes import RECIPES, check_recipe
from oodtune.errors import DataError


def ids(name: str, version: str, **counts: int) -> list[str]:
    """Return image ids that fit a recipe, with other counts for some domains."""
    recipe = RECIPES[name]
    known = {**recipe.versions[version], **counts}
    return [
        f"{domain}/class{n % recipe.num_classes}/{n}.jpg" for domain, count in known.items() for n in range(count or 70)
    ]


@pytest.mark.parametrize(
    ("name", "version"), [(name, version) for name, recipe in RECIPES.items() for version in recipe.versions]
)
def test_every_version_is_told_by_its_counts(name: str, version: str) -> None:
    assert check_recipe(name, ids(name, version)) == version


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_versions_of_a_benchmark_have_the_same_domains(name: str) -> None:
    assert len({frozenset(version) for version in RECIPES[name].versions.values()}) == 1


def test_totals_are_those_of_the_papers() -> None:
    totals = {
        (name, version): sum(counts.values())
        for name, recipe in RECIPES.items()
        for version, counts in recipe.versions.items()
    }
    assert totals["pacs", "original"] == 9_991
    assert totals["vlcs", "domainbed"] == 10_729
    assert totals["officehome", "original"] == 15_588
    assert totals["terraincognita", "before 2022"] == 24_788
    assert totals["terraincognita", "since 2022"] == 24_330
    assert totals["domainnet", "without duplicates"] == 586_575
    assert totals["domainnet", "with duplicates"] == 596_006


def test_missing_images_are_counted_and_the_paper_is_named() -> None:
    with pytest.raises(DataError, match=r"PACS: .*sketch 3,928 instead of 3,929; get it from .*ICCV 2017"):
        check_recipe("pacs", ids("pacs", "original", sketch=3928))


def test_the_closest_version_is_what_is_compared_with() -> None:
    with pytest.raises(DataError, match=r"'since 2022', found location_46 5,880 instead of 5,883"):
        check_recipe("terraincognita", ids("terraincognita", "since 2022", location_46=5880))


def test_missing_and_unknown_domains_are_named() -> None:
    images = [one.replace("sketch/", "drawing/") for one in ids("pacs", "original")]
    with pytest.raises(DataError, match="found no sketch, an unknown drawing"):
        check_recipe("pacs", images)


def test_another_number_of_classes_is_refused() -> None:
    images = [one.replace("/class6/", "/class5/") for one in ids("pacs", "original")]
    with pytest.raises(DataError, match="expected 7 classes, found 6"):
        check_recipe("pacs", images)


def test_a_slice_is_not_counted() -> None:
    assert check_recipe("pacs", ids("pacs", "original", sketch=100), whole=False) == "original"
