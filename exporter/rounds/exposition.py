"""The snapshot of all collectors, and its bytes in both exposition formats.

A run hands its families over with :meth:`Exposition.publish`, which is cheap and may happen on a loop that measures
latencies. Text is made when a scrape asks for it, and kept: a publication's lines until it is replaced, the whole body
until any of them is. What differs from scrape to scrape (the exporter's own metrics) is a tail behind that body.

Both formats spell sample lines alike; only counters' ``# HELP`` and ``# TYPE`` differ,
and OpenMetrics ends in ``# EOF``.
"""

from __future__ import annotations

import functools
import struct
import threading
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rounds.errors import CollectorError
from rounds.metrics import Family, Histogram, Metric, format_value

#: Level 6 makes the answer a fifth smaller for twice the time; a scrape mostly crosses a local network.
_GZIP_LEVEL = 1
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_RAW_DEFLATE = -zlib.MAX_WBITS


@dataclass
class _Publication:
    collector: str
    families: Sequence[Family]
    series: int
    expires: float
    lines: list[str] | None = None

    def rendered(self) -> list[str]:
        if self.lines is None:
            self.lines = [render_samples(family) for family in self.families]
        return self.lines


@dataclass
class _Body:
    """The rendered publications, and their compressed form once somebody asked for it."""

    version: int
    expires: float
    plain: bytes
    deflated: bytes | None = None
    checksum: int = 0

    def gzipped(self, tail: bytes) -> bytes:
        """One gzip member: the kept body, flushed to a byte boundary, and behind it the tail."""
        if self.deflated is None:
            body = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _RAW_DEFLATE)
            self.checksum = zlib.crc32(self.plain)
            self.deflated = body.compress(self.plain) + body.flush(zlib.Z_FULL_FLUSH)
        end = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _RAW_DEFLATE)
        trailer = struct.pack("<LL", zlib.crc32(tail, self.checksum), (len(self.plain) + len(tail)) & 0xFFFF_FFFF)
        return b"".join((_GZIP_HEADER, self.deflated, end.compress(tail), end.flush(), trailer))


class Exposition:
    """What all collectors last found. Thread-safe."""

    def __init__(self, max_series: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        self.max_series = max_series
        self._clock = clock
        self._publications: dict[str, _Publication] = {}
        self._version = 0
        self._bodies: dict[bool, _Body] = {}
        self._lock = threading.Lock()
        self._rendering = threading.Lock()

    def publish(self, name: str, collector: str, families: Sequence[Family], fresh_for: float = float("inf")) -> None:
        """Replace what a job has published.

        Args:
            name: the job.
            collector: the collector that it belongs to.
            families: everything that it exports.
            fresh_for: seconds after which the samples are dropped unless they are replaced.

        Raises:
            CollectorError: ``limit`` when there are more than ``max_series``.
        """
        series = sum(family.series for family in families)
        if series > self.max_series:
            raise CollectorError("limit", f"found {series} time series, more than max_series {self.max_series}")
        with self._lock:
            self._publications[name] = _Publication(collector, families, series, self._clock() + fresh_for)
            self._version += 1

    def withdraw(self, name: str) -> None:
        """Drop what a job has published."""
        with self._lock:
            if self._publications.pop(name, None):
                self._version += 1

    def samples(self, name: str) -> int:
        """How many time series a job exports now: 0 once they are stale."""
        publication = self._publications.get(name)
        if publication is None or publication.expires <= self._clock():
            return 0
        return publication.series

    def is_rendered(self, *, openmetrics: bool) -> bool:
        """Whether a render of everything costs a memory copy only."""
        body = self._bodies.get(openmetrics)
        return body is not None and self._is_current(body)

    def render(
        self,
        *,
        openmetrics: bool = False,
        gzip: bool = False,
        collectors: frozenset[str] | None = None,
        tail: Sequence[Family] = (),
    ) -> bytes:
        """The exposition's bytes.

        Args:
            openmetrics: OpenMetrics 1.0 instead of text 0.0.4.
            gzip: compressed.
            collectors: only these; None for all.
            tail: further families, none of which a collector exports.
        """
        end = render(tail, openmetrics=openmetrics)
        with self._rendering:
            body = self._body(openmetrics, collectors)
            return body.gzipped(end) if gzip else body.plain + end

    def _is_current(self, body: _Body) -> bool:
        return body.version == self._version and self._clock() < body.expires

    def _body(self, openmetrics: bool, collectors: frozenset[str] | None) -> _Body:
        if collectors is None and self.is_rendered(openmetrics=openmetrics):
            return self._bodies[openmetrics]
        with self._lock:
            version, now = self._version, self._clock()
            live = [
                publication
                for _, publication in sorted(self._publications.items())
                if publication.expires > now and (collectors is None or publication.collector in collectors)
            ]
        groups: dict[str, tuple[Metric, list[str]]] = {}
        for publication in live:
            for family, lines in zip(publication.families, publication.rendered(), strict=True):
                if lines:
                    groups.setdefault(family.metric.name, (family.metric, []))[1].append(lines)
        parts: list[str] = []
        for name in sorted(groups):
            metric, texts = groups[name]
            parts.append(_header(metric, openmetrics=openmetrics))
            parts.extend(texts)
        expires = min((publication.expires for publication in live), default=float("inf"))
        body = _Body(version, expires, "".join(parts).encode())
        if collectors is None:  # filtered scrapes are rare and their number has no bound
            self._bodies[openmetrics] = body
        return body


def render(families: Iterable[Family], *, openmetrics: bool = False) -> bytes:
    """Families as a whole exposition, or the end of one. Families of one metric are put together."""
    groups: defaultdict[Metric, list[str]] = defaultdict(list)
    for family in families:
        if family.samples:
            groups[family.metric].append(render_samples(family))
    texts = (_header(metric, openmetrics=openmetrics) + "".join(lines) for metric, lines in groups.items())
    return ("".join(texts) + ("# EOF\n" if openmetrics else "")).encode()


def _header(metric: Metric, *, openmetrics: bool) -> str:
    name = metric.name.removesuffix("_total") if openmetrics and metric.kind == "counter" else metric.name
    text = metric.help.replace("\\", r"\\").replace("\n", r"\n")
    if openmetrics:
        text = text.replace('"', r"\"")
    return f"# HELP {name} {text}\n# TYPE {name} {metric.kind}\n"


def render_samples(family: Family) -> str:
    """The sample lines of a family."""
    name, template = family.metric.name, _template(family.metric)
    lines: list[str] = []
    for labels, value in family.samples:
        pairs = template % (labels if _is_plain("".join(labels)) else tuple(map(_escape, labels)))
        if isinstance(value, Histogram):
            _histogram(lines, name, pairs, value)
        else:
            lines.append(f"{name}{{{pairs}}} {format_value(value)}\n" if pairs else f"{name} {format_value(value)}\n")
    return "".join(lines)


@functools.cache
def _template(metric: Metric) -> str:
    return ",".join(f'{label}="%s"' for label in metric.labels)


def _histogram(lines: list[str], name: str, pairs: str, value: Histogram) -> None:
    before = pairs + "," if pairs else ""
    braced = f"{{{pairs}}}" if pairs else ""
    total = 0
    for bound, count in zip((*value.bounds, float("inf")), value.counts, strict=True):
        total += count
        le = "+Inf" if bound == float("inf") else repr(float(bound))
        lines.append(f'{name}_bucket{{{before}le="{le}"}} {total}\n')
    lines.append(f"{name}_count{braced} {total}\n{name}_sum{braced} {format_value(value.sum)}\n")


def _is_plain(text: str) -> bool:
    return not ("\\" in text or '"' in text or "\n" in text)


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
