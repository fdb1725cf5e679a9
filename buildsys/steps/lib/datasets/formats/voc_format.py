"""Read a dataset in Pascal VOC format: an XML file per image, and optional lists of the splits.

It reads the folders of the VOC development kit (`Annotations`, `JPEGImages`, `ImageSets/Main`),
also as CVAT and Label Studio export them, folders `train`, `valid` and `test` as Roboflow exports
them, and one folder of images and XML files as labelImg writes it. An image belongs to the
annotation file of the same name; `filename` inside it is used if no image has that name, and never
selects an image that has an annotation file of its own.
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from buildsys.steps.lib.datasets import split_names
from buildsys.steps.lib.datasets.file_lists import list_files
from buildsys.steps.lib.datasets.formats.voc_file import VocFile, parse
from buildsys.steps.lib.datasets.labels import Finding, Layout, Object, read_text
from buildsys.steps.lib.datasets.pixel_boxes import share_box, show
from buildsys.steps.lib.datasets.placed_objects import find_error
from buildsys.steps.lib.datasets.samples import Sample
from buildsys.steps.lib.datasets.ultralytics_layout import Split, describe_unread
from buildsys.steps.lib.images.decoding import is_image

_ANNOTATIONS = ("Annotations", "annotations")
_IMAGES = ("JPEGImages", "images", "Images", "PNGImages")
_LISTS = "ImageSets/Main"
_WHOLE = ("trainval", "default")
"""Lists of all images, used for training if no list is named train or val; CVAT's is `default`."""
_START = 2000
"""Number of bytes in which the first element of an XML file must begin."""


@dataclass(frozen=True, kw_only=True)
class VocSplit:
    """The paths of a split below the dataset's root: its annotation folder, its image folder, and
    the list of names; without a list the split is all of them.
    """

    name: str
    annotations: str
    images: str
    names: str = ""

    @property
    def places(self) -> tuple[str, ...]:
        """Return the paths that make up the split, its images first."""
        return tuple(dict.fromkeys(filter(None, (self.images, self.annotations, self.names))))


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An image and its annotation file, relative to the dataset's root; `file` is empty if there is
    none.
    """

    image: str
    file: str
    content: VocFile | None


@dataclass(frozen=True, kw_only=True)
class _Lost:
    """A name that matches no single image, and the `images` that it might mean; `taken`: the
    annotation file that already uses the only candidate.
    """

    name: str
    line: int
    file: str
    images: tuple[str, ...]
    taken: str = ""


def find_splits(root: Path) -> tuple[VocSplit, ...]:
    """Return the splits of a folder; () if it has no annotation file."""
    annotations, images = _folders(root, "")
    if annotations:
        lists = _find_lists(root)
        if lists:
            return tuple(
                VocSplit(name=name, annotations=annotations, images=images, names=path)
                for name, path in lists
            )
        return (VocSplit(name="train", annotations=annotations, images=images),)
    found = []
    for split, folder in split_names.find_splits("*", lambda path: (root / path).is_dir()):
        if _holds_annotations(root, folder):
            inner, pictures = _folders(root, folder)
            found.append(VocSplit(name=split, annotations=inner or folder, images=pictures))
    if found:
        return tuple(found)
    if _holds_annotations(root, "."):
        return (VocSplit(name="train", annotations=".", images="."),)
    return ()


def is_certain(root: Path) -> bool:
    """Return whether a folder is certainly in this format: it, or a folder in it, has a folder
    `Annotations` with XML files, or an annotation file has an image's name.
    """
    files = [PurePosixPath(path) for path in list_files(root)]
    stems = {path.stem for path in files if is_image(path)}
    return any(
        "Annotations" in path.parts[:-1] or (path.stem in stems and _is_annotation(root / path))
        for path in files
        if is_xml(path)
    )


def has_annotation(root: Path) -> bool:
    """Return whether any XML file below a folder is an annotation file."""
    return any(_is_annotation(root / path) for path in list_files(root) if is_xml(path))


def is_xml(path: str | PurePosixPath) -> bool:
    """Return whether a file is XML, by its name."""
    return PurePosixPath(path).suffix.lower() == ".xml"


def read_entries(root: Path, split: VocSplit) -> tuple[list[Entry], list[Finding]]:
    """Return the images of a split with the content of their annotation files, sorted by path."""
    findings: list[Finding] = []
    pictures = []
    for path in list_files(root, split.images):
        pictures += [path] if is_image(PurePosixPath(path)) else []
        findings += describe_unread(path)
    by_stem: dict[str, list[str]] = {}
    by_name: dict[str, list[str]] = {}
    for path in pictures:
        by_stem.setdefault(_stem(path, split.images), []).append(path)
        by_name.setdefault(PurePosixPath(path).name, []).append(path)
    files = _annotation_files(root, split)
    wanted, listed = _names(root, split, by_stem, findings)
    entries: dict[str, Entry] = {}
    renamed: list[tuple[str, int, str, VocFile]] = []
    lost: list[_Lost] = []
    for name, line in wanted:
        file = files.get(os.path.normpath(name), "")
        content = _read(root, file, findings) if file else None
        own = by_stem.get(name, [])
        image = _choose(own, content)
        if not image and not own and content is not None:
            renamed.append((name, line, file, content))
        elif not image:
            lost.append(_Lost(name=name, line=line, file=file, images=tuple(own)))
        elif content is not None or not file:
            known = file if content is not None else ""
            entries[image] = Entry(image=image, file=known, content=content)
            findings += _describe_namesakes(own, image, file)
    for name, line, file, known_content in renamed:
        same = tuple(by_name.get(known_content.filename, []))
        taken = ""
        if len(same) == 1:
            other = entries.get(same[0])
            taken = files.get(_stem(same[0], split.images), "") or (other.file if other else "")
        if len(same) == 1 and not taken:
            entries[same[0]] = Entry(image=same[0], file=file, content=known_content)
        else:
            lost.append(_Lost(name=name, line=line, file=file, images=same, taken=taken))
    findings += _describe_lost(lost, len(wanted), split)
    if not listed:
        for image in pictures:
            entries.setdefault(image, Entry(image=image, file="", content=None))
    return [entries[image] for image in sorted(entries)], findings


def class_names(entries: Iterable[Entry]) -> tuple[str, ...]:
    """Return the names of all objects, sorted, because the format defines no order."""
    files = (entry.content for entry in entries if entry.content is not None)
    return tuple(sorted({item.name for file in files for item in file.objects}))


def has_objects(entry: Entry) -> bool:
    """Return whether an image has an object that is used."""
    return entry.content is not None and not all(item.difficult for item in entry.content.objects)


def read_split(
    root: Path, split: Split, layout: Layout
) -> tuple[tuple[Sample, ...], tuple[Finding, ...]]:
    """Read a split; see `readers.DatasetFormat`."""
    own = next((found for found in find_splits(root) if found.name == split.name), None)
    if own is None:
        place = ", ".join(split.paths)
        return (), (
            Finding.error("missing-image", place, "holds no annotation file in VOC's format"),
        )
    entries, findings = read_entries(root, own)
    samples = []
    for entry in entries:
        objects, wrong = place_objects(entry, layout)
        findings += wrong
        size = entry.content.size if entry.content is not None else None
        samples.append(
            Sample(image=entry.image, objects=tuple(objects), labels=entry.file, size=size)
        )
    return tuple(samples), tuple(findings)


def place_objects(entry: Entry, layout: Layout) -> tuple[list[tuple[int, Object]], list[Finding]]:
    """Return an image's objects in shares, with their lines, and findings."""
    content = entry.content
    findings: list[Finding] = []
    if content is None or not content.objects:
        return [], []
    if content.size is None:
        message = "has no `size`, and boxes are in pixels"
        hint = "write <size><width>…</width><height>…</height></size>"
        return [], [Finding.error("broken-annotation", entry.file, message, hint=hint)]
    found: list[tuple[int, Object]] = []
    left_out = 0
    for item in content.objects:
        category = layout.indices.get(item.name)
        if category is None:
            few = ", ".join(layout.classes[:12])
            message = f"{show(item.name)} is not one of the classes"
            finding = Finding.error(
                "class-out-of-range",
                entry.file,
                message,
                f"there are: {few}",
                line=item.line,
                column=item.column,
            )
            findings.append(finding)
            continue
        if item.difficult:
            left_out += 1
            continue
        box = share_box(item.corners, content.size)
        placed = Object(category=category, box=box, keypoints=())
        problem = find_error(placed, content.size, layout)
        if problem:
            hint = f"corners are in pixels of an image of {content.size[0]}x{content.size[1]}"
            findings.append(
                Finding.error(
                    "outside", entry.file, problem, hint, line=item.line, column=item.column
                )
            )
        else:
            found.append((item.line, placed))
    if left_out:
        message = f"objects that are marked as difficult are left out: {left_out}"
        hint = "as Ultralytics' and darknet's converters do"
        findings.append(Finding.warning("difficult", entry.file, message, hint))
    return found, findings


def find_strays(
    root: Path, splits: tuple[Split, ...], samples: Iterable[Sample]
) -> Iterator[Finding]:
    """Yield annotation files that no list names."""
    used = {sample.labels for sample in samples}
    for folder in sorted({split.annotations for split in find_splits(root) if split.names}):
        for path in list_files(root, folder):
            if is_xml(path) and path not in used:
                yield Finding.warning("stray-label", path, "an annotation file that no list names")


def _folders(root: Path, place: str) -> tuple[str, str]:
    """Return the annotation folder in a folder, or "", and the image folder, or the folder itself."""
    found = []
    for names in (_ANNOTATIONS, _IMAGES):
        paths = (f"{place}/{name}" if place else name for name in names)
        found.append(next((path for path in paths if (root / path).is_dir()), ""))
    annotations, images = found
    holds = bool(annotations) and _holds_annotations(root, annotations)
    return annotations if holds else "", images or place or "."


def _find_lists(root: Path) -> list[tuple[str, str]]:
    """Return the list of each split; lists of single classes (`cat_train.txt`) are ignored."""
    lists = split_names.find_splits(f"{_LISTS}/*.txt", lambda path: (root / path).is_file())
    found = list(lists)
    names = [name for name, _ in found]
    if "train" not in names and "val" not in names:
        paths = (f"{_LISTS}/{word}.txt" for word in _WHOLE)
        path = next((path for path in paths if (root / path).is_file()), "")
        found = [("train", path), *found] if path else found
    return found


def _names(
    root: Path, split: VocSplit, by_stem: dict[str, list[str]], findings: list[Finding]
) -> tuple[list[tuple[str, int]], bool]:
    """Return the names of a split's images with their lines in its list, and whether a list exists."""
    if not split.names:
        return [(name, 0) for name in _annotation_files(root, split)], False
    text, problem = read_text(root / split.names)
    if problem:
        findings.append(Finding.error("broken-list", split.names, problem))
        return [], True
    wanted: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        name = line.strip().strip('"').replace("\\", "/")
        if name and name not in by_stem and is_image(PurePosixPath(name)):
            name = name.rpartition(".")[0]
        if os.path.normpath(name).startswith("..") or name.startswith("/"):
            message = f"{show(name)} leads out of the dataset"
            findings.append(Finding.error("broken-list", split.names, message, line=number))
        elif name:
            wanted.setdefault(name, number)
    return list(wanted.items()), True


def _read(root: Path, file: str, findings: list[Finding]) -> VocFile | None:
    try:
        data = (root / file).read_bytes()
    except OSError as error:
        findings.append(
            Finding.error("broken-annotation", file, f"cannot be read: {error.strerror}")
        )
        return None
    content, mistakes = parse(data, file)
    findings += mistakes
    return content


def _annotation_files(root: Path, split: VocSplit) -> dict[str, str]:
    """Return the annotation files of a split by their paths below its folder, without endings."""
    files = [path for path in list_files(root, split.annotations) if is_xml(path)]
    return {_stem(path, split.annotations): path for path in files}


def _choose(images: list[str], content: VocFile | None) -> str:
    """Return the image of an annotation file; if several have its name, `filename` decides."""
    if len(images) > 1 and content is not None:
        images = [path for path in images if PurePosixPath(path).name == content.filename]
    return images[0] if len(images) == 1 else ""


def _describe_namesakes(images: list[str], chosen: str, file: str) -> Iterator[Finding]:
    """Yield other images of the same name as an annotation file's image."""
    for image in images:
        if image != chosen:
            message = f"has the name of {PurePosixPath(chosen).name}, which {file} belongs to"
            hint = "it counts as an image without objects; give it another name, or remove it"
            yield Finding.warning("shared-label", image, message, hint)


def _describe_lost(lost: list[_Lost], wanted: int, split: VocSplit) -> Iterator[Finding]:
    """Yield annotation files and list lines without an image; a single finding if all are."""
    where = split.images if split.images != "." else "the folder"
    if lost and len(lost) == wanted and not any(item.images for item in lost):
        message = f"none of its {wanted} images is in {where}, the first is {show(lost[0].name)}"
        yield Finding.error("missing-image", split.names or split.annotations, message)
        return
    for item in lost:
        message, hint = f"its image {show(item.name)} is not in {where}", ""
        if item.taken:
            named = PurePosixPath(item.images[0]).name
            hint = f"its `filename` is {named}, the image of {item.taken}: remove one of the two"
        elif item.images:
            message = f"{len(item.images)} images are called {show(item.name)}"
            hint = f"write which one as its `filename`: {', '.join(item.images[:5])}"
        line = 0 if item.file else item.line
        yield Finding.error("missing-image", item.file or split.names, message, hint, line=line)


def _holds_annotations(root: Path, place: str) -> bool:
    return any(is_xml(path) for path in list_files(root, place))


def _is_annotation(path: Path) -> bool:
    """Return whether an XML file's first element is that of this format."""
    try:
        with path.open("rb") as file:
            start = file.read(_START).replace(b"\0", b"")  # UTF-16 has a zero byte in every letter
    except OSError:
        return False
    first = re.search(rb"<[a-zA-Z][^\s/>]*", start)
    return first is not None and first[0] == b"<annotation"


def _stem(path: str, place: str) -> str:
    """Return a file's path below the folder `place`, without its ending."""
    return str(PurePosixPath(_below(path, place)).with_suffix("")) if path else ""


def _below(path: str, place: str) -> str:
    return path if place == "." else path.removeprefix(f"{place}/")
