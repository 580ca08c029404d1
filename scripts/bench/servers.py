"""Starts the measured servers and the client that generates the load, and describes both."""

import datetime
import http.client
import json
import os
import platform
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WAIT_SECONDS = 20  # limit of each wait, for slow machines
# On loopback a port can be reused after a second. These addresses have enough ports for the connections of one second.
SOURCES = ["--sources", "127.0.0.2-127.0.0.9"]
# Framing of short connections: requests without a line end, as existing programs send them.
BARE = ["power", "--framing", "bare"]


class Failed(Exception):
    pass


def progress(*words):
    print("bench:", *words, file=sys.stderr, flush=True)


def read(path):
    with open(path) as file:
        return file.read()


def count(number, noun):
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def find_program(name):
    """Returns the path of a program, or None. Servers may be in sbin, which PATH may not include."""
    return shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")


def find_engine():
    """Returns the path of redis-server or, without it, of valkey-server, or None."""
    return find_program("redis-server") or find_program("valkey-server")


def nginx_stream():
    """Returns the directive of nginx.conf that makes the module `stream` available, or None if it is missing."""
    nginx = find_program("nginx")
    if not nginx:
        return None
    build = subprocess.run([nginx, "-V"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    if re.search(r"--with-stream(\s|$)", build):
        return ""
    folder = re.search(r"--modules-path=(\S+)", build)
    module = os.path.join(folder[1], "ngx_stream_module.so") if folder else ""
    return f'load_module "{module}";\n' if os.path.exists(module) else None


def cpu_time(session):
    """Returns the CPU time of all processes of a session, in seconds."""
    total = 0
    for process in processes(session):
        for thread in os.listdir(f"{process}/task"):
            try:
                total += int(read(f"{process}/task/{thread}/schedstat").split()[0])
            except (FileNotFoundError, ProcessLookupError):
                pass  # It has exited meanwhile.
    return total / 1e9


def processes(session):
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if os.getsid(int(name)) == session:
                yield f"/proc/{name}"
        except OSError:
            pass  # It has exited meanwhile.


def free_ports(number):
    """Returns distinct ports that are free at the moment of the call."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


class Cpus:
    """Assigns one CPU to the servers and the other CPUs, if any, to the load."""

    def __init__(self):
        usable = sorted(os.sched_getaffinity(0))
        self.servers, self.load = ({usable[0]}, set(usable[1:])) if len(usable) > 1 else (set(usable), set(usable))
        self.threads = min(len(self.load), 4)
        os.sched_setaffinity(0, self.load)

    def describe(self):
        if self.servers == self.load:
            return f"Servers and load share CPU {min(self.load)}, the only usable one"
        others = ", ".join(map(str, sorted(self.load)))
        load = f"the load to CPU {others}, with {count(self.threads, 'thread')}"
        return f"All servers are pinned to CPU {min(self.servers)}, {load}"


class Server:
    def __init__(self, name, command, port, bench, admin=None):
        self.name, self.port, self.admin = name, port, admin
        self.log = os.path.join(bench.scratch, name.replace(" ", "-") + ".log")
        # A process and its threads inherit the CPU affinity.
        os.sched_setaffinity(0, bench.cpus.servers)
        with open(self.log, "w") as log:
            # In a new session, so that its child processes can be found and killed.
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=bench.environment, start_new_session=True
            )
        os.sched_setaffinity(0, bench.cpus.load)
        bench.running.append(self)
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                # From another address: while the server does not listen yet, the kernel may choose the server's port as
                # the local port, and the socket would connect to itself.
                self.connect(("127.0.0.2", 0)).close()
                return
            except OSError:
                self.check_alive(0.02)
            if time.monotonic() > deadline:
                raise Failed(f"{name} did not listen within {WAIT_SECONDS} s:\n{self.log_tail()}")

    def connect(self, source=None):
        return socket.create_connection(("127.0.0.1", self.port), WAIT_SECONDS, source)

    def check_alive(self, seconds):
        """Waits for the given time. Fails if the server exits meanwhile."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return
        raise Failed(f"{self.name} exited with {status}:\n{self.log_tail()}")

    def log_tail(self):
        """Returns the last lines of the log."""
        return "\n".join(read(self.log).splitlines()[-5:])

    def cpu(self):
        """Returns the CPU time of the server and its child processes, in seconds."""
        return cpu_time(self.process.pid)

    def resident(self):
        """Returns the resident memory in bytes. The values in /proc/PID/status are less exact (proc(5), VmRSS)."""
        rollups = (read(f"{process}/smaps_rollup") for process in processes(self.process.pid))
        return sum(int(re.search(r"^Rss: +(\d+) kB", rollup, re.M)[1]) * 1024 for rollup in rollups)

    def metrics(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=WAIT_SECONDS)
        try:
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def metric(self, name):
        """Returns the sum of a metric over all its labels."""
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
                raise Failed(f"{name} is missing in {self.bin}")
        if not os.path.exists("/proc/self/schedstat"):
            raise Failed("this kernel does not report CPU times: /proc/self/schedstat is missing")
        # Measures the shipped configuration, so the caller's settings do not apply.
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not re.match(r"(POWER|RPS)_SERVER_|(POWER|RPS|DUEL)_ADDR$|RUST_LOG$", name)
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

    def start_ours(self, name, *settings, title=None, listen=None, endpoints=()):
        """Starts one of the project's servers with its shipped configuration, on a free port and the given endpoints.
        `listen` is the option of the service that listens there."""
        port, admin = free_ports(2)
        listen = listen or {"power-server": "--listen", "rps-server": "--solo-listen"}[name]
        other = {"--solo-listen": ["--duel-listen", ""], "--duel-listen": ["--solo-listen", ""]}.get(listen, [])
        settings = [word for setting in settings for word in ("--set", setting)]
        command = [
            f"{self.bin}/{name}", "--config", f"{ROOT}/config/{name}.toml", *other,
            listen, ",".join([*endpoints, f"127.0.0.1:{port}"]), "--admin-listen", f"127.0.0.1:{admin}", *settings,
        ]  # fmt: skip
        return Server(title or name, command, port, self, admin)

    def start_peer(self, name):
        """Starts another server in a basic configuration: one process, no disk, no request log."""
        (port,) = free_ports(1)
        if name.startswith("asyncio "):
            command = [sys.executable, f"{ROOT}/scripts/asyncio_peer.py", name.split()[1], str(port)]
        elif name == "redis":
            configuration = os.path.join(self.scratch, "redis.conf")
            with open(configuration, "w") as file:
                # The load uses several loopback addresses, which protected mode rejects.
                file.write(
                    f'bind 127.0.0.1\nport {port}\nprotected-mode no\nsave ""\nappendonly no\ndir "{self.scratch}"\n'
                )
            command = [find_engine(), configuration]
        elif name == "memcached":
            # One thread, as our servers use on one CPU. As root, memcached requires -u.
            command = [find_program("memcached"), "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-t", "1"]
            command += ["-u", "root"] if os.geteuid() == 0 else []
        elif name == "nginx":
            temporary = "".join(
                f"{kind}_temp_path {self.scratch};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            )
            server = f'server {{ listen 127.0.0.1:{port}; return 200 "d4.0"; }}'
            return self.start_nginx(port, f"http {{\naccess_log off;\n{temporary}{server}\n}}\n")
        return Server(name, command, port, self)

    def start_nginx(self, port, services, modules=""):
        """Starts nginx with one worker. `services` is its block `http` or `stream`, which listens on the port."""
        configuration = os.path.join(self.scratch, "nginx.conf")
        with open(configuration, "w") as file:
            # Without a master process nginx does not change its user, but the user must exist. In a new user
            # namespace, root may be the only one.
            file.write(modules + ("user root;\n" if os.geteuid() == 0 else ""))
            file.write(
                f"daemon off; master_process off; worker_processes 1; pid {self.scratch}/nginx.pid;\n"
                f"error_log stderr error;\nevents {{ worker_connections 1024; }}\n{services}"
            )
        command = [find_program("nginx"), "-e", "stderr", "-p", self.scratch, "-c", configuration]
        return Server("nginx", command, port, self)

    def stop(self, server):
        server.stop()
        self.running.remove(server)

    def client(self, server, load, endpoint=None):
        command = [f"{self.bin}/cli-client", "--json", "--timeout", "20s", "bench", *load]
        command += ["--addr", endpoint or f"127.0.0.1:{server.port}", "--threads", str(self.cpus.threads)]
        return self.start_load(command)

    def start_load(self, command):
        """Starts a program that generates a load and prints a summary as JSON."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, env=self.environment, **pipes)

    def summary(self, client, label, seconds):
        """Waits for the client and returns its summary, or None. Adds all its errors to the printed ones."""
        try:
            output, _ = client.communicate(timeout=seconds + 3 * WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            output = "the client did not exit"
        finally:
            client.kill()
            client.wait()
        try:
            summary, *rest = map(json.loads, output.splitlines())
            # An interruption is intended and not an error.
            if rest and rest[-1].get("error", {}).get("kind") != "interrupted":
                raise ValueError
        except ValueError:
            message = output.strip() or f"the client exited with {client.returncode} and without output"
            summary = {"error": {"message": message}}
        if "error" in summary:
            self.errors.append(f"{label}: {summary['error']['message']}")
            return None
        messages = summary.get("first_messages", {})
        for kind, times in summary["errors"].items():
            self.errors.append(f"{label}: {times:,} × {kind}: {messages.get(kind, '')}".rstrip(": "))
        return summary

    # --- Output

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
        command = {"redis": [find_engine(), "--version"], "memcached": ["memcached", "-V"], "nginx": ["nginx", "-v"]}
        command["haproxy"] = ["haproxy", "-v"]
        path, flag = command.get(name, [f"{self.bin}/{name}", "--version"])
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        output = subprocess.run([find_program(path), flag], **pipes).stdout
        number = re.search(r"\d+(\.\d+)+", output)
        name = "valkey" if name == "redis" and "alkey" in path else name
        return f"{name} {number[0] if number else output.strip()}"

    def print_errors(self):
        """Prints the errors and returns the exit code."""
        if not self.errors:
            return 0
        print("\nErrors:\n")
        for error in self.errors:
            print("- " + error.strip().replace("\n", "\n  "))
        return 1
