"""Measures the cost of a request and of a connection, from one connection to thousands."""

import resource
import subprocess
import time

from figures import bars, digits, median, ratio, svg, table, whole
from servers import BARE, SOURCES, WAIT_SECONDS, Failed, count, say

# Open files of a process other than connections.
OTHER_FILES = 100

LOADED = [1, 64, 1000, 10000]
IDLE = [1, 100, 1000, 5000, 10000, 15000]  # the first one includes the process at rest
MOST = 16000  # limits.max_connections of the servers


def wait_for(what, holds, client):
    until = time.monotonic() + WAIT_SECONDS
    while not holds():
        try:
            client.wait(0.02)
            return  # The reason is in its summary.
        except subprocess.TimeoutExpired:
            pass
        if time.monotonic() > until:
            raise Failed(f"{what}, not within {WAIT_SECONDS} s")


def loaded_run(bench, server, load, counter, connections):
    """Returns the CPU time per request while all connections are open. Connecting and closing are not included, except
    where each request has its own connection."""
    prefix = server.name.split("-")[0]
    what = f"{server.name}, {count(connections, 'connection')}, under load"
    began = server.metric(counter)
    # The load runs until the measurement is over.
    client = bench.client(server, [*load, "-c", str(connections), "-z", "1h"])
    try:
        if load[0] == "rps":
            wait_for("all of them open", lambda: server.metric(f"{prefix}_connections") >= connections, client)
        wait_for("all of them used", lambda: server.metric(counter) >= began + connections, client)
        before, answered, at = server.cpu(), server.metric(counter), time.monotonic()
        try:
            client.wait(bench.arguments.seconds)
        except subprocess.TimeoutExpired:
            pass  # The load still runs, as expected.
        used, answered, took = server.cpu() - before, server.metric(counter) - answered, time.monotonic() - at
    finally:
        client.terminate()
        run = bench.summary(client, what, 0)
    # The next measurement does not include the closing of these connections.
    wait_for("none of them open", lambda: server.metric(f"{prefix}_connections") == 0, server.process)
    if run and answered:
        return {"cpu": used * 1e6 / answered, "throughput": answered / took}
    return None


def idle_memory(bench, name, request, reply, levels):
    """Returns the resident memory for each number of connections, each of which is idle after one reply."""
    held, resident = [], {}
    server = bench.ours(name, f"limits.max_connections={MOST}", "timeouts.idle=10m")
    try:
        for level in levels:
            while len(held) < level:
                held.append(server.connect())
                held[-1].sendall(request)
                got = held[-1].recv(100)
                if len(got) != reply:
                    raise Failed(f"answered {got!r}")
            resident[level] = server.resident()
            say(f"{name}: {count(level, 'idle connection')}")
    except (Failed, OSError) as failure:
        bench.errors.append(f"{name}, idle connection {len(held):,}: {failure}")
    finally:
        for connection in held:
            connection.close()
        bench.end(server)
    return resident


def growth(bench):
    rounds, seconds = bench.arguments.rounds, bench.arguments.seconds
    # A connection takes one open file in the process on each side.
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = MOST if files == resource.RLIM_INFINITY else min(MOST, files - OTHER_FILES)
    # Our servers raise their limit themselves; the client inherits this one.
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    left_out = sorted({level for level in LOADED + IDLE if level > most})
    loaded, idle = ([level for level in levels if level <= most] for levels in (LOADED, IDLE))
    bench.heading(["power-server", "rps-server"], "From one connection to thousands")
    turn = f"in each of which every number of connections has its turn of {seconds:g} s"
    print(f"- Medians of {count(rounds, 'round')}, {turn}.")
    if left_out:
        numbers = ", ".join(f"{level:,}" for level in left_out)
        print(f"- Left out, as a process may have only {files:,} files open here: {numbers} connections.")
    figures = []

    plan = [
        ("power-server", "power_requests_total", [*BARE, *SOURCES], "short connections, so many at a time"),
        ("rps-server", "rps_rounds_total", ["rps", *SOURCES], "so many connections kept, one move in flight on each"),
    ]
    servers = {name: bench.ours(name, f"limits.max_connections={MOST}") for name, *_ in plan}
    runs = {(name, level): [] for name, *_ in plan for level in loaded}
    for number in range(1, rounds + 1):
        for name, counter, load, _ in plan:
            for level in loaded:
                say(f"{name}: {count(level, 'connection')}, round {number} of {rounds}")
                run = None
                try:
                    run = loaded_run(bench, servers[name], load, counter, level)
                except (Failed, OSError) as failure:
                    bench.errors.append(f"{name}, {count(level, 'connection')}: {failure}")
                runs[name, level].append(run)
    for name, _, _, title in plan:
        print(f"\n## {name}: {title}\n")
        lines, cpus = [], {}
        for level in loaded:
            done = [run for run in runs[name, level] if run]
            pairs = zip(runs[name, level], runs.get((name, 64), []))
            base = [run and at_64 and run["cpu"] / at_64["cpu"] for run, at_64 in pairs]
            speed, cpu = median(run["throughput"] for run in done), median(run["cpu"] for run in done)
            if cpu is not None:
                cpus[level] = cpu
            lines.append([f"{level:,}", whole(speed), digits(cpu), ratio(median(base))])
        table(["connections", "requests/s", "server's CPU per request, µs", "÷ that of 64"], lines)
        print("\nWith one, the server falls asleep after each request, and being woken is in the cost of the next.")
        if cpus:
            figures.append((f"{name}: {title.split(',')[0]}", "server's CPU per request, µs", cpus))
    for server in servers.values():
        bench.end(server)

    for name, request, reply in [("power-server", b"a2\n", len(b"d4.0\n")), ("rps-server", b"1", 1)]:
        resident = idle_memory(bench, name, request, reply, idle)
        each = {level: (resident[level] - resident[1]) / (level - 1) for level in resident if level > 1}
        print(f"\n## {name}: memory with idle connections\n")
        lines = [[f"{level:,}", f"{resident[level] / 2**20:.2f}", digits(each.get(level))] for level in resident]
        table(["connections", "resident, MiB", "bytes per connection over the first"], lines)
        if each:
            figures.append((f"{name}: idle connections", "bytes of resident memory per connection", each))

    if figures:
        print("\n## At a glance\n\n```text")
        print("\n\n".join("\n".join(bars(*figure)) for figure in figures))
        print("```")
    if figures and bench.arguments.svg:
        with open(bench.arguments.svg, "w") as file:
            file.write(svg(figures))
        say(f"wrote {bench.arguments.svg}")
    return bench.conclusion()
