#!/usr/bin/env python3
"""Opens listening sockets and passes them to a command, as systemd passes those of a socket unit.

    scripts/pass_sockets.py NAME=ENDPOINT... -- COMMAND...
    scripts/pass_sockets.py --restart N NAME=ENDPOINT... -- COMMAND...

ENDPOINT is HOST:PORT, [HOST]:PORT or unix:PATH; port 0 is a free port. The command gets the sockets as files 3, 4, ...
and their names in LISTEN_FDNAMES (sd_listen_fds(3)). Several sockets may have one name. Each socket is printed to
standard error: NAME=ENDPOINT, with the port that it has. Without --restart, the command replaces this program.

With --restart, the sockets stay open between the N + 1 runs of the command. Each line on standard input ends a run with
SIGTERM and, after its exit, starts the next one. The line after the last restart, the end of the input, SIGTERM or SIGINT
ends the last run. At the start of each run, this program prints `started PID`. It exits with 0 if every run exits with 0,
and with 1 otherwise. It removes the files of its Unix sockets.

Needs Python 3.8 or later, and nothing else.
"""

import argparse
import os
import select
import signal
import socket
import sys

FIRST_FILE = 3
BACKLOG = 1024


def listen(endpoint):
    """Opens the listening socket of an endpoint."""
    if endpoint.startswith("unix:"):
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(endpoint[len("unix:"):])
    else:
        host, colon, port = endpoint.rpartition(":")
        if not colon or not port.isdecimal():
            raise ValueError("not HOST:PORT or unix:PATH")
        host = host.strip("[]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, int(port)))
    listener.listen(BACKLOG)
    return listener


def endpoint_of(listener):
    """Returns the endpoint of a listening socket."""
    address = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix:{address}"
    host = f"[{address[0]}]" if listener.family == socket.AF_INET6 else address[0]
    return f"{host}:{address[1]}"


def run(command, listeners):
    """Replaces this process with the command, which inherits the listeners."""
    # Copies above all numbers that are in use, so that no copy to a final number closes a listener.
    above = FIRST_FILE + len(listeners) + max(listener.fileno() for _, listener in listeners)
    for position, (_, listener) in enumerate(listeners):
        os.dup2(listener.fileno(), above + position, inheritable=False)
    for position in range(len(listeners)):
        os.dup2(above + position, FIRST_FILE + position, inheritable=True)
    environment = dict(
        os.environ,
        LISTEN_FDS=str(len(listeners)),
        LISTEN_FDNAMES=":".join(name for name, _ in listeners),
        LISTEN_PID=str(os.getpid()),
    )
    # Python ignores this signal, and the command would inherit that.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execvpe(command[0], command, environment)
    except OSError as error:
        print(f"pass_sockets: cannot run {command[0]}: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(127)


def start(command, listeners):
    """Runs the command in a new process, and returns its process ID."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        # The standard input is for this program.
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        run(command, listeners)
    # The exec closes the pipe. A signal before it would reach the handler of this program, which does nothing.
    os.close(writing)
    os.read(reading, 1)
    os.close(reading)
    print(f"started {process}", flush=True)
    return process


def stop(process):
    """Ends a run, and returns whether it exits with 0."""
    # The process exists until it is waited for, so the signal cannot reach a later process.
    os.kill(process, signal.SIGTERM)
    return os.waitpid(process, 0)[1] == 0


def wait_for_line(signals):
    """Returns whether a line comes before the end of the input and before a signal."""
    while True:
        ready, _, _ = select.select([0, signals], [], [])
        if signals in ready:
            return False
        byte = os.read(0, 1)
        if byte in (b"", b"\n"):
            return byte == b"\n"


def restart(command, listeners, restarts):
    """Runs the command, and restarts it at each line of the input. Returns whether every run exits with 0."""
    signals, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)
    is_right = True
    process = start(command, listeners)
    while wait_for_line(signals) and restarts > 0:
        is_right &= stop(process)
        process = start(command, listeners)
        restarts -= 1
    return stop(process) and is_right


def main():
    parser = argparse.ArgumentParser(usage="%(prog)s [--restart N] NAME=ENDPOINT... -- COMMAND...")
    parser.add_argument("--restart", type=int, metavar="N", help="restart the command N times")
    parser.add_argument("sockets", nargs="+", metavar="NAME=ENDPOINT")
    arguments = sys.argv[1:]
    if "--" not in arguments or arguments[-1] == "--":
        parser.error("write the command after --")
    end = arguments.index("--")
    command = arguments[end + 1:]
    parsed = parser.parse_args(arguments[:end])

    listeners = []
    for text in parsed.sockets:
        name, equals, endpoint = text.partition("=")
        if not equals or not name or ":" in name:
            parser.error(f"{text}: write NAME=ENDPOINT; a name has no colon")
        try:
            listeners.append((name, listen(endpoint)))
        except (OSError, ValueError) as error:
            sys.exit(f"pass_sockets: cannot listen on {endpoint}: {error}")
    for name, listener in listeners:
        print(f"{name}={endpoint_of(listener)}", file=sys.stderr, flush=True)
    if parsed.restart is None:
        run(command, listeners)
    try:
        is_right = restart(command, listeners, parsed.restart)
    finally:
        for _, listener in listeners:
            if listener.family == socket.AF_UNIX:
                os.unlink(listener.getsockname())
    sys.exit(0 if is_right else 1)


if __name__ == "__main__":
    main()
