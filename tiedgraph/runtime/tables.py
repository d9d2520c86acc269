"""`.csv` and `.parquet`: columns by the names of inputs, several as `name[0]`, `name[1]`, ..."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tiedgraph.diagnostics import DataError
from tiedgraph.ir.types import Extent, Type
from tiedgraph.runtime.checks import list_shape
from tiedgraph.runtime.datafile import LENGTH, Array, File, Wanted, check_room


def _columns_of(name: str, columns: Iterable[str]) -> list[str]:
    """Columns of one array, in order: `name` itself, or `name[0]`, `name[1]`, ...

    Arrays with several axes are written row by row: `name[i]` is entry i of the flat sample.
    """
    known = set(columns)
    if name in known:
        return [name]
    found: list[str] = []
    while f"{name}[{len(found)}]" in known:
        found.append(f"{name}[{len(found)}]")
    return found


def _array_names(columns: Iterable[str]) -> tuple[str, ...]:
    names = (column.split("[")[0] if column.endswith("]") else column for column in columns)
    return tuple(dict.fromkeys(names))


def _shaped(name: str, kind: Type | None, table: Array) -> Array:
    """Columns [samples, count] in the declared shape."""
    if kind is None:
        if table.shape[1] != 1:
            raise DataError(f"'{name}' must be one column")
        if np.any(table != np.floor(table)):
            row = int(np.argwhere(table[:, 0] != np.floor(table[:, 0]))[0][0])
            raise DataError(f"'{name}' of sample {row} is {table[row, 0]}, not an integer")
        return table[:, 0].astype(np.int64)
    fixed = int(np.prod([size for size in kind.shape if isinstance(size, int)], dtype=object))
    open_axes = len(kind.run_time_axes)
    count = table.shape[1]
    if open_axes > 1:
        raise DataError(f"array '{name}' ({kind}) has several run-time sizes: give it as .npz")
    if count != fixed if not open_axes else count % fixed:
        raise DataError(
            f"array '{name}' has {count} columns, but {kind} is declared, which is "
            f"{list_shape(kind)}: "
            + (f"a multiple of {fixed} columns" if open_axes else f"{fixed} columns")
        )
    shape = [count // fixed if isinstance(size, Extent) else size for size in kind.shape]
    return table.reshape(-1, *shape)


def open_csv(path: Path) -> File:
    """The first line names the columns; commas, semicolons or tabs stand between them."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline(2**20)
    except UnicodeDecodeError:
        raise DataError("it is not UTF-8 text") from None
    if not first.strip():
        raise DataError("it is empty; its first line must name the columns")
    mark = next((c for c in ",;\t" if c in first), ",")
    columns = [cell.strip() for cell in next(csv.reader([first], delimiter=mark))]
    twice = [name for i, name in enumerate(columns) if name in columns[:i]]
    if twice:
        raise DataError(f"two columns are named '{twice[0]}'")

    def read(wanted: Wanted) -> dict[str, Array]:
        places = {name: _columns_of(name, columns) for name in wanted}
        chosen = [columns.index(column) for found in places.values() for column in found]
        filled = _may_be_empty(places, wanted, columns)
        table = _csv_table(path, mark, columns, chosen, filled)
        result, at = {}, 0
        for name, found in places.items():
            result[name] = _shaped(name, wanted[name], table[:, at : at + len(found)])
            at += len(found)
        return result

    return File(_array_names(columns), read)


def _may_be_empty(
    places: Mapping[str, list[str]], wanted: Wanted, columns: list[str]
) -> frozenset[int]:
    """Columns whose cells may be empty: steps beyond a sample's end, where lengths are given."""
    found = []
    for name, own in places.items():
        kind = wanted[name]
        if kind is not None and kind.run_time_axes and f"{name}{LENGTH}" in wanted:
            found += [columns.index(column) for column in own]
    return frozenset(found)


def _csv_table(
    path: Path, mark: str, columns: list[str], chosen: list[int], filled: frozenset[int]
) -> Array:
    rows: list[Array] = []
    block: list[list[float]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=mark)
            next(reader)
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(columns):
                    raise DataError(
                        f"line {reader.line_num} has {len(cells)} cells, "
                        f"and the first line names {len(columns)} columns"
                    )
                try:
                    block.append([float(cells[i]) for i in chosen])
                except ValueError:
                    block.append(_careful(cells, columns, chosen, filled, reader.line_num))
                if len(block) == 4096:
                    rows.append(np.array(block, np.float64))
                    block.clear()
    except UnicodeDecodeError as error:
        raise DataError(f"it is not UTF-8 text (byte 0x{error.object[error.start]:02x})") from None
    except csv.Error as error:
        raise DataError(f"it is not a table: {error}") from None
    rows.append(np.array(block, np.float64).reshape(len(block), len(chosen)))
    return np.concatenate(rows)


def _careful(
    cells: list[str], columns: list[str], chosen: list[int], filled: frozenset[int], line: int
) -> list[float]:
    """A row in which some cell is no number; empty ones may be steps beyond a sample's end."""
    numbers = []
    for i in chosen:
        text = cells[i].strip()
        if not text and i in filled:
            numbers.append(0.0)
            continue
        try:
            numbers.append(float(text))
        except ValueError:
            what = f"'{text[:40]}' is not a number" if text else "the cell is empty"
            raise DataError(f"line {line}, column '{columns[i]}': {what}") from None
    return numbers


def open_parquet(path: Path) -> File:
    """Columns of numbers, or of lists of numbers; needs pyarrow."""
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise DataError("reading .parquet needs pyarrow: pip install 'tiedgraph[data]'") from None
    try:
        with parquet.ParquetFile(path) as file:
            columns = list(file.schema_arrow.names)
    except (arrow.ArrowException, OSError) as error:
        raise DataError(f"it is no .parquet file: {str(error).splitlines()[0]}") from None

    def read(wanted: Wanted) -> dict[str, Array]:
        places = {name: _columns_of(name, columns) for name in wanted}
        chosen = [column for found in places.values() for column in found]
        try:
            with parquet.ParquetFile(path) as file:
                check_room(8 * file.metadata.num_rows * len(chosen))
                table = file.read(columns=chosen)
        except (arrow.ArrowException, OSError) as error:
            raise DataError(f"it is damaged: {str(error).splitlines()[0]}") from None
        result: dict[str, Array] = {}
        for name, found in places.items():
            cells = [_parquet_column(table.column(c).combine_chunks(), c) for c in found]
            if len(cells) == 1 and isinstance(cells[0], list):
                _pad_lists(name, wanted[name], cells[0], result)
            elif any(isinstance(column, list) for column in cells):
                raise DataError(f"columns of '{name}' hold lists; give one column of lists alone")
            else:
                result[name] = _shaped(name, wanted[name], np.stack(cells, axis=1))
        return result

    return File(_array_names(columns), read)


def _parquet_column(column: Any, name: str) -> Any:
    """Numbers as an array; lists as a list of arrays."""
    import pyarrow as arrow

    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise DataError(f"column '{name}' is empty in sample {row}")
    kind = column.type
    if arrow.types.is_list(kind) or arrow.types.is_large_list(kind) or _fixed_list(kind):
        inner = column.flatten()
        if inner.null_count:
            raise DataError(f"a list of column '{name}' has empty entries")
        numbers = _parquet_column(inner, name)
        if isinstance(numbers, list):
            raise DataError(f"column '{name}' holds lists of lists; write them flat")
        ends = np.cumsum(column.value_lengths().to_numpy(zero_copy_only=False))
        return np.split(numbers, ends[:-1])
    if not (
        arrow.types.is_integer(kind)
        or arrow.types.is_floating(kind)
        or arrow.types.is_boolean(kind)
    ):
        raise DataError(f"column '{name}' holds {kind}, not numbers")
    return column.to_numpy(zero_copy_only=False)


def _fixed_list(kind: Any) -> bool:
    import pyarrow as arrow

    return bool(arrow.types.is_fixed_size_list(kind))


def _pad_lists(name: str, kind: Type | None, cells: list[Array], result: dict[str, Array]) -> None:
    """A column of lists: flat samples. Along one run-time axis they may differ in length."""
    if kind is None:
        raise DataError(f"'{name}' must be one column of integers")
    counts = np.array([len(cell) for cell in cells], np.int64)
    if not kind.run_time_axes or not len(counts) or counts.min() == counts.max():
        if len(counts) and counts.min() != counts.max():
            row = int(np.argmax(counts != counts[0]))
            raise DataError(
                f"'{name}' has {counts[row]} numbers in sample {row}, and {counts[0]} in sample 0; "
                f"{kind} is declared, which is {list_shape(kind)}"
            )
        width = int(counts[0]) if len(counts) else 0
        flat = np.concatenate(cells) if cells else np.zeros(0)
        result[name] = _shaped(name, kind, flat.reshape(len(cells), width))
        return
    fixed = int(np.prod([size for size in kind.shape if isinstance(size, int)], dtype=object))
    if len(kind.run_time_axes) > 1 or np.any(counts % fixed):
        raise DataError(f"lists of '{name}' do not fit {kind}, which is {list_shape(kind)}")
    steps = counts // fixed
    sizes = [int(steps.max()) if isinstance(size, Extent) else size for size in kind.shape]
    padded = np.zeros((len(cells), *sizes), cells[0].dtype)
    axis = kind.run_time_axes[0]
    for row, cell in enumerate(cells):
        own = [int(steps[row]) if isinstance(size, Extent) else size for size in kind.shape]
        place = tuple(slice(0, own[i]) if i == axis else slice(None) for i in range(len(own)))
        padded[(row, *place)] = cell.reshape(own)
    result[name] = padded
    result.setdefault(f"{name}{LENGTH}", steps)
