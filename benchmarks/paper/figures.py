"""Pictures as the paper's Figures 7 and 8: a row for each slice; its truth, and the mask of each method.

The slices are those at even distances in the list of all that can be shown, and chosen by nothing else.
"""

from pathlib import Path

import cv2
import numpy as np
from datasets import PUBLISHED, read_grey, test_slices

from infnet_runtime.arrays import BoolArray, ByteArray
from infnet_runtime.io.png import png_bytes
from paper.opened import class_masks
from paper.published import TABLE_II, TABLE_III
from paper.scores import CLASS_MAPS, class_truth, upright

ROWS = 5
_SIDE, _GAP, _HEAD = 120, 4, 26  # pixels
_RED, _GREEN, _BLACK = (60, 60, 230), (70, 190, 60), (0, 0, 0)  # blue, green, red
_STRENGTH = 0.55

Picture = ByteArray
Masks = dict[str, BoolArray]


def infection_slices(data: Path) -> list[str]:
    """Names of the slices of Figure 7."""
    return _evenly([name for name, _, _ in test_slices(data)])


def class_slices(data: Path) -> list[str]:
    """Names of the slices of Figure 8, of those that have both classes."""
    names = [name for name, _, _ in test_slices(data)]
    return _evenly([name for name in names if all(m.any() for m in class_truth(data, name).values())])


def shown_slices(data: Path) -> set[str]:
    """All of them."""
    return {*infection_slices(data), *class_slices(data)}


def draw_figures(maps: Path, data: Path, out: Path, names: list[str]) -> list[Path]:
    """Write ``fig7.png`` and ``fig8.png``, of the systems that have maps.

    Parameters
    ----------
    maps
        Folder with ``NAME.npz`` of :func:`~paper.scoring.score_all`.
    names
        Systems, in the order of their columns.
    """
    found = {name: maps / f"{name}.npz" for name in names if (maps / f"{name}.npz").is_file()}
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for figure, slices, columns in (
        ("fig7.png", infection_slices(data), _infection_columns(data, found)),
        ("fig8.png", class_slices(data), _class_columns(data, found)),
    ):
        pictures = {name: (grey, truth) for name, grey, truth in test_slices(data) if name in slices}
        rows = [
            [_picture(pictures[s][0], {}), *(_picture(pictures[s][0], c[s]) for c in columns.values())]
            for s in slices
        ]
        (out / figure).write_bytes(png_bytes(_sheet(["CT", *columns], rows)))
        written.append(out / figure)
    return written


def _infection_columns(data: Path, found: dict[str, Path]) -> dict[str, dict[str, Masks]]:
    columns = {"truth": {name: {"infection": truth} for name, _, truth in test_slices(data)}}
    for row in TABLE_II:
        if row.maps and (folder := data / PUBLISHED / row.maps).is_dir():
            columns[f"{row.method} (authors)"] = {
                path.stem: {"infection": upright(read_grey(path) >= 128)} for path in folder.glob("*.png")
            }
    for name, path in found.items():
        with np.load(path, allow_pickle=False) as maps:
            columns[name] = {key: {"infection": maps[key][0] >= 128} for key in maps}
    return columns


def _class_columns(data: Path, found: dict[str, Path]) -> dict[str, dict[str, Masks]]:
    columns = {"truth": {name: class_truth(data, name) for name in class_slices(data)}}
    for row in TABLE_III:
        folders = {kind: data / folder / row.maps for kind, folder in CLASS_MAPS.items()}
        if row.maps and all(folder.is_dir() for folder in folders.values()):
            columns[f"{row.method} (authors)"] = {
                name: {kind: upright(read_grey(f / f"{name}.png") >= 128) for kind, f in folders.items()}
                for name in class_slices(data)
            }
    for name, path in found.items():
        with np.load(path, allow_pickle=False) as maps:
            of_classes = {key: maps[key] / np.float32(255) for key in maps if len(maps[key]) > 1}
        if of_classes:
            columns[name] = {key: class_masks(map_[0], map_[1:]) for key, map_ in of_classes.items()}
    return columns


def _picture(grey: ByteArray, masks: Masks) -> Picture:
    """A slice, infection and ground glass red, consolidation green."""
    colours = {"infection": _RED, "ground_glass": _RED, "consolidation": _GREEN}
    picture = np.repeat(grey[..., None], 3, axis=2).astype(np.float32)
    for kind, mask in masks.items():
        picture[mask] = (1 - _STRENGTH) * picture[mask] + _STRENGTH * np.array(colours[kind], np.float32)
    return np.asarray(
        cv2.resize(picture.astype(np.uint8), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.uint8
    )


def _sheet(titles: list[str], rows: list[list[Picture]]) -> Picture:
    step = _SIDE + _GAP
    sheet = np.full((_HEAD + step * len(rows), step * len(titles), 3), 255, np.uint8)
    for column, title in enumerate(titles):
        for line, part in enumerate(_lines(title)):
            place = (column * step + 2, 10 + 11 * line)
            cv2.putText(sheet, part, place, cv2.FONT_HERSHEY_SIMPLEX, 0.34, _BLACK, 1, cv2.LINE_AA)
        for row, pictures in enumerate(rows):
            top, left = _HEAD + row * step, column * step
            sheet[top : top + _SIDE, left : left + _SIDE] = pictures[column]
    return sheet


def _lines(title: str) -> list[str]:
    """A title in at most two lines."""
    if len(title) <= 18:
        return [title]
    cut = max((i for i, c in enumerate(title) if c in " -" and i <= 18), default=18)
    return [title[: cut + 1].strip(), title[cut + 1 :].strip()]


def _evenly(names: list[str]) -> list[str]:
    return [names[i] for i in np.linspace(0, len(names) - 1, min(ROWS, len(names))).round().astype(int)]
