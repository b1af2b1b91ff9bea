"""What a probe over a fresh connection costs, beside prometheus-blackbox-exporter against the same nginx.

    python bench/probes.py [--probes 3000] [--rounds 3]

Needs nginx, openssl and prometheus-blackbox-exporter in the path. Prints milliseconds of processor time per probe, as
the median of the rounds, and their ratio. The figure of blackbox_exporter holds its HTTP answer as well: that is how
one has its probes made. Both run in turn, so that a busy machine burdens both.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from measure import cpu_seconds, free_port, running

from rounds.services.config import HttpCheck
from rounds.services.prober import Prober
from rounds.services.resolver import Resolver

_NGINX = """
worker_processes 1; daemon off; error_log stderr crit; pid {folder}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  server {{
    listen 127.0.0.1:{plain}; listen 127.0.0.1:{tls} ssl;
    ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
    location / {{ return 200 "ok"; }}
  }}
}}
"""
_BLACKBOX = """
modules:
  probe: {prober: http, http: {preferred_ip_protocol: ip4, tls_config: {insecure_skip_verify: true}}}
"""
_IN_FLIGHT = 5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--probes", type=int, default=3000, help="probes in each round")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    plain, tls, blackbox = (free_port() for _ in range(3))
    with tempfile.TemporaryDirectory() as name, servers(Path(name), plain, tls, blackbox) as blackbox_pid:
        for kind, url in (("http", f"http://127.0.0.1:{plain}/"), ("https", f"https://127.0.0.1:{tls}/")):
            ours, theirs = [], []
            for _ in range(arguments.rounds):
                ours.append(asyncio.run(rounds_cost(url, arguments.probes)))
                theirs.append(blackbox_cost(url, blackbox, blackbox_pid, arguments.probes))
            mine, other = statistics.median(ours), statistics.median(theirs)
            print(f"{kind:5}  rounds {mine:.3f} ms  blackbox_exporter {other:.3f} ms  ratio {mine / other:.2f}")


async def rounds_cost(url: str, probes: int) -> float:
    """Milliseconds of processor time for one of our probes."""
    check = HttpCheck.model_validate({"name": "bench", "url": url, "tls": {"insecure_skip_verify": True}})
    prober = Prober(check, Resolver())

    async def work(count: int) -> None:
        for _ in range(count):
            result = await prober.probe()
            if result.reason:
                raise SystemExit(f"the probe of {url} failed: {result.detail}")

    await work(200)
    before = time.process_time()
    await asyncio.gather(*(work(probes // _IN_FLIGHT) for _ in range(_IN_FLIGHT)))
    return (time.process_time() - before) / (probes // _IN_FLIGHT * _IN_FLIGHT) * 1000


def blackbox_cost(url: str, port: int, pid: int, probes: int) -> float:
    """Milliseconds of processor time for one of blackbox_exporter's."""
    with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:

        def work(count: int) -> None:
            for _ in range(count):
                connection.request("GET", f"/probe?module=probe&target={quote(url)}")
                if b"probe_success 1" not in connection.getresponse().read():
                    raise SystemExit(f"blackbox_exporter's probe of {url} failed")

        work(200)
        before = cpu_seconds(pid)
        work(probes)
        return (cpu_seconds(pid) - before) / probes * 1000


@contextmanager
def servers(folder: Path, plain: int, tls: int, blackbox: int) -> Iterator[int]:
    """Run nginx and blackbox_exporter; gives the latter's process id."""
    (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, plain=plain, tls=tls))
    (folder / "blackbox.yml").write_text(_BLACKBOX)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=bench"]
    files = ["-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem"]
    subprocess.run(["openssl", "req", "-x509", *key, *files], check=True, capture_output=True)
    nginx = ["nginx", "-c", f"{folder}/nginx.conf", "-e", "stderr"]
    peer = [
        "prometheus-blackbox-exporter",
        f"--config.file={folder}/blackbox.yml",
        f"--web.listen-address=127.0.0.1:{blackbox}",
    ]
    with running(nginx, plain), running(peer, blackbox) as process:
        yield process.pid


if __name__ == "__main__":
    main()
