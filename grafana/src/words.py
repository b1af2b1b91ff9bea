"""Words and colours of why something failed, in place of the short names that metrics have. One word, one colour."""

from __future__ import annotations

from collections.abc import Iterable

from grafana.src.kit import PARTS

#: What went wrong, and the colour of its part. Causes are neither good nor bad, so none has a state's colour; more than
#: there are colours share one where no panel shows both.
COLOURS = {
    "no answer in time": PARTS[0],
    "no connection": PARTS[1],
    "log-in refused": PARTS[2],
    "question refused": PARTS[3],
    "answer not understood": PARTS[4],
    "too many values": PARTS[5],
    "fault of Rounds": PARTS[6],
    "name not found": PARTS[2],
    "no encryption": PARTS[3],
    "wrong status": PARTS[4],
    "wrong content": PARTS[5],
    "too large": PARTS[6],
    "wrong redirect": PARTS[7],
    "too slow": PARTS[8],
    "something else": PARTS[9],
    "too many requests": PARTS[3],
    "refused by the database": PARTS[4],
    "no network": PARTS[7],
    "not set up": PARTS[8],
    "wrong time": PARTS[0],
    "ends before it begins": PARTS[1],
    "unreadable details": PARTS[2],
    "wrong number": PARTS[3],
    "unknown state": PARTS[4],
    "too much at once": PARTS[0],
    "store is full": PARTS[1],
    "too old": PARTS[2],
    "could not be written": PARTS[3],
}
#: Why a collector's run failed.
FAILURES = {
    "timeout": "no answer in time",
    "connect": "no connection",
    "auth": "log-in refused",
    "query": "question refused",
    "value": "answer not understood",
    "limit": "too many values",
    "internal": "fault of Rounds",
}
#: Why a probe found its service down.
PROBES = {
    "timeout": "no answer in time",
    "dns": "name not found",
    "connect": "no connection",
    "tls": "no encryption",
    "http_status": "wrong status",
    "body": "wrong content",
    "too_large": "too large",
    "redirect": "wrong redirect",
    "slow": "too slow",
    "error": "something else",
}
#: Why a run of a synchronisation failed.
SYNCS = {
    "auth": "log-in refused",
    "rate_limit": "too many requests",
    "constraint": "refused by the database",
    "network": "no network",
    "timeout": "no answer in time",
    "config": "not set up",
    "other": "something else",
}
#: Why a row of a log of runs, or of an application's store, makes no sense.
ROWS = {
    "bad_time": "wrong time",
    "negative_duration": "ends before it begins",
    "bad_metadata": "unreadable details",
    "bad_count": "wrong number",
    "unknown_status": "unknown state",
}
STORED_ROWS = {"value": "wrong number", "time": "wrong time", "tags": "unreadable details"}
#: Why what an application said is not in its store.
DROPS = {
    "queue_full": "too much at once",
    "size": "store is full",
    "age": "too old",
    "error": "could not be written",
}


def colours(words: Iterable[str]) -> dict[str, str]:
    """The colours of these words."""
    return {word: COLOURS[word] for word in words}
