"""Links lead somewhere, make targets are named, and no file says where packages come from."""

import re
import shutil
import subprocess

import pytest

from tests.docs.pages import ROOT, anchors, links, pages, text

# Written in pieces, so that this file is not the one that is found.
INDEX_ADDRESSES = re.compile(
    "|".join(
        ["pypi" + r"\.org", "python" + "hosted", "index" + "-url", "index" + "_url", "PIP_" + "INDEX", "/simple" + "/"]
    )
)


@pytest.mark.parametrize("page", [str(page) for page in pages()])
def test_every_link_inside_the_project_resolves(page: str) -> None:
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), f"{page} links to {link}"
        if anchor:
            assert anchor in anchors(str(target.resolve().relative_to(ROOT))), f"{page} links to {link}"


def test_every_page_under_docs_is_reached_from_the_readme() -> None:
    linked = {link.partition("#")[0] for link in links("README.md")}
    assert {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} <= linked


def test_every_decision_has_its_three_parts() -> None:
    for path in sorted((ROOT / "docs" / "decisions").glob("*.md")):
        headings = re.findall(r"^## (.*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequences"], path.name


def test_every_make_target_is_named() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text("Makefile"), flags=re.MULTILINE)
    named = text("README.md") + text("CONTRIBUTING.md")
    assert [target for target in phony.split() if not re.search(rf"\bmake {target}\b", named)] == []


def test_no_make_target_is_invented() -> None:
    targets = set(re.findall(r"^([a-z]+):", text("Makefile"), flags=re.MULTILINE))
    for page in ("README.md", "CONTRIBUTING.md", "bench/README.md"):
        assert set(re.findall(r"`make ([a-z]+)", text(page))) <= targets


def test_no_file_says_where_packages_come_from() -> None:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        path = ROOT / name
        if not path.is_file():
            continue
        found = INDEX_ADDRESSES.search(path.read_bytes().decode("utf-8", errors="replace"))
        assert found is None, f"{name} names {found.group() if found else ''}"
