"""Clients that misuse a server, 30 at a time, each for a few seconds.

    python3 scripts/hostile_clients.py SECONDS HOST:PORT...

Prints the number of clients of each kind at the end. Needs python3 (3.9 or later).
"""

import random
import socket
import struct
import sys
import threading
import time

end = time.monotonic() + float(sys.argv[1])
addresses = [(host, int(port)) for host, port in (address.rsplit(":", 1) for address in sys.argv[2:])]
counts = {}


def read_to_end(stream):
    while stream.recv(65536):
        pass


def reset(stream):
    stream.sendall(random.choice([b"", b"a2", b"1", b"123"]))
    # A linger time of zero makes close() send a reset (socket(7), SO_LINGER).
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def garbage(stream):
    stream.sendall(random.randbytes(random.randrange(1, 2000)))
    stream.shutdown(socket.SHUT_WR)
    read_to_end(stream)


def silence(stream):
    read_to_end(stream)


def dribble(stream):
    for _ in range(10):
        stream.sendall(b" ")
        time.sleep(0.3)


def never_read(stream):
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    while time.monotonic() < end:
        stream.sendall(b"1\n" * 4096)


def half_close(stream):
    stream.shutdown(socket.SHUT_WR)
    read_to_end(stream)


kinds = [reset, garbage, silence, dribble, never_read, half_close]


def client(seed):
    pick = random.Random(seed)
    while time.monotonic() < end:
        kind = pick.choice(kinds)
        try:
            with socket.create_connection(pick.choice(addresses), timeout=20) as stream:
                # In a duel, a move may wait for the whole window.
                stream.settimeout(10)
                kind(stream)
        except OSError:
            pass  # The server may close such a connection in any way.
        counts[kind.__name__] = counts.get(kind.__name__, 0) + 1


threads = [threading.Thread(target=client, args=(seed,)) for seed in range(30)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("hostile clients:", ", ".join(f"{name} {count}" for name, count in sorted(counts.items())))
