#!/usr/bin/env python3
"""Both services in plain Python on asyncio streams, for comparison with the real servers.

    scripts/asyncio_peer.py power|rps PORT     # 0: any free port; the first line of output has the address

Implements the two wire formats of PROTOCOL.md, without duels. Lacks limits, timeouts and a drain. If the network splits
a request without a line end, it replies to each part. Needs python3 (3.8 or later).
"""

import asyncio
import math
import random
import re
import sys

NUMBER = re.compile(rb"[ \t]*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?[ \t]*")
POWERS = {b"a": 2, b"b": 3, b"c": 4, b"d": 1}


def reply_to(request):
    """Returns the reply to one request of the power protocol; both without the line end."""
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
    buffer = b""
    line_mode = False
    while True:
        received = await reader.read(4096)
        if not received:
            break
        buffer += received
        line_mode = line_mode or b"\n" in buffer
        if line_mode:
            *requests, buffer = buffer.split(b"\n")
            replies = [reply_to(request.rstrip(b"\r")) + b"\n" for request in requests if request.strip()]
        else:
            replies, buffer = [reply_to(buffer)], b""
        writer.write(b"".join(replies))
        await writer.drain()
    if buffer.strip():
        writer.write(reply_to(buffer) + b"\n")


async def rps(reader, writer):
    invalid = 0
    while invalid < 16:
        received = await reader.read(4096)
        if not received:
            break
        replies = bytearray()
        for move in received:
            if move in b"123":
                # The house picks a random move. Each move beats the previous one, modulo 3: scissors, rock, paper.
                replies += b"xzy"[(random.randrange(3) - (move - ord("1"))) % 3 :][:1]
            elif move not in b"\r\n":
                replies += b"e"
                invalid += 1
                if invalid == 16:
                    break
        writer.write(replies)
        await writer.drain()


def with_close(handler):
    async def serve(reader, writer):
        try:
            await handler(reader, writer)
            writer.close()
            await writer.wait_closed()
        except ConnectionError:
            writer.close()

    return serve


async def main(handler, port):
    server = await asyncio.start_server(with_close(handler), "127.0.0.1", port)
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
