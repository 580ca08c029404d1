"""Clients that keep to the protocol, beside hostile ones: players of duels, and health checks.

    python3 scripts/honest_clients.py SECONDS WINDOW DUEL POWER_ADMIN RPS_ADMIN

WINDOW is the server's duel.window in seconds; the other arguments are addresses, HOST:PORT. All players move at the
same time, 20 times a second, so that the latency of a round does not include the thinking time of another of these
players. Prints one line of JSON. Needs python3 (3.9 or later).

The exit code is 1 if a reply is not valid, a move is void before the end of its window, the server closes the
connection of a player, or a health check fails or takes longer than HEALTH_TIMEOUT.
"""

import asyncio
import collections
import json
import random
import sys
import time

PLAYERS = 16
BEAT = 0.05  # seconds
HEALTH_TIMEOUT = 10  # seconds; soak.sh limits the latency, so only a hang reaches this
ROUNDS = 100  # of a game
CLOCK_TOLERANCE = 0.002  # seconds; the server's timer has a resolution of a millisecond

seconds, window = map(float, sys.argv[1:3])
duel, *admins = [(host, int(port)) for host, port in (address.rsplit(":", 1) for address in sys.argv[3:])]
end = time.monotonic() + seconds
counts = collections.Counter()
latencies = {"duel": [], "health": []}  # in seconds
errors = []


async def play():
    """Plays games without end, each on a new connection, so that it meets new partners."""
    length = random.randrange(1, ROUNDS)  # spreads the ends of the games
    while time.monotonic() < end:
        reader, writer = await asyncio.open_connection(*duel)
        for _ in range(length):
            if time.monotonic() < end:
                await asyncio.sleep(BEAT - time.monotonic() % BEAT)
                await move(reader, writer)
        writer.close()
        counts["games"] += 1
        length = ROUNDS


async def move(reader, writer):
    """Moves and waits for the reply."""
    sent = time.monotonic()
    writer.write(random.choice([b"1", b"2", b"3"]))
    reply = await asyncio.wait_for(reader.read(2), window + 10)
    latency = time.monotonic() - sent
    if reply in (b"x", b"y", b"z"):
        counts["judged"] += 1
        # A partner that is silent for a tenth of the window may be replaced, so a longer wait is due to the partner.
        if latency < window / 10:
            latencies["duel"].append(latency)
        else:
            counts["waited"] += 1
    elif reply == b"v" and latency > window - CLOCK_TOLERANCE:
        # At the end of the run the honest partners leave.
        if time.monotonic() < end:
            counts["void"] += 1
    else:
        raise ValueError(f"reply {reply!r} after {latency:.3f} s")


async def check_health(admin):
    """Makes about ten health checks a second."""

    async def request():
        reader, writer = await asyncio.open_connection(*admin)
        try:
            writer.write(b"GET /readyz HTTP/1.0\r\n\r\n")
            return await reader.read()
        finally:
            writer.close()

    while time.monotonic() < end:
        sent = time.monotonic()
        response = await asyncio.wait_for(request(), HEALTH_TIMEOUT)
        latencies["health"].append(time.monotonic() - sent)
        counts["health_checks"] += 1
        if b" 200 " not in response.partition(b"\r\n")[0]:
            raise ValueError(f"health check: {response!r}")
        await asyncio.sleep(0.1)


async def watch(kind, coroutine):
    try:
        await coroutine
    except (OSError, asyncio.TimeoutError, ValueError) as error:
        errors.append(f"{kind}: {error!r}")


async def main():
    clients = [("duel", play()) for _ in range(PLAYERS)] + [("health", check_health(a)) for a in admins]
    await asyncio.gather(*(watch(*client) for client in clients))
    for kind, values in latencies.items():
        values.sort()
        counts[f"{kind}_p99_us"] = round(values[len(values) * 99 // 100] * 1e6) if values else None
    # The part of the players' time that void moves have taken.
    counts["void_part"] = round(counts["void"] * window / (PLAYERS * seconds), 3)
    print(json.dumps({**counts, "errors": errors[:20]}))
    sys.exit(bool(errors))


asyncio.run(main())
