"""emoji-domains: the same emoji drawn by four design teams, a domain-shift benchmark of about 6,600 images.

Domains are drawing styles, classes are the groups of Unicode's emoji list.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from oodtune.config import DataConfig
from oodtune.data.listing import Listing, list_directory
from oodtune.data.origin import Origin
from oodtune.data.sources.cell import limit_cell
from oodtune.data.sources.npm import NpmPackage, fetch_package, read_json
from oodtune.data.sources.rasterise import Drawing, draw_all, wrap_icon
from oodtune.errors import DataError
from oodtune.progress import Progress, silent

CLASSES: Final = (
    "activities",
    "animals_nature",
    "food_drink",
    "objects",
    "people_body",
    "smileys_emotion",
    "symbols",
    "travel_places",
)
_GROUPS: Final = frozenset((*CLASSES, "flags"))
"""Unicode's emoji groups; a package's further categories ("Extras ...") say nothing about the class."""
_FILE_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]*")


@dataclass(frozen=True)
class EmojiDomain:
    """One design team's drawings, as a package of the Iconify project."""

    domain: str
    package: NpmPackage
    licence: str
    """The SPDX licence that was read and accepted for this version."""


# The order matters: an emoji's class is that of the first package that has it.
DOMAINS: Final = (
    EmojiDomain(
        "noto",
        NpmPackage(
            "@iconify-json/noto",
            "1.2.9",
            "sha512-DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqHYeZVAuaw==",
        ),
        "Apache-2.0",
    ),
    EmojiDomain(
        "twemoji",
        NpmPackage(
            "@iconify-json/twemoji",
            "1.2.5",
            "sha512-uKpuIEV0v6K5BW3Mjdyl+XKFVAbbcPxAgifKvEMtZoUZB5+YiY5zaMm2uNNCxyXzAWU9yNLlj41WU6/mvgALsw==",
        ),
        "CC-BY-4.0",
    ),
    EmojiDomain(
        "openmoji",
        NpmPackage(
            "@iconify-json/openmoji",
            "1.2.29",
            "sha512-vXdhkqcXVSO6suy+m9LbcUM3OdVyuNOtpV8/als/WqfkQIRxevL5Geb/g+6GH/Qwnq1OqksEmaDGTCmZ5nFKJQ==",
        ),
        "CC-BY-SA-4.0",
    ),
    EmojiDomain(
        "line",
        NpmPackage(
            "@iconify-json/fluent-emoji-high-contrast",
            "1.2.6",
            "sha512-esqhZPpkrF7sNX3NsLoh8KW64okEr/bzko7WNnFP+qTJGAqDPDYjp0925yxuivXy3HtVQB8xhIKu3+Nq1byX5w==",
        ),
        "MIT",
    ),
)


def write_emoji_domains(
    config: DataConfig,
    work_dir: Path,
    downloads_dir: Path,
    progress: Progress = silent,
    domains: Sequence[EmojiDomain] = DOMAINS,
) -> Listing:
    """Write `work_dir/<domain>/<class>/<emoji>.png` (RGB, 128x128) and list them.

    Raises UserError if npm or the network is missing, DataError for altered or unexpected packages.
    """
    tarballs = []
    for done, domain in enumerate(domains):
        progress(done, len(domains), f"fetching {domain.package.name}")
        tarballs.append(fetch_package(domain.package, downloads_dir))
    origins = [read_origin(domain, tarball) for domain, tarball in zip(domains, tarballs, strict=True)]
    classes = class_of_names(read_json(tarball, "metadata.json") for tarball in tarballs)
    drawings: list[Drawing] = []
    for domain, tarball in zip(domains, tarballs, strict=True):
        icons = read_json(tarball, "icons.json")
        for class_name, names in select_names(icons, classes).items():
            cell_dir = work_dir / domain.domain / class_name
            drawings += [
                Drawing(wrap_icon(icons["icons"][name], icons), cell_dir / f"{name}.png")
                for name in limit_cell(names, config.limit_per_cell)
            ]
    draw_all(drawings, progress)
    return list_directory(work_dir, origins)


def read_origin(domain: EmojiDomain, tarball: Path) -> Origin:
    """Return who drew the domain. Raises DataError if its licence is not the one that was accepted."""
    info = read_json(tarball, "info.json")
    licence = info["license"]["spdx"]
    if licence != domain.licence:
        raise DataError(
            f"npm {domain.package.spec}: expected the licence {domain.licence}, found {licence}; "
            "read it before you use this version"
        )
    return Origin(
        domain=domain.domain,
        title=info["name"],
        source=f"npm {domain.package.name}",
        version=domain.package.version,
        licence=licence,
        author=info["author"]["name"],
        url=info["author"]["url"],
        integrity=domain.package.integrity,
    )


def class_of_names(metadata: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return emoji name -> class (or "flags"), from the first package that puts the name in a group."""
    classes: dict[str, str] = {}
    for package in metadata:
        for category, names in package["categories"].items():
            # "Animals & Nature" in one package, "Animals Nature" in another.
            group = re.sub(r"[^a-z0-9]+", "_", category.lower())
            if group in _GROUPS:
                classes |= {name: group for name in names if name not in classes}
    return classes


def select_names(icons: Mapping[str, Any], classes: Mapping[str, str]) -> dict[str, list[str]]:
    """Return class -> the emoji of a package that are drawn, without flags and skin-tone variants.

    Hidden icons (withdrawn by the designers) and aliases (other names of the same picture) are left out too.
    """
    cells: dict[str, list[str]] = {class_name: [] for class_name in CLASSES}
    for name, icon in icons["icons"].items():
        class_name = classes.get(name)
        if class_name in cells and "skin-tone" not in name and not icon.get("hidden", False):
            assert _FILE_NAME.fullmatch(name), name
            cells[class_name].append(name)
    return cells
