"""Names that a recipe or build cannot have: reserved ones, and names that no folder can have."""

RESERVED = frozenset({"build", "check", "list", "report"})
"""Tasks and commands of `doit`."""
_DEVICES = frozenset(
    {"con", "prn", "aux", "nul", *(f"{p}{n}" for p in ("com", "lpt") for n in range(10))}
)
_LONGEST = 80


def name_problem(name: str) -> tuple[str, str] | None:
    """Return what is wrong with a name of valid letters for a recipe or build, and a hint; or
    None.
    """
    if name in RESERVED:
        return f"`{name}` is reserved for a task", ""
    if name in _DEVICES:
        return f"`{name}` is reserved on Windows, where it names a device", ""
    if len(name) > _LONGEST:
        hint = f"use at most {_LONGEST}: names of folders and files are longer than this name"
        return f"the name has {len(name)} characters", hint
    return None
