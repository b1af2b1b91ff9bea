"""Whatever happens to an existing store's file, each row that was there at a look is counted once."""

from __future__ import annotations

import random
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from rounds.emr import existing_store, marks
from rounds.emr.existing_store import ExistingStore as Following
from support.emr import ExistingStore
from support.emr_looking import Found, Watch

#: What counts rows of each table.
COUNTERS = {
    "errors": "errors_total",
    "messages": "messages_total",
    "transactions": "operations_total",
    "metrics": "events_total",
    "alerts": "alerts_total",
    "crash_reports": "crashes_total",
}


class History:
    """A store to which anything may happen, and the truth about what was ever there at a look."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.folder = folder
        self.path = folder / "monitoring.db"
        self.store = ExistingStore(self.path)
        self.watch = Watch(self.path, folder)
        self.seen: dict[str, set[tuple[str, str]]] = {table: set() for table in COUNTERS}
        self.copies: list[Path] = []
        self.clock = time.time() - 86_400
        self.told: list[str] = []

    def step(self) -> None:
        """Something happens, and now and then somebody looks."""
        deeds = [self.write] * 4 + [self.retain, self.remove_newest, self.copy, self.restore, self.restore_in_place]
        deeds += [self.replace, self.empty, self.vacuum, self.go_away]
        deed = self.random.choice(deeds)
        deed()
        self.told.append(deed.__name__)
        if self.random.random() < 0.5:
            self.look()

    def look(self) -> Found:
        """Look until all was read, and compare."""
        for table, seen in self.seen.items():
            seen.update(self.store.sql(f"SELECT CAST(id AS TEXT), timestamp FROM {table}"))
        found = self.watch.look()
        while self.watch.collector.pace() < 15:
            found = self.watch.look()
        self.told.append("look")
        for table, counter in COUNTERS.items():
            assert found.total(counter) == len(self.seen[table]), (table, self.told)
        return found

    # --- what happens ---------------------------------------------------------------------------------------------

    def write(self) -> None:
        for table in self.random.sample(sorted(COUNTERS), 3):
            rows = []
            for _ in range(self.random.choice([0, 1, 3, 20, 60])):
                self.clock += 0.001
                rows.append(
                    {"at": self.clock, "name": "a", "metric_type": "count", "value": 1}
                    if table == "metrics"
                    else {"at": self.clock}
                )
            self.store.put_all(table, rows)

    def retain(self) -> None:
        """The oldest rows go."""
        for table in COUNTERS:
            share = self.random.choice([0, 0.3, 0.7])
            oldest = (
                f"SELECT rowid FROM {table} ORDER BY rowid LIMIT CAST({share} * (SELECT count(*) FROM {table}) AS int)"
            )
            self.store.remove(table, f"rowid IN ({oldest})")

    def remove_newest(self) -> None:
        for table in COUNTERS:
            newest = f"SELECT rowid FROM {table} ORDER BY rowid DESC LIMIT {self.random.choice([0, 1, 10])}"
            self.store.remove(table, f"rowid IN ({newest})")

    def empty(self) -> None:
        for table in self.random.sample(sorted(COUNTERS), 2):
            self.store.remove(table)

    def vacuum(self) -> None:
        self.store.vacuum()

    def copy(self) -> None:
        """A copy is made, which may be restored later."""
        path = self.folder / f"copy-{len(self.told)}.db"
        shutil.copy(self.path, path)
        self.copies = [*self.copies[-4:], path]

    def restore(self) -> None:
        """A copy takes the file's place."""
        if self.copies:
            shutil.copy(self.random.choice(self.copies), self.folder / "new.db")
            (self.folder / "new.db").replace(self.path)

    def restore_in_place(self) -> None:
        """A copy is written into the file, which stays the same one for the operating system."""
        if self.copies:
            with (
                closing(sqlite3.connect(self.random.choice(self.copies))) as source,
                closing(sqlite3.connect(self.path)) as target,
            ):
                source.backup(target)

    def replace(self) -> None:
        """The file is deleted, and the application begins a new one."""
        self.path.unlink()
        self.store = ExistingStore(self.path)

    def go_away(self) -> None:
        """The file is moved away, perhaps to come back."""
        path = self.folder / f"away-{len(self.told)}.db"
        self.path.rename(path)
        self.copies = [*self.copies[-4:], path]
        self.store = ExistingStore(self.path)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many batches and pieces of marks, for few rows; files enough to tell them all apart."""
    monkeypatch.setattr(existing_store, "BATCH", 7)
    monkeypatch.setattr(existing_store, "CRASHES", 5)
    monkeypatch.setattr(marks, "PIECE", 16)
    monkeypatch.setattr(marks, "LAYERS", 100)
    monkeypatch.setattr(marks, "_HELD", 3)


def live(history: History, steps: int) -> None:
    for _ in range(steps):
        history.step()
    assert history.look().total("store_replaced_total") > 0


@pytest.mark.parametrize("seed", range(6))
def test_each_row_is_counted_once(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if seed % 2:  # a look ends after one batch, and the next one goes on
        monkeypatch.setattr(Following, "late", lambda _: True)
    live(History(tmp_path, seed), 40)


@pytest.mark.slow
@pytest.mark.long
def test_each_row_is_counted_once_in_many_histories(tmp_path: Path) -> None:
    for seed in range(100, 200):
        (tmp_path / str(seed)).mkdir()
        live(History(tmp_path / str(seed), seed), 80)
