"""buildsys scheduler: run the scheduler that workers and runs connect to."""

import argparse
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: the address and the certificate."""
    from buildsys.cluster_settings import DEFAULT_PORT

    parser.add_argument(
        "--host",
        default="",
        help="address to listen at; default: 127.0.0.1, or every address with `--tls`",
    )
    parser.add_argument(
        "--port",
        type=_port,
        default=DEFAULT_PORT,
        help=f"port to listen at (default: {DEFAULT_PORT})",
    )
    parser.add_argument(
        "--tls",
        type=Path,
        metavar="FILE",
        help="certificate and key of the cluster in one file, made if it is missing; workers and runs"
        " need a copy",
    )
    parser.add_argument(
        "--insecure",
        action="store_true",
        help="listen without TLS where other machines can connect: any of them can run code on workers",
    )


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 <= int(text) < 1 << 16:
        raise argparse.ArgumentTypeError(f"`{text}` is not a port: 0 to 65535, 0 for a free one")
    return int(text)


def run(options: argparse.Namespace) -> int:
    """Run until a signal arrives."""
    from buildsys.cluster_settings import OPTION, explain_insecure, is_loopback
    from buildsys.commands.worker import print_line
    from buildsys.errors import CannotReach, InputError
    from buildsys.execution.cluster.connections import (
        check_outside,
        make_certificate,
        read_certificate,
    )
    from buildsys.execution.cluster.executor import MISSING_LIBRARY

    host = options.host or ("" if options.tls else "127.0.0.1")
    if not (options.tls or options.insecure or is_loopback(host)):
        hint = explain_insecure(OPTION)
        raise InputError.at("--host", f"other machines can reach {host} without TLS", hint)
    try:
        from buildsys.execution.cluster import scheduler
    except ImportError as error:
        raise CannotReach(MISSING_LIBRARY) from error
    if options.tls:
        check_outside(options.tls, options.folder)
        make_certificate(options.tls, print_line)
        read_certificate(options.tls, "--tls")
    return scheduler.serve(host, options.port, options.tls, print_line)
