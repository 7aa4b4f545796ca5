"""The security checklist names what is there: every file, every test, every requirement."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

PAGE = Path("docs", "explanation", "security.md")
VERDICTS = {"met", "not applicable", "open"}
SOURCE = re.compile(r"`(src/[^`]+)`")
PROOF = re.compile(r"`(tests/[^`:]+)::([^`]+)`")

#: Paragraphs of RFC 9700, sections 2 and 4, that bind a client, or a redirector and keeper of tokens.
RFC_9700_CLIENT = """
    2.1-2 2.1-3 2.1-4 2.1-5.1 2.1.1-1 2.1.1-2.1 2.1.1-2.2 2.1.1-3 2.1.1-5 2.1.2-3 2.1.2-4
    2.2.1-2 2.2.2-1 2.3-1 2.3-2 2.3-3 2.4-1 2.5-2 2.6-3 2.6-5 2.6-6 2.6-7
    4.1.3-3.1 4.1.3-3.3 4.2.4-1 4.2.4-3.1 4.2.4-3.2 4.2.4-3.3 4.2.4-3.5.1 4.3.1-3.1 4.3.2-4.1
    4.4.2-1 4.4.2-2 4.4.2.1-1 4.4.2.1-4 4.4.2.2-1 4.4.2.2-2 4.4.2.2-5 4.5.3.2-3.1 4.5.3.2-3.2
    4.7.1-3.1.1 4.7.1-3.2.1 4.9.3-2.1 4.9.3-2.2 4.9.3-2.3 4.11.1-1 4.11.1-2 4.12-6 4.13-5 4.13-6
    4.14.1-3.1 4.14.1-3.2 4.16-3 4.16-7 4.17.2-1 4.17.2-3 4.17.2-4 4.17.2-6
"""
#: How many requirements each section of ASVS 5.0, chapter V10, has.
ASVS_SECTIONS = {"V10.1": 2, "V10.2": 3, "V10.3": 5, "V10.4": 16, "V10.5": 5, "V10.6": 2, "V10.7": 3}
ASVS_FOR_CLIENTS = {"V10.1", "V10.2", "V10.5"}
#: Every table, and the ids that stand in it.
TABLES = {
    "RFC 9700: best current practice for OAuth 2.0 security": RFC_9700_CLIENT.split(),
    "OWASP ASVS 5.0, chapter V10: for clients": [
        f"{section}.{number}"
        for section, count in ASVS_SECTIONS.items()
        for number in range(1, count + 1)
        if section in ASVS_FOR_CLIENTS
    ],
    "OWASP ASVS 5.0, chapter V10: for others": [
        f"{section}.{number}"
        for section, count in ASVS_SECTIONS.items()
        for number in range(1, count + 1)
        if section not in ASVS_FOR_CLIENTS
    ],
    "Security topics update: account takeover across toolkits and users": [
        "2.1.2",
        "2.2.2 sharing",
        "2.2.2 context",
        "2.2.2 session",
        "2.3.2 same user",
        "2.3.2 before the token request",
        "2.3.2 further redirection",
    ],
    "RFC 7636: PKCE": ["4.1", "4.2", "4.5", "7.2"],
    "RFC 9207: the issuer in the authorization response": ["2.4-1", "2.4-2", "2.4-3"],
    "RFC 8414: authorization server metadata": ["3.3"],
    "RFC 7009: revocation": ["2.1", "2.2", "2.2.1", "5"],
}
THREATS = "Threats and walls"


@dataclass(frozen=True)
class Row:
    """One line of a table, by the table's own column names."""

    heading: str
    cells: dict[str, str]

    @property
    def id(self) -> str:
        """The id, without the link to its text."""
        return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", self.cells["id"])

    @property
    def sources(self) -> list[str]:
        """The files named as the place where it is done."""
        return SOURCE.findall(self.cells.get("implemented in, or why not", self.cells.get("file", "")))

    @property
    def proofs(self) -> list[tuple[str, str]]:
        """File and function of every test named."""
        return PROOF.findall(self.cells["proved by"])

    @property
    def shown(self) -> str:
        """How a person finds it."""
        return f"{self.heading}: {self.cells.get('id', self.cells.get('threat'))}"


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / PAGE).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def rows(page: str) -> list[Row]:
    return _rows(page)


def _rows(page: str) -> list[Row]:
    """Every line of every table, under the heading it stands below."""
    found: list[Row] = []
    heading, head = "", list[str]()
    for line in page.splitlines():
        if line.startswith("#"):
            heading, head = line.lstrip("# "), []
        elif not line.startswith("|"):
            head = []
        elif not head:
            head = _cells(line)
        elif set(line) - set("|-: "):
            found.append(Row(heading, dict(zip(head, _cells(line), strict=True))))
    return found


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def _tests_of(path: Path) -> set[str]:
    """The test functions a file defines at its top or in a class of tests."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name.startswith("Test")]
    return {
        node.name
        for body in (tree.body, *(found.body for found in classes))
        for node in body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def test_every_requirement_is_there_once(rows: list[Row]) -> None:
    """None is left out, none is invented, and none stands twice."""
    for heading, ids in TABLES.items():
        assert [row.id for row in rows if row.heading == heading] == ids, heading
    assert {row.heading for row in rows} == {*TABLES, THREATS}


def test_every_source_file_exists(rows: list[Row], page: str, root: Path) -> None:
    """A file that was moved or renamed is named by its new place, also in the text between the tables."""
    missing = [f"{row.shown}: {name}" for row in rows for name in row.sources if not (root / name).is_file()]
    missing += [name for name in SOURCE.findall(page) if not (root / name).is_file()]
    assert not missing, "\n".join(["", *missing])


def test_every_test_exists(rows: list[Row], page: str, root: Path) -> None:
    """A test that was renamed or taken out is missed here; what it proved is not proved any more."""
    known: dict[str, set[str]] = {}
    missing = []
    for row in rows:
        for name, function in row.proofs:
            path = root / name
            if name not in known:
                known[name] = _tests_of(path) if path.is_file() else set()
            if function not in known[name]:
                missing.append(f"{row.shown}: {name}::{function}")
    assert not missing, "\n".join(["", *missing])
    named = sum(len(row.proofs) for row in rows)
    assert named == page.count("tests/"), "a test is named where nobody looks, or not as `file::function`"


def test_nothing_is_called_met_without_proof(rows: list[Row]) -> None:
    """What is met names its file and its test; what is not says why."""
    for row in rows:
        if row.heading == THREATS:
            assert row.sources, row.shown
            assert row.proofs, row.shown
            continue
        verdict = row.cells["verdict"]
        assert verdict in VERDICTS, row.shown
        assert row.cells["requirement"], row.shown
        if verdict == "met":
            assert row.sources, f"{row.shown}: no file"
            assert row.proofs, f"{row.shown}: no test"
        else:
            reason = re.sub(r"`[^`]*`|<br>", "", row.cells["implemented in, or why not"])
            assert re.search(r"\w{2,} \w", reason) or re.search(r"\bAs \d", reason), f"{row.shown}: no reason"


def test_an_id_leads_to_its_text(rows: list[Row]) -> None:
    """The link of a requirement of an RFC is that RFC's, at that very paragraph."""
    linked = 0
    for row in rows:
        number = re.match(r"RFC (\d+)", row.heading)
        if number:
            address = f"https://www.rfc-editor.org/rfc/rfc{number[1]}#section-{row.id}"
            assert row.cells["id"] == f"[{row.id}]({address})"
            linked += 1
    assert linked == sum(len(ids) for heading, ids in TABLES.items() if heading.startswith("RFC"))


def test_every_level_of_asvs_is_told(rows: list[Row]) -> None:
    """1 to 3, as the standard has them."""
    levels = [row.cells["level"] for row in rows if row.heading.startswith("OWASP")]
    assert len(levels) == sum(ASVS_SECTIONS.values())
    assert set(levels) == {"1", "2", "3"}


@pytest.mark.parametrize(
    ("line", "id_", "sources", "proofs"),
    [
        (
            "| [4.1](https://x/#4.1) | a | met | `src/a.py`<br>`src/b.py`<br>Why. | `tests/t.py::test_a` |",
            "4.1",
            ["src/a.py", "src/b.py"],
            [("tests/t.py", "test_a")],
        ),
        (r"| V1 | a \| b | open | not ours |  |", "V1", [], []),
    ],
)
def test_the_reading_itself(line: str, id_: str, sources: list[str], proofs: list[tuple[str, str]]) -> None:
    """Links, several files, an escaped bar and an empty cell."""
    head = "| id | requirement | verdict | implemented in, or why not | proved by |\n|---|---|---|---|---|\n"
    (row,) = _rows(f"## Title\n\n{head}{line}\n\n| no | table |\n")
    assert (row.heading, row.id, row.sources, row.proofs) == ("Title", id_, sources, proofs)
