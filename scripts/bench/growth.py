"""Measures the cost of a request and of a connection, from one connection to thousands."""

import resource
import subprocess
import time

from figures import bars, digits, median, ratio, svg, table, whole
from servers import BARE, SOURCES, WAIT_SECONDS, Failed, count, progress

# Open files of a process that are not connections.
OTHER_FILES = 100

LOADED = [1, 64, 1000, 10000]
IDLE = [1, 100, 1000, 5000, 10000, 15000]  # the memory with one connection is the baseline
MAX_CONNECTIONS = 16000  # limits.max_connections of the servers


def wait_for(description, condition, process):
    """Waits until the condition holds or the process exits."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        try:
            process.wait(0.02)
            return  # The client's summary has the reason.
        except subprocess.TimeoutExpired:
            pass
        if time.monotonic() > deadline:
            raise Failed(f"{description}: not within {WAIT_SECONDS} s")


def run_load(bench, server, load, counter, connections):
    """Returns the CPU time per request and the throughput while all connections are open. Connecting and closing count
    only where each request has a separate connection."""
    prefix = server.name.split("-")[0]
    label = f"{server.name}, {count(connections, 'connection')}, under load"
    count_at_start = server.metric(counter)
    # The load runs until it is stopped below.
    client = bench.client(server, [*load, "-c", str(connections), "-z", "1h"])
    try:
        if load[0] == "rps":
            wait_for("all connections open", lambda: server.metric(f"{prefix}_connections") >= connections, client)
        wait_for("all connections used", lambda: server.metric(counter) >= count_at_start + connections, client)
        cpu, replies, start = server.cpu(), server.metric(counter), time.monotonic()
        try:
            client.wait(bench.arguments.seconds)
        except subprocess.TimeoutExpired:
            pass  # The load is still running, as expected.
        cpu, replies, seconds = server.cpu() - cpu, server.metric(counter) - replies, time.monotonic() - start
    finally:
        client.terminate()
        run = bench.summary(client, label, 0)
    # The next measurement must not include the closing of these connections.
    wait_for("all connections closed", lambda: server.metric(f"{prefix}_connections") == 0, server.process)
    if run and replies:
        return {"cpu": cpu * 1e6 / replies, "throughput": replies / seconds}
    return None


def idle_memory(bench, name, request, reply_size, levels):
    """Returns the resident memory for each number of connections. Each connection is idle after one reply."""
    connections, resident = [], {}
    server = bench.start_ours(name, f"limits.max_connections={MAX_CONNECTIONS}", "timeouts.idle=10m")
    try:
        for level in levels:
            while len(connections) < level:
                connections.append(server.connect())
                connections[-1].sendall(request)
                received = connections[-1].recv(100)
                if len(received) != reply_size:
                    raise Failed(f"unexpected reply {received!r}")
            resident[level] = server.resident()
            progress(f"{name}: {count(level, 'idle connection')}")
    except (Failed, OSError) as failure:
        bench.errors.append(f"{name}, idle connection {len(connections):,}: {failure}")
    finally:
        for connection in connections:
            connection.close()
        bench.stop(server)
    return resident


def growth(bench):
    rounds, seconds = bench.arguments.rounds, bench.arguments.seconds
    # Each connection needs one open file in the client and one in the server.
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    max_level = MAX_CONNECTIONS if files == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, files - OTHER_FILES)
    # The servers raise their soft limit themselves; the client inherits this one.
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    left_out = sorted({level for level in LOADED + IDLE if level > max_level})
    busy, idle = ([level for level in levels if level <= max_level] for levels in (LOADED, IDLE))
    bench.heading(["power-server", "rps-server"], "From one connection to thousands")
    each = f"each round measures every number of connections for {seconds:g} s"
    print(f"- Medians of {count(rounds, 'round')}; {each}.")
    if left_out:
        numbers = ", ".join(f"{level:,}" for level in left_out)
        print(f"- Left out because a process can have only {files:,} open files: {numbers} connections.")
    figures = []

    plan = [
        ("power-server", "power_requests_total", [*BARE, *SOURCES], "short connections, N at a time"),
        ("rps-server", "rps_rounds_total", ["rps", *SOURCES], "open connections, one move in flight on each"),
    ]
    servers = {name: bench.start_ours(name, f"limits.max_connections={MAX_CONNECTIONS}") for name, *_ in plan}
    runs = {(name, level): [] for name, *_ in plan for level in busy}
    for number in range(1, rounds + 1):
        for name, counter, load, _ in plan:
            for level in busy:
                progress(f"{name}: {count(level, 'connection')}, round {number} of {rounds}")
                run = None
                try:
                    run = run_load(bench, servers[name], load, counter, level)
                except (Failed, OSError) as failure:
                    bench.errors.append(f"{name}, {count(level, 'connection')}: {failure}")
                runs[name, level].append(run)
    for name, _, _, title in plan:
        print(f"\n## {name}: {title}\n")
        lines, cpus = [], {}
        for level in busy:
            valid = [run for run in runs[name, level] if run]
            pairs = zip(runs[name, level], runs.get((name, 64), []))
            ratios = [run and at_64 and run["cpu"] / at_64["cpu"] for run, at_64 in pairs]
            throughput, cpu = median(run["throughput"] for run in valid), median(run["cpu"] for run in valid)
            if cpu is not None:
                cpus[level] = cpu
            lines.append([f"{level:,}", whole(throughput), digits(cpu), ratio(median(ratios))])
        table(["connections", "requests/s", "server's CPU per request, µs", "÷ 64 connections"], lines)
        print("\nWith one connection, the server sleeps after each request, and the next one includes the wake-up.")
        if cpus:
            figures.append((f"{name}: {title.split(',')[0]}", "server's CPU per request, µs", cpus))
    for server in servers.values():
        bench.stop(server)

    for name, request, reply_size in [("power-server", b"a2\n", len(b"d4.0\n")), ("rps-server", b"1", 1)]:
        resident = idle_memory(bench, name, request, reply_size, idle)
        per_connection = {level: (resident[level] - resident[1]) / (level - 1) for level in resident if level > 1}
        print(f"\n## {name}: memory with idle connections\n")
        lines = [
            [f"{level:,}", f"{memory / 2**20:.2f}", digits(per_connection.get(level))]
            for level, memory in resident.items()
        ]
        table(["connections", "resident, MiB", "bytes per further connection"], lines)
        if per_connection:
            figures.append((f"{name}: idle connections", "bytes of resident memory per connection", per_connection))

    if figures:
        print("\n## At a glance\n\n```text")
        print("\n\n".join("\n".join(bars(*figure)) for figure in figures))
        print("```")
    if figures and bench.arguments.svg:
        with open(bench.arguments.svg, "w") as file:
            file.write(svg(figures))
        progress(f"wrote {bench.arguments.svg}")
    return bench.print_errors()
