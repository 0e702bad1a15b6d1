"""One small data set of demo scenes in each format that `evaluation.formats` reads."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from demo.edits import Edit, choose_edits, kept_by
from demo.scenes import Scene, render

KINDS = ("color", "shape")


@dataclass(frozen=True)
class Entry:
    """An edit of a scene: its picture, prompts, and the mask of what is to change."""

    name: str
    picture: bytes
    source: str
    target: str
    kind: str
    mask: np.ndarray

    @property
    def runs(self) -> list[int]:
        """Of the mask, as PIE-Bench writes them."""
        padded = np.concatenate([[0], self.mask.ravel().astype(int), [0]])
        starts, ends = (np.flatnonzero(np.diff(padded) == step) for step in (1, -1))
        return np.stack([starts, ends - starts], axis=1).ravel().tolist()


def entries(per_kind: int = 2) -> list[Entry]:
    """Edits of held-out scenes."""
    return [_entry(number, edit) for number, edit in enumerate(choose_edits(per_kind, kinds=KINDS))]


def _entry(number: int, edit: Edit) -> Entry:
    mask = ~kept_by(edit).numpy()
    name = f"{edit.kind}/{number:03}.png"
    return Entry(name, png_of(edit.source), edit.source.caption, edit.target.caption, edit.kind, mask)


def png_of(scene: Scene) -> bytes:
    """A scene as a file of 32 x 32 pixels."""
    file = io.BytesIO()
    pixels = np.clip((render(scene).image.transpose(1, 2, 0) + 1) * 127.5, 0, 255).round().astype(np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write(format: str, folder: Path, made: list[Entry]) -> Path:
    """The data set in a format; the path to name."""
    return WRITERS[format](folder, made)


def _pie_bench(folder: Path, made: list[Entry]) -> Path:
    _pictures(folder / "annotation_images", made)
    mapping = {
        f"{number:012}": {
            "image_path": entry.name,
            "original_prompt": entry.source.replace(" a ", " a [", 1) + "]",
            "editing_prompt": f"[{entry.target}]",
            "editing_instruction": "change it",
            "editing_type_id": {"color": "6", "shape": "1"}[entry.kind],
            "blended_word": "",
            "mask": entry.runs,
        }
        for number, entry in enumerate(made)
    }
    (folder / "mapping_file.json").write_text(json.dumps(mapping))
    return folder / "mapping_file.json"


def _pie_bench_parquet(folder: Path, made: list[Entry]) -> Path:
    import pyarrow
    import pyarrow.parquet

    for kind in KINDS:
        rows = [
            {
                "image": {"bytes": entry.picture, "path": None},
                "id": f"{number:012}",
                "source_prompt": f"[{entry.source}]",
                "target_prompt": entry.target,
                "edit_action": "{}",
                "aspect_mapping": "{}",
                "blended_words": "[]",
                "mask": " ".join(map(str, entry.runs)),
            }
            for number, entry in enumerate(made)
            if entry.kind == kind
        ]
        (folder / kind).mkdir(parents=True)
        table = pyarrow.Table.from_pylist(rows)
        pyarrow.parquet.write_table(table, folder / kind / "V1-00000-of-00001.parquet", row_group_size=1)
    return folder


def _yaml(folder: Path, made: list[Entry]) -> Path:
    _pictures(folder, made)
    entries = [
        {"init_img": f"/{entry.name}", "source_prompt": entry.source, "target_prompts": [entry.target]}
        for entry in made
    ]
    (folder / "test.yaml").write_text(yaml.safe_dump(entries))
    return folder / "test.yaml"


def _csv(folder: Path, made: list[Entry]) -> Path:
    _pictures(folder, made)
    with (folder / "list.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["picture", "source", "target", "type", "mask", "id"])
        for number, entry in enumerate(made):
            mask = f"masks/{number}.png"
            (folder / "masks").mkdir(exist_ok=True)
            Image.fromarray(entry.mask).save(folder / mask)
            table.writerow([entry.name, entry.source, entry.target, entry.kind, mask, f"edit {number}"])
    return folder / "list.csv"


def _parquet(folder: Path, made: list[Entry]) -> Path:
    """As GenAI-Bench's copies are: pictures within, and columns of other names."""
    import pyarrow
    import pyarrow.parquet

    rows = [
        {
            "source_image": {"bytes": entry.picture, "path": entry.name},
            "source_prompt": entry.source,
            "target_prompt": entry.target,
        }
        for entry in made
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "bench.parquet")
    return folder / "bench.parquet"


def _pictures(folder: Path, made: list[Entry]) -> None:
    for entry in made:
        (folder / entry.name).parent.mkdir(parents=True, exist_ok=True)
        (folder / entry.name).write_bytes(entry.picture)


COLUMNS = "picture=source_image,source=source_prompt,target=target_prompt"  # of the last
WRITERS = {
    "pie-bench": _pie_bench,
    "pie-bench-parquet": _pie_bench_parquet,
    "yaml": _yaml,
    "csv": _csv,
    "parquet": _parquet,
}
