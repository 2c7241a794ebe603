"""The columns of a table: metrics, each under a protocol, and their means."""

import collections
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from jaxmatte.errors import UserError
from jaxmatte.metrics import protocols
from jaxmatte.metrics.measure import METRICS, require
from jaxmatte.metrics.protocols import Protocol


@dataclasses.dataclass(frozen=True)
class Column:
    """A metric under a protocol.

    Attributes:
        metric: Such as "mad".
        protocol: The record.
        name: The plain metric under a table's first protocol, else such as "mad[gfm-transition]".
        label: What people read, such as "MAD[gfm, whole]".
    """

    metric: str
    protocol: Protocol
    name: str
    label: str

    def mean(self, rows: Sequence[Mapping[str, Any]]) -> float:
        """The mean as the protocol averages: over pictures, or over clips and their frames.

        Args:
            rows: A row a picture, with its `name` (a clip is a folder) and this column.
        """
        groups = collections.defaultdict(list)
        for row in rows:
            groups[self._group(row)].append(row[self.name])
        means = [math.fsum(values) / len(values) for values in groups.values()]
        return math.fsum(means) / len(means)

    def over(self, rows: Sequence[Mapping[str, Any]]) -> str:
        """What the mean is over, such as "3 clips (90 frames)"."""
        if self.protocol.average != "clips":
            return _count(len(rows), "picture")
        clips = len({self._group(row) for row in rows})
        return f"{_count(clips, 'clip')} ({_count(len(rows), 'frame')})"

    def _group(self, row: Mapping[str, Any]) -> str:
        """What a row is averaged with first."""
        return clip(row["name"]) if self.protocol.average == "clips" else ""


def clip(name: str) -> str:
    """The folder of a relative name, "" for the topmost one."""
    return name.rpartition("/")[0]


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def columns(
    names: str, metrics: Sequence[str], trimaps: bool, more: Sequence[str] = ()
) -> list[Column]:
    """The columns of a table, protocol by protocol.

    Args:
        names: Of protocols, with commas between; the first one's columns have the plain names.
        metrics: Of METRICS.
        trimaps: Whether there are trimaps.
        more: Further metrics that this table knows.
    """
    known = (*METRICS, *more)
    if not metrics:
        raise UserError(f"no metrics; there are: {', '.join(known)}")
    require(metrics, known)
    if not all(name.strip() for name in names.split(",")):
        raise UserError(f"protocol {names!r} has no name in it, or between commas")
    records = [protocols.get(name.strip()) for name in names.split(",")]
    found = []
    for record in dict.fromkeys(records):
        for metric in dict.fromkeys(metrics):
            name = metric if record == records[0] else f"{metric}[{record.name}]"
            label = protocols.label(metric, record, trimaps)
            found.append(Column(metric, record, name, label))
    return found
