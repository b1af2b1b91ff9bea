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


def colours(words: Iterable[str]) -> dict[str, str]:
    """The colours of these words."""
    return {word: COLOURS[word] for word in words}
