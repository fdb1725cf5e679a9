"""buildsys worker: run steps for a cluster on this machine, with its own folder and store."""

import argparse
import re
import socket
import sys
from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: the scheduler, and what this machine has."""
    parser.add_argument(
        "scheduler", metavar="SCHEDULER", help="address of the scheduler, such as tls://farm:8786"
    )
    parser.add_argument(
        "--ca",
        type=Path,
        metavar="FILE",
        help="certificate and key of the cluster, from `buildsys scheduler --tls`",
    )
    parser.add_argument("--name", default="", help="name of the worker; default: the host's name")
    parser.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="NAME",
        help="a property of this machine that buildsys does not detect, such as tensorrt-10.3-sm87; can be repeated",
    )
    parser.add_argument(
        "--gpus", type=_count, metavar="N", help="number of GPUs; default: detected"
    )
    parser.add_argument(
        "--store",
        type=Path,
        metavar="FOLDER",
        help="folder of the worker's store; default: the workspace's",
    )
    parser.add_argument(
        "--trust",
        choices=["code"],
        help="let checkpoints run code here if the recipe has `trust: code`",
    )
    parser.add_argument(
        "--host", default="", help="address at which other machines connect to this worker"
    )
    parser.add_argument(
        "--insecure", action="store_true", help="allow tcp:// to another machine, without TLS"
    )


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"`{text}` is not a number of GPUs")
    return int(text)


def print_line(text: str) -> None:
    """Print a line for the person who started the worker."""
    print(text, file=sys.stderr, flush=True)


def run(options: argparse.Namespace) -> int:
    """Run until the scheduler is gone (exit code 1) or a signal arrives (128 plus its number)."""
    from buildsys.cluster_settings import OPTION, ClusterSettings, check_address, check_protection
    from buildsys.errors import CannotReach, InputError, shorten
    from buildsys.execution.cluster.connections import read_certificate
    from buildsys.execution.cluster.executor import MISSING_LIBRARY
    from buildsys.execution.cluster.placement import check_label
    from buildsys.execution.places import Workspace

    name = options.name or socket.gethostname()
    if _NAME.fullmatch(name) is None:
        hint = "use letters, digits, and . _ - in between"
        raise InputError.at("--name", f"`{shorten(name)}` cannot be the name of a worker", hint)
    labels = tuple(check_label(text) for text in options.label)
    if options.scheduler.startswith("tls:") and options.ca is None:
        hint = "give the file that `buildsys scheduler --tls` made"
        raise InputError.at("--ca", "is missing; tls:// needs it", hint)
    try:
        check_address(options.scheduler)
        check_protection(options.scheduler, options.insecure, OPTION)
        ClusterSettings(
            scheduler=options.scheduler, ca=str(options.ca or ""), insecure=options.insecure
        )
    except ValueError as error:
        place = shorten(options.scheduler)
        raise InputError.at(place, str(error)) from error
    certificate = read_certificate(options.ca, "--ca") if options.ca else None
    try:
        from buildsys.execution.cluster import worker
    except ImportError as error:
        raise CannotReach(MISSING_LIBRARY) from error
    return worker.serve(
        worker.WorkerOptions(
            scheduler=options.scheduler,
            certificate=certificate,
            name=name,
            labels=labels,
            gpus=options.gpus,
            host=options.host,
            trusts_code=options.trust == "code",
            store=str(options.store.absolute()) if options.store else "",
        ),
        Workspace(options.folder.resolve()),
        print_line,
    )
