"""Everything that is measured: started on a free port with a configuration of its own, and ended by its process id."""

import json
import os
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.media.tools import Process, compiled, need
from tests.fakes.ports import free_port

ROOT = Path(__file__).parents[2]
FLUSH_MS = 50
READY_SECONDS = 15.0
PATH = "/ts/bench-%d"


@dataclass(frozen=True, slots=True)
class Server:
    """One that is listening. ``pid`` is the process that does all of its work."""

    name: str
    port: int
    pid: int
    path: str = PATH


@contextmanager
def reference(home: Path, source_port: int, streams: int = 1) -> Iterator[Server]:
    """The plain C fan-out."""
    with Process(compiled("fanout", home), str(source_port), str(streams), str(FLUSH_MS)) as process:
        yield Server("C reference", process.answer()["port"], process.pid)


@contextmanager
def penstock(source_port: int, streams: int = 1, **spec: object) -> Iterator[Server]:
    """A proxy as it is shipped, told of these streams."""
    port = free_port()
    chosen = {"PENSTOCK_PROXY_HTTP": f"127.0.0.1:{port}", "PENSTOCK_PROXY_LOG_LEVEL": "error"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
    with Process(sys.executable, "-m", "proxy", environment=kept | chosen, cwd=ROOT) as process:
        _await_port(process, port)
        announce(port, range(streams), source_port, **spec)
        yield Server("Penstock", port, process.pid)


def announce(port: int, numbers: range, source_port: int, **spec: object) -> None:
    boot = control(port, "GET", "/sessions")["boot_id"]
    for number in numbers:
        url = f"http://127.0.0.1:{source_port}{PATH % number}"
        wished = {"key": f"bench-{number}", "upstreams": [{"url": url}], "outputs": ["ts", "hls"], **spec}
        order = {"epoch": 1, "generation": 1, "boot_id": boot, "token": 1, "spec": wished}
        control(port, "PUT", f"/sessions/bench-{number}", order)
    control(port, "POST", "/synced", {"boot_id": boot, "token": 1})


def control(port: int, method: str, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    address = f"http://127.0.0.1:{port}/control/v1{path}"
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


@contextmanager
def nginx(home: Path, files: Path) -> Iterator[Server]:
    """One process that serves files with sendfile."""
    port = free_port()
    scratch = "".join(
        f"{kind}_temp_path {home}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (home / "nginx.conf").write_text(f"""
        daemon off; master_process off; pid {home}/nginx.pid; error_log {home}/nginx.log;
        worker_rlimit_nofile 8192;
        events {{ worker_connections 4096; }}
        http {{
            access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; {scratch}
            types {{ video/mp2t ts; application/vnd.apple.mpegurl m3u8; }}
            server {{ listen 127.0.0.1:{port}; root {files}; }}
        }}""")
    program = need("nginx", "nginx-light")
    with Process(program, "-p", home, "-e", home / "nginx.log", "-c", home / "nginx.conf") as process:
        _await_port(process, port)
        yield Server("nginx", port, process.pid)


@contextmanager
def haproxy(home: Path, behind: Server) -> Iterator[Server]:
    """It has no fan-out: each viewer is a connection of its own to the C reference."""
    port = free_port()
    (home / "haproxy.cfg").write_text(f"""
global
    maxconn 4000
    nbthread 1
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend viewers
    bind 127.0.0.1:{port}
    default_backend fanout
backend fanout
    server reference 127.0.0.1:{behind.port}
""")
    with Process(need("haproxy", "haproxy"), "-db", "-f", home / "haproxy.cfg") as process:
        _await_port(process, port)
        yield Server("HAProxy", port, process.pid)


@contextmanager
def icecast(home: Path, source_port: int) -> Iterator[Server]:
    """Icecast 2 as a relay of the source."""
    port, place = free_port(), home / "icecast"
    place.mkdir(exist_ok=True)
    place.chmod(0o777)
    home.chmod(0o755)
    owner = "<changeowner><user>nobody</user><group>nogroup</group></changeowner>" if os.geteuid() == 0 else ""
    (place / "icecast.xml").write_text(f"""<icecast>
        <limits><clients>4000</clients><sources>2</sources><queue-size>4194304</queue-size></limits>
        <authentication><source-password>bench</source-password><admin-user>admin</admin-user>
            <admin-password>bench</admin-password></authentication>
        <hostname>127.0.0.1</hostname>
        <listen-socket><port>{port}</port><bind-address>127.0.0.1</bind-address></listen-socket>
        <relay><server>127.0.0.1</server><port>{source_port}</port><mount>{PATH % 0}</mount>
            <local-mount>/live</local-mount><on-demand>0</on-demand></relay>
        <paths><logdir>{place}</logdir><webroot>/usr/share/icecast2/web</webroot>
            <adminroot>/usr/share/icecast2/admin</adminroot></paths>
        <logging><accesslog>access.log</accesslog><errorlog>error.log</errorlog><loglevel>2</loglevel></logging>
        <security><chroot>0</chroot>{owner}</security></icecast>""")
    with Process(need("icecast2", "icecast2"), "-c", place / "icecast.xml") as process:
        _await_port(process, port)
        time.sleep(2)  # the relay is opened a while after the port
        yield Server("Icecast 2", port, process.pid, path="/live")


def _await_port(process: Process, port: int) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.is_over:
            process.answer()  # raises, and says why
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"nothing answers at port {port}")
