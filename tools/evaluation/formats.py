"""Readers of data sets: PIE-Bench's mapping file and its parquet copy, the official yaml, tables with named columns.

- `pie-bench`: mapping_file.json (also TI2I's), pictures in `annotation_images` beside it (cure-lab/PnPInversion).
- `pie-bench-parquet`: the copy PIE-Bench++, a file or the folder of its configurations.
- `yaml`: a list of `init_img`, `source_prompt`, `target_prompts`, a case for each target (inbarhub/DDPM_inversion).
- `table`: CSV or parquet with the columns picture, source, target, and optionally id, type, mask, words; others by
  `columns`. A picture is a path beside the file or, in parquet, the picture itself; a mask is a picture or runs.

PIE-Bench's brackets, which mark what differs, are removed from its prompts. A missing picture is noticed when it is
read, so that the other cases can be done.
"""

from __future__ import annotations

import csv
import importlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath
from typing import Any

from . import EvaluationError
from .cases import Case, DataSet, Mask, Picture
from .tabular import csv_rows, parquet_rows

FORMATS = ("pie-bench", "pie-bench-parquet", "yaml", "table")
COLUMNS = ("picture", "source", "target", "id", "type", "mask", "words")
EDIT_TYPES = {
    "0": "random",
    "1": "change object",
    "2": "add object",
    "3": "delete object",
    "4": "change content",
    "5": "change pose",
    "6": "change color",
    "7": "change material",
    "8": "change background",
    "9": "change style",
}
_PLUS_PLUS = {"picture": "image", "source": "source_prompt", "target": "target_prompt", "words": "blended_words"}


_WITH_COLUMNS = ("table", "pie-bench-parquet")  # of FORMATS


def read(path: Path, format: str | None = None, columns: Mapping[str, str] | None = None) -> DataSet:
    """Read the cases of a file or a folder.

    Args:
        format: one of FORMATS; None to recognise it by the content.
        columns: a table's own names for some of COLUMNS.

    Raises:
        EvaluationError: the file is missing or of no known format, or has no columns and so no names for them.
    """
    path = _file_in(path)
    try:
        format = format or _format_of(path)
        if columns and format not in _WITH_COLUMNS:
            given = ",".join(f"{ours}={theirs}" for ours, theirs in columns.items())
            raise EvaluationError(
                f"--columns {given} is for the columns of CSV and parquet, but {path} is read as {format}, whose names "
                "are fixed: call its fields by these and leave --columns out, or write it as a CSV"
            )
        cases = tuple(_READERS[format](path, dict(columns or {})))
    except EvaluationError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise EvaluationError(f"{path} cannot be read as {format or 'a data set'}: {what}") from error
    return DataSet(path, format, cases)


def without_brackets(prompt: str) -> str:
    return prompt.replace("[", "").replace("]", "")


def runs_of(text: str | Iterable[int]) -> tuple[int, ...]:
    """A run-length list from numbers, or from text with blanks or commas between them."""
    parts = text.replace(",", " ").replace("[", " ").replace("]", " ").split() if isinstance(text, str) else text
    return tuple(int(part) for part in parts)


def _file_in(path: Path) -> Path:
    if not path.exists():
        raise EvaluationError(f"there is no data set {path}")
    mapping = path / "mapping_file.json"
    return mapping if mapping.is_file() else path


def _format_of(path: Path) -> str:
    ending = path.suffix.lower()
    if path.is_dir() or ending == ".parquet":
        files = _parquet_files(path)
        names = set(_parquet().ParquetFile(files[0]).schema_arrow.names)
        return "pie-bench-parquet" if {"edit_action", *_PLUS_PLUS.values()} <= names else "table"
    for format, endings in {"pie-bench": (".json",), "yaml": (".yaml", ".yml"), "table": (".csv",)}.items():
        if ending in endings:
            return format
    raise EvaluationError(f"{path} is of no known kind: name one of {', '.join(FORMATS)} with --format")


def _pie_bench(path: Path, columns: dict[str, str]) -> Iterator[Case]:
    entries = json.loads(path.read_text(encoding="utf-8"))
    folder = path.parent / "annotation_images"
    folder = folder if folder.is_dir() else path.parent
    for key, entry in entries.items():
        name = entry["image_path"].replace("\\", "/").lstrip("/")
        yield Case(
            id=key,
            picture=Picture.of_file(name, folder / name),
            source=without_brackets(entry["original_prompt"]),
            target=without_brackets(entry["editing_prompt"]),
            edit_type=EDIT_TYPES.get(str(entry.get("editing_type_id", "")), str(entry.get("editing_type_id", ""))),
            mask=runs_of(entry["mask"]) if "mask" in entry else None,
            words=entry.get("blended_word", ""),
        )


def _pie_bench_parquet(path: Path, columns: dict[str, str]) -> Iterator[Case]:
    for file in _parquet_files(path):
        for row in _parquet_rows(file, _PLUS_PLUS | columns):
            kind = file.parent.name if path.is_dir() and file.parent != path else file.stem
            prompts = {name: without_brackets(row[name]) for name in ("source", "target")}
            yield _case_of(row | prompts | {"type": row.get("type") or kind}, file.parent, str(row["id"]))


def _yaml(path: Path, columns: dict[str, str]) -> Iterator[Case]:
    yaml = _package("yaml", "a yaml")
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    if not isinstance(entries, list):
        raise ValueError("it is no list")
    for entry in entries:
        if "init_img" not in entry:  # one entry of PnP's list has none
            continue
        name = str(entry["init_img"]).lstrip("/")
        picture = Picture.of_file(name, _beside(path.parent, name))
        for k, target in enumerate(entry["target_prompts"]):
            yield Case(f"{_stem(name)}_{k}", picture, str(entry.get("source_prompt") or ""), str(target))


def _table(path: Path, columns: dict[str, str]) -> Iterator[Case]:
    if path.is_dir() or path.suffix.lower() == ".parquet":
        files = _parquet_files(path)
        rows = ((file.parent, row) for file in files for row in _parquet_rows(file, columns))
    else:
        rows = ((path.parent, row) for row in _csv_rows(path, columns))
    seen: Counter[str] = Counter()
    for folder, row in rows:
        name = row["picture"].name if isinstance(row["picture"], Picture) else str(row["picture"])
        case_id = str(row["id"]) if row.get("id") not in (None, "") else f"{_stem(name)}_{seen[name]}"
        seen[name] += 1
        yield _case_of(row, folder, case_id)


def _case_of(row: dict[str, Any], folder: Path, case_id: str) -> Case:
    """The case of a row with our own column names."""
    picture = row["picture"]
    if not isinstance(picture, Picture):
        name = str(picture).replace("\\", "/")
        picture = Picture.of_file(name.lstrip("/"), _place(folder, name))
    words = row.get("words") or ""
    return Case(
        id=case_id,
        picture=picture,
        source=str(row.get("source") or ""),
        target=str(row["target"]),
        edit_type=str(row.get("type") or ""),
        mask=_mask_of(row.get("mask"), folder),
        words=words if isinstance(words, str) else json.dumps(words),
    )


def _mask_of(value: Any, folder: Path) -> Mask | None:
    """The mask in a cell: a picture, the path of one, or runs; an empty cell is no mask, "0 0" marks nothing."""
    if value is None or value == "":
        return None
    if isinstance(value, Picture):
        return value
    if isinstance(value, str) and not value.replace(",", " ").strip("[] ").replace(" ", "").isdigit():
        return Picture.of_file(value, _place(folder, value))
    return runs_of(value)


def _place(folder: Path, name: str) -> Path:
    """A file of a table; a path from the root is one from the folder where there is such a file, as in PIE-Bench."""
    beside = folder / name.lstrip("/")
    return Path(name) if Path(name).is_absolute() and not beside.is_file() else beside


def _csv_rows(path: Path, columns: dict[str, str]) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        rows = csv_rows(file)
        _, header = next(rows, (1, []))
        ours = _ours(columns, header)
        for number, cells in rows:
            if cells and len(cells) != len(header):
                raise ValueError(f"row {number} has another number of cells than the header")
            row = dict(zip(header, cells, strict=False))
            if row:
                yield {name: row[column].strip() for name, column in ours.items()}


def _parquet_rows(path: Path, columns: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Rows by our own names; a column that holds files gives a Picture that is read later."""
    file = _parquet().ParquetFile(path)
    schema = file.schema_arrow
    ours = _ours(columns, schema.names)
    held = {name: column for name, column in ours.items() if _holds_files(schema.field(column).type)}
    light = [column for name, column in ours.items() if name not in held]
    light += [f"{column}.path" for column in held.values() if _has_path(schema.field(column).type)]
    for number, (group, index, values) in enumerate(parquet_rows(file, light)):
        row = {name: values[column] for name, column in ours.items() if name not in held}
        for name, column in held.items():
            stored = (values.get(column) or {}).get("path") or f"{path.stem}/{row.get('id', number)}.png"
            if name == "mask" and _content(_column(path, group, column)[index].as_py()) is None:
                row[name] = None
                continue
            row[name] = Picture(stored.replace("\\", "/"), partial(_cell, path, group, index, column))
        yield row


def _ours(columns: Mapping[str, str], there: Iterable[str]) -> dict[str, str]:
    """The table's columns by our names."""
    there = list(there)
    for name, column in columns.items():
        if name not in COLUMNS or column not in there:
            known = "" if name in COLUMNS else f"; the names are {', '.join(COLUMNS)}"
            raise ValueError(f"--columns {name}={column}, but the columns are {', '.join(there)}{known}")
    ours = {name: columns.get(name, name) for name in COLUMNS if columns.get(name, name) in there}
    for name in ("picture", "target"):
        if name not in ours:
            raise ValueError(
                f"which column is the {name}? Say it by --columns {name}=...; there are {', '.join(there)}"
            )
    return ours


def _holds_files(kind: Any) -> bool:
    arrow = _package("pyarrow", "parquet")
    if arrow.types.is_struct(kind):
        return any(field.name == "bytes" for field in kind)
    return arrow.types.is_binary(kind) or arrow.types.is_large_binary(kind)


def _has_path(kind: Any) -> bool:
    return _package("pyarrow", "parquet").types.is_struct(kind) and any(field.name == "path" for field in kind)


def _cell(path: Path, group: int, row: int, column: str) -> bytes:
    """The file in a cell; FileNotFoundError for an empty cell."""
    content = _content(_column(path, group, column)[row].as_py())
    if content is None:
        raise FileNotFoundError(f"the cell {column} of row {row} of {path.name} is empty")
    return content


def _content(value: Any) -> bytes | None:
    return value.get("bytes") if isinstance(value, dict) else value


@lru_cache(maxsize=2)
def _column(path: Path, group: int, column: str) -> Any:
    return _parquet().ParquetFile(path).read_row_group(group, columns=[column]).column(0)


def _parquet_files(path: Path) -> list[Path]:
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise EvaluationError(f"there is neither a mapping_file.json nor a parquet file in {path}")
    return files


def _beside(folder: Path, name: str) -> Path:
    """A path of the official yaml, relative to the folder of the yaml or one above it, where its script runs."""
    return next((base / name for base in (folder, *folder.parents[:2]) if (base / name).is_file()), folder / name)


def _stem(name: str) -> str:
    """A path without its ending: the name of a case without an id."""
    return str(PurePosixPath(name).with_suffix(""))


def _parquet() -> Any:
    return _package("pyarrow.parquet", "parquet")


def _package(name: str, what: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = {"yaml": "pyyaml"}.get(name, name.partition(".")[0])
        raise EvaluationError(f"to read {what} file run: pip install {package}") from error


_READERS = {"pie-bench": _pie_bench, "pie-bench-parquet": _pie_bench_parquet, "yaml": _yaml, "table": _table}
