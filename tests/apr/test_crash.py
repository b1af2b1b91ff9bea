"""Killed at any moment, while writers commit out of order and rows are deleted, an exporter counts each event once."""

from __future__ import annotations

import random
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rounds.apr.feed import GRACE
from rounds.ledger.cursors import Cursor
from support.apr import DAY, Installation, mariadb_installation
from support.apr_dying import read_forever, totals
from support.apr_reading import Reading
from support.forking import CONTEXT
from support.mariadb import MariadbServer

_HISTORY = "INSERT INTO apr_status_history (DATA, PROPOSTA, CEDENTE, NEW_STATUS) VALUES (%s, %s, 'Cliente Um', 'Pago')"
_INVALID = (
    "INSERT INTO apr_invalid_records (DATA, PROPOSTA, CEDENTE, VALIDATION_TYPE, is_resolved) VALUES"
    " (%s, %s, 'Cliente Um', 'SEUNO', %s)"
)
_RUN = "INSERT INTO apr_processing_log (target_date) VALUES (%s)"


class Pipeline:
    """Tables that several writers change, and the truth about what they committed: as ``TOTALS`` has it."""

    def __init__(self, server: MariadbServer, installation: Installation, folder: Path) -> None:
        self.installation = installation
        self.folder = folder
        self.truth = [0, 0, 0, 0]
        self._server = server
        self._lock = threading.Lock()
        self._proposals = iter(range(1, 10_000_000))
        self._open: list[int] = []
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self.errors: list[Exception] = []

    def start_writers(self, number: int = 2) -> None:
        """Begin to write."""
        self._stop.clear()
        self._threads = [threading.Thread(target=self._main, args=(seed,)) for seed in range(number)]
        for thread in self._threads:
            thread.start()

    def stop_writers(self) -> None:
        """Stop writing; everything is committed or taken back."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        assert not self.errors

    def truncate(self, refill: int) -> None:
        """Empty the tables and put other rows into them. Nobody writes meanwhile, and all was counted."""
        self.installation.sql("TRUNCATE TABLE apr_status_history", "TRUNCATE TABLE apr_invalid_records")
        self._open.clear()
        with closing(self._connect()) as connection, connection.cursor() as cursor:
            for _ in range(refill):
                cursor.execute(_HISTORY, (DAY, next(self._proposals)))
                cursor.execute(_INVALID, (DAY, next(self._proposals), 0))
                self._open.append(cursor.lastrowid)
        self.truth[0] += refill
        self.truth[1] += refill

    def retain(self) -> None:
        """Delete some rows that were counted, open records among them."""
        reading = Reading(self.installation.source, self.folder)
        with reading.ledger.reading() as connection:
            history = Cursor.load(connection, "apr/apr_status_history", GRACE)
            invalid = Cursor.load(connection, "apr/apr_invalid_records", GRACE)
        reading.ledger.close()
        with self._lock:
            old = [record for record in self._open[:3] if record <= invalid.position or record in invalid._seen]
            self._open = [record for record in self._open if record not in old]
        seen = [(1, history.position), *list(history._seen)]
        for first, last in seen[:1]:
            self.installation.sql(f"DELETE FROM apr_status_history WHERE id BETWEEN {first} AND {last} LIMIT 5")
        if old:
            self.installation.sql(f"DELETE FROM apr_invalid_records WHERE id IN ({', '.join(map(str, old))})")

    def start_reader(self, die_at: int | None = None) -> tuple[Any, Any]:
        """A child that reads, and the pipe on which it publishes."""
        receiver, sender = CONTEXT.Pipe(duplex=False)
        arguments = (self.folder, self.installation.source, sender, die_at)
        child = CONTEXT.Process(target=read_forever, args=arguments, daemon=True)
        child.start()
        sender.close()
        return child, receiver

    def read(self) -> list[float]:
        """A run in this process."""
        reading = Reading(self.installation.source, self.folder)
        try:
            return totals(reading.run())
        finally:
            reading.ledger.close()

    def write(self, random_: random.Random, connection: Any) -> None:
        """One transaction, which takes its time, and may be taken back."""
        news, added, taken = [0, 0, 0, 0], [], None
        with connection.cursor() as cursor:
            connection.begin()
            for _ in range(random_.randint(1, 3)):
                cursor.execute(_HISTORY, (DAY, next(self._proposals)))
                news[0] += 1
                time.sleep(random_.uniform(0, 0.005))
            for _ in range(random_.randint(0, 2)):
                already = random_.random() < 0.2
                cursor.execute(_INVALID, (DAY, next(self._proposals), already))
                news[1] += 1
                news[2] += already
                if not already:
                    added.append(cursor.lastrowid)
            if random_.random() < 0.3:
                cursor.execute(_RUN, (DAY,))
                news[3] += 1
            with self._lock:
                if self._open and random_.random() < 0.5:
                    taken = self._open.pop(random_.randrange(len(self._open)))
            if taken:
                resolve = "UPDATE apr_invalid_records SET is_resolved = 1, resolved_at = NOW() WHERE id = %s"
                news[2] += cursor.execute(resolve, (taken,))
            time.sleep(random_.uniform(0, 0.03))  # others commit rows with higher ids meanwhile
        keep = random_.random() < 0.85
        if keep:
            connection.commit()
        else:
            connection.rollback()
        with self._lock:
            if keep:
                self.truth = [now + more for now, more in zip(self.truth, news, strict=True)]
                self._open += added
            elif taken:
                self._open.append(taken)

    def _connect(self) -> Any:
        return self._server.connect(str(self.installation.url.database))

    def _main(self, seed: int) -> None:
        random_ = random.Random(seed)
        try:
            with closing(self._connect()) as connection:
                while not self._stop.is_set():
                    self.write(random_, connection)
        except Exception as error:  # noqa: BLE001  # told by stop_writers
            self.errors.append(error)


@pytest.fixture
def pipeline(mariadb: MariadbServer, tmp_path: Path) -> Pipeline:
    return Pipeline(mariadb, mariadb_installation(mariadb), tmp_path)


def published(receiver: Any) -> list[list[float]]:
    """All that a child has published."""
    found = []
    try:
        while receiver.poll(0):
            found.append(receiver.recv())
    except EOFError:
        pass
    return found


def never_fall(highest: list[float], found: list[list[float]]) -> list[float]:
    """Check one reader's totals against those before; gives the last ones."""
    for each in found:
        assert all(now >= then for now, then in zip(each, highest, strict=True)), "counters never fall"
        highest = each
    return highest


@pytest.mark.slow
@pytest.mark.long
def test_killed_at_random_200_times(pipeline: Pipeline) -> None:
    random_ = random.Random(7)
    highest: list[float] = [0, 0, 0, 0]
    pipeline.start_writers()
    try:
        for death in range(200):
            child, receiver = pipeline.start_reader()
            assert receiver.poll(30), "the child reads"
            time.sleep(random_.uniform(0, 0.1))  # the moment of death is the point
            child.kill()
            child.join()
            highest = never_fall(highest, published(receiver))
            if death % 10 == 5:
                pipeline.retain()
            if death in {60, 120, 160}:
                pipeline.stop_writers()
                highest = never_fall(highest, [pipeline.read()])
                assert highest == pipeline.truth
                # Fewer rows than before, or more.
                pipeline.truncate(refill=5 if death == 60 else 3000)
                pipeline.start_writers()
    finally:
        pipeline.stop_writers()
    final = pipeline.read()
    assert never_fall(highest, [final]) == pipeline.truth
    assert min(final) > 50


@pytest.mark.slow
def test_killed_before_every_statement_of_the_ledger(pipeline: Pipeline, mariadb: MariadbServer) -> None:
    random_ = random.Random(8)
    deaths = 0
    with closing(mariadb.connect(str(pipeline.installation.url.database))) as connection:
        for statement in range(1, 200):
            pipeline.write(random_, connection)
            child, _ = pipeline.start_reader(die_at=statement)
            child.join(30)
            assert pipeline.read() == pipeline.truth, f"killed before statement {statement}"
            if child.exitcode == 0:
                break
            deaths += 1
        else:
            pytest.fail("a run has no end")
    assert deaths > 15, "the ledger's statements were counted"
