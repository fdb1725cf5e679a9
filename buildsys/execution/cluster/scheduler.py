"""A scheduler process: dask's own, with our settings."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from distributed import Scheduler

from buildsys.errors import CannotReach

# the scheduler unpickles the orders' wrapping, which names this module
from buildsys.execution.cluster import connections, worker  # noqa: F401
from buildsys.execution.places import cache_root
from buildsys.write_errors import writing


def serve(host: str, port: int, certificate: Path | None, print_line: Callable[[str], None]) -> int:
    """Run a scheduler until a signal ends it. Raises CannotReach where it cannot listen."""
    protocol = "tls" if certificate is not None else "tcp"
    connections.configure()
    return asyncio.run(_serve(host, port, protocol, certificate, print_line))


async def _serve(
    host: str, port: int, protocol: str, certificate: Path | None, print_line: Callable[[str], None]
) -> int:
    with writing("the scheduler's folder", cache_root()):
        scheduler = Scheduler(
            host=host or None,
            port=port,
            protocol=f"{protocol}://",
            security=connections.security(certificate),
            dashboard=False,
            dashboard_address=connections.NO_PAGES,
        )
    try:
        await scheduler
    except (OSError, RuntimeError, ValueError) as error:
        raise CannotReach(
            f"{protocol}://{host}:{port}: {connections.explain_failure(error)}"
        ) from error
    print_line(f"scheduler at {scheduler.address}")
    await scheduler.finished()
    return 0
