"""Names that a recipe or a build cannot have: something else has them, or no folder can."""

RESERVED = frozenset({"build", "check", "list", "report"})
"""Tasks and commands of `doit`."""
_DEVICES = frozenset(
    {"con", "prn", "aux", "nul", *(f"{p}{n}" for p in ("com", "lpt") for n in range(10))}
)
_LONGEST = 80


def name_problem(name: str) -> tuple[str, str] | None:
    """What is wrong with a recipe's or build's name, which is made of the right letters, and a hint."""
    if name in RESERVED:
        return f"`{name}` is the name of a task; no build can have it", ""
    if name in _DEVICES:
        return f"`{name}` is a device on Windows: no file or folder can be called so there", ""
    if len(name) > _LONGEST:
        hint = f"at most {_LONGEST}: folders and files get it with more behind it"
        return f"the name has {len(name)} characters", hint
    return None
