"""The figures of a package that the table at the end of a run shows."""

from dataclasses import asdict, dataclass

from buildsys import typed_json
from buildsys.json_text import json_text
from buildsys.spec import SIZES


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Figures of one package: its model's name, its sizes (`spec.SIZES`), its accuracy."""

    file: str = ""
    bytes: int = 0
    sram_bytes: int = 0
    metrics: tuple[tuple[str, float], ...] = ()
    split: str = ""
    without_objects: tuple[str, ...] = ()
    """Classes that do not occur in the measured `split`; the metrics omit them."""

    def value(self, name: str) -> float | None:
        """Return a figure by its name in `select`; None if it is unknown."""
        if name in SIZES:
            return float(getattr(self, name)) or None
        return dict(self.metrics).get(name)


def write_figures(found: Figures) -> str:
    """Return figures as a text for `read_figures`."""
    return json_text(asdict(found))


def read_figures(text: str) -> Figures:
    """Return the figures in a text; none if it is damaged."""
    try:
        return typed_json.parse(Figures, text.encode())
    except ValueError:
        return Figures()
