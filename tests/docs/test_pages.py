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


def make_targets() -> set[str]:
    """What make itself takes for targets that are no files."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    asked = ["make", "--print-data-base", "--question", "--no-builtin-rules", "help"]
    database = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True).stdout
    (phony,) = (line for line in database.splitlines() if line.startswith(".PHONY:"))
    return set(phony.split()[1:])


def test_every_make_target_is_named() -> None:
    named = set(re.findall(r"\bmake ([a-z-]+)", text("README.md") + text("CONTRIBUTING.md")))
    assert make_targets() - named == set()


def test_no_make_target_is_invented() -> None:
    targets = make_targets()
    for page in ("README.md", "CONTRIBUTING.md", "bench/README.md", "tests/README.md"):
        assert set(re.findall(r"`make ([a-z-]+)", text(page))) <= targets, page


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
