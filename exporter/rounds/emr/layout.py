"""The tables of a store: those that the library writes, and those of the existing ``monitoring.db``.

Both may be in one file, as the library's names begin with ``rounds_``: an application that changes its import goes on
with the file that it has. Times are seconds since 1970, UTC.
"""

from __future__ import annotations

#: Raised when a table changes in a way that an older reader would get wrong.
VERSION = 1

#: Tables of the existing program, with the columns that the exporter reads. Texts about people are not among them.
EXISTING = ("errors", "messages", "transactions", "metrics", "metrics_hourly", "alerts", "crash_reports")

#: ``version``, ``id`` (random, of this file), ``app``, ``created``.
STORE = """
CREATE TABLE IF NOT EXISTS rounds_store (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"""

#: Processes. A row is open while its process lives; who starts next closes those whose process is gone.
RUN = """
CREATE TABLE IF NOT EXISTS rounds_run (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  pid INTEGER NOT NULL,
  boot_id TEXT NOT NULL,          -- of the operating system's start, so that a pid is not taken for another's
  process_start TEXT NOT NULL,    -- of the process, for the same reason
  started REAL NOT NULL,
  heartbeat REAL NOT NULL,        -- renewed every 15 seconds
  ended REAL,
  ending TEXT,                    -- clean, sigterm, python, fatal_signal, unclean
  version TEXT NOT NULL,          -- of the application
  python TEXT NOT NULL,
  os TEXT NOT NULL,
  resident_bytes INTEGER,         -- as of the heartbeat
  cpu_seconds REAL
)"""

#: What only grows, by the metric's name without ``rounds_emr_`` and its labels without ``app``, a JSON list of texts.
#: A histogram is ``NAME_bucket`` (with the bound as its last label, not cumulative) and ``NAME_sum``.
COUNTER = """
CREATE TABLE IF NOT EXISTS rounds_counter (
  name TEXT NOT NULL, labels TEXT NOT NULL, value REAL NOT NULL, PRIMARY KEY (name, labels)
) WITHOUT ROWID"""

GAUGE = """
CREATE TABLE IF NOT EXISTS rounds_gauge (name TEXT PRIMARY KEY, value REAL NOT NULL, at REAL NOT NULL) WITHOUT ROWID"""

#: What was counted and set under each name, by slots of five minutes: so that an hour or a day can be told from others.
SAMPLE = """
CREATE TABLE IF NOT EXISTS rounds_sample (
  slot INTEGER NOT NULL,          -- seconds since 1970 // 300
  kind TEXT NOT NULL,             -- count, gauge: a name may be both
  name TEXT NOT NULL,
  count INTEGER NOT NULL,         -- how often
  sum REAL NOT NULL,
  min REAL NOT NULL,
  max REAL NOT NULL,
  PRIMARY KEY (slot, kind, name)
) WITHOUT ROWID"""

#: Single operations, for percentiles and the slowest ones; the oldest go first when the file is full.
TIMING = """
CREATE TABLE IF NOT EXISTS rounds_timing (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at REAL NOT NULL,               -- when it ended
  operation TEXT NOT NULL,
  seconds REAL NOT NULL,
  outcome TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS rounds_timing_at ON rounds_timing (at)"""

#: Errors that have the same cause, as far as a stack can tell.
ERROR_GROUP = """
CREATE TABLE IF NOT EXISTS rounds_error_group (
  fingerprint TEXT PRIMARY KEY,   -- 16 hex digits
  error_type TEXT NOT NULL,
  culprit TEXT NOT NULL,          -- module:function that raised
  trace TEXT NOT NULL,            -- one sample: module, function and line of each frame, outermost first
  message TEXT,                   -- only where messages were opted in
  first_seen REAL NOT NULL,
  last_seen REAL NOT NULL,
  count INTEGER NOT NULL,
  version TEXT NOT NULL,          -- of the application when it was last seen
  resolved INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS rounds_error_group_last ON rounds_error_group (last_seen)"""

#: How often a group was seen, by slots of five minutes.
ERROR_SLOT = """
CREATE TABLE IF NOT EXISTS rounds_error_slot (
  slot INTEGER NOT NULL,          -- seconds since 1970 // 300
  fingerprint TEXT NOT NULL,
  count INTEGER NOT NULL,
  PRIMARY KEY (slot, fingerprint)
) WITHOUT ROWID"""
SLOT_SECONDS = 300

ALERT = """
CREATE TABLE IF NOT EXISTS rounds_alert (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at REAL NOT NULL,
  severity TEXT NOT NULL,
  key TEXT NOT NULL,              -- what it is about, an identifier such as failure:save_visit; "" where none was given
  title TEXT,                     -- title and message only where messages were opted in
  message TEXT,
  channels TEXT NOT NULL          -- a JSON list of those that have taken it
)"""

CRASH = """
CREATE TABLE IF NOT EXISTS rounds_crash (
  id TEXT PRIMARY KEY,
  at REAL NOT NULL,
  kind TEXT NOT NULL,
  error_type TEXT NOT NULL,       -- "" where no exception is known
  fingerprint TEXT NOT NULL,
  report TEXT NOT NULL,           -- the report's file name in the folder of reports; "" where there is none
  submitted INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID"""

#: What is to be sent once there is a network.
SPOOL = """
CREATE TABLE IF NOT EXISTS rounds_spool (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at REAL NOT NULL,
  kind TEXT NOT NULL,             -- crash, sentry
  crash TEXT NOT NULL,            -- id of the crash that it is about, or ""
  body BLOB NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  next_attempt REAL NOT NULL
)"""

TABLES = {
    "rounds_store": STORE,
    "rounds_run": RUN,
    "rounds_counter": COUNTER,
    "rounds_gauge": GAUGE,
    "rounds_sample": SAMPLE,
    "rounds_timing": TIMING,
    "rounds_error_group": ERROR_GROUP,
    "rounds_error_slot": ERROR_SLOT,
    "rounds_alert": ALERT,
    "rounds_crash": CRASH,
    "rounds_spool": SPOOL,
}
