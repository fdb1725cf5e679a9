"""Hidden files are not part of a dataset: operating systems and tools leave them beside its files."""


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name is hidden."""
    return name.startswith(".") and name not in (".", "..")
