"""Pages that lie outside of docs/ join the site, links follow them, and every package gets a page of its docstrings."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("models", "pipeline", "serving")
# what the checkout calls a page -> what the site does
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "kubeflow/README.md": "kubeflow.md",
}
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for path, page in OUTSIDE.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / path)))
    packages = []
    for init in sorted(init for package in PACKAGES for init in (ROOT / package).rglob("__init__.py")):
        package = ".".join(init.parent.relative_to(ROOT).parts)
        modules = [path.stem for path in sorted(init.parent.glob("[!_]*.py"))]
        names = [package, *(f"{package}.{module}" for module in modules)]
        text = "\n".join([f"# {package}", *(f"::: {name}" for name in names)])
        packages.append(f"api/{package}.md")
        files.append(File.generated(config, packages[-1], content=text))
    next(each["Reference"] for each in config.nav or () if "Reference" in each).append({"API": packages})
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as they are right in the checkout -> as they are right in the site."""
    sources = {there: here for here, there in OUTSIDE.items()}
    source = sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def there(link: re.Match[str]) -> str:
        target = os.path.normpath(PurePosixPath(source).parent / link[1])
        target = OUTSIDE.get(target, target.removeprefix("docs/"))
        return f"]({os.path.relpath(target, PurePosixPath(page.file.src_uri).parent)}"

    return markdown if page.file.src_uri.startswith("api/") else LINK.sub(there, markdown)
