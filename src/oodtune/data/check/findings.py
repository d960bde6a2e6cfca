"""What is looked for in the facts of all images: one function per finding."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from oodtune.config import ChecksConfig
from oodtune.data.check.duplicates import find_copies, find_near_copies
from oodtune.data.check.image import Facts
from oodtune.data.check.report import Finding, Kind, Unit


@dataclass
class Examination:
    """The images that are still in the running, and what was found so far."""

    facts: dict[str, Facts]
    """Id -> facts; a finding whose policy is `drop` takes images out."""
    groups: Mapping[str, str]
    """Id -> the group that the source or the user's pattern puts it into; the empty string is none."""
    checks: ChecksConfig
    findings: list[Finding] = field(default_factory=list)

    def find(
        self,
        kind: Kind,
        title: str,
        unit: Unit,
        items: Sequence[str],
        *,
        droppable: Iterable[str] = (),
        consequence: str = "",
    ) -> None:
        """Add a finding; if its policy says so, leave the `droppable` images out."""
        policy = getattr(self.checks, kind)
        dropped = tuple(sorted(set(droppable))) if policy == "drop" else ()
        for image_id in dropped:
            del self.facts[image_id]
        self.findings.append(
            Finding(
                kind=kind,
                title=title,
                policy=policy,
                unit=unit,
                count=len(items),
                items=tuple(items),
                dropped=dropped,
                consequence=consequence,
            )
        )


def domain_of(image_id: str) -> str:
    return image_id.split("/", 1)[0]


def cell_of(image_id: str) -> str:
    """Return `<domain>/<class>`."""
    return image_id.rsplit("/", 1)[0]


def find_unreadable(state: Examination) -> None:
    broken = {image_id: facts.problem for image_id, facts in state.facts.items() if facts.problem}
    state.find("unreadable", "images that cannot be read", "images", tuple(broken.values()), droppable=broken)
    for image_id in broken:
        state.facts.pop(image_id, None)  # nothing else can be said of them, whatever the policy


def find_converted(state: Examination) -> None:
    """Count what decoding changes: greyscale, transparency, CMYK, more than 8 bits, rotation."""
    looks: tuple[tuple[Kind, str, str, Callable[[Facts], bool]], ...] = (
        ("greyscale", "greyscale images", "converted to RGB", lambda facts: facts.greyscale),
        ("transparency", "images with transparency", "laid on white", lambda facts: facts.transparent),
        ("cmyk", "images for print (CMYK)", "converted to RGB", lambda facts: facts.mode == "CMYK"),
        ("deep", "images of more than 8 bits a channel", "scaled to 8 bits", lambda facts: facts.deep),
        ("rotated", "images turned by their EXIF tag", "turned upright", lambda facts: facts.rotated),
    )
    for kind, title, consequence, applies in looks:
        found = [image_id for image_id, facts in state.facts.items() if applies(facts)]
        state.find(kind, title, "images", found, droppable=found, consequence=consequence)


def find_extreme_aspect(state: Examination) -> None:
    limit = state.checks.max_aspect
    found = {image_id: facts for image_id, facts in state.facts.items() if facts.aspect > limit}
    items = [f"{image_id} ({facts.width}x{facts.height})" for image_id, facts in found.items()]
    title = f"images with one side over {limit:g} times the other"
    state.find("extreme_aspect", title, "images", items, droppable=found, consequence="squashed to a square")


def find_label_conflicts(state: Examination) -> None:
    """Find files that lie in two classes, of one domain or of several: at most one of the labels is right."""
    conflicts = [ids for ids in find_copies(state.facts) if len({one.split("/")[1] for one in ids}) > 1]
    state.find(
        "label_conflicts",
        "images under two classes",
        "groups",
        _equations(conflicts),
        droppable=_all_of(conflicts),
        consequence="kept under both, on one side of the split of their domain",
    )


def find_copies_across_domains(state: Examination) -> None:
    copies = [ids for ids in find_copies(state.facts) if len(set(map(domain_of, ids))) > 1]
    state.find(
        "duplicates_across_domains",
        "images in two domains",
        "groups",
        _equations(copies),
        droppable=_all_of(copies),
        consequence="kept: a target domain holds images that were trained on",
    )


def find_copies_within_cells(state: Examination) -> list[tuple[str, ...]]:
    """Find files twice in one class of one domain; return what must not straddle splits, dropped or not."""
    files = find_copies(state.facts)
    copies = [ids for same in files for ids in _by(cell_of, same).values() if len(ids) > 1]
    state.find(
        "duplicates",
        "images twice in a class of a domain",
        "groups",
        _equations(copies),
        droppable=_all_of(ids[1:] for ids in copies),
        consequence="kept on one side of the split",
    )
    return [ids for same in files for ids in _by(domain_of, same).values()]


def find_near_copies_within_domains(state: Examination) -> list[tuple[str, ...]]:
    """Find almost equal pictures in one domain; return what must not straddle splits, dropped or not."""
    domains = _by(domain_of, state.facts)
    clusters = [found for ids in domains.values() for found in _near_copies(state, ids)]
    state.find(
        "near_duplicates",
        "almost equal pictures in a domain",
        "groups",
        _equations(clusters),
        droppable=_all_of(ids[1:] for ids in clusters),
        consequence="kept on one side of the split",
    )
    return clusters


def find_near_copies_across_domains(state: Examination) -> None:
    clusters = [ids for ids in _near_copies(state, state.facts) if len(set(map(domain_of, ids))) > 1]
    state.find(
        "near_duplicates_across_domains",
        "almost equal pictures in two domains",
        "groups",
        _equations(clusters),
        droppable=_all_of(clusters),
        consequence="kept: a target domain shares them with the domains trained on",
    )


def find_groups_across_domains(state: Examination) -> None:
    by_group = _by(lambda image_id: state.groups.get(image_id, ""), state.facts)
    domains = {group: sorted(set(map(domain_of, ids))) for group, ids in by_group.items() if group}
    found = {group: names for group, names in sorted(domains.items()) if len(names) > 1}
    state.find(
        "groups_across_domains",
        "groups with images in two domains",
        "groups",
        [f"{group} in {', '.join(names)}" for group, names in found.items()],
        consequence="kept: a target domain shares them with the domains trained on",
    )


def find_missing_classes(state: Examination) -> None:
    _find_cells(state, "missing_classes", "classes that a domain has no image of", lambda count: count == 0)


def find_small_cells(state: Examination) -> None:
    least = state.checks.min_cell_size
    title = f"classes of a domain with fewer than {least} images"
    _find_cells(state, "small_cells", title, lambda count: 0 < count < least)


def find_undivided_cells(state: Examination, cells: Sequence[tuple[str, str]]) -> None:
    """Tell of the cells (domain, class) that the splits could not divide, but for those that are too small anyway."""
    counts = Counter(map(cell_of, state.facts))
    found = [f"{domain}/{name}" for domain, name in cells]
    state.find(
        "undivided_cells",
        "classes of a domain whose images are all one group",
        "cells",
        [
            f"{cell}: its {counts[cell]} images are one group"
            for cell in found
            if counts[cell] >= state.checks.min_cell_size
        ],
        consequence="trained on, and none of it to choose by",
    )


def _find_cells(state: Examination, kind: Kind, title: str, applies: Callable[[int], bool]) -> None:
    counts = Counter(map(cell_of, state.facts))
    domains = sorted(set(map(domain_of, state.facts)))
    classes = sorted({cell.split("/", 1)[1] for cell in counts})
    sizes = {(domain, name): counts[f"{domain}/{name}"] for name in classes for domain in domains}
    found = {cell: size for cell, size in sizes.items() if applies(size)}
    unwanted = {name for _, name in found}
    state.find(
        kind,
        title,
        "cells",
        [f"{domain}/{name} has {size}" for (domain, name), size in found.items()],
        droppable=[image_id for image_id in state.facts if image_id.split("/")[1] in unwanted],
        consequence="kept as they are",
    )


def _equations(groups: Iterable[Sequence[str]]) -> list[str]:
    return [" = ".join(ids) for ids in groups]


def _all_of(groups: Iterable[Sequence[str]]) -> list[str]:
    return [image_id for ids in groups for image_id in ids]


def _by(key: Callable[[str], str], image_ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = defaultdict(list)
    for image_id in image_ids:
        found[key(image_id)].append(image_id)
    return {name: tuple(ids) for name, ids in found.items()}


def _near_copies(state: Examination, image_ids: Iterable[str]) -> list[tuple[str, ...]]:
    limit = state.checks.near_duplicate_difference
    return find_near_copies({one: state.facts[one] for one in image_ids}, limit) if limit > 0.0 else []
