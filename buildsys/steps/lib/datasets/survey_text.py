"""Render the report of a dataset: the table that the command prints, and report.md."""

from collections.abc import Callable
from typing import Any

from buildsys.escaping import code_span, fenced, markdown, one_line

_SHOWN = 200

Cell = Callable[[dict[str, Any]], str]


def render_table(report: dict[str, Any]) -> str:
    """Return a table with one column per split and one row per figure; empty rows are omitted."""
    splits = report["splits"]
    rows = [("", [one_line(split["name"]) for split in splits])]
    for name, cell, always in _rows(report):
        cells = [cell(split) for split in splits]
        if always or any(value not in ("0", "") for value in cells):
            rows.append((name, cells))
    first = max(len(name) for name, _ in rows)
    widths = [max(len(cells[i]) for _, cells in rows) for i in range(len(splits))]
    return "\n".join(
        "  ".join([name.ljust(first), *(c.rjust(w) for c, w in zip(cells, widths, strict=True))])
        for name, cells in rows
    )


def render_page(report: dict[str, Any]) -> str:
    """Return report.md: the table, then every kind of finding with its places."""
    lines = [f"# {markdown(report['title'])}", "", fenced(render_table(report)), ""]
    findings = report["findings"]
    if not findings:
        lines += ["Nothing wrong was found.", ""]
    for severity in ("error", "warning"):
        chosen = [f for f in findings if f["severity"] == severity]
        if chosen:
            lines += [f"## {len(chosen)} {severity}{'s' if len(chosen) != 1 else ''}", ""]
            lines += [f"- {_place(f)}{markdown(f['message'])}" for f in chosen[:_SHOWN]]
            more = len(chosen) - _SHOWN
            lines += [f"- and {more} more, in report.json"] if more > 0 else []
            lines.append("")
    if report["sheet"]:
        lines += ["## sheet.jpg", "", "Row by row:", ""]
        lines += [f"{i}. {markdown(name)}" for i, name in enumerate(report["sheet"], 1)]
    return "\n".join(lines).rstrip() + "\n"


def _rows(report: dict[str, Any]) -> list[tuple[str, Cell, bool]]:
    """Return (name, cell of a split, whether it is shown even if it is 0)."""
    rows: list[tuple[str, Cell, bool]] = [
        ("pictures", lambda s: str(s["pictures"]), True),
        ("  unreadable", lambda s: str(s["unreadable"]), False),
    ]
    sizes: list[tuple[str, Cell, bool]] = [
        ("  smallest", lambda s: _size(s, "smallest"), True),
        ("  median", lambda s: _size(s, "median"), True),
        ("  largest", lambda s: _size(s, "largest"), True),
    ]
    if not report["classes"]:
        return rows + sizes  # only images, for calibration
    folders = report["shape"] == "folder"
    if not folders:
        rows += [
            ("  without label file", lambda s: str(s["without_label_file"]), False),
            ("  with empty label file", lambda s: str(s["empty_label_file"]), False),
        ]
    rows += [
        *sizes,
        ("in a class" if folders else "objects", lambda s: str(s["objects"]), True),
    ]
    if len(report["classes"]) > 1:
        rows += [(f"  {one_line(name)}", _class_cell(name), True) for name in report["classes"]]
    for index, (height, width) in enumerate(report["inputs"]):
        place = f"at {width}x{height}"
        rows += [
            (f"  median shorter side {place}", _input_cell(index, "median_px", "{:.1f} px"), True),
            (f"  under 8 px {place}", _share_cell(index), True),
        ]
    if report["keypoints"]:
        rows += [
            (f"keypoints {word}", _keypoint_cell(word), True)
            for word in ("visible", "hidden", "not labelled")
        ]
    return rows


def _size(split: dict[str, Any], name: str) -> str:
    size = split.get("sizes", {}).get(name)
    return f"{size[0]}x{size[1]}" if size else ""


def _class_cell(name: str) -> Cell:
    return lambda split: str(split["classes"][name])


def _input_cell(index: int, key: str, form: str) -> Cell:
    return lambda s: form.format(s["at_input"][index][key]) if s["at_input"] else ""


def _share_cell(index: int) -> Cell:
    def cell(split: dict[str, Any]) -> str:
        if not split["at_input"]:
            return ""
        row = split["at_input"][index]
        return _percent(row["under_8_px"], row["objects"])

    return cell


def _keypoint_cell(word: str) -> Cell:
    return lambda s: _percent(s["keypoints"][word], sum(s["keypoints"].values()))


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else ""


def _place(finding: dict[str, Any]) -> str:
    if not finding["path"]:
        return ""
    line = f":{finding['line']}" if finding["line"] else ""
    return f"{code_span(finding['path'] + line)}: "
