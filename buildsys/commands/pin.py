"""buildsys pin: write missing sha256 digests into recipes."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from buildsys.errors import BuildsysError, InputError

if TYPE_CHECKING:
    from buildsys.authoring.recipes.pinning import Pinnable
    from buildsys.authoring.syntax.document import Document

_SHOWN_EVERY = 50 << 20


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: which recipes, and whether to replace digests that differ."""
    parser.add_argument(
        "recipes", nargs="*", metavar="RECIPE", help="names or patterns of recipes; default: all"
    )
    parser.add_argument(
        "--update",
        action="store_true",
        help="replace digests that differ; fetches remote files again",
    )


def run(options: argparse.Namespace) -> int:
    """Pin one recipe after another; the worst outcome is the exit code."""
    root = options.folder.resolve()
    code = pinned = 0
    for path in _choose(root, options.recipes):
        for at in range(_MOST_BLOCKS):  # each digest moves the lines below it: read the file again
            try:
                done = _pin_block(root, path, at, options.update)
            except BuildsysError as error:
                print(error, file=sys.stderr)
                code = max(code, error.exit_code)
                if isinstance(error, InputError):
                    break
                continue
            if done is None:
                break
            pinned += done
    if not pinned and not code:
        print("nothing to pin")
    return code


_MOST_BLOCKS = 1000


def _choose(root: Path, words: Sequence[str]) -> list[Path]:
    """Return recipes by name, path or pattern; bases only if they are named. Raises InputError."""
    from fnmatch import fnmatchcase

    from buildsys.execution.places import Workspace
    from buildsys.files import yaml_files
    from buildsys.text import did_you_mean

    files = yaml_files(root / "recipes")
    if not files:
        hint = Workspace(root).hint_without_recipes("`buildsys init` writes a first one")
        raise InputError.at("recipes", "no recipe found", hint)
    if not words:
        return [path for name, path in files.items() if not name.startswith("_")]
    chosen: dict[Path, None] = {}
    for word in words:
        name = Path(word).name.removesuffix(".yaml")
        found = [path for stem, path in files.items() if fnmatchcase(stem, name)]
        if not found:
            hint = did_you_mean(name, files)
            raise InputError.at(word, "matches no recipe", hint)
        chosen |= dict.fromkeys(found)
    return list(chosen)


@dataclass(frozen=True, kw_only=True)
class _Read:
    """A recipe or base, as just read."""

    path: Path
    document: "Document"


def _pin_block(root: Path, path: Path, index: int, update: bool) -> bool | None:
    """Pin block number `index`; returns whether the file changed, None if there is no such block.

    Raises InputError for broken YAML, BuildsysError for a digest that is unavailable or differs.
    """
    from buildsys.authoring.recipes.pinning import merged_pinnables

    own = _read(root, path)
    data = own.document.data
    if not isinstance(data, dict):
        return None
    base = _read_base(root, path, data.get("extends"))
    blocks = merged_pinnables(data, base.document.data if base else None)
    if index >= len(blocks):
        return None
    block, in_own = blocks[index]
    home = own if in_own or base is None else base
    digest = _digest(root, block, home, update)
    if digest is None or digest == block.sha256:
        return False
    if block.sha256 is not None and not update:
        raise _differs(home, block, digest)
    _write(root, home, block, digest)
    line = home.document.diagnose((*block.at, block.key), "").line
    print(f"pinned  {home.document.path}:{line}  {block.named}  {digest}")
    _warn_of_code(root, block, home)
    if block.is_archive:
        _unpack(root, block, digest)
    return True


def _unpack(root: Path, block: "Pinnable", digest: str) -> None:
    """Unpack an archive that was just fetched, so that `check` can read the dataset."""
    import contextlib

    from buildsys.execution.session.dataset_archives import fetch_archive
    from buildsys.graph import Archive

    with contextlib.suppress(BuildsysError):  # the error was printed, and the digest is right
        fetch_archive(root, Archive(url=block.url or "", sha256=digest))


def _warn_of_code(root: Path, block: "Pinnable", home: _Read) -> None:
    """Print untrusted code in a pinned checkpoint: `check` refuses it, whatever its digest."""
    from buildsys.authoring.recipes.families import checkpoint_suffixes, holds_objects
    from buildsys.steps.lib.families.pickled_code import code_hint, describe_code, find_untrusted
    from buildsys.steps.lib.files.foreign import UnreadableModel

    if not block.path or not block.path.lower().endswith(checkpoint_suffixes()):
        return
    try:
        objects = holds_objects(block.family)
        trusted = block.trusted and objects
        code = find_untrusted(root / block.path, objects=objects, trusted=trusted)
        message = f"{block.path} {describe_code(code)}" if code.listed else ""
        hint = code_hint(code, objects)
    except UnreadableModel as error:
        message, hint = f"{block.path}: {error.what}", error.hint
    except OSError:
        return  # the file existed a moment ago
    if message:
        at = (*block.at, block.key)
        found = home.document.diagnose(at, message, hint, severity="warning")
        print(found.render(), file=sys.stderr)


def _read_base(root: Path, recipe: Path, name: object) -> _Read | None:
    """Read the base beside a recipe; `check` reports a missing one."""
    import os

    if not isinstance(name, str) or "/" in name:
        return None
    path = recipe.parent / f"{name}.yaml"
    return (
        _read(root, path) if os.path.isfile(path) else None
    )  # Path raises ValueError for invalid names


def _read(root: Path, path: Path) -> _Read:
    from buildsys.authoring.syntax.document import read_document

    return _Read(path=path, document=read_document(path, str(path.relative_to(root))))


def _digest(root: Path, block: "Pinnable", home: _Read, update: bool) -> str | None:
    """Return the file's digest; None if it need not be compared.

    Downloads each URL once, and only for pin.
    """
    from buildsys.digest import digest_file

    at = (*block.at, block.key)
    if not block.path:
        known = block.sha256 is not None and not update
        return None if known else _digest_remote(root, block)
    try:
        file = root / block.path
        if os.path.isfile(file):
            return digest_file(file)
        what = "is a directory" if os.path.isdir(file) else "does not exist"
    except (OSError, ValueError) as error:
        what = f"cannot be read: {getattr(error, 'strerror', None) or error}"
    if block.sha256 is not None:
        return None
    hint = "put the file there and pin again; paths are relative to the workspace root"
    found = home.document.diagnose(at, f"{block.path} {what}, so its sha256 is not known", hint)
    raise BuildsysError(found.render())


def _differs(home: _Read, block: "Pinnable", digest: str) -> BuildsysError:
    message = f"{block.named} has a different sha256: {digest}"
    hint = "if that file is the right one, `buildsys pin --update` replaces the digest"
    return BuildsysError(home.document.diagnose((*block.at, "sha256"), message, hint).render())


def _write(root: Path, home: _Read, block: "Pinnable", digest: str) -> None:
    """Replace the whole file: a killed process leaves the old or the new text."""
    import shutil

    from buildsys.authoring.recipes.pinning import UnwritableError, write_digest
    from buildsys.files import replacing

    try:
        data = home.path.read_bytes()
        mark = b"\xef\xbb\xbf" if data.startswith(b"\xef\xbb\xbf") else b""
        text = write_digest(data.removeprefix(mark).decode(), block.at, digest)
        target = home.path.resolve()  # keep a link
        if target != home.path and not target.is_relative_to(root.resolve()):
            message = f"{home.document.path} is a symbolic link to {target}, outside the workspace"
            raise BuildsysError(f"{message}: pin it there, or replace the link by a file")
        with replacing(target) as temporary:
            temporary.write_bytes(mark + text.encode())
            shutil.copymode(target, temporary)
    except UnwritableError as error:
        message = f"the digest cannot be inserted without changing other lines: {error}"
        hint = f"write it yourself: sha256: {digest}"
        at = (*block.at, block.key)
        raise BuildsysError(home.document.diagnose(at, message, hint).render()) from error
    except OSError as error:
        message = f"{home.document.path} cannot be written: {error.strerror}"
        raise BuildsysError(message) from error


def _digest_remote(root: Path, block: "Pinnable") -> str:
    """Return the sha256 of a remote file; the store keeps a dataset's archive, which is large.

    Raises BuildsysError.
    """
    import contextlib
    import hashlib

    from buildsys.execution.session.dataset_archives import kept_archive
    from buildsys.steps.lib.files.download import DownloadError, download

    url = block.url or ""
    state, shown = hashlib.sha256(), 0
    print(f"fetching {url}", file=sys.stderr, flush=True)

    def show_progress(done: int, total: int) -> None:
        nonlocal shown
        if done - shown >= _SHOWN_EVERY:
            shown = done
            of = f" of {total / 1e6:.0f}" if total else ""
            print(f"  {done / 1e6:.0f}{of} MB", file=sys.stderr, flush=True)

    with contextlib.ExitStack() as held:
        file = held.enter_context(kept_archive(root, url)) if block.is_archive else None

        def keep(piece: bytes) -> None:
            state.update(piece)
            if file is not None:
                file.write(piece)

        try:
            download(url, keep, show_progress)
        except DownloadError as error:
            message = f"{url} could not be fetched: {error}. Check the address and the network."
            raise BuildsysError(message) from error
    return state.hexdigest()
