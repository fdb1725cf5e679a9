"""Each line of buildsys.lock is one typed value, or an error with its place."""

import json
from pathlib import Path

import pytest

from buildsys.errors import InputError
from buildsys.lockfile import Content, Training, read_lock, write_lock
from buildsys.recorded_facts import RecordedModel

A, B = "a" * 64, "b" * 64
TRAINING = {
    "action_key": A,
    "checkpoint": B,
    "code": A,
    "device": "cpu",
    "lock": A,
    "seconds": 61.25,
    "tool": "ultralytics 8.4.190",
    "torch": "2.13.0+cpu",
}
DATASET = {
    "digest": A,
    "root": ".",
    "names": ["tag"],
    "keypoints": 4,
    "keypoint_dims": 3,
    "sigmas": [0.1, 0.1, 0.1, 0.1],
    "splits": [["train", ["images/train"]]],
    "parts": ["data.yaml", "images/train"],
    "file": "data.yaml",
}
MODEL = {
    "digest": A,
    "task": "pose",
    "names": ["tag"],
    "keypoints": 4,
    "keypoint_dims": 3,
    "architecture": "yolov8n-pose",
    "size": 192,
}
LABELS = {
    "training": f"training tags {A}",
    "dataset": "dataset a b/data.yaml",
    "model": "model x.pt",
}
WHOLE = {"training": TRAINING, "dataset": DATASET, "model": MODEL}


def line(kind: str, **changes: object) -> str:
    """A line of a kind with some fields changed; fields that are None are omitted."""
    fields = {name: value for name, value in (WHOLE[kind] | changes).items() if value is not None}
    return f"{LABELS[kind]} {json.dumps(fields, sort_keys=True, separators=(',', ':'))}"


def complain(folder: Path, text: str) -> str:
    """The message about a lock."""
    path = folder / "buildsys.lock"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_lock(path)
    assert path.read_text(encoding="utf-8") == text
    return str(caught.value)


def test_lines_become_values_and_keep_their_bytes(tmp_path: Path) -> None:
    """Lines are parsed, sorted, and keep their bytes, with braces in names and numbers as written."""
    lines = sorted(
        [
            line("dataset"),
            f'model a {{b}} {{"c".pt {{"digest":"{A}"}}',
            line("model"),
            f'pictures shots/*.jpg {{"digest":"{B}"}}',
            line("training", seconds=61),
            line("training", training=A).replace("tags", "zebra"),
        ]
    )
    text = "\n".join(
        [
            "# buildsys.lock: facts and recorded trainings;"
            " written by buildsys, committed by people",
            *lines,
            "",
        ]
    )
    path = tmp_path / "buildsys.lock"
    path.write_text(text.replace("\n", "\r\n"), newline="")
    lock = read_lock(path)
    assert not write_lock(path, lock), "git's line ends are no change"
    assert write_lock(tmp_path / "other", lock)
    assert (tmp_path / "other").read_text() == text
    model = lock.content("model x.pt")
    assert model is not None
    assert isinstance(model.facts, RecordedModel)
    assert lock.content('model a {b} {"c".pt') == Content(digest=A, facts=None)
    assert lock.digest("pictures shots/*.jpg") == B
    assert lock.trainings()[A] == Training(**TRAINING | {"training": A})  # type: ignore[arg-type]


_WRONG: list[tuple[str, dict[str, object], str, str]] = [
    ("training", {"checkpoint": "../victim.txt"}, '"../victim', "`checkpoint`: it is not a digest"),
    ("training", {"checkpoint": A.upper()}, '"AAAA', "`checkpoint`: it is not a digest"),
    ("training", {"training": 3}, "3", "`training`: it is not a text"),
    ("training", {"seconds": "61"}, '"61"', "`seconds`: it is not a finite number"),
    ("training", {"seconds": -1}, "-1", "`seconds`: it is below zero, or too long"),
    ("training", {"seconds": 1e300}, "1e+300", "`seconds`: it is below zero, or too long"),
    ("training", {"tool": ["x"]}, '["x"]', "`tool`: it is not a text"),
    ("training", {"device": "a\nb"}, '"a\\nb"', "`device`: it has a character that is not text"),
    ("training", {"action_key": None}, "{", "`action_key` is missing"),
    ("training", {"more": 1}, "1", "`more`: unknown key `more`"),
    ("dataset", {"digest": "/etc/passwd"}, '"/etc', "it is not a digest"),
    ("dataset", {"digest": None}, "{", "`digest` is missing"),
    ("dataset", {"names": ["tag", 3]}, "3", "`names.1`: it is not a text"),
    ("dataset", {"keypoints": True}, "true", "`keypoints`: it is not a whole number"),
    ("dataset", {"keypoint_dims": 4}, "4", "`keypoint_dims`: it is neither 0, 2 nor 3"),
    ("dataset", {"parts": ["/etc"]}, '"/etc"', "`parts.0`: it is an absolute path"),
    ("dataset", {"splits": {"train": []}}, "{}", "`splits`: it is not a list"),
    ("dataset", {"archive": "x"}, '"x"', "`archive`: it is not a digest"),
    ("model", {"size": -1}, "-1", "`size`: it is below zero, or too large"),
    ("model", {"names": ["a\udc80"]}, '"a\\udc80"', "it has a character that is not text"),
    ("model", {"task": None}, "{", "`task` is missing"),
]


@pytest.mark.parametrize(("kind", "changes", "spot", "words"), _WRONG)
def test_a_bad_value_is_an_error_at_its_place(
    tmp_path: Path, kind: str, changes: dict[str, object], spot: str, words: str
) -> None:
    """An invalid value is an error with line, column, kind of line and what to do."""
    wrong = line(kind, **changes)
    told = complain(tmp_path, f"# comment\n\n{wrong}\n")
    place, *_ = told.split(": error: ")
    if spot != "{}":
        column = int(place.split(":")[2])
        assert wrong[column - 1 :].startswith(spot)
    assert place.startswith("buildsys.lock:3:")
    assert f"malformed lock entry `{LABELS[kind]}`: " in told
    assert words in told
    hint = "restore the line from git" if kind == "training" else "buildsys writes it again"
    assert hint in told


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "dataset tags/data.yaml",
            "1:1: error: malformed lock entry: a kind, a name and a JSON object",
        ),
        (
            "dataset tags {not json}",
            "1:15: error: malformed lock entry `dataset tags`: it is not JSON",
        ),
        ('model x {"digest":NaN}', "1:9: error: malformed lock entry `model x`: it is not JSON"),
        ('model x {"a":1,"a":2}', "1:9: error: malformed lock entry `model x`: duplicate key `a`"),
        ("model x " + "{" * 5000, "malformed lock entry"),
        (
            'network x {"digest":"a"}',
            "1:1: error: malformed lock entry: unknown kind `network`",
        ),
        ("training tags x {}", "1:10: error: malformed lock entry: the name after `training`"),
        (" {}", "1:1: error: malformed lock entry: unknown kind ``"),
        ("\x00\x01", "1:1: error: malformed lock entry"),
        ("=======\n>>>>>>> x", "2:1: error: unfinished merge"),
        ("=======", "delete this line, and keep the lines of both sides; of two with one key, "),
        (
            "# buildsys.lock version 2: x",
            "the file has version 2, and this version of buildsys reads",
        ),
    ],
)
def test_a_malformed_line_is_an_error(tmp_path: Path, text: str, words: str) -> None:
    """A malformed line is an error in one sentence."""
    assert words in complain(tmp_path, text + "\n")


def test_a_duplicate_key_is_an_error(tmp_path: Path) -> None:
    """A duplicate key, as after a merge that kept both sides, is an error."""
    told = complain(tmp_path, f"{line('training')}\n{line('model')}\n{line('training', code=B)}\n")
    assert f"buildsys.lock:3:1: error: duplicate key `{LABELS['training']}`: line 1 has it" in told
    assert "keep the line of the network that is to ship" in told
    told = complain(tmp_path, f"{line('model')}\n{line('model')}\n")
    assert "keep one of the two, or delete both: buildsys writes it again" in told


def test_two_networks_of_one_training_are_an_error(tmp_path: Path) -> None:
    """Two results of one training, as after a merge of two branches, are an error."""
    other = line("training", checkpoint=A).replace("training tags", "training zebra")
    told = complain(tmp_path, f"{line('training')}\n{other}\n")
    column = other.index('"checkpoint":') + len('"checkpoint":') + 1
    assert told.startswith(
        f"buildsys.lock:2:{column}: error: `training zebra aaaaaaaaaaaa…` is the training of line 1,"
        " and another network"
    )
    assert "delete the other: the next build adds it again" in told


CONFLICTS = {
    "two sides of one key": (
        f"# x\n<<<<<<< HEAD\n{line('training')}\n=======\n{line('training', code=B)}\n>>>>>>> other\n",
        "2:1: error: unfinished merge: lines 2 to 6 contain both sides",
        "delete lines 2, 4 and 6; of `training tags aaaaaaaaaaaa…` keep line 3 or line 5: the network that"
        " is to ship; after that, `buildsys update tags` can take this machine's",
    ),
    "a line of each side": (
        f"<<<<<<< HEAD\n{line('dataset')}\n=======\n{line('model')}\n>>>>>>> other\n",
        "1:1: error: unfinished merge: lines 1 to 5 contain both sides",
        "delete lines 1, 3 and 5; keep all others",
    ),
    "with what both began from": (
        f"<<<<<<< a\n{line('model')}\n||||||| b\n{line('model')}\n=======\n{line('model', size=64)}\n>>>>>>> c",
        "1:1: error: unfinished merge: lines 1 to 7 contain both sides",
        "delete lines 1, 3, 4, 5 and 7; of `model x.pt` keep line 2 or line 6; a build names the one",
    ),
}


@pytest.mark.parametrize("conflict", CONFLICTS)
def test_a_conflict_says_which_lines_go(tmp_path: Path, conflict: str) -> None:
    """A merge conflict is one error that says which lines to remove."""
    text, message, hint = CONFLICTS[conflict]
    told = complain(tmp_path, text)
    assert told.startswith(f"buildsys.lock:{message}")
    assert told.count("error: ") == 1
    assert hint in told
    complain(tmp_path, text + text.replace("# x\n", ""))


def test_all_malformed_lines_are_reported_at_once(tmp_path: Path) -> None:
    """All malformed lines are reported at once."""
    told = complain(tmp_path, f"{line('model', size='x')}\n{line('training', seconds=None)}\n")
    assert ("buildsys.lock:1:" in told, "buildsys.lock:2:" in told) == (True, True)


def test_a_file_that_is_not_text_is_an_error(tmp_path: Path) -> None:
    """An empty file is an empty lock; a file that is not text is an error."""
    path = tmp_path / "buildsys.lock"
    assert read_lock(path).lines == ()
    path.write_bytes(b"\xff")
    with pytest.raises(InputError, match="it is not UTF-8"):
        read_lock(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match=r"buildsys\.lock: error: cannot be read"):
        read_lock(path)


def test_a_mark_before_the_first_line_is_no_part_of_it(tmp_path: Path) -> None:
    """A byte order mark is ignored."""
    path = tmp_path / "buildsys.lock"
    line = 'pictures shots/*.jpg {"digest":"' + "ab" * 32 + '"}\n'
    path.write_text(line, encoding="utf-8-sig")
    assert read_lock(path).digest("pictures shots/*.jpg") == "ab" * 32
