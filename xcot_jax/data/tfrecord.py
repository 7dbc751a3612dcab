"""TFRecord files: written whole or not at all, read at random, every byte under a checksum.

A record is `length (u64) | masked CRC-32C of length (u32) | data | masked CRC-32C of data (u32)`,
little-endian. Records follow each other without a header or an index.
"""

from __future__ import annotations

import array
import mmap
import os
import struct
from pathlib import Path
from typing import Any

import google_crc32c

from xcot_jax.errors import InputError

_HEADER = struct.Struct("<QI")
_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")
_FRAME = _HEADER.size + _CRC.size


class CorruptRecordError(InputError):
    """A record cannot be read as it was written.

    Attributes:
      shard: the file.
      record: number of the record in the file, from 0.
      offset: where the record begins in the file, in bytes.
      problem: what is wrong with it.
    """

    def __init__(self, shard: str, record: int, offset: int, problem: str) -> None:
        # All four are the exception's arguments, so that it survives the way out of a worker
        # process.
        super().__init__(shard, record, offset, problem)
        self.shard, self.record, self.offset, self.problem = shard, record, offset, problem

    def __str__(self) -> str:
        return (
            f"{self.shard}: record {self.record} at byte {self.offset}: {self.problem}; "
            "restore the file from a copy or write the dataset again"
        )


def masked_crc(data: bytes) -> int:
    """CRC-32C, rotated and shifted as TFRecord asks (a CRC of bytes that hold a CRC is weak)."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def frame(data: bytes) -> bytes:
    """One record, as it stands in the file."""
    length = _LENGTH.pack(len(data))
    return b"".join((length, _CRC.pack(masked_crc(length)), data, _CRC.pack(masked_crc(data))))


class ShardWriter:
    """Writes records to a temporary file, which `commit` gives its name.

    Without `commit`, `close` leaves nothing behind.

    Attributes:
      records: how many were written.
      data_bytes: their bytes, without framing.
    """

    def __init__(self, temporary: Path) -> None:
        """Opens the file, over any that an interrupted run left there."""
        self.records = 0
        self.data_bytes = 0
        self._temporary = temporary
        self._file = temporary.open("wb", buffering=1 << 18)

    def write(self, data: bytes) -> None:
        """Appends one record."""
        self._file.write(frame(data))
        self.records += 1
        self.data_bytes += len(data)

    def commit(self, path: Path) -> None:
        """Brings all records to the disk, then renames the file; it takes no more of them."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._temporary.replace(path)

    def close(self) -> None:
        """Closes the file and, unless it was committed, removes it."""
        self._file.close()
        self._temporary.unlink(missing_ok=True)


class Shard:
    """One TFRecord file, read at random.

    Opening walks over the record headers (about a second for a million records) and keeps 8 bytes a
    record. Reading uses `os.pread` on one file descriptor: safe in threads and after a fork; a
    pickled shard opens the file again where it arrives.
    """

    def __init__(self, path: Path, records: int) -> None:
        """Opens the file and finds its records.

        Args:
          path: the file.
          records: how many it was written with.

        Raises:
          CorruptRecordError: for a damaged header, a file cut short, or another number of records.
        """
        self.path = path
        self._file = path.open("rb", buffering=0)
        self._offsets = _record_offsets(path, self._file.fileno())
        if len(self) != records:
            problem = f"the file ends here, after {len(self)} of {records} records"
            if len(self) > records:
                problem = f"follows the {records} records that the dataset lists for this file"
            kept = min(len(self), records)
            raise CorruptRecordError(str(path), kept, self._offsets[kept], problem)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def offset(self, number: int) -> int:
        """Where a record begins in the file, in bytes."""
        return self._offsets[number]

    def read(self, number: int) -> bytes:
        """The data of record `number`, from 0.

        Raises:
          CorruptRecordError: if it is not what was written.
        """
        begin, end = self._offsets[number], self._offsets[number + 1]
        framed = os.pread(self._file.fileno(), end - begin, begin)
        if len(framed) < end - begin:
            raise CorruptRecordError(str(self.path), number, begin, "the file was cut short")
        data = framed[_HEADER.size : -_CRC.size]
        # The header was right when the file was opened; data and its checksum are looked at here.
        if _CRC.unpack_from(framed, len(framed) - _CRC.size)[0] != masked_crc(data):
            raise CorruptRecordError(
                str(self.path), number, begin, "data and checksum do not agree"
            )
        return data

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_offsets": self._offsets}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._file = self.path.open("rb", buffering=0)


def _record_offsets(path: Path, descriptor: int) -> array.array[int]:
    """Where each record begins and, last, where the file ends."""
    size = os.fstat(descriptor).st_size
    offsets = array.array("q", [0])
    if not size:  # an empty file cannot be mapped
        return offsets
    with mmap.mmap(descriptor, size, access=mmap.ACCESS_READ) as content:
        begin = 0
        while begin < size:
            if begin + _FRAME > size:
                problem = f"the file was cut short, at byte {size}"
                raise CorruptRecordError(str(path), len(offsets) - 1, begin, problem)
            length, crc = _HEADER.unpack_from(content, begin)
            if crc != masked_crc(content[begin : begin + _LENGTH.size]):
                problem = "length and checksum do not agree"
                raise CorruptRecordError(str(path), len(offsets) - 1, begin, problem)
            if begin + _FRAME + length > size:
                problem = f"the file was cut short, at byte {size}"
                raise CorruptRecordError(str(path), len(offsets) - 1, begin, problem)
            begin += _FRAME + length
            offsets.append(begin)
    return offsets
