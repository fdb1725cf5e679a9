"""buildsys remote: check the team's store, clean it up, make a signing key."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from buildsys.operations.sharing import Content
    from buildsys.remote_settings import RemoteSettings

_SHOWN = 10
"""Names of a kind that are printed, so that a store that was emptied needs no thousand lines."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: the subcommands check, gc and keygen."""
    actions = parser.add_subparsers(required=True, metavar="check|gc|keygen", dest="action")
    text = (
        "report whether the store can be reached and written (if configured), and what it contains"
    )
    check = actions.add_parser("check", help=text, description=text)
    check.add_argument(
        "--every-byte",
        action="store_true",
        help="read every result and file; with BUILDSYS_REMOTE_MODE=read-write, remove damaged files",
    )
    text = "remove results that were uploaded long ago, and files that no result names"
    gc = actions.add_parser("gc", help=text, description=text)
    gc.add_argument(
        "--max-age",
        metavar="90d",
        required=True,
        help="remove results that were uploaded longer ago (h, d, w)",
    )
    gc.add_argument("--dry-run", action="store_true", help="only print what would be removed")
    text = "write a private key, and print the public key that `remote.trusted` lists"
    keygen = actions.add_parser("keygen", help=text, description=text)
    keygen.add_argument("file", type=Path, metavar="FILE", help="file to write the private key to")


def run(options: argparse.Namespace) -> int:
    """Run the chosen subcommand."""
    return {"check": _check, "gc": _gc, "keygen": _keygen}[options.action](options)


def _check(options: argparse.Namespace) -> int:
    from buildsys.execution.places import Workspace
    from buildsys.execution.settings.stores import default_store
    from buildsys.execution.store.shared_store import require_shared
    from buildsys.operations.sharing import check
    from buildsys.text import count_text, size_text

    store = require_shared(default_store(Workspace(options.folder.resolve())))
    settings = store.remote.settings
    require_shared(store, settings.writes)
    found = check(store, options.every_byte)
    print(f"{settings.url} answers in {1000 * found.seconds:.0f} ms; mode {settings.mode}")
    content = found.content
    if content is None:
        print("a web server cannot be listed: results, signatures and files are not checked")
        return 0
    print(
        f"{count_text(content.results, 'result')} and {count_text(content.blobs, 'file')},"
        f" {size_text(content.bytes)}"
    )
    _print_odd(content.odd)
    if settings.trusted:
        print(
            f"{count_text(len(settings.trusted), 'trusted key')};"
            f" {count_text(content.untrusted, 'result')} not signed by one"
        )
    if settings.writes:
        _print_unsigned(settings)
    if content.invalid:
        print(
            f"{count_text(content.invalid, 'result')} ignored by every run of this release: in the place of"
            " another result, damaged, or of another release"
        )
    if options.every_byte:
        what = "removed" if settings.writes else "they count as absent"
        count = len(content.damaged)
        print(f"{count_text(count, 'damaged file')}{f', {what}' * bool(count)}")
        if content.damaged or content.missing:
            print(_list_lost(content))
    return 1 if content.damaged or content.missing or content.invalid else 0


def _list_lost(content: "Content") -> str:
    """Return the names of damaged files, and what is missing and how it comes back."""
    from buildsys.text import count_text

    def names(word: str, digests: tuple[str, ...]) -> list[str]:
        more = len(digests) - _SHOWN
        shown = [f"    {word}: {digest}" for digest in digests[:_SHOWN]]
        return shown + ([f"    {word}: {more} more"] if more > 0 else [])

    lines = names("damaged", content.damaged)
    if content.missing:
        count = count_text(len(content.missing), "file")
        lines.append(f"{count} missing that results name; steps that need them run again")
        lines += names("missing", content.missing)
    lines.append("    help: `buildsys store push` where they were made uploads them again")
    return "\n".join(lines)


def _print_unsigned(settings: "RemoteSettings") -> None:
    """Print why no run could upload from here, although it may write."""
    from buildsys.errors import BuildsysError
    from buildsys.execution.store.remote import signing_key

    try:
        signing_key(settings)
    except BuildsysError as error:
        print(f"runs upload nothing from here: {error}")


def _gc(options: argparse.Namespace) -> int:
    from buildsys.commands.gc import read_age
    from buildsys.execution.places import Workspace
    from buildsys.execution.settings.stores import default_store
    from buildsys.execution.store.shared_store import require_shared
    from buildsys.operations.sharing import sweep
    from buildsys.text import count_text, size_text

    age = read_age("--max-age", options.max_age)
    workspace = Workspace(options.folder.resolve())
    store = require_shared(default_store(workspace), writes=not options.dry_run)
    swept = sweep(store, workspace, age, options.dry_run)
    verb = "would remove" if options.dry_run else "removed"
    for files, noun, why in (
        (swept.results, "result", "uploaded longer ago"),
        (swept.blobs, "file", "no result names them"),
        (swept.leftovers, "unfinished file", "left by transfers that were cut off"),
    ):
        if files:
            size = size_text(sum(file.size for file in files))
            print(f"{verb} {count_text(len(files), noun)}, {size}: {why}")
    if swept.unreadable:
        print(
            f"files that no result names were kept: {count_text(len(swept.unreadable), 'result')} cannot be read,"
            f" or the lists of their files cannot ({swept.unreadable[0]}).\n"
            "    help: `buildsys store push` where they were made uploads them again; a result of another"
            " release is read by that release; --max-age removes both in time"
        )
    _print_odd(swept.odd)
    print(
        f"{store.remote.settings.url}: {count_text(swept.kept_results, 'result')} and"
        f" {count_text(swept.kept_blobs, 'file')}, {size_text(swept.kept_bytes)}"
    )
    return 0


def _print_odd(count: int) -> None:
    from buildsys.text import count_text

    if count:
        print(
            f"{count_text(count, 'part')} of the server's listing ignored: names or sizes that no object"
            " can have"
        )


def _keygen(options: argparse.Namespace) -> int:
    from buildsys.execution.store.remote_entry import make_key

    public = make_key(options.file)
    print(public)
    print(
        f"    sign with it:    export BUILDSYS_SIGNING_KEY={options.file.resolve()}\n"
        f"    trust it:        remote: {{…, trusted: [{public}]}} in buildsys.yaml"
    )
    return 0
