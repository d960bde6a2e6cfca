"""Files outside of docs that a page links to become pages of the site, so that each link works there as in a checkout.

`[params.yaml](../params.yaml)` leads to `source/params.yaml.md`: a block of code; a Markdown file is a page as it is.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

LINK = re.compile(r"(?<=\]\()(?P<path>(?:\.\./)+[^)#\s]+)(?=[)#])")
LANGUAGES = {".py": "python", ".yaml": "yaml", ".toml": "toml", ".sh": "sh"}
HIDDEN = "---\nsearch: {exclude: true}\n---\n\n"
"""Search is for what was written to be read; a settings file has every word in it."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for every file outside of docs that some page links to."""
    docs_dir = Path(config.docs_dir)
    for page in list(files.documentation_pages()):
        for path in linked_sources(page.content_string, docs_dir / page.src_uri, docs_dir):
            name = page_of(path, docs_dir)
            if files.get_file_from_path(name) is None:
                content = render(path, docs_dir)
                files.append(File.generated(config, name, content=content, inclusion=InclusionLevel.NOT_IN_NAV))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links to files outside of docs lead to their pages. What does not exist stays, and the build names it."""
    docs_dir = Path(config.docs_dir)
    here = docs_dir / page.file.src_uri

    def lead_there(link: re.Match[str]) -> str:
        path = resolve(link["path"], here)
        if not is_source(path, docs_dir):
            return link["path"]
        return "../" * page.file.src_uri.count("/") + page_of(path, docs_dir)

    return LINK.sub(lead_there, markdown)


def linked_sources(markdown: str, here: Path, docs_dir: Path) -> Iterator[Path]:
    """Yield the files outside of docs that the page at `here` links to."""
    paths = (resolve(link["path"], here) for link in LINK.finditer(markdown))
    return (path for path in paths if is_source(path, docs_dir))


def resolve(link: str, here: Path) -> Path:
    return (here.parent / link).resolve()


def is_source(path: Path, docs_dir: Path) -> bool:
    return path.is_file() and docs_dir.parent in path.parents and docs_dir not in path.parents


def page_of(path: Path, docs_dir: Path) -> str:
    """Return the address, relative to docs, of the page that shows a file."""
    name = path.relative_to(docs_dir.parent).as_posix()
    return f"source/{name}" if path.suffix == ".md" else f"source/{name}.md"


def render(path: Path, docs_dir: Path) -> str:
    """Return a file as Markdown. Links of a Markdown file are plain text here: it speaks to readers of a checkout."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return re.sub(r"\[([^\]]+)\]\((?!https?:)[^)]+\)", r"\1", text)
    name = path.relative_to(docs_dir.parent).as_posix()
    return f"{HIDDEN}# {name}\n\n~~~~~~{LANGUAGES.get(path.suffix, 'text')}\n{text}\n~~~~~~\n"
