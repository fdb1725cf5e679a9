"""When a run stops using a remote store: after failures in a row, of requests at different times."""

import time

from buildsys.execution.store.direction import Direction, Kind


def fail(direction: Direction, kind: Kind = "small") -> None:
    """Let a request of now fail."""
    assert direction.count(kind, time.monotonic())


def succeed(direction: Direction, kind: Kind = "small") -> None:
    """Let a request of now succeed."""
    direction.note_success(kind, time.monotonic())


def test_one_moment_of_a_server_is_one_failure() -> None:
    """Requests that were under way at a failure fail with it, and count as one."""
    direction, began = Direction(), time.monotonic()
    assert [direction.count("small", began) for _ in range(16)] == [True, *[False] * 15]
    assert direction.failures == 1
    fail(direction)
    assert direction.failures == 2


def test_a_failure_that_a_success_follows_does_not_count_for_the_next() -> None:
    """Only failures without a success between them are in a row; that one happened is kept."""
    direction = Direction()
    for _ in range(3):
        fail(direction)
        succeed(direction)
    assert (direction.failures, direction.has_failed) == (0, True)


def test_a_success_of_a_request_from_before_a_failure_ends_no_row() -> None:
    """It does not show that the server answers again."""
    direction, began = Direction(), time.monotonic()
    fail(direction)
    direction.note_success("small", began)
    assert direction.failures == 1


def test_files_are_also_counted_by_themselves() -> None:
    """A server that answers small requests, and breaks files off, fails; one complete file ends the
    row.
    """
    direction = Direction()
    for _ in range(2):
        fail(direction, "file")
        succeed(direction)
    assert direction.failures == 2
    succeed(direction, "file")
    assert direction.failures == 0
