"""A load of moves on open connections, each with one move in flight, over any of the transports of rps-server.

Prints a summary as `cli-client --json bench` does, and the CPU time of the given sessions between the first and the
last reply. In a duel, a request of the summary is a round, which has two moves.
"""

import argparse
import gc
import json
import select
import signal
import socket
import ssl
import struct
import sys
import time
from array import array

from servers import WAIT_SECONDS, cpu_time

# A move as a WebSocket client sends it: one final binary frame of one byte, with a mask of zeros.
FRAME = b"\x82\x81\0\0\0\0"
UPGRADE = (
    b"GET /solo HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
MOVE = b"1"
OUTCOMES = b"xyz"
# Time for the first player of a pair to become known to the other replica.
PAIR_SECONDS = 0.005


def connect(port, cacert, websocket):
    connection = socket.create_connection(("127.0.0.1", port), WAIT_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Close with a RST. A FIN would be a half-close: a duel move would wait on, and meet a player of the next run.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if cacert:
        context = ssl.create_default_context(cafile=cacert)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        connection = context.wrap_socket(connection, server_hostname="127.0.0.1")
    if websocket:
        connection.sendall(UPGRADE)
        response = b""
        while not response.endswith(b"\r\n\r\n"):
            response += connection.recv(1) or sys.exit("the server closed instead of an upgrade")
        if not response.startswith(b"HTTP/1.1 101 "):
            sys.exit(f"no upgrade: {response!r}")
    return connection


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--cacert", help="use TLS")
    parser.add_argument("--websocket", action="store_true")
    parser.add_argument("--duel", action="store_true", help="pair each connection with the next one")
    parser.add_argument("--session", type=int, action="append", help="measure the CPU time of this session")
    parser.add_argument("port", type=int, nargs="+", help="connections use the ports in turn")
    arguments = parser.parse_args()
    signal.alarm(round(arguments.seconds) + 2 * WAIT_SECONDS)  # a bound, should the server hang

    request = FRAME + MOVE if arguments.websocket else MOVE
    replies = {(b"\x82\x01" if arguments.websocket else b"") + bytes([outcome]) for outcome in OUTCOMES}
    ports = (arguments.port[number % len(arguments.port)] for number in range(arguments.connections))
    connections = [connect(port, arguments.cacert, arguments.websocket) for port in ports]
    # The first move of each connection is not measured. One pair after the other, so that its two players meet.
    size = 2 if arguments.duel else 1
    for first in range(0, len(connections), size):
        group = connections[first : first + size]
        for connection in group:
            connection.sendall(request)
            time.sleep(PAIR_SECONDS if arguments.duel else 0)
        for connection in group:
            reply = connection.recv(64)
            if reply not in replies:
                sys.exit(f"unexpected first reply {reply!r}")

    poll = select.epoll(len(connections))
    receive, send, sent, latencies = {}, {}, {}, array("d")
    for connection in connections:
        connection.setblocking(False)
        poll.register(connection, select.EPOLLIN)
        receive[connection.fileno()], send[connection.fileno()] = connection.recv, connection.send
    gc.disable()
    cpu = sum(map(cpu_time, arguments.session))
    start = now = time.perf_counter()
    for file, send_to in send.items():
        sent[file] = time.perf_counter()
        send_to(request)
    end = start + arguments.seconds
    while now < end:
        for file, _ in poll.poll(WAIT_SECONDS) or sys.exit(f"no reply within {WAIT_SECONDS} s"):
            try:
                reply = receive[file](64)
            except ssl.SSLWantReadError:
                continue  # It was a session ticket, or a part of a record.
            if reply not in replies:
                sys.exit(f"unexpected reply {reply!r}")
            now = time.perf_counter()
            latencies.append(now - sent[file])
            sent[file] = now
            send[file](request)
    cpu = sum(map(cpu_time, arguments.session)) - cpu
    ordered = sorted(latencies)
    latency = {f"p{percent}": ordered[len(ordered) * percent // 100] * 1e6 for percent in (50, 99)}
    requests = len(ordered) // size
    summary = {"requests": requests, "right": requests, "throughput": requests / (now - start), "errors": {}}
    print(json.dumps({**summary, "latency_us": latency, "cpu": cpu}))


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(f"the load of moves: {error}")
