"""Compares the cost of a request between both servers and others."""

from figures import digits, duration, median, ratio, table, whole
from servers import BARE, SOURCES, Failed, count, find_program, progress

# For each load: its name, its title, the client's arguments, and the servers, ours first. For each server: the title of
# its row, its name, and its arguments of the client.
PING = ["exchange", "--send", r"PING\r\n", "--expect", r"+PONG\r\n"]
MN = ["exchange", "--send", r"mn\r\n", "--expect", r"MN\r\n"]
HTTP = ["exchange", "--send", r"GET /\r\n", "--expect", "d4.0"]
LOADS = [
    (
        "short",
        "Short connections, 64 at a time: connect, request, reply, close",
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
        "Ping-pong: 64 open connections, each with one request in flight",
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
        "Pipelined: 16 open connections, each with 64 requests in flight",
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


def measure(bench, servers, label, start_load, *arguments):
    """Runs the load that `start_load` starts. Returns its summary with the servers' CPU time per request, or None."""
    before = sum(server.cpu() for server in servers)
    run = bench.summary(start_load(*arguments), label, bench.arguments.seconds)
    try:
        for server in servers:
            server.check_alive(0)
    except Failed as failure:
        bench.errors.append(f"{label}: {failure}")
        return None
    if not run or not run["right"]:
        return None
    # A load that connects before it measures knows the CPU time of its measurement.
    cpu = run["cpu"] if "cpu" in run else sum(server.cpu() for server in servers) - before
    return {**run, "cpu": cpu * 1e6 / run["requests"]}


def print_runs(titles, runs):
    """Prints the table of the runs of each row. The first row is the base of the ratios."""
    base = next(iter(runs.values()))
    lines = []
    for row, its_runs in runs.items():
        valid = [run for run in its_runs if run]
        ratios = [run and other and run["cpu"] / other["cpu"] for run, other in zip(its_runs, base)]
        throughput, cpu = median(run["throughput"] for run in valid), median(run["cpu"] for run in valid)
        latencies = [duration(median(run["latency_us"][key] for run in valid)) for key in ("p50", "p99")]
        lines.append([row, whole(throughput), *latencies, digits(cpu), ratio(median(ratios))])
    table(titles, lines)


def compare(bench):
    rounds, seconds = bench.arguments.rounds, bench.arguments.seconds
    loads = [load for load in LOADS if load[0] in bench.arguments.works]
    missing = [name for name, package in PACKAGES.items() if not find_program(package)]
    servers = {}
    for name in dict.fromkeys(server for *_, rows in loads for _, server, _ in rows):
        if name in missing:
            continue
        progress(f"starting {name}")
        if name.endswith("-server"):
            servers[name] = bench.start_ours(name)
            continue
        try:
            servers[name] = bench.start_peer(name)
        except Failed as failure:
            bench.errors.append(str(failure))
    bench.heading(dict.fromkeys(name.split()[0] for name in servers), "Comparison with other servers")
    print(f"- Medians of {count(rounds, 'round')}; each round measures every server for {seconds:g} s.")
    for name, title, load, rows in loads:
        rows = [row for row in rows if row[1] in servers]
        runs = {row: [] for row, *_ in rows}
        for number in range(1, rounds + 1):
            progress(f"{name}: round {number} of {rounds}")
            for row, server, arguments in rows:
                server = servers[server]
                label = f"{title.split(':')[0]}: {row}, round {number}"
                command = [*arguments, *load, "-z", f"{seconds}s"]
                runs[row].append(measure(bench, [server], label, bench.client, server, command))
        print(f"\n## {title}\n")
        print_runs(["server", "requests/s", "p50", "p99", "server's CPU per request, µs", "÷ ours"], runs)
    if missing:
        print(f"\nNot installed and left out: {', '.join(missing)}.")
    print("\nThe last column is the median of the ratios of all rounds. Where the CPU of the load is the bottleneck,")
    print("requests/s and latencies describe the load more than the server. The CPU time is the server's alone,")
    print("including its time in the kernel.")
    return bench.print_errors()
