"""What the documents say is there: links, anchors, settings, commands."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

FENCED = re.compile(r"^(`{3,}|~{3,}).*?^\1", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!\\)\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
REFERENCE = re.compile(r"^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)


def _documents(tracked_files: list[Path]) -> list[Path]:
    return [path for path in tracked_files if path.suffix == ".md"]


def _prose(path: Path) -> str:
    return re.sub(r"`[^`\n]*`", "", FENCED.sub("", path.read_text(encoding="utf-8")))


def _anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as the common hosts make them."""
    found: set[str] = set()
    text = FENCED.sub("", path.read_text(encoding="utf-8"))
    for heading in re.findall(r"^#{1,6}\s+(.+?)\s*#*$", text, re.MULTILINE):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.replace("`", "").lower()).replace(" ", "-")
        unique, count = slug, 0
        while unique in found:
            count += 1
            unique = f"{slug}-{count}"
        found.add(unique)
    return found | set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text))


def test_every_link_leads_somewhere(tracked_files: list[Path], root: Path) -> None:
    """Relative links in Markdown point at files of the tree, and their anchors at headings."""
    broken = []
    for page in _documents(tracked_files):
        text = _prose(page)
        for target in LINK.findall(text) + REFERENCE.findall(text):
            if re.match(r"[a-z][a-z0-9+.-]*:", target):
                continue
            name, _, anchor = unquote(target).partition("#")
            if name.startswith("/"):
                broken.append(f"{page.relative_to(root)}: {target} (not relative)")
                continue
            path = (page.parent / name).resolve() if name else page
            if not path.exists() or not path.is_relative_to(root):
                broken.append(f"{page.relative_to(root)}: {target}")
            elif anchor and path.suffix == ".md" and anchor not in _anchors(path):
                broken.append(f"{page.relative_to(root)}: {target} (no such heading)")
    assert not broken, "\n".join(["", *broken])


def test_every_page_of_the_documentation_is_reachable(tracked_files: list[Path], root: Path) -> None:
    """Following links from docs/README.md finds every page under docs/."""
    index = root / "docs" / "README.md"
    seen, waiting = set(), [index]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md" or not page.exists():
            continue
        seen.add(page)
        text = _prose(page)
        waiting += [
            (page.parent / unquote(target).partition("#")[0]).resolve()
            for target in LINK.findall(text) + REFERENCE.findall(text)
            if not re.match(r"[a-z][a-z0-9+.-]*:|#", target)
        ]
    pages = {path for path in _documents(tracked_files) if path.is_relative_to(root / "docs")}
    assert sorted(path.relative_to(root).as_posix() for path in pages - seen) == []


def test_every_setting_is_documented(root: Path) -> None:
    """Each environment variable that the server reads is on the settings page."""
    from pydantic_settings import BaseSettings

    from authpipe.server import settings

    classes = [
        value
        for value in vars(settings).values()
        if isinstance(value, type) and issubclass(value, BaseSettings) and value is not BaseSettings
    ]
    assert classes, "server/settings.py declares no settings"
    page = (root / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\b[A-Z][A-Z0-9_]+\b", page))
    missing = []
    for cls in classes:
        for name, field in cls.model_fields.items():
            alias = field.validation_alias if isinstance(field.validation_alias, str) else field.alias
            variable = (alias or f"{cls.model_config.get('env_prefix', '')}{name}").upper()
            if variable not in named:
                missing.append(variable)
    assert not missing, "\n".join(["", *missing])


def test_every_make_target_is_documented(root: Path) -> None:
    """CONTRIBUTING.md tells what each target of the Makefile is for."""
    targets = re.findall(r"^([a-z]+):.*##", (root / "Makefile").read_text(), re.MULTILINE)
    text = (root / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert [target for target in targets if f"`make {target}`" not in text] == []


def test_decisions_keep_their_form(root: Path) -> None:
    """Every decision is numbered without gaps and tells context, decision and evidence."""
    pages = sorted(path for path in (root / "docs" / "decisions").glob("*.md") if path.name != "README.md")
    assert [int(path.name[:4]) for path in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        headings = re.findall(r"^## (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert headings[:3] == ["Context", "Decision", "Evidence"], page.name
