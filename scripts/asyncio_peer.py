#!/usr/bin/env python3
"""Both services in plain Python on asyncio streams, to compare the real servers with.

    scripts/asyncio_peer.py power|rps PORT     # 0 takes any free port; the first line of output has it

Implements the two wire formats of PROTOCOL.md, without duels. It has no limits, no timeouts and no drain, and it does
not detect a request that the network has split. Needs python3 (3.8 or later).
"""

import asyncio
import math
import random
import re
import sys

NUMBER = re.compile(rb"[ \t]*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?[ \t]*")
POWERS = {b"a": 2, b"b": 3, b"c": 4, b"d": 1}


def answer(request):
    """Returns the reply to one request of the power wire; neither includes the line end."""
    exponent = POWERS.get(request[:1])
    if exponent is None:
        return b"eBADOP send a (square), b (cube), c (fourth power) or d (echo)"
    if not NUMBER.fullmatch(request, 1):
        return b"eBADNUM not a decimal number"
    number = result = float(request[1:])
    for _ in range(exponent - 1):
        result *= number
    if not math.isfinite(result):
        return b"eRANGE beyond the largest double"
    return f"d{result!r}".encode()


async def power(reader, writer):
    waiting = b""
    speaks_lines = False
    while True:
        received = await reader.read(4096)
        if not received:
            break
        waiting += received
        speaks_lines = speaks_lines or b"\n" in waiting
        if speaks_lines:
            *requests, waiting = waiting.split(b"\n")
            replies = [answer(request.rstrip(b"\r")) + b"\n" for request in requests if request.strip()]
        else:
            replies, waiting = [answer(waiting)], b""
        writer.write(b"".join(replies))
        await writer.drain()
    if waiting.strip():
        writer.write(answer(waiting) + b"\n")


async def rps(reader, writer):
    bad = 0
    while bad < 16:
        received = await reader.read(4096)
        if not received:
            break
        answers = bytearray()
        for move in received:
            if move in b"123":
                # The one after a move, with scissors after paper, beats it.
                answers += b"xzy"[(random.randrange(3) - (move - ord("1"))) % 3 :][:1]
            elif move not in b"\r\n":
                answers += b"e"
                bad += 1
                if bad == 16:
                    break
        writer.write(answers)
        await writer.drain()


def until_closed(handler):
    async def serve(reader, writer):
        try:
            await handler(reader, writer)
            writer.close()
            await writer.wait_closed()
        except ConnectionError:
            writer.close()

    return serve


async def main(handler, port):
    server = await asyncio.start_server(until_closed(handler), "127.0.0.1", port)
    print(f"listening on 127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    services = {"power": power, "rps": rps}
    if len(sys.argv) != 3 or sys.argv[1] not in services or not sys.argv[2].isdecimal():
        sys.exit("usage: asyncio_peer.py power|rps PORT")
    try:
        asyncio.run(main(services[sys.argv[1]], int(sys.argv[2])))
    except KeyboardInterrupt:
        pass
