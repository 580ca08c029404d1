"""Sends requests to a power server in all three framings and compares every reply with its own result.

Written from PROTOCOL.md alone, without knowledge of the server's code.

Usage: python3 peer.py HOST:PORT

Not tested: TIMEOUT, which takes 5 s, and BUSY, which needs 10,000 connections.
"""

import random
import re
import socket
import struct
import sys
import threading

TIMEOUT_SECONDS = 30
LONGEST_REQUEST = 512
PRODUCTS = {b"a": 1, b"b": 2, b"c": 3, b"d": 0}
NUMBER = re.compile(rb"[ \t]*([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)[ \t]*")
ERROR = re.compile(rb"(e(?:BADOP|BADNUM|RANGE|TOOLONG|TIMEOUT|BUSY)) [ -~]+(\n?)")
NUMBERS = """
    2 -0.5 +7 -0 .1 5. 007 1e22 1E-5 0.0001 0.00001 1e15 1e16 9007199254740993 123456.789 1e100 1e200 -1e-200 5e-324
    2e-324 -1e-999 1e999 -1e999 0e9999999999999999 1e9999999999999999 1e-9999999999999999 2.2250738585072011e-308
    1.7976931348623157e308 1.7976931348623158e308 1.7976931348623159e308
    inf nan x 2b3 0x10 1_0 \u0663 . - 1e 1e+ .e5 ++1 1.2.3 1,5 0.1f
"""


class PowerClient:
    def __init__(self, address):
        self.socket = socket.create_connection(address, TIMEOUT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # sends the parts of a request separately
        self.stream = self.socket.makefile("rb")

    def send_line(self, line):
        self.socket.sendall(line + b"\n")
        return self.stream.readline()

    def send_bare(self, request):
        self.socket.sendall(request)
        return self.stream.read1(1024)  # a bare reply has no terminator: take what one read returns

    def send_half_closing(self, request):
        self.socket.sendall(request)
        self.socket.shutdown(socket.SHUT_WR)
        return self.read_to_end()

    def read_to_end(self):
        with self.socket, self.stream:
            return self.stream.read()


def expected_reply(line):
    """The reply, or the letter e and the code; nothing for a blank line."""
    request = line[:-1] if line.endswith(b"\r") else line
    operation, number = request[:1], NUMBER.fullmatch(request[1:])
    if len(request) > LONGEST_REQUEST:
        return b"eTOOLONG"
    if not request.strip(b" \t"):
        return b""
    if operation not in PRODUCTS:
        return b"eBADOP"
    if not number:
        return b"eBADNUM"
    factor = result = float(number.group(1))
    for _ in range(PRODUCTS[operation]):
        result *= factor
    return b"eRANGE" if abs(result) == float("inf") else b"d" + repr(result).encode()


def check(request, reply, expected):
    error = ERROR.fullmatch(reply)
    if (error.group(1) + error.group(2) if error else reply) != expected:
        raise ValueError(f"{request[:80]!r} got the reply {reply[:80]!r} instead of {expected[:80]!r}")


def chosen_lines():
    long_numbers = ["0" * (LONGEST_REQUEST - 1), "3" * 300, f"0.{'0' * 299}1e300"]
    blanks_and_such = ["", " 2 ", "\t-2\t", " \t 2\t ", " \t", "2 3", "\r2", "2\0"]
    texts = NUMBERS.split() + long_numbers + blanks_and_such
    return [f"{first}{text}".encode() for first in ("a", "b", "c", "d", "x", "A", "", " ") for text in texts]


def random_line(source):
    if source.random() < 0.3:
        return bytes(source.choices(b"aabbccdd++--..0123456789eE \t\r\0\xffn_x", k=source.randrange(9)))
    any_double = struct.unpack("<d", struct.pack("<Q", source.getrandbits(64)))[0]
    layout = source.choice(["{!r}", "{:+.3f}", "{:.0f}", "{:.0e}", "{:.17E}", " {:.25g}\t"])
    number = layout.format(source.choice([any_double, source.gauss(0, 1000)]))
    return (source.choice("abcd") + number + source.choice(["", "\r"])).encode()


def check_lines(client):
    client.socket.sendall(b"a2\na1")
    check(b"a2", client.stream.readline(), b"d4.0\n")  # the server has also read the first half of the next request by now
    check(b"a1, 2", client.send_line(b"2"), b"d144.0\n")
    source = random.Random(5000)
    lines = chosen_lines() + [random_line(source) for _ in range(20000)] + [b"a" + b"1" * LONGEST_REQUEST, b"a3"]
    # The server stops reading while its replies are not read, so read replies while the requests are sent.
    sender = threading.Thread(target=client.socket.sendall, args=(b"\n".join(lines) + b"\n",))
    sender.start()
    for line in filter(expected_reply, lines[:-1]):
        check(line, client.stream.readline(), expected_reply(line) + b"\n")
    sender.join()
    check(b"a3 after TOOLONG", client.read_to_end(), b"")


def check_bare(address):
    for last_request in (b"2", b"x", b"a2b3", b"dinf", b"b" + b" " * LONGEST_REQUEST):
        client = PowerClient(address)
        for request in (b"a2", b"b-2", b"c1e200", b"d1e999", b"d .5", b"a1", last_request):
            check(request, client.send_bare(request), expected_reply(request))
        check(last_request + b", which closes", client.read_to_end(), b"")
    client = PowerClient(address)
    client.socket.sendall(b"a-")
    check(b"a-, 2", client.send_bare(b"2"), b"d4.0")
    check(b"a late line feed", client.send_line(b""), b"\n")
    check(b"a3", client.send_line(b"a3"), b"d9.0\n")
    check(b"half-close", client.send_half_closing(b""), b"")


def main():
    host, _, port = sys.argv[1].rpartition(":")
    address = host, int(port)
    try:
        check_lines(PowerClient(address))
        check_bare(address)
        for request in chosen_lines():
            check(request, PowerClient(address).send_half_closing(request), expected_reply(request))
        check(b"lines", PowerClient(address).send_half_closing(b"a2\r\n\n \t\nb3\nc2"), b"d4.0\nd27.0\nd16.0\n")
    except (OSError, ValueError) as error:
        sys.exit(f"peer.py: {error}")
    print("all right")


if __name__ == "__main__":
    main()
