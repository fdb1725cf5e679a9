"""docs/ and README: generated parts are current, links are valid, commands run or state why not."""

import re
from collections import Counter
from pathlib import Path

from buildsys import __version__
from buildsys.authoring import schema
from buildsys.authoring.key_meanings import MEANINGS
from buildsys.cli import COMMANDS
from buildsys.outcome import Kind, Outcome
from buildsys.registry import step_names
from buildsys.steps.lib.report.values import SHIPPED
from docs import generate
from tests.conftest import REPOSITORY
from tests.docs_blocks import SCENARIOS, blocks

_DOCS = REPOSITORY / "docs"
_PAGES = generate.pages()
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _prose(path: Path) -> str:
    return _FENCE.sub("", _text(path))


def _anchors(path: Path) -> set[str]:
    """The anchors of headings, as the site and GitHub make them; repeated ones have a number."""
    seen: Counter[str] = Counter()
    found = set()
    for title in re.findall(r"^#+ (.+)$", _prose(path), re.MULTILINE):
        slug = re.sub(r"[^\w\s-]", "", title).strip().lower()
        slug = re.sub(r"[-\s]+", "-", slug)
        found.add(f"{slug}_{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def test_what_the_code_knows_is_current() -> None:
    """The generated parts equal the output of `python docs/generate.py`."""
    assert generate.stale() == []


def test_every_relative_link_leads_to_a_page_and_an_anchor() -> None:
    """Every relative link is valid, checked without mkdocs as in the site's strict build."""
    broken = []
    for page in _PAGES:
        for link in _LINK.findall(_prose(page)):
            if "://" in link or link.startswith("mailto:"):
                continue
            name, _, anchor = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            if not target.exists() or (anchor and anchor not in _anchors(target)):
                broken.append(f"{page.relative_to(REPOSITORY)}: {link}")
    assert broken == []


def test_every_page_is_in_the_navigation_once() -> None:
    """Every page is in mkdocs.yml once."""
    named = Counter(re.findall(r"[\w/-]+\.md", _text(REPOSITORY / "mkdocs.yml").split("\nnav:")[1]))
    there = {path.relative_to(_DOCS).as_posix() for path in _DOCS.rglob("*.md")}
    assert named == Counter(there)


def test_the_readme_is_a_page() -> None:
    """README.md stays short enough for a page."""
    assert len(_text(REPOSITORY / "README.md").splitlines()) <= 150


def test_ci_runs_the_two_commands_of_the_readme() -> None:
    """CI runs the README's two commands unchanged."""
    commands = [b.code.strip() for b in blocks([REPOSITORY / "README.md"])]
    lines = _text(REPOSITORY / ".ci" / "run").splitlines()
    assert len(commands) == 2
    assert [command for command in commands if command not in lines] == []


def test_every_command_block_runs_or_says_why_not() -> None:
    """Every command block has a comment before it: `run: SCENARIO` or `not run: REASON`."""
    found = blocks(_PAGES)
    assert [block.place for block in found if not block.scenario and not block.reason] == []
    assert {block.scenario for block in found if block.scenario} <= SCENARIOS.keys()
    assert sum(bool(block.scenario) for block in found) >= 15


def test_reasons_name_tests_that_exist() -> None:
    """Tests named in a reason exist."""
    for block in blocks(_PAGES):
        for name in re.findall(r"tests/[\w/]+\.py", block.reason):
            assert (REPOSITORY / name).is_file(), block.place


def test_every_variable_of_the_program_is_described() -> None:
    """Every variable that the code reads is documented."""
    sources = [*(REPOSITORY / "buildsys").rglob("*.py"), *(REPOSITORY / "tests").rglob("*.py")]
    pattern = re.compile(r"\"(BUILDSYS_[A-Z_]+)\"")
    used = {name for path in sources for name in pattern.findall(_text(path))}
    page = _text(_DOCS / "reference" / "environment.md")
    of_tests = {"BUILDSYS_TEST_STORE", "BUILDSYS_TEST_MEMORY"}
    assert sorted(name for name in used - of_tests if name not in page) == []


def test_every_key_has_a_meaning_and_every_meaning_a_key() -> None:
    """Every key has a description in the schema, and every description has a key."""
    schema.recipe_schema()  # KeyError where one is missing
    schema.target_schema()
    pages = "".join(
        _text(_DOCS / "reference" / f"{n}.md") for n in ("recipe", "target", "contract")
    )
    pages += _text(_DOCS / "reference" / "workspace.md")
    unused = [t for keys in MEANINGS.values() for k, t in keys.items() if f"| `{k}` |" not in pages]
    assert unused == []


def test_every_argument_of_a_command_has_a_text() -> None:
    """Every argument of a command has a help text."""
    text = _text(_DOCS / "reference" / "commands.md")
    assert set(re.findall(r"^## buildsys (.+)$", text, re.MULTILINE)) == set(COMMANDS)
    assert re.findall(r"^\| `[^|]*` \|  \|$", text, re.MULTILINE) == []


def test_troubleshooting_quotes_what_the_program_prints() -> None:
    """The headings in Troubleshooting are messages of the code or in a golden file."""
    texts = [_text(path) for path in (REPOSITORY / "buildsys").rglob("*.py")]
    spoken = "\n".join(_strings(text) for text in texts)
    spoken += "\n".join(_text(path) for path in (REPOSITORY / "tests").rglob("*.txt"))
    titles = re.findall(r"^### `(.+)`$", _text(_DOCS / "troubleshooting.md"), re.MULTILINE)
    status = ("rejected by ", "waiting for T", "waiting for a host", "blocked by")
    quoted = [title for title in titles if not title.startswith(status)]
    plain = spoken.replace("`", "")
    assert [title for title in quoted if title.replace("`", "") not in plain] == []
    proofs = _text(_DOCS / "concepts" / "proofs.md")
    rejected = [t.removeprefix("rejected by ") for t in titles if t.startswith("rejected by ")]
    assert all(f"| `{name}` |" in proofs for name in rejected)


_NEED_NO_ENTRY = {
    "it says what is right": (
        r" must (be|have) | needs (one of|a|keypoints)\b| is (a|an|four|0 or 1|true|from|at least)\b"
        r"|expected |not a recipe name|has 64 hex|is more than \d+ pixels|the lowest|reserved on Windows"
    ),
    "it names the key, and the line is marked": (
        r"is missing|is empty|has no effect|cannot (be|change)|is not of type|unknown key"
    ),
    "it names the value, and the place is marked": (
        r"duplicate|a second time|already$|too large a number|is not (a number|allowed)|control character"
        r"|nested|more than \d+ values|thousands of digits|not valid (JSON|XML)|a character in it that no"
        r"|empty or cannot be printed|not an image of this file|box (reaches|is inside|has)|of its box"
    ),
    "it names the file and what it is": (
        r"does not exist|cannot be read|is a (folder|directory|file)|a pipe|is not JSON|not text in UTF-8"
        r"|is not a data.yaml|does not (have|name)|is -1|is an empty file|is not an image"
    ),
    "it is a fact to know, not a mistake": (
        r"are left out|nothing is left to learn|was measured on|has a `segmentation`|takes no builds"
        r"|the same (bytes|as) |in the (train|val) split|without its image|`names` has"
    ),
}
"""Why a message has no entry in Troubleshooting: by reason, the message's words."""


def test_every_golden_message_has_an_entry_or_needs_none() -> None:
    """A message without a hint has an entry in Troubleshooting, or a reason not to."""
    titles = re.findall(r"^### `(.+)`$", _text(_DOCS / "troubleshooting.md"), re.MULTILINE)
    known = [title.replace("`", "") for title in titles]
    told = re.compile("|".join(_NEED_NO_ENTRY.values()))
    without, used = [], set()
    for path in sorted((REPOSITORY / "tests").rglob("*.txt")):
        lines = _text(path).splitlines()
        for number, line in enumerate(lines):
            found = re.search(r"\b(?:error|warning): (.+)", line)
            below = next((each for each in lines[number + 1 :] if not _is_source(each)), "")
            if found is None or below.startswith("    help: "):
                continue
            message = found[1]
            used |= {r for r, words in _NEED_NO_ENTRY.items() if re.search(words, message)}
            explained = any(words in message.replace("`", "") for words in known)
            if not explained and told.search(message) is None:
                without.append(f"{path.name}: {message}")
    assert without == []
    assert used == set(_NEED_NO_ENTRY)


def _is_source(line: str) -> bool:
    """Whether a line quotes the file or marks a place in it."""
    return line.startswith(" ") and not line.startswith("    help: ")


def _strings(source: str) -> str:
    """A module's source with strings joined that are split over lines."""
    return re.sub(r'"\s*\n\s*f?"', "", source)


def test_the_citation_is_of_this_version() -> None:
    """CITATION.cff has the current version."""
    assert f"\nversion: {__version__}\n" in _text(REPOSITORY / "CITATION.cff")


def test_pages_name_steps_that_exist() -> None:
    """Steps that pages name exist."""
    for page in _PAGES:
        for names in re.findall(r"\w+: \[(\w+_\w+(?:, \w+)*)\]", _text(page)):
            known = {*step_names(), "package_note"}
            assert set(names.split(", ")) <= known, page


def test_the_report_s_own_status_is_explained_beside_the_others() -> None:
    """The report has one status where the table of a run has three."""
    text = _text(_DOCS / "reference" / "exit-codes.md")
    good = [f"`{kind}`" for kind in Kind if Outcome(kind=kind).good]
    assert (
        f"In the report, {', '.join(good[:-1])} and {good[-1]} are one status, `{SHIPPED}`" in text
    )
