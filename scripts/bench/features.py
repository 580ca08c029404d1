"""Measures what each feature of the servers costs beside plain TCP."""

import contextlib
import os
import subprocess
import sys

from compare import measure, print_runs
from servers import ROOT, SOURCES, Failed, Server, count, find_engine, find_program, free_ports, nginx_stream, progress

# The load of moves does not answer the pings of WebSocket connections, which a server sends every 20 s.
MAX_SECONDS = 15
PLAYERS = 64
# A request as a line, because each server here replies to it in the same way. All connections are short.
REQUEST, REPLY = r"a2\n", r"d4.0\n"
# PROXY protocol, version 2: command PROXY, TCP over IPv4, from 192.0.2.1:50000 to 127.0.0.1:5000.
HEADER = r"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\x7f\0\0\x01\xc3\x50\x13\x88"
# All addresses from which the load and the proxies connect.
TRUSTED = "proxy_protocol.trusted=127.0.0.0/8"

SHORT_NOTE = """\
The load is `cli-client bench exchange` with the line `a2` in all rows. It sends a PROXY header and the line in one
write, and resumes no TLS session. In the rows of nginx and HAProxy, the CPU time is that of the proxy alone. The
power-server behind it shares its CPU, so requests/s and latencies include both. nginx that replies itself does not wait
for the request."""
OPEN_NOTE = """\
The load is the same Python program in all rows (`scripts/bench/moves.py`). It shares the CPU of the server, so
requests/s and latencies include its time. In each row, the server wakes up once for the moves of all connections. On
another CPU, the load would be slower than the server with TLS, and the server would sleep and wake up between moves."""
DUEL_NOTE = """\
The load is `scripts/bench/moves.py` on its own CPU. The players of a pair stay together for the whole run; with two
replicas, they connect to different ones. p50 and p99 are the time from a move to its reply. The CPU time is that of all
servers of the row, without the engine."""


def certificates(bench):
    """Makes certificates for all servers and returns their folder."""
    if not find_program("openssl"):
        raise Failed("openssl is not installed")
    folder = os.path.join(bench.scratch, "certificates")
    command = ["bash", f"{ROOT}/scripts/certificates.sh", folder]
    if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
        raise Failed("cannot make certificates")
    return folder


def start_nginx(bench, folder, modules, backend):
    """Starts nginx, and returns it and the ports at which it replies over TLS and forwards with a header."""
    tls, header = free_ports(2)
    services = (
        f"stream {{\nssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server-key.pem;\n"
        f'server {{ listen 127.0.0.1:{tls} ssl; ssl_protocols TLSv1.3; return "d4.0\\n"; }}\n'
        f"server {{ listen 127.0.0.1:{header}; proxy_pass 127.0.0.1:{backend.port}; proxy_protocol on; }}\n}}\n"
    )
    return bench.start_nginx(header, services, modules), tls, header


def start_haproxy(bench, folder, plain, backend):
    """Starts HAProxy, and returns it and the ports at which it ends TLS and forwards with a header."""
    tls, header = free_ports(2)
    pair, configuration = (os.path.join(bench.scratch, name) for name in ("haproxy.pem", "haproxy.cfg"))
    with open(pair, "w") as file:
        for name in ("server.pem", "server-key.pem"):
            with open(os.path.join(folder, name)) as source:
                file.write(source.read())
    with open(configuration, "w") as file:
        file.write(
            "global\n nbthread 1\n maxconn 1000\n"
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n"
            f"listen tls\n bind 127.0.0.1:{tls} ssl crt {pair} ssl-min-ver TLSv1.3\n"
            f" server power 127.0.0.1:{plain.port}\n"
            f"listen header\n bind 127.0.0.1:{header}\n server power 127.0.0.1:{backend.port} send-proxy-v2\n"
        )
    command = [find_program("haproxy"), "-db", "-f", configuration]
    return Server("haproxy", command, header, bench), tls, header


def short_connections(bench, folder):
    """Returns the rows of short connections: title, servers whose CPU time counts, and a function that starts the
    load."""
    (tls,) = free_ports(1)
    socket_file = os.path.join(bench.scratch, "power.sock")
    pair = [f"tls.certificate={folder}/server.pem", f"tls.key={folder}/server-key.pem"]
    plain = bench.start_ours("power-server", *pair, endpoints=[f"tls://127.0.0.1:{tls}", f"unix:{socket_file}"])
    backend = bench.start_ours("power-server", TRUSTED, title="power-server behind a proxy")

    def row(title, server, endpoint, header="", sources=SOURCES):
        load = ["exchange", "--send", header + REQUEST, "--expect", REPLY, "-c", "64", *sources]
        load += ["-z", f"{bench.arguments.seconds}s", "--cacert", f"{folder}/ca.pem"]
        return title, [server], lambda: bench.client(server, load, endpoint)

    def tcp(port):
        return f"127.0.0.1:{port}"

    rows = [
        row("plain TCP", plain, tcp(plain.port)),
        row("with a PROXY header, v2", backend, tcp(backend.port), HEADER),
        row("Unix socket", plain, f"unix:{socket_file}", sources=[]),
        row("TLS 1.3", plain, f"tls://127.0.0.1:{tls}"),
    ]
    proxies = []
    modules = nginx_stream()
    if modules is not None:
        titles = ["nginx, TLS 1.3, replies itself", "nginx, plain TCP, forwards with a header, v1"]
        proxies.append((*titles, *start_nginx(bench, folder, modules, backend)))
    if find_program("haproxy"):
        titles = ["HAProxy, TLS 1.3, forwards", "HAProxy, plain TCP, forwards with a header, v2"]
        proxies.append((*titles, *start_haproxy(bench, folder, plain, backend)))
    rows += [row(title, server, f"tls://127.0.0.1:{port}") for title, _, server, port, _ in proxies]
    rows += [row(title, server, tcp(port)) for _, title, server, _, port in proxies]
    return rows


@contextlib.contextmanager
def shared_cpu(bench):
    """Starts processes on the CPU of the servers. They do not interrupt each other: each runs until it waits."""
    os.sched_setaffinity(0, bench.cpus.servers)
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.sched_setaffinity(0, bench.cpus.load)


def moves(bench, servers, ports, *options):
    """Returns the command of the load of moves."""
    command = [sys.executable, "-B", f"{ROOT}/scripts/bench/moves.py", "--seconds", str(bench.arguments.seconds)]
    command += [word for server in servers for word in ("--session", str(server.process.pid))]
    return [*command, "--connections", str(PLAYERS), *options, *map(str, ports)]


def open_connections(bench, folder):
    """Returns the rows of moves on open connections. The load takes longer for TLS than the server. On another CPU, it
    would let the server sleep between moves, and count the wake-ups as a cost of TLS. Here the server wakes up once for
    the moves of all connections, in every row."""
    tls, web, web_tls = free_ports(3)
    pair = [f"tls.certificate={folder}/server.pem", f"tls.key={folder}/server-key.pem"]
    listen = f"web.listen=127.0.0.1:{web},tls://127.0.0.1:{web_tls}"
    with shared_cpu(bench):
        server = bench.start_ours("rps-server", *pair, listen, endpoints=[f"tls://127.0.0.1:{tls}"])

    def row(title, port, *options):
        def start_load():
            with shared_cpu(bench):
                return bench.start_load(moves(bench, [server], [port], *options))

        return title, [server], start_load

    with_tls = ["--cacert", f"{folder}/ca.pem"]
    return [
        row("plain TCP", server.port),
        row("TLS 1.3", tls, *with_tls),
        row("WebSocket", web, "--websocket"),
        row("WebSocket over TLS 1.3", web_tls, "--websocket", *with_tls),
    ]


def duels(bench):
    """Returns the rows of duels."""

    def row(title, *servers):
        command = moves(bench, servers, [server.port for server in servers], "--duel")
        return title, servers, lambda: bench.start_load(command)

    alone = bench.start_ours("rps-server", title="rps-server with duels", listen="--duel-listen")
    rows = [row("one server", alone)]
    if find_engine():
        engine = bench.start_peer("redis")
        replicas = []
        for number in (1, 2):
            (links,) = free_ports(1)
            cluster = [f"duel.cluster.engine=redis://127.0.0.1:{engine.port}", f"duel.cluster.listen=127.0.0.1:{links}"]
            replica = bench.start_ours("rps-server", *cluster, title=f"replica {number}", listen="--duel-listen")
            replicas.append(replica)
        rows.append(row("two replicas with an engine", *replicas))
    return rows


def check_pairs(bench, replicas):
    """Adds an error if players of the two replicas have met at one of them."""
    accepted = r'rps_cluster_claims_total\{result="accepted"\}'
    pairs = bench.arguments.rounds * PLAYERS // 2
    try:
        across = sum(replica.metric(accepted) for replica in replicas)
        if across < pairs:
            bench.errors.append(f"duels: only {across:g} of {pairs} pairs played across the replicas")
    except OSError as failure:
        bench.errors.append(f"duels: cannot read the metrics: {failure}")


def features(bench):
    rounds, seconds = bench.arguments.rounds, bench.arguments.seconds
    programs = {"nginx with its module stream": nginx_stream(), "haproxy": find_program("haproxy")}
    programs["redis or valkey"] = find_engine()
    missing = [name for name, found in programs.items() if found is None]
    for name in missing:
        progress(f"not installed, so its rows are left out: {name}")
    folder = certificates(bench)
    progress("starting the servers")
    cpu = "server's CPU per request, µs"
    # The title, the columns, the rows and the note of each table.
    tables = [
        (
            "Short connections of power-server, 64 at a time: connect, request, reply, close",
            ["connection", "requests/s", "p50", "p99", cpu, "÷ plain TCP"],
            short_connections(bench, folder),
            SHORT_NOTE,
        ),
        (
            f"Moves on {PLAYERS} open connections of rps-server, one in flight on each",
            ["connection", "requests/s", "p50", "p99", cpu, "÷ plain TCP"],
            open_connections(bench, folder),
            OPEN_NOTE,
        ),
        (
            f"Duels of {PLAYERS // 2} pairs",
            ["servers", "rounds/s", "p50", "p99", "CPU of the servers per round, µs", "÷ one server"],
            duels(bench),
            DUEL_NOTE,
        ),
    ]
    names = [server.name for server in bench.running if server.name in ("nginx", "haproxy", "redis")]
    bench.heading(["power-server", "rps-server", *names], "Cost of the features")
    print(f"- Medians of {count(rounds, 'round')}; each round measures every row for {seconds:g} s.")
    runs = {title: {row: [] for row, *_ in rows} for title, _, rows, _ in tables}
    for number in range(1, rounds + 1):
        progress(f"round {number} of {rounds}")
        for title, _, rows, _ in tables:
            for row, servers, start_load in rows:
                label = f"{title.split(':')[0]}: {row}, round {number}"
                runs[title][row].append(measure(bench, servers, label, start_load))
    for title, columns, _, note in tables:
        print(f"\n## {title}\n")
        print_runs(columns, runs[title])
        print(f"\n{note}")
    if missing:
        print(f"\nNot installed and left out: {', '.join(missing)}.")
    for _, servers, _ in tables[-1][2][1:]:
        check_pairs(bench, servers)
    return bench.print_errors()
