"""Python's parser in several threads while garbage collection runs Python code, as dask's does."""

import gc
from concurrent.futures import ThreadPoolExecutor

from buildsys.python_source import parse_source
from tests.conftest import REPOSITORY


def test_threads_parse_at_once() -> None:
    """Threads parse at the same time, at different stack depths, without errors."""
    texts = [path.read_text() for path in sorted((REPOSITORY / "buildsys" / "steps").glob("*.py"))]

    def parse(depth: int) -> int:
        return parse(depth - 1) if depth else sum(len(parse_source(t).body) for t in texts[:20])

    def note(phase: str, info: dict[str, int]) -> None:
        str(phase)

    gc.callbacks.append(note)
    try:
        with ThreadPoolExecutor(4) as pool:
            assert len(set(pool.map(parse, (1, 7, 31, 60)))) == 1
    finally:
        gc.callbacks.remove(note)
