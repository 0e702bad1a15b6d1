"""One small data set of demo scenes in each format that `evaluation.formats` reads."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import yaml
from PIL import Image

from tools.lab import data_set
from tools.lab.data_set import Entry, runs_of

KINDS = ("color", "thing")


def entries(per_kind: int = 2) -> list[Entry]:
    """Edits of held-out scenes."""
    return data_set.entries(per_kind, KINDS)


def write(format: str, folder: Path, made: list[Entry]) -> Path:
    """The data set in a format; the path to name."""
    folder.mkdir(exist_ok=True)
    return WRITERS[format](folder, made)


def _pie_bench(folder: Path, made: list[Entry]) -> Path:
    """With the brackets that PIE-Bench has in its prompts."""
    path = data_set.write(folder, made)
    mapping = json.loads(path.read_text())
    for entry in mapping.values():
        entry["original_prompt"] = entry["original_prompt"].replace(" a ", " a [", 1) + "]"
        entry["editing_prompt"] = f"[{entry['editing_prompt']}]"
    path.write_text(json.dumps(mapping))
    return path


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
                "mask": " ".join(map(str, runs_of(entry.mask))),
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
        {"init_img": f"/{entry.path}", "source_prompt": entry.source, "target_prompts": [entry.target]}
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
            table.writerow([entry.path, entry.source, entry.target, entry.kind, mask, f"edit {number}"])
    return folder / "list.csv"


def _parquet(folder: Path, made: list[Entry]) -> Path:
    """As GenAI-Bench's copies are: pictures within, and columns of other names."""
    import pyarrow
    import pyarrow.parquet

    rows = [
        {
            "source_image": {"bytes": entry.picture, "path": entry.path},
            "source_prompt": entry.source,
            "target_prompt": entry.target,
        }
        for entry in made
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "bench.parquet")
    return folder / "bench.parquet"


def _pictures(folder: Path, made: list[Entry]) -> None:
    for entry in made:
        (folder / entry.path).parent.mkdir(parents=True, exist_ok=True)
        (folder / entry.path).write_bytes(entry.picture)


COLUMNS = "picture=source_image,source=source_prompt,target=target_prompt"  # of the last
WRITERS = {
    "pie-bench": _pie_bench,
    "pie-bench-parquet": _pie_bench_parquet,
    "yaml": _yaml,
    "csv": _csv,
    "parquet": _parquet,
}
