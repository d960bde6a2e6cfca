"""Look at every image of a listing, in one pass, and say which of them training can trust."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from oodtune.config import DataConfig
from oodtune.data.check import findings
from oodtune.data.check.duplicates import cluster
from oodtune.data.check.findings import Examination, cell_of, domain_of
from oodtune.data.check.image import Facts, inspect_images
from oodtune.data.check.report import CheckReport, Finding
from oodtune.data.index import IndexRow, classes_of, domains_of
from oodtune.data.listing import Listing, SourceImage
from oodtune.data.splits import Shares, assign_splits, undivided_cells
from oodtune.errors import DataError
from oodtune.progress import Progress, silent

_SHOWN = 5


@dataclass(frozen=True)
class Verdict:
    """What was found, and the images that are kept."""

    report: CheckReport
    rows: tuple[IndexRow, ...]
    """Of the images that are kept, sorted."""
    hashes: Mapping[str, str]
    """Id -> sha256 of the file, of the same images."""


def examine(listing: Listing, config: DataConfig, progress: Progress = silent) -> Verdict:
    """Inspect every image of `listing`, and split what is kept. Nothing is written.

    Findings whose policy is `error` are in the report; `refuse` raises them. Raises DataError if there is
    nothing to train on: fewer than two domains or classes, or a domain without a usable image.
    """
    groups = {image.id: image.group or _match(config.group_pattern, image.id) for image in listing.images}
    if config.group_pattern is not None and not any(groups.values()):
        raise DataError(
            f"data.group_pattern: expected a pattern that fits images, found {config.group_pattern!r}, which fits "
            f"none, such as {listing.images[0].id}"
        )
    state = Examination(inspect_images(listing.images, progress), groups, config.checks)
    links = _look_at_images(state)
    _check_domains(listing.images, state)
    shares = Shares(config.out_fraction, config.test_fraction)
    rows = assign_splits(state.facts, shares, config.split_seed, cluster(links))
    findings.find_undivided_cells(state, undivided_cells(rows))
    _check_test_splits(rows, config)
    report = _summarise(rows, state.facts, state.findings, len(listing.images))
    return Verdict(report, tuple(rows), {image_id: facts.sha256 for image_id, facts in state.facts.items()})


def refuse(report: CheckReport, details: str) -> None:
    """Raise one DataError for all findings whose policy is `error`; `details` says where to read more."""
    if report.refusals:
        told = "; ".join(f"{finding.title}: {finding.count} ({shorten(finding.items)})" for finding in report.refusals)
        kinds = ", ".join(finding.kind for finding in report.refusals)
        raise DataError(
            f"the images are refused: {told}; mend them, or say what becomes of them in data.checks ({kinds}: "
            f"drop or keep, where it may be); {details}"
        )


def shorten(items: Sequence[str]) -> str:
    """Return the first few of `items` and how many more there are."""
    rest = len(items) - _SHOWN
    return "; ".join(items[:_SHOWN]) + (f"; and {rest} more" if rest > 0 else "")


def _look_at_images(state: Examination) -> list[tuple[str, ...]]:
    """Add all findings but the last; return the sets of images that must not straddle splits."""
    findings.find_unreadable(state)
    findings.find_converted(state)
    findings.find_extreme_aspect(state)
    findings.find_label_conflicts(state)
    findings.find_copies_across_domains(state)
    copies = findings.find_copies_within_cells(state)
    near = findings.find_near_copies_within_domains(state)
    findings.find_near_copies_across_domains(state)
    findings.find_groups_across_domains(state)
    findings.find_missing_classes(state)
    findings.find_small_cells(state)
    links = [*copies, *near, *_members_of_groups(state)]
    return [ids for link in links if (ids := tuple(one for one in link if one in state.facts))]


def _members_of_groups(state: Examination) -> list[tuple[str, ...]]:
    members: dict[tuple[str, str], list[str]] = {}
    for image_id in state.facts:
        if group := state.groups.get(image_id):
            members.setdefault((domain_of(image_id), group), []).append(image_id)
    return [tuple(ids) for ids in members.values()]


def _match(pattern: str | None, image_id: str) -> str:
    """Return what `pattern` finds in an id, its first group if it has one; empty if nothing."""
    found = re.search(pattern, image_id) if pattern is not None else None
    if found is None:
        return ""
    return (found.group(1) if found.re.groups else found.group(0)) or ""


def _check_domains(images: Sequence[SourceImage], state: Examination) -> None:
    offered = Counter(domain_of(image.id) for image in images)
    domains = set(map(domain_of, state.facts))
    classes = {cell_of(image_id).split("/")[1] for image_id in state.facts}
    lost = sorted(offered.keys() - domains)
    if lost:
        wrong = [item for finding in state.findings for item in finding.items if domain_of(item) == lost[0]]
        raise DataError(
            f"{lost[0]}: expected images that can be used, found none among its {offered[lost[0]]} "
            f"({shorten(wrong)}); mend them or remove the domain"
        )
    if len(domains) < 2 or len(classes) < 2:
        raise DataError(
            f"expected at least 2 domains with at least 2 classes, found {len(domains)} domains {sorted(domains)} "
            f"and {len(classes)} classes; lay images out as <domain>/<class>/<image>"
        )


def _check_test_splits(rows: Sequence[IndexRow], config: DataConfig) -> None:
    tested = {row.domain for row in rows if row.split == "test"}
    untested = [domain for domain in domains_of(rows) if domain not in tested]
    if config.test_fraction > 0.0 and untested:
        raise DataError(
            f"data.test_fraction {config.test_fraction:g}: expected images for a test-split in every domain, found "
            f"too few in {', '.join(untested)}; add images or set it to 0"
        )


def _summarise(
    rows: Sequence[IndexRow], facts: Mapping[str, Facts], found: Sequence[Finding], num_images: int
) -> CheckReport:
    counts: dict[str, dict[str, int]] = {domain: {} for domain in domains_of(rows)}
    for (domain, name), count in sorted(Counter((row.domain, row.class_name) for row in rows).items()):
        counts[domain][name] = count
    return CheckReport(
        num_images=num_images,
        num_kept=len(rows),
        domains=domains_of(rows),
        classes=classes_of(rows),
        counts=counts,
        formats=dict(sorted(Counter(one.format for one in facts.values()).items())),
        widths=_spread([one.width for one in facts.values()]),
        heights=_spread([one.height for one in facts.values()]),
        findings=tuple(found),
    )


def _spread(values: Sequence[int]) -> tuple[int, int, int]:
    """Return the smallest, the median and the largest."""
    return min(values), int(median(values)), max(values)
