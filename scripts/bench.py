"""What scripts/bench.sh runs; its head says what it is for.

Every server runs from the start on, and each work goes over them in turn, round after round: what else the machine does
then meets neighbours alike, and what is told is the median. Not how fast a server is says this best, but how much CPU
time of its own it takes for a request, by the kernel's account.
"""

import argparse
import datetime
import http.client
import json
import os
import platform
import re
import resource
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WAIT_SECONDS = 20  # for what should be there at once, on however slow a machine
# On loopback a port is free again after a second: addresses enough for the connections of one.
SOURCES = ["--sources", "127.0.0.2-127.0.0.9"]
# Files that a process has open beside its connections.
OTHER_FILES = 100

# For each work: its name, what the table says, how the client loads, and the servers, ours first: the row's name, the
# server, and what the client is told for it.
PING = ["exchange", "--send", r"PING\r\n", "--expect", r"+PONG\r\n"]
MN = ["exchange", "--send", r"mn\r\n", "--expect", r"MN\r\n"]
HTTP = ["exchange", "--send", r"GET /\r\n", "--expect", "d4.0"]
BARE = ["power", "--framing", "bare"]
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

LOADED = [1, 64, 1000, 10000]
IDLE = [1, 100, 1000, 5000, 10000, 15000]  # what the first one takes, the process takes at rest
MOST = 16000  # connections that the servers let in for that


class Failed(Exception):
    pass


def say(*words):
    print("bench:", *words, file=sys.stderr, flush=True)


def read(path):
    with open(path) as file:
        return file.read()


def count(number, noun):
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def program(name):
    """Where a program is; servers are in sbin, which is not on everybody's path."""
    return shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")


def free_ports(number):
    """So many ports, all of them different and free a moment ago."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


class Cpus:
    """One CPU for the servers and the others for the load, where there are others."""

    def __init__(self):
        usable = sorted(os.sched_getaffinity(0))
        self.servers, self.load = ({usable[0]}, set(usable[1:])) if len(usable) > 1 else (set(usable), set(usable))
        self.threads = min(len(self.load), 4)
        os.sched_setaffinity(0, self.load)

    def describe(self):
        if self.servers == self.load:
            return f"Servers and load share CPU {min(self.load)}, the only one"
        others = ", ".join(map(str, sorted(self.load)))
        load = f"the load to CPU {others}, with {count(self.threads, 'thread')}"
        return f"All servers are pinned to CPU {min(self.servers)}, {load}"


class Server:
    def __init__(self, name, command, port, bench, admin=None):
        self.name, self.port, self.admin = name, port, admin
        self.log = os.path.join(bench.scratch, name.replace(" ", "-") + ".log")
        # Threads that a server starts later stay where it was started.
        os.sched_setaffinity(0, bench.cpus.servers)
        with open(self.log, "w") as log:
            # A session of its own, so that what it starts can be told, and ended.
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=bench.environment, start_new_session=True
            )
        os.sched_setaffinity(0, bench.cpus.load)
        bench.running.append(self)
        until = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                # From another address: a port that nobody listens at yet may by chance be the one to connect from,
                # and would then be connected to itself.
                self.connect(("127.0.0.2", 0)).close()
                return
            except OSError:
                self.alive(0.02)
            if time.monotonic() > until:
                raise Failed(f"{name} does not listen within {WAIT_SECONDS} s:\n{self.said()}")

    def connect(self, source=None):
        return socket.create_connection(("127.0.0.1", self.port), WAIT_SECONDS, source)

    def alive(self, seconds):
        """Waits so long for it to end, and takes that ill."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return
        raise Failed(f"{self.name} ended with {status}:\n{self.said()}")

    def said(self):
        """The end of its log."""
        return "\n".join(read(self.log).splitlines()[-5:])

    def processes(self):
        for name in filter(str.isdecimal, os.listdir("/proc")):
            try:
                if os.getsid(int(name)) == self.process.pid:
                    yield f"/proc/{name}"
            except OSError:
                pass  # It has ended since.

    def cpu(self):
        """Seconds of CPU time that it and what it has started have used."""
        total = 0
        for process in self.processes():
            for thread in os.listdir(f"{process}/task"):
                try:
                    total += int(read(f"{process}/task/{thread}/schedstat").split()[0])
                except (FileNotFoundError, ProcessLookupError):
                    pass  # It has ended since.
        return total / 1e9

    def resident(self):
        """Bytes of memory; in the status file they are rounded to what each CPU has last reported."""
        rollups = (read(f"{process}/smaps_rollup") for process in self.processes())
        return sum(int(re.search(r"^Rss: +(\d+) kB", rollup, re.M)[1]) * 1024 for rollup in rollups)

    def metrics(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=WAIT_SECONDS)
        try:
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def metric(self, name):
        """The sum over all its labels."""
        return sum(float(value) for value in re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", self.metrics(), re.M))

    def stop(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


class Bench:
    def __init__(self, arguments):
        self.arguments = arguments
        self.bin = os.path.abspath(arguments.bin)
        for name in ("power-server", "rps-server", "cli-client"):
            if not os.access(os.path.join(self.bin, name), os.X_OK):
                raise Failed(f"there is no {name} in {self.bin}")
        # Whatever the caller has set, what is measured is what is shipped.
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not re.match(r"(POWER|RPS)_SERVER_|(POWER|RPS|DUEL)_ADDR$", name)
        }
        self.cpus = Cpus()
        self.running = []
        self.errors = []

    def __enter__(self):
        self.scratch = tempfile.mkdtemp(prefix="bench-")
        return self

    def __exit__(self, *_):
        for server in self.running:
            server.stop()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def ours(self, name, *settings):
        port, admin = free_ports(2)
        listen = {"power-server": ["--listen"], "rps-server": ["--duel-listen", "", "--solo-listen"]}[name]
        settings = [word for setting in settings for word in ("--set", setting)]
        command = [
            f"{self.bin}/{name}", "--config", f"{ROOT}/config/{name}.toml",
            *listen, f"127.0.0.1:{port}", "--admin-listen", f"127.0.0.1:{admin}", *settings,
        ]  # fmt: skip
        return Server(name, command, port, self, admin)

    def peer(self, name):
        """Another server, as plain as it can be had: one process, no disk, no log of requests."""
        (port,) = free_ports(1)
        if name.startswith("asyncio "):
            command = [sys.executable, f"{ROOT}/scripts/asyncio_peer.py", name.split()[1], str(port)]
        elif name == "redis":
            configuration = os.path.join(self.scratch, "redis.conf")
            with open(configuration, "w") as file:
                # The load comes from all of loopback, which it takes for foreign but for one address.
                file.write(
                    f'bind 127.0.0.1\nport {port}\nprotected-mode no\nsave ""\nappendonly no\ndir "{self.scratch}"\n'
                )
            command = [program("redis-server"), configuration]
        elif name == "memcached":
            # Threads as many as ours have: one for the CPU. It will not run as root unasked.
            command = [program("memcached"), "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-t", "1"]
            command += ["-u", "root"] if os.geteuid() == 0 else []
        elif name == "nginx":
            configuration = os.path.join(self.scratch, "nginx.conf")
            temporary = "".join(
                f"{kind}_temp_path {self.scratch};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            )
            with open(configuration, "w") as file:
                # Without a master it needs no right to become somebody else; and where root is root in a network
                # of its own alone, there may be nobody else.
                file.write("user root;\n" if os.geteuid() == 0 else "")
                file.write(
                    f"daemon off; master_process off; worker_processes 1; pid {self.scratch}/nginx.pid;\n"
                    f"error_log stderr error;\nevents {{ worker_connections 1024; }}\n"
                    f"http {{\naccess_log off;\n{temporary}"
                    f'server {{ listen 127.0.0.1:{port}; return 200 "d4.0"; }}\n}}\n'
                )
            command = [program("nginx"), "-e", "stderr", "-p", self.scratch, "-c", configuration]
        return Server(name, command, port, self)

    def end(self, server):
        server.stop()
        self.running.remove(server)

    def client(self, server, load):
        command = [f"{self.bin}/cli-client", "--json", "--timeout", "20s", "bench", *load]
        command += ["--addr", f"127.0.0.1:{server.port}", "--threads", str(self.cpus.threads)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, env=self.environment, **pipes)

    def summary(self, client, what, seconds):
        """What the client has to say at its end; every error in it goes to those that are shown."""
        try:
            output, _ = client.communicate(timeout=seconds + 3 * WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            output = "does not end"
        finally:
            client.kill()
            client.wait()
        try:
            summary, *ended = map(json.loads, output.splitlines())
            # That it was asked to end is no error.
            if ended and ended[-1].get("error", {}).get("kind") != "interrupted":
                raise ValueError
        except ValueError:
            said = output.strip() or f"the client ended with {client.returncode}, without a word"
            summary = {"error": {"message": said}}
        if "error" in summary:
            self.errors.append(f"{what}: {summary['error']['message']}")
            return None
        messages = summary.get("first_messages", {})
        for kind, times in summary["errors"].items():
            self.errors.append(f"{what}: {times:,} × {kind}: {messages.get(kind, '')}".rstrip(": "))
        return summary

    # --- What is printed

    def heading(self, servers, title):
        now = datetime.datetime.now(datetime.timezone.utc)
        print(f"# {title}, {now:%Y-%m-%d %H:%M} UTC\n")
        processor = re.search(r"^model name\s*: (.*)$", read("/proc/cpuinfo"), re.M)
        processor = processor[1] if processor else platform.machine()
        memory = int(re.search(r"^MemTotal: +(\d+)", read("/proc/meminfo"), re.M)[1]) / 2**20
        system = f"{platform.system()} {platform.release()}"
        print(f"- Machine: {processor}, {os.cpu_count()} cores, {memory:.1f} GiB of memory, {system}")
        print(f"- Versions: {', '.join(map(self.version, servers))}")
        print(f"- Command: `{shlex.join(['scripts/bench.sh', *self.arguments.given])}`")
        print(f"- {self.cpus.describe()}.")

    def version(self, name):
        if name == "asyncio":
            return f"asyncio of Python {platform.python_version()}"
        command = {"redis": ["redis-server", "--version"], "memcached": ["memcached", "-V"], "nginx": ["nginx", "-v"]}
        path, flag = command.get(name, [f"{self.bin}/{name}", "--version"])
        said = subprocess.run([program(path), flag], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
        number = re.search(r"\d+(\.\d+)+", said)
        return f"{name} {number[0] if number else said.strip()}"

    def conclusion(self):
        """The errors, and the exit code that they make."""
        if not self.errors:
            return 0
        print("\nErrors:\n")
        for error in self.errors:
            print("- " + error.strip().replace("\n", "\n  "))
        return 1


def median(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def whole(number):
    return "-" if number is None else f"{number:,.0f}"


def ratio(number):
    return "-" if number is None else f"{number:.2f}"


def digits(number):
    """With three significant digits, or all before the point."""
    if number is None:
        return "-"
    return whole(number) if number >= 100 else f"{number:#.3g}".rstrip(".")


def duration(microseconds):
    if microseconds is None:
        return "-"
    for unit, size in (("µs", 1), ("ms", 1e3), ("s", 1e6)):
        if microseconds < 1000 * size:
            break
    return f"{digits(microseconds / size)} {unit}"


def table(titles, rows):
    print("| " + " | ".join(titles) + " |\n|---|" + "---:|" * (len(titles) - 1))
    for row in rows:
        print("| " + " | ".join(row) + " |")


# --- Against the others


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


# --- From one connection to thousands


def wait_for(what, holds, client):
    until = time.monotonic() + WAIT_SECONDS
    while not holds():
        try:
            client.wait(0.02)
            return  # Its summary says why.
        except subprocess.TimeoutExpired:
            pass
        if time.monotonic() > until:
            raise Failed(f"{what}, not within {WAIT_SECONDS} s")


def loaded_run(bench, server, load, counter, connections):
    """CPU time per request while all connections are there: neither their making nor their end is in it, but where
    each request has its own."""
    prefix = server.name.split("-")[0]
    what = f"{server.name}, {count(connections, 'connection')}, under load"
    began = server.metric(counter)
    # The load has no end of its own: it is ended when enough was seen of it.
    client = bench.client(server, [*load, "-c", str(connections), "-z", "1h"])
    try:
        if load[0] == "rps":
            wait_for("all of them open", lambda: server.metric(f"{prefix}_connections") >= connections, client)
        wait_for("all of them used", lambda: server.metric(counter) >= began + connections, client)
        before, answered, at = server.cpu(), server.metric(counter), time.monotonic()
        try:
            client.wait(bench.arguments.seconds)
        except subprocess.TimeoutExpired:
            pass  # as it should be
        used, answered, took = server.cpu() - before, server.metric(counter) - answered, time.monotonic() - at
    finally:
        client.terminate()
        run = bench.summary(client, what, 0)
    # What is closed now is no part of the next one.
    wait_for("none of them open", lambda: server.metric(f"{prefix}_connections") == 0, server.process)
    if run and answered:
        return {"cpu": used * 1e6 / answered, "throughput": answered / took}
    return None


def idle_memory(bench, name, request, reply, levels):
    """Resident memory with so many connections, each of which has been answered once and then says nothing."""
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


def bars(title, unit, values):
    """A figure of bars: those of one length say that it stays as it is."""
    width, most = 50, max(values.values())
    lines = [f"{title}, {unit}"]
    for level, value in values.items():
        lines.append(f"{level:>8,} {'#' * max(1, round(width * value / most)):<{width}} {digits(value)}")
    return lines


def svg(figures):
    """The same figures as drawn bars, two in a row."""
    width, bar, gap, top, label, length = 420, 18, 6, 44, 60, 260
    height = top + max(len(values) for _, _, values in figures) * (bar + gap) + 20
    rows = (len(figures) + 1) // 2
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * width} {rows * height}" width="{2 * width}" '
        f'height="{rows * height}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    for index, (title, unit, values) in enumerate(figures):
        left, upper, most = index % 2 * width + 10, index // 2 * height, max(values.values())
        out.append(f'<text x="{left}" y="{upper + 20}" font-weight="bold">{title}</text>')
        out.append(f'<text x="{left}" y="{upper + 36}" fill="#555555">{unit}</text>')
        for line, (level, value) in enumerate(values.items()):
            y = upper + top + line * (bar + gap)
            drawn = max(1, round(length * value / most))
            out.append(f'<text x="{left + label - 6}" y="{y + 13}" text-anchor="end">{level:,}</text>')
            out.append(f'<rect x="{left + label}" y="{y}" width="{drawn}" height="{bar}" fill="#4477aa"/>')
            out.append(f'<text x="{left + label + drawn + 6}" y="{y + 13}">{digits(value)}</text>')
    return "\n".join([*out, "</svg>", ""])


def growth(bench):
    rounds, seconds = bench.arguments.rounds, bench.arguments.seconds
    # Each side of a connection takes a file of its process.
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = MOST if files == resource.RLIM_INFINITY else min(MOST, files - OTHER_FILES)
    # Ours would do by itself; what it starts has it from here.
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


def main():
    parser = argparse.ArgumentParser(
        prog="scripts/bench.sh",
        description="Measures both servers on this machine, beside others or as connections grow.",
    )
    parser.add_argument("what", nargs="?", choices=["compare", "growth"], default="compare")
    parser.add_argument("--rounds", type=int, default=5, help="how often each run is made (default: 5)")
    parser.add_argument("--seconds", type=float, default=2, help="how long each run is (default: 2)")
    parser.add_argument(
        "--works", type=lambda names: names.split(","), default=[name for name, *_ in WORKS],
        help="of the comparison, only these: short, ping, flight, with commas between them",
    )  # fmt: skip
    parser.add_argument("--svg", metavar="FILE", help="of the growth, draw the figures into this file too")
    parser.add_argument("--bin", required=True, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rounds < 1 or not 0 < arguments.seconds <= 3600:
        parser.error("--rounds must be at least 1, and --seconds above 0 and at most 3600")
    if not set(arguments.works) <= {name for name, *_ in WORKS}:
        parser.error("--works: wanted short, ping or flight")
    if arguments.svg and arguments.what != "growth":
        parser.error("--svg is for growth")
    arguments.given = sys.argv[3:]  # without --bin and its folder, which are the shell's
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with Bench(arguments) as bench:
            return {"compare": compare, "growth": growth}[arguments.what](bench)
    except Failed as failure:
        say(f"FAILED: {failure}")
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
