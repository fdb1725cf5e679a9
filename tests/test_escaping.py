"""Text from outside has no effect in a terminal, an annotation, HTML or Markdown."""

import importlib.util
import json
from pathlib import Path
from random import Random

import pytest
from markdown_it import MarkdownIt

from buildsys import escaping
from buildsys.json_text import json_text

HOSTILE = (
    "\x1b[2Jgone\x07\r\n::error file=x::no\t<script>|`](javascript:x) [bold red]\u202etxt \x9b31m"
)
"""A name with special characters for every output format."""


def test_a_terminal_shows_what_it_would_obey() -> None:
    """Escapes, bells, carriage returns and bidirectional controls are shown as text."""
    shown = escaping.terminal(HOSTILE)
    assert shown.startswith("\\x1b[2Jgone\\x07\\x0d\n::error")
    assert "\\u202etxt \\u009b31m" in shown
    assert all(c.isprintable() or c in "\n\t" for c in shown)


@pytest.mark.parametrize(
    "text", ["Größe", "自転車", "می\u200cخواهم", "👩\u200d🔧", "a\u00a0b", "two\nlines\tand a tab"]
)
def test_words_of_every_language_stay(text: str) -> None:
    """Text in every language is unchanged, including joiners and special spaces."""
    assert escaping.terminal(text) == text


def test_a_file_name_that_is_not_utf_8_can_be_printed() -> None:
    """A file name that is not UTF-8 can be printed."""
    assert escaping.terminal("a\udcffb.jpg") == "a\\udcffb.jpg"


def test_a_name_stays_on_its_line() -> None:
    """A newline in a name is shown as text."""
    assert escaping.one_line("a\nb\rc") == "a\\nb\\x0dc"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:secret@h/x?a@b https://token@h", "https://***@h/x?a@b https://***@h"),
        ("http://a:p@ss@h", "http://***@h"),
        ("https://h/a@b tags@host: c", "https://h/a@b tags@host: c"),
        ("git+ssh://git@host/x", "git+ssh://git@host/x"),
    ],
)
def test_no_password_in_an_address_is_printed(text: str, shown: str) -> None:
    """No password in a URL is printed, whether a recipe's, a proxy's or an index's."""
    assert escaping.terminal(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b", "a\\|b"),
        ("[x](javascript:y)", "\\[x\\](javascript:y)"),
        ("<script>", "\\<script\\>"),
        ("one\ntwo\x1b", "one two\\\\x1b"),
        ("my_class_name", "my_class_name"),
        ("_soft_", "\\_soft\\_"),
        ("__loud__ a__b", "\\_\\_loud\\_\\_ a\\_\\_b"),
        ("# loud", "\\# loud"),
        ("- item", "\\- item"),
        ("1. item", "1\\. item"),
        ("1.5 ms", "1.5 ms"),
        ("a & b", "a &amp; b"),
    ],
)
def test_markdown_reads_text(text: str, shown: str) -> None:
    """Text has no Markdown meaning, in a paragraph or a table cell."""
    assert escaping.markdown(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "`plain`"),
        ("a`b", "``a`b``"),
        ("`", "`` ` ``"),
        ("a``b`c", "```a``b`c```"),
        ("a\nb", "`a\\nb`"),
        ("", "(empty)"),
    ],
)
def test_code_is_not_ended_from_within(text: str, shown: str) -> None:
    """Code is enclosed by more backticks than it contains."""
    assert escaping.code_span(text) == shown


SIGNS = (
    *(
        "`",
        "``",
        "|",
        "\\",
        "*",
        "**",
        "_",
        "__",
        "~~",
        "[",
        "](",
        ")",
        "<",
        ">",
        "!",
        "#",
        "-",
        "+",
    ),
    *(
        "=",
        "1.",
        "2)",
        " ",
        "    ",
        "\n",
        "\t",
        "\r",
        "a",
        "é",
        "&amp;",
        "&#42;",
        "<b>",
        "<!--",
        "-->",
    ),
    *("http://x", "x@y.z", "```", "~~~", "---", "|---|", "\x1b", "\u202e", ":", '"', "'", "{"),
)
READER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def structure(name: str) -> list[str]:
    """The structure of a page with the name in every place."""
    inline, code = escaping.markdown(name) or "none", escaping.code_span(name)
    page = f"# {inline}\n\n- {inline}\n- {code}: {inline}\n\n1. {inline}\n\n{inline}\n\n"
    page += f"x {inline} **{inline}** {code} y.\n\n{escaping.fenced(name)}\n\n"
    page += f"| a | b |\n| --- | --- |\n| {inline} | {escaping.code_cell(name)} |\n| c | d |\n"
    found = [token for whole in READER.parse(page) for token in (whole, *(whole.children or ()))]
    return [t.type for t in found if t.type not in ("text", "text_special", "softbreak")]


def test_no_name_changes_the_structure_of_a_page() -> None:
    """A hundred names of random characters do not change a page's structure."""
    random, plain = Random(5), structure("word")
    for _ in range(100):
        name = "".join(random.choice(SIGNS) for _ in range(random.randrange(1, 9)))
        assert structure(f"a{name}") == structure(f"{name}b") == plain, repr(name)


def test_code_in_a_cell_stays_in_it() -> None:
    """A bar in code in a table cell is escaped."""
    assert escaping.code_cell("a|`b") == "``a\\|`b``"


def test_a_log_reads_as_a_terminal_would_have_left_it() -> None:
    """A log is shown without colours, with the last state of progress bars."""
    log = "\x1b[31mred\x1b[0m\r\n10%\r100%\r\n\x1b]0;title\x07end\x08\u202e"
    assert escaping.plain_log(log) == "red\n100%\nend\\u202e"


def test_json_has_no_number_that_is_none() -> None:
    """JSON contains no NaN."""
    text = json_text({"a": [1.5, float("nan")], "b": (float("-inf"), True, None, "NaN")})
    assert json.loads(text) == {"a": [1.5, None], "b": [None, True, None, "NaN"]}


def test_a_program_of_a_package_prints_names_as_text() -> None:
    """A package's program escapes names of classes and images, and errors."""
    place = Path(escaping.__file__).parent / "templates" / "common" / "pictures.py"
    spec = importlib.util.spec_from_file_location("shipped_pictures", place)
    assert spec is not None
    assert spec.loader is not None
    pictures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pictures)
    entry = {"picture": "a\n::b.jpg", "objects": [{"class": "c\x1b[2J\u202e", "score": 0.5}]}
    assert pictures.lines(entry) == ["a\\n::b.jpg: c\\x1b[2J\\u202e 0.50"]
    assert pictures.plain("Gr\u00f6\u00dfe \u81ea") == "Gr\u00f6\u00dfe \u81ea"
