"""Reads and writes buildsys.lock: facts and recorded trainings, one per line, sorted; committed.

    dataset data/tags/data.yaml {"digest":"…","names":["tag"],…}
    model weights/start.pt {"digest":"…","task":"pose",…}
    pictures shots/*.jpg {"digest":"…"}
    training tags 5c0e… {"checkpoint":"…","device":"cpu","seconds":61.2,…}

With the lock, a machine without the dataset can plan and restore, and a recorded training is not
repeated. Only trainings are recorded: everything after them is made again bit for bit.

A build adds lines and changes none (`execution.state.recording`). People commit, merge and edit the
file: each line becomes one typed value here, or an error at its place. An unchanged line keeps its
bytes.
"""

import contextlib
import dataclasses
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NoReturn

from buildsys.digest import canonical
from buildsys.errors import Diagnostic, InputError
from buildsys.files import LED_OUT, leads_out, read_regular, write_atomic
from buildsys.recorded_facts import Facts, Name, RecordedDataset, RecordedModel, Text, check_name
from buildsys.records import Digest, Seconds, check_digest
from buildsys.spec import Format
from buildsys.typed_json import Mismatch, decode, locate, read

VERSION = 1
"""Version of the lines. A header without one has this one; later ones are "# buildsys.lock version
2".
"""
_HEADER = "# buildsys.lock: facts and recorded trainings; written by buildsys, committed by people"
_VERSION = re.compile(r"# buildsys\.lock version (\S+)")
_FOUND_AGAIN = "delete the line; buildsys writes it again"
_TRAINED_AGAIN = (
    "restore the line from git; without it the network is restored from the store, or trained again"
)
_KINDS = ("dataset", "model", "pictures", "training")
_BEGIN, _BASE, _MIDDLE, _END = "<<<<<<<", "|||||||", "=======", ">>>>>>>"
"""What git writes at the start of a line around the two sides of a conflict."""
_MOST_NAMED = 2
"""Keys of a conflict that are named."""


@dataclass(frozen=True, kw_only=True)
class Content:
    """The line of a dataset, a model or images; `facts`: None if planning needs none."""

    digest: str
    facts: Facts | None


@dataclass(frozen=True, kw_only=True)
class Training:
    """The line of a training: the digests of its outputs, and how it was made.

    `lock`: the identity of the tool environment; `training`: digest of the curves, empty if
    unknown.
    """

    action_key: Digest
    checkpoint: Digest
    code: Digest
    device: Text
    lock: Digest
    seconds: Seconds
    tool: Name
    torch: Text
    training: Digest = ""

    @property
    def outputs(self) -> dict[str, str]:
        """Return digests by output: the checkpoint, and its curves if they are known."""
        curves = {str(Format.TRAINING): self.training} if self.training else {}
        return {str(Format.CHECKPOINT): self.checkpoint, **curves}


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line as text, and its value."""

    key: str
    text: str
    value: Content | Training


@dataclass(frozen=True, kw_only=True)
class Lock:
    """The lines of the file, sorted by key; every key occurs once."""

    lines: tuple[Line, ...] = ()

    @cached_property
    def by_key(self) -> dict[str, Line]:
        """Return the lines by key."""
        return {line.key: line for line in self.lines}

    def content(self, key: str) -> Content | None:
        """Return what is recorded under a key such as "dataset data/tags/data.yaml"."""
        line = self.by_key.get(key)
        return line.value if line is not None and isinstance(line.value, Content) else None

    def digest(self, key: str) -> str:
        """Return the recorded digest of a source; empty without one."""
        found = self.content(key)
        return found.digest if found is not None else ""

    def trainings(self) -> dict[str, Training]:
        """Return recorded trainings by the digest of recipe and data that identifies them."""
        return {
            line.key.rpartition(" ")[2]: line.value
            for line in self.lines
            if isinstance(line.value, Training)
        }

    def adding(self, lines: Iterable[Line]) -> "Lock":
        """Return a lock with additional lines; existing keys keep theirs."""
        return self.with_lines(line for line in lines if line.key not in self.by_key)

    def with_lines(self, lines: Iterable[Line], without: frozenset[str] = frozenset()) -> "Lock":
        """Return a lock with lines added or replaced, and the keys in `without` removed."""
        known = {line.key: line for line in self.lines if line.key not in without}
        known |= {line.key: line for line in lines}
        return Lock(lines=tuple(known[key] for key in sorted(known)))


def content_line(key: str, digest: str, facts: Facts | None) -> Line:
    """Return a source's line."""
    known = _described(facts) if facts is not None else {}
    return _made(key, canonical({**known, "digest": digest}))


def training_key(recipe: str, slice_: str) -> str:
    """Return the key of a recipe's training; `slice_`: see `action_keys.slice_digest`."""
    return f"training {recipe} {slice_}"


def is_training(key: str) -> bool:
    """Return whether a line is a training's."""
    return key.startswith("training ")


def recipe_of(key: str) -> str:
    """Return the recipe in a training's key."""
    return key.removeprefix("training ").rpartition(" ")[0]


def training_line(key: str, training: Training) -> Line:
    """Return a training's line."""
    return _made(key, canonical(_described(training)))


def _described(value: Facts | Training) -> dict[str, object]:
    """Return fields by name, without those that have their default value."""
    optional = _optional(type(value))
    if isinstance(value, RecordedModel):  # always written completely
        optional = {}
    return {name: item for name, item in vars(value).items() if item != optional.get(name, ...)}


def _optional(kind: type) -> dict[str, object]:
    fields = dataclasses.fields(kind)
    return {f.name: f.default for f in fields if f.default is not dataclasses.MISSING}


def _made(key: str, text: str) -> Line:
    """Return a line to be written, after checking that it can be read again."""
    return _parse(f"{key} {text}", "buildsys.lock", 0)


def read_lock(path: Path) -> Lock:
    """Return the lock in a file, or an empty one without the file.

    Raises InputError with a diagnostic for every wrong line.
    """
    if leads_out(path, path.name):
        raise InputError.at(path.name, *LED_OUT)
    try:
        text = read_regular(path).decode("utf-8-sig")  # editors may write a byte order mark
    except FileNotFoundError:
        return Lock()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InputError.at(path.name, f"cannot be read: {why}") from error
    lines: dict[str, Line] = {}
    places: dict[str, int] = {}
    networks: dict[str, tuple[str, int]] = {}
    problems: list[Diagnostic] = []
    rows = list(enumerate(text.replace("\r\n", "\n").split("\n"), 1))
    conflicts = _find_conflicts(rows)
    problems += [_explain_conflict(conflict, path.name) for conflict in conflicts]
    for number, line in rows:
        if any(conflict.begin <= number <= conflict.end for conflict in conflicts):
            continue
        try:
            _check_version(line, path.name, number)
            if line.strip() and not line.startswith("#"):
                found = _parse(line, path.name, number)
                _check_new(found, places, networks, path.name, number)
                lines[found.key], places[found.key] = found, number
        except InputError as error:
            problems += error.diagnostics
    if problems:
        raise InputError(*sorted(problems))
    return Lock(lines=tuple(lines[key] for key in sorted(lines)))


@dataclass(frozen=True, kw_only=True)
class _Conflict:
    """The marks of an unfinished merge: their line numbers, and each side's lines by key."""

    begin: int
    end: int
    marks: tuple[int, ...]
    base: tuple[int, ...]
    """Lines of the common ancestor, if git was configured to write them."""
    ours: dict[str, int]
    theirs: dict[str, int]
    source: str


def _find_conflicts(rows: list[tuple[int, str]]) -> list[_Conflict]:
    """Return the complete conflicts, with beginning, middle and end, in order."""
    found: list[_Conflict] = []
    marks: dict[str, int] = {}
    for number, line in rows:
        mark = line[: len(_BEGIN)]
        if mark == _BEGIN:
            marks = {_BEGIN: number}
        elif marks and mark in (_BASE, _MIDDLE):
            marks[mark] = number
        elif mark == _END and _MIDDLE in marks:
            begin, base, middle = marks[_BEGIN], marks.get(_BASE), marks[_MIDDLE]
            found.append(
                _Conflict(
                    begin=begin,
                    end=number,
                    marks=(*sorted(marks.values()), number),
                    base=tuple(range(base + 1, middle)) if base is not None else (),
                    ours=_keys(rows[begin : (base or middle) - 1]),
                    theirs=_keys(rows[middle : number - 1]),
                    source=rows[begin - 1][1],
                )
            )
            marks = {}
    return found


def _keys(rows: list[tuple[int, str]]) -> dict[str, int]:
    """Return the numbers of lines by key, as far as they have one."""
    return {
        line[: start - 1]: number for number, line in rows if (start := _start_of_json(line)) > 0
    }


def _explain_conflict(found: _Conflict, name: str) -> Diagnostic:
    """Return what to do about a conflict: the lines to delete, and pairs of which to keep one."""
    message = f"unfinished merge: lines {found.begin} to {found.end} contain both sides"
    gone = [str(number) for number in sorted({*found.marks, *found.base})]
    both = [key for key in found.ours if key in found.theirs]
    keep = [
        f"of `{short_key(key)}` keep line {found.ours[key]} or line {found.theirs[key]}"
        for key in both[:_MOST_NAMED]
    ]
    keep += [f"of {len(both) - _MOST_NAMED} more keep one, too"] * (len(both) > _MOST_NAMED)
    recipes = [recipe_of(key) for key in both if is_training(key)]
    hint = f"delete lines {', '.join(gone[:-1])} and {gone[-1]}; "
    hint += "; ".join(keep) or "keep all others"
    if recipes:
        hint += (
            f": the network that is to ship; after that, `buildsys update {recipes[0]}` can take this"
            " machine's"
        )
    elif both:
        hint += "; a build names the one that is wrong"
    return Diagnostic(
        path=name, line=found.begin, column=1, message=message, hint=hint, source=found.source
    )


def short_key(key: str) -> str:
    """Return a key for a message, with the beginning of its digest."""
    head, _, slice_ = key.rpartition(" ")
    return f"{head} {slice_[:12]}…" if is_training(key) else key


def _check_version(line: str, name: str, number: int) -> None:
    found = _VERSION.match(line)
    if found is not None and found[1].rstrip(":") != str(VERSION):
        message = (
            f"the file has version {found[1].rstrip(':')},"
            f" and this version of buildsys reads version {VERSION}"
        )
        hint = "update buildsys to the version that the others use"
        column = found.start(1) + 1
        raise InputError.at(name, message, hint, line=number, column=column, source=line)


def _check_new(
    found: Line,
    places: dict[str, int],
    networks: dict[str, tuple[str, int]],
    name: str,
    number: int,
) -> None:
    """Raise InputError for a key's second line, and for a training's second network.

    `networks`: (checkpoint, line) by the digest of recipe and data.
    """
    key, source = found.key, f"{found.key} {found.text}"
    if key in places:
        message = f"duplicate key `{key}`: line {places[key]} has it, too"
        hint = "keep one of the two, or delete both: buildsys writes it again"
        if is_training(key):
            hint = (
                "keep the line of the network that is to ship, and delete the other;"
                f" after that, `buildsys update {recipe_of(key)}` can take this machine's"
            )
        raise InputError.at(name, message, hint, line=number, column=1, source=source)
    if not isinstance(found.value, Training):
        return
    made = found.value.checkpoint
    known, line = networks.setdefault(key.rpartition(" ")[2], (made, number))
    if known != made:
        where = len(key) + 1 + locate(found.text, ("checkpoint",))
        message = f"`{short_key(key)}` is the training of line {line}, and another network"
        hint = (
            "keep the line of the network that is to ship, and delete the other: the next build"
            " adds it again"
        )
        raise InputError.at(name, message, hint, line=number, column=where + 1, source=source)


def _parse(line: str, name: str, number: int) -> Line:
    """Return one line's value. Raises InputError at the place of a mistake."""

    def refuse(what: str, offset: int = 0) -> NoReturn:
        hint = _TRAINED_AGAIN if line.startswith("training ") else _FOUND_AGAIN
        column = offset + 1
        raise InputError.at(name, what, hint, line=number, column=column, source=line)

    if line[: len(_BEGIN)] in (_BEGIN, _BASE, _MIDDLE, _END):
        hint = "delete this line, and keep the lines of both sides; of two with one key, keep one"
        message = "unfinished merge"
        raise InputError.at(name, message, hint, line=number, column=1, source=line)
    start = _start_of_json(line)
    if start < 0:
        refuse("malformed lock entry: a kind, a name and a JSON object belong on a line")
    key, text = line[: start - 1], line[start:]
    kind, _, label = key.partition(" ")
    if kind not in _KINDS:
        refuse(f"malformed lock entry: unknown kind `{kind}`; there are {', '.join(_KINDS)}")
    try:
        check_name(label)
        if kind == "training":
            recipe, _, slice_ = label.rpartition(" ")
            check_name(recipe)
            check_digest(slice_)
    except ValueError as error:
        what = "after the recipe comes a digest" if kind == "training" else str(error)
        refuse(f"malformed lock entry: the name after `{kind}`: {what}", len(kind) + 1)
    try:
        return Line(key=key, text=text, value=_decode(kind, read(text)))
    except Mismatch as error:
        refuse(f"malformed lock entry `{key}`: {error.text}", start + locate(text, error.place))
    except ValueError as error:
        refuse(f"malformed lock entry `{key}`: it is not JSON", start + getattr(error, "pos", 0))


def _start_of_json(line: str) -> int:
    """Return where a line's JSON starts (a name may contain a brace); -1 without JSON."""
    begins = [found.end() for found in re.finditer(r" (?=\{)", line)]
    for begin in begins[:-1]:
        with contextlib.suppress(ValueError):
            read(line[begin:])
            return begin
    return begins[-1] if begins else -1


def _decode(kind: str, data: object) -> Content | Training:
    if not isinstance(data, dict):
        raise Mismatch("it is not an object")
    if kind == "training":
        return decode(Training, data)
    fields = dict(data)
    if "digest" not in fields:
        raise Mismatch("`digest` is missing")
    digest = decode(_Digest, {"digest": fields.pop("digest")}).digest
    facts: Facts | None = None
    if fields and kind == "dataset":
        facts = decode(RecordedDataset, fields)
    elif fields and kind == "model":
        facts = decode(RecordedModel, fields)
    elif fields:
        raise Mismatch(f"unknown key `{min(fields)}`", (min(fields),))
    return Content(digest=digest, facts=facts)


@dataclass(frozen=True, kw_only=True)
class _Digest:
    digest: Digest


def write_lock(path: Path, lock: Lock) -> bool:
    """Write the file if its content changes; returns whether it did."""
    text = "\n".join([_HEADER, *(f"{line.key} {line.text}" for line in lock.lines)]) + "\n"
    try:
        if read_regular(path).decode("utf-8").replace("\r\n", "\n") == text:
            return False
    except (OSError, UnicodeDecodeError):
        if not lock.lines:
            return False
    write_atomic(path, text)
    return True
