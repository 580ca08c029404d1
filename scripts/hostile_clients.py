"""Clients that misuse both servers, all kinds at once.

    python3 scripts/hostile_clients.py SECONDS STRENGTH POWER SOLO DUEL POWER_ADMIN RPS_ADMIN

POWER and the following arguments are addresses, HOST:PORT. At STRENGTH 1 there are as many clients at a time as in the
table ATTACKS; at 0.1 there are a tenth of them, but at least one of each kind. At the end, prints how many clients of
each kind there were. Needs python3 (3.9 or later).
"""

import asyncio
import collections
import os
import random
import resource
import socket
import struct
import sys

HOLD = 3.0  # seconds for which a client that does not read keeps its connection
SMALL_WINDOW = 2048  # bytes, for SO_RCVBUF
LINES = b"a2\n" * 5000
BAD_LINES = b"x\n" * 2048  # an error reply is 44 times as long as its request
MOVES = b"123" * 20_000

loop = asyncio.new_event_loop()


async def connect(address, receive_buffer=None):
    """Returns a connected socket. SO_RCVBUF must be set before the handshake to limit the window (tcp(7))."""
    stream = socket.socket()
    try:
        stream.setblocking(False)
        if receive_buffer:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await loop.sock_connect(stream, address)
    except BaseException:
        stream.close()
        raise
    return stream


def reset_at_close(stream):
    """Makes `close` send a reset: a linger time of zero (socket(7), SO_LINGER)."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def send_some(stream, data):
    """Sends what the kernel takes at once."""
    try:
        return stream.send(data)
    except BlockingIOError:
        return 0


async def read_to_end(stream):
    while await loop.sock_recv(stream, 65536):
        pass


async def until_one_ends(*coroutines):
    """Runs all of them until one ends or raises."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        finished, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in finished:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def never_read(address, requests):
    """Fills the receive window and the send buffer of the server, then sends requests that have no room for a reply."""
    with await connect(address, SMALL_WINDOW) as stream:
        send_some(stream, requests)
        await asyncio.sleep(0.3)
        send_some(stream, requests)
        await asyncio.sleep(HOLD)


async def never_read_few(address, requests):
    """Sends requests whose unread replies fit into the send buffer of the server, so that its writes do not block."""
    with await connect(address, SMALL_WINDOW) as stream:
        send_some(stream, requests[:2048])
        await asyncio.sleep(HOLD)


async def never_read_after_fin(address, requests):
    """Sends requests and a FIN and reads nothing, so that the server is finished before its replies are delivered."""
    with await connect(address, SMALL_WINDOW) as stream:
        send_some(stream, requests)
        stream.shutdown(socket.SHUT_WR)
        await asyncio.sleep(HOLD)


async def read_slowly(address, requests):
    """Reads a byte of its replies a second."""
    with await connect(address, SMALL_WINDOW) as stream:
        send_some(stream, requests)
        while await loop.sock_recv(stream, 1):
            await asyncio.sleep(1)


async def pipeline(address, requests):
    """Sends requests and reads replies without a pause."""

    async def write():
        while True:
            await loop.sock_sendall(stream, requests)
            await asyncio.sleep(0)

    async def read():
        while await loop.sock_recv(stream, 65536):
            await asyncio.sleep(0)

    with await connect(address) as stream:
        await until_one_ends(write(), read())


async def hog_lobby(address, _):
    """Keeps a player waiting in the lobby. A player who has met another one stays silent, and the next one waits."""
    silent = collections.deque()
    try:
        while True:
            stream = await connect(address)
            silent.append(stream)
            await loop.sock_sendall(stream, b"2")
            while await loop.sock_recv(stream, 1) == b"v":
                await loop.sock_sendall(stream, b"2")
            if len(silent) > 500:
                silent.popleft().close()
    finally:
        for stream in silent:
            stream.close()


async def request_slowly(address, head):
    """Sends the head of an HTTP request, a byte a second."""

    async def write():
        for byte in head:
            await loop.sock_sendall(stream, bytes([byte]))
            await asyncio.sleep(1)

    with await connect(address) as stream:
        await until_one_ends(write(), read_to_end(stream))


async def hold_half_request(address, half):
    """Sends a part of a request and waits until the server closes."""
    with await connect(address) as stream:
        await loop.sock_sendall(stream, half)
        await read_to_end(stream)


async def dribble(address, blank):
    """Sends a byte a second that neither is a request nor ends one."""
    with await connect(address) as stream:
        await asyncio.sleep(random.random())  # spreads the clients over the second
        for _ in range(10):
            await loop.sock_sendall(stream, blank)
            await asyncio.sleep(1)


async def reset(address, requests):
    """Resets its connection after a part of a request, or before it."""
    with await connect(address) as stream:
        await loop.sock_sendall(stream, requests[: random.randrange(4)])
        reset_at_close(stream)
    await asyncio.sleep(0.1)


async def flood_connections(address, _):
    """Connects and resets 250 times a second."""
    for _ in range(25):
        with socket.socket() as stream:
            stream.setblocking(False)
            stream.connect_ex(address)
            reset_at_close(stream)
    await asyncio.sleep(0.1)


async def send_garbage(address, _):
    """Sends random bytes and a FIN, and reads to the end."""
    with await connect(address) as stream:
        await loop.sock_sendall(stream, random.randbytes(random.randrange(1, 2000)))
        stream.shutdown(socket.SHUT_WR)
        await read_to_end(stream)


async def close_half(address, _):
    """Half-closes without a request."""
    with await connect(address) as stream:
        stream.shutdown(socket.SHUT_WR)
        await read_to_end(stream)
    await asyncio.sleep(0.1)


async def stay_silent(address, _):
    """Sends nothing and waits until the server closes."""
    with await connect(address) as stream:
        await read_to_end(stream)


async def repeat(attack, *arguments):
    """Repeats an attack. The server may end its connections in any way."""
    while True:
        counts[attack.__name__] += 1
        try:
            await attack(*arguments)
        except OSError:
            await asyncio.sleep(0.1)


# Attack, service, number of clients at strength 1, and the bytes that the attack sends. Each server gets fewer than
# 10,000. One lobby hog is enough for all players.
ATTACKS = [
    (never_read, "power", 1650, BAD_LINES),
    (never_read, "solo", 800, MOVES),
    (never_read_few, "power", 300, BAD_LINES),
    (never_read_few, "solo", 300, MOVES),
    (never_read_few, "duel", 30, MOVES),
    (never_read_after_fin, "power", 1500, BAD_LINES),
    (never_read_after_fin, "solo", 800, MOVES),
    (read_slowly, "power", 250, BAD_LINES),
    (read_slowly, "solo", 250, MOVES),
    (pipeline, "power", 100, LINES),
    (pipeline, "solo", 100, MOVES),
    (pipeline, "duel", 50, MOVES),
    (hog_lobby, "duel", 1, b""),
    (request_slowly, "power-admin", 40, b"GET /healthz HTTP/1.1\r\n"),
    (request_slowly, "rps-admin", 40, b"GET /healthz HTTP/1.1\r\n"),
    (hold_half_request, "power", 100, b"a"),
    (dribble, "power", 5000, b" "),
    (dribble, "solo", 2500, b"\n"),
    (dribble, "duel", 2500, b"\n"),
    (reset, "power", 30, LINES),
    (reset, "solo", 30, MOVES),
    (reset, "duel", 30, MOVES),
    (flood_connections, "power", 50, b""),
    (flood_connections, "solo", 25, b""),
    (flood_connections, "duel", 25, b""),
    (send_garbage, "power", 30, b""),
    (send_garbage, "solo", 30, b""),
    (send_garbage, "duel", 30, b""),
    (close_half, "power", 30, b""),
    (close_half, "solo", 30, b""),
    (close_half, "duel", 30, b""),
    (stay_silent, "power", 30, b""),
    (stay_silent, "solo", 30, b""),
    (stay_silent, "duel", 30, b""),
]
SERVICES = ["power", "solo", "duel", "power-admin", "rps-admin"]
counts = collections.Counter()


async def main(seconds, strength, addresses):
    tasks = [
        asyncio.create_task(repeat(attack, addresses[service], data))
        for attack, service, number, data in ATTACKS
        for _ in range(max(1, round(number * strength)))
    ]
    finished, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    for task in finished:
        task.result()  # `repeat` has no end, so this raises its exception
    print("hostile clients:", ", ".join(f"{name} {count}" for name, count in sorted(counts.items())), flush=True)
    # Exit at once: to cancel thousands of tasks takes seconds. The kernel closes their sockets.
    os._exit(0)


# These clients share the machine with the servers and the honest clients, which get the processor first.
os.nice(5)
limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
targets = [(host, int(port)) for host, port in (address.rsplit(":", 1) for address in sys.argv[3:])]
loop.run_until_complete(main(float(sys.argv[1]), float(sys.argv[2]), dict(zip(SERVICES, targets))))
