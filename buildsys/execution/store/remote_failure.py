"""Errors of a remote store; a separate module, so that a run without requests imports no more."""


class RemoteFailure(Exception):
    """A request to a remote store failed; the text gives the reason."""


class OddName(RemoteFailure):
    """A server lists a name that no object can have; its other names are unknown."""


class ConnectionCut(RemoteFailure):
    """The connection ended before the whole answer was there."""


class Damaged(Exception):
    """The remote's bytes do not match the requested digest."""
