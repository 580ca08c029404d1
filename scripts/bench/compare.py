"""Compares the cost of a request at both servers and at others."""

from figures import digits, duration, median, ratio, table, whole
from servers import BARE, SOURCES, Failed, count, program, say

# For each kind of load: its name, its title, the client's arguments, and the servers, ours first. For each server: the
# name of its row, its own name, and further arguments of the client.
PING = ["exchange", "--send", r"PING\r\n", "--expect", r"+PONG\r\n"]
MN = ["exchange", "--send", r"mn\r\n", "--expect", r"MN\r\n"]
HTTP = ["exchange", "--send", r"GET /\r\n", "--expect", "d4.0"]
WORKS = [
    (
        "short",
        "Short connections, 64 at a time: connect, ask, be answered, close",
        ["-c", "64", *SOURCES],
        [
            ("power-server, `a2`", "power-server", BARE),
            ("asyncio, `a2`", "asyncio power", BARE),
            ("redis, `PING`", "redis", PING),
            ("memcached, `mn`", "memcached", MN),
            ("nginx, `GET /` of HTTP/0.9", "nginx", HTTP),
        ],
    ),
    (
        "ping",
        "Ping-pong: 64 connections are kept, each with one request in flight",
        ["-c", "64"],
        [
            ("rps-server, a move", "rps-server", ["rps"]),
            ("power-server, `a2` as a line", "power-server", ["power", "--keep-alive"]),
            ("asyncio, a move", "asyncio rps", ["rps"]),
            ("redis, `PING`", "redis", [*PING, "--keep-alive"]),
            ("memcached, `mn`", "memcached", [*MN, "--keep-alive"]),
        ],
    ),
    (
        "flight",
        "Pipelined: 16 connections are kept, each with 64 requests in flight",
        ["-c", "16", "--pipeline", "64"],
        [
            ("rps-server, a move", "rps-server", ["rps"]),
            ("asyncio, a move", "asyncio rps", ["rps"]),
            ("redis, `PING`", "redis", [*PING, "--keep-alive"]),
            ("memcached, `mn`", "memcached", [*MN, "--keep-alive"]),
        ],
    ),
]
PACKAGES = {"redis": "redis-server", "memcached": "memcached", "nginx": "nginx"}


def compare(bench):
    rounds, seconds = bench.arguments.rounds, bench.arguments.seconds
    works = [work for work in WORKS if work[0] in bench.arguments.works]
    missing = [name for name, package in PACKAGES.items() if not program(package)]
    servers = {}
    for name in dict.fromkeys(server for *_, rows in works for _, server, _ in rows):
        if name in missing:
            continue
        say(f"starting {name}")
        if name.endswith("-server"):
            servers[name] = bench.ours(name)
            continue
        try:
            servers[name] = bench.peer(name)
        except Failed as failure:
            bench.errors.append(str(failure))
    bench.heading(dict.fromkeys(name.split()[0] for name in servers), "Against the others")
    print(f"- Medians of {count(rounds, 'round')}, in each of which every server has its turn of {seconds:g} s.")
    for name, title, load, rows in works:
        rows = [row for row in rows if row[1] in servers]
        runs = {row: [] for row, *_ in rows}
        for number in range(1, rounds + 1):
            say(f"{name}: round {number} of {rounds}")
            for row, server, asked in rows:
                server = servers[server]
                before = server.cpu()
                what = f"{title.split(':')[0]}: {row}, round {number}"
                client = bench.client(server, [*asked, *load, "-z", f"{seconds}s"])
                run = bench.summary(client, what, seconds)
                try:
                    server.alive(0)
                except Failed as failure:
                    bench.errors.append(f"{what}: {failure}")
                    run = None
                if run and run["right"]:
                    run["cpu"] = (server.cpu() - before) * 1e6 / run["requests"]
                runs[row].append(run if run and run["right"] else None)
        print(f"\n## {title}\n")
        ours = rows[0][0]
        lines = []
        for row, *_ in rows:
            done = [run for run in runs[row] if run]
            ratios = [run and our and run["cpu"] / our["cpu"] for run, our in zip(runs[row], runs[ours])]
            speed, cpu = median(run["throughput"] for run in done), median(run["cpu"] for run in done)
            latencies = [duration(median(run["latency_us"][key] for run in done)) for key in ("p50", "p99")]
            lines.append([row, whole(speed), *latencies, digits(cpu), ratio(median(ratios))])
        table(["server", "requests/s", "p50", "p99", "server's CPU per request, µs", "÷ ours"], lines)
    if missing:
        print(f"\nNot installed here, and left out: {', '.join(missing)}.")
    print("\nThe last column is the median of each round's ratio. Where the load has the busier CPU, requests/s and")
    print("latencies say more of it than of the server; the CPU time is the server's own, in its kernel too.")
    return bench.conclusion()
