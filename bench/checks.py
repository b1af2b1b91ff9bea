"""A thousand checks at 10 s in one exporter: do they start on time, and is what they measure true?

A server in a process of its own answers each request after 50 ms and notes when it came. The exporter is scraped every
5 s meanwhile, as Prometheus does. Printed are

- slip: how far each probe's arrival is from its check's grid of starts, which the first arrivals define,
- inflation: how much longer than 50 ms the exporter says that an answer took,
- CPU and memory of the exporter.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from measure import cpu_seconds, free_port, percentile, resident_mib, running, this
from prometheus_client.parser import text_string_to_metric_families

DELAY = 0.05
SCRAPE_EVERY = 5.0


async def serve(port: int) -> None:
    """Answer each request after the delay; ``/arrivals`` gives the times of all of them by path."""
    arrivals: defaultdict[str, list[float]] = defaultdict(list)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode()
            if path == "/arrivals":
                body = json.dumps(arrivals).encode()
            else:
                arrivals[path].append(time.time())
                await asyncio.sleep(DELAY)
                body = b"ok"
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


def get(port: int, path: str) -> bytes:
    """One request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path)
    return connection.getresponse().read()


def responses(exposition: str) -> dict[str, float]:
    """What each check's last probe took, in seconds."""
    return {
        sample.labels["check"]: sample.value
        for family in text_string_to_metric_families(exposition)
        if family.name == "rounds_check_response_seconds"
        for sample in family.samples
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--checks", type=int, default=1000)
    parser.add_argument("--interval", type=int, default=10, help="seconds")
    parser.add_argument("--seconds", type=int, default=60, help="how long to measure")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve))
        return
    target, port = free_port(), free_port()
    checks = [{"name": f"check-{n}", "url": f"http://127.0.0.1:{target}/{n}"} for n in range(options.checks)]
    defaults = {"interval": f"{options.interval}s", "timeout": f"{options.interval}s"}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rounds.yml"
        file.write_text(json.dumps({"services": {"defaults": defaults, "checks": checks}}), encoding="utf-8")
        command = [sys.executable, "-m", "rounds", "run", f"--config.file={file}"]
        with (
            running(this("--serve", str(target)), target),
            running([*command, f"--web.listen-address=127.0.0.1:{port}"], port) as exporter,
        ):
            while b"is ready" not in get(port, "/-/ready"):
                time.sleep(0.2)
            time.sleep(options.interval)
            begin, spent = time.monotonic(), cpu_seconds(exporter.pid)
            pages = []
            while time.monotonic() - begin < options.seconds:
                pages.append(get(port, "/metrics").decode())
                time.sleep(max(0.0, SCRAPE_EVERY * len(pages) - (time.monotonic() - begin)))
            cpu = (cpu_seconds(exporter.pid) - spent) / (time.monotonic() - begin)
            memory = resident_mib(exporter.pid)
            arrivals: dict[str, list[float]] = json.loads(get(target, "/arrivals"))
    taken = [seconds for page in pages for seconds in responses(page).values()]
    inflation = [seconds - DELAY for seconds in taken]
    slips = [
        abs(arrived - times[0] - number * options.interval)
        for times in arrivals.values()
        for number, arrived in enumerate(times)
    ]
    print(f"{options.checks} checks every {options.interval} s for {options.seconds} s on {os.cpu_count()} processors")
    for title, values in (("slip", slips), ("inflation", inflation)):
        figures = "  ".join(
            f"p{share * 100:g} {percentile(values, share) * 1000:6.1f} ms" for share in (0.5, 0.99, 0.999)
        )
        print(f"{title:10} {figures}  of {len(values)}")
    probe = cpu / options.checks * options.interval
    print(f"{'CPU':10} {cpu * 100:.1f} % of one processor, {probe * 1000:.2f} ms a probe, scrapes included")
    print(f"{'memory':10} {memory:.0f} MiB")


if __name__ == "__main__":
    main()
