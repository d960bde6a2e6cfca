"""The field's benchmarks: what must lie under the root, so that numbers can be compared with published ones.

Counts are those of `DomainBed:domainbed/datasets.py` and the papers named here. Nothing is downloaded: the
authors' own pages move, their papers do not.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from oodtune.errors import DataError


@dataclass(frozen=True)
class Recipe:
    """One benchmark: its domains, classes and the versions that are known by their counts."""

    title: str
    num_classes: int
    published: str
    """Where the authors publish it."""
    versions: Mapping[str, Mapping[str, int]]
    """Version -> domain -> number of images; a count of 0 is not known."""
    licence: str = "not stated by its authors"
    trap: str = ""
    """What goes wrong with copies of this benchmark."""

    @property
    def domains(self) -> tuple[str, ...]:
        return tuple(sorted(next(iter(self.versions.values()))))


RECIPES: Mapping[str, Recipe] = {
    "pacs": Recipe(
        title="PACS",
        num_classes=7,
        published="Li et al., Deeper, Broader and Artier Domain Generalization, ICCV 2017",
        versions={"original": {"art_painting": 2048, "cartoon": 2344, "photo": 1670, "sketch": 3929}},
        trap="the archive's top folder is called kfold: point data.root at it",
    ),
    "vlcs": Recipe(
        title="VLCS",
        num_classes=5,
        published="Fang et al., Unbiased Metric Learning, ICCV 2013; in the layout of DomainBed",
        versions={"domainbed": {"Caltech101": 1415, "LabelMe": 2656, "SUN09": 3282, "VOC2007": 3376}},
        licence="those of its four source sets",
        trap="half of the images are of persons; 20 of SUN09 are of birds",
    ),
    "officehome": Recipe(
        title="OfficeHome",
        num_classes=65,
        published="Venkateswara et al., Deep Hashing Network for Unsupervised Domain Adaptation, CVPR 2017",
        versions={"original": {"Art": 2427, "Clipart": 4365, "Product": 4439, "Real_World": 4357}},
        licence="fair use notice of its authors",
        trap="the archive says `Real World`: rename it to Real_World",
    ),
    "terraincognita": Recipe(
        title="TerraIncognita",
        num_classes=10,
        published="Beery et al., Recognition in Terra Incognita, ECCV 2018; images on LILA (Caltech Camera Traps)",
        versions={
            "before 2022": {"location_38": 9767, "location_43": 4020, "location_46": 6122, "location_100": 4879},
            "since 2022": {"location_38": 9736, "location_43": 3970, "location_46": 5883, "location_100": 4741},
        },
        licence="CDLA-Permissive-1.0",
        trap="it changed upstream: papers before and after report on different images",
    ),
    "domainnet": Recipe(
        title="DomainNet",
        num_classes=345,
        published="Peng et al., Moment Matching for Multi-Source Domain Adaptation, ICCV 2019",
        versions={
            "without duplicates": {
                "clipart": 48129,
                "infograph": 51605,
                "painting": 72266,
                "quickdraw": 172500,
                "real": 172947,
                "sketch": 69128,
            },
            "with duplicates": {
                "clipart": 48833,
                "infograph": 53201,
                "painting": 75759,
                "quickdraw": 172500,
                "real": 175327,
                "sketch": 70386,
            },
        },
        licence="fair use notice of its authors",
        trap=(
            "clipart and painting come from the cleaned archives, and data.exclude takes DomainBed's list of "
            "9,431 duplicates"
        ),
    ),
    "sviro": Recipe(
        title="SVIRO",
        num_classes=7,
        published="Dias Da Cruz et al., SVIRO: Synthetic Vehicle Interior Rear Seat Occupancy, WACV 2020",
        versions={
            "original": dict.fromkeys(
                ("aclass", "escape", "hilux", "i3", "lexus", "tesla", "tiguan", "tucson", "x5", "zoe"), 0
            )
        },
        licence="CC BY-NC-SA 4.0",
    ),
}


def check_recipe(name: str, image_ids: Sequence[str], whole: bool = True) -> str:
    """Return which version of the benchmark `name` the images `<domain>/<class>/<file>` are.

    `whole` is false for a slice (`data.limit_per_cell`): its counts are not compared, and the version is the
    first. Raises DataError that says what is missing or too much, and where the authors publish it.
    """
    recipe = RECIPES[name]
    counts = Counter(image_id.split("/", 1)[0] for image_id in image_ids)
    _check_domains(recipe, counts)
    classes = {image_id.split("/")[1] for image_id in image_ids}
    if len(classes) != recipe.num_classes:
        raise _wrong(recipe, f"expected {recipe.num_classes} classes, found {len(classes)}")
    differences = {
        version: [
            f"{domain} {counts[domain]:,} instead of {expected:,}"
            for domain, expected in sorted(known.items())
            if expected and counts[domain] != expected
        ]
        for version, known in recipe.versions.items()
    }
    closest = min(differences, key=lambda version: len(differences[version]))
    if whole and differences[closest]:
        raise _wrong(recipe, f"expected the images of version {closest!r}, found {', '.join(differences[closest])}")
    return closest if whole else next(iter(recipe.versions))


def _check_domains(recipe: Recipe, found: Mapping[str, int]) -> None:
    missing = [domain for domain in recipe.domains if domain not in found]
    unknown = sorted(set(found) - set(recipe.domains))
    if missing or unknown:
        problems = [f"no {domain}" for domain in missing] + [f"an unknown {domain}" for domain in unknown]
        raise _wrong(recipe, f"expected the domains {', '.join(recipe.domains)}, found {', '.join(problems)}")


def _wrong(recipe: Recipe, problem: str) -> DataError:
    advice = f"get it from its authors ({recipe.published})"
    trap = f"; note that {recipe.trap}" if recipe.trap else ""
    return DataError(f"{recipe.title}: {problem}; {advice}, or set data.recipe to null{trap}")
