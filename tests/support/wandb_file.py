"""Reads the file of an offline W&B run: LevelDB's log format, each record a protocol buffer."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

from wandb.proto import wandb_internal_pb2

BLOCK, HEADER = 2**15, struct.Struct("<IHB")
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(file: Path) -> Iterator[wandb_internal_pb2.Record]:
    data, position, parts = file.read_bytes(), HEADER.size, []
    assert data[:4] == b":W&B"
    while position + HEADER.size <= len(data):
        if BLOCK - position % BLOCK < HEADER.size:
            position += BLOCK - position % BLOCK
        _, length, kind = HEADER.unpack_from(data, position)
        position += HEADER.size
        parts.append(data[position : position + length])
        position += length
        if kind in (FULL, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(b"".join(parts))
            parts = []
            yield record


def read_run(folder: Path) -> SimpleNamespace:
    """Name, project, config, logged history (last value of each key; all rows in order) and exit
    code of the only run below a folder."""
    (file,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    run = SimpleNamespace(history={}, rows=[], config={}, exit_code=None)
    for record in records(file):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run.name, run.project, run.group = (
                record.run.display_name,
                record.run.project,
                record.run.run_group,
            )
            run.config |= {
                item.key: json.loads(item.value_json) for item in record.run.config.update
            }
        elif kind == "history":
            items = record.history.item
            row = {"/".join(one.nested_key) or one.key: json.loads(one.value_json) for one in items}
            run.rows.append(row)
            run.history |= row
        elif kind == "exit":
            run.exit_code = record.exit.exit_code
    return run
