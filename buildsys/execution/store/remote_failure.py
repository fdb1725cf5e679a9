"""What goes wrong with a remote store: a module of its own, for a run that asks nothing loads no more."""


class RemoteFailure(Exception):
    """A remote store did not do what it was asked to; the text says why."""


class OddName(RemoteFailure):
    """A server lists a name that no object can have; what it lists beside that is not known."""


class Damaged(Exception):
    """The remote's bytes are not those of the digest that was asked for."""
