"""The program behind scripts/bench.sh.

All servers run from the start. Each round runs each load against every server in turn, so that other activity on the
machine affects all of them alike; the result is the median of the rounds. The most reliable figure is the server's own
CPU time per request, as the kernel accounts it.
"""

import argparse
import signal
import sys

from compare import WORKS, compare
from growth import growth
from servers import Bench, Failed, say


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
    # From the shell: the folder of the programs, or that the arguments are only to be checked.
    shell = parser.add_mutually_exclusive_group(required=True)
    shell.add_argument("--bin", help=argparse.SUPPRESS)
    shell.add_argument("--check-arguments", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rounds < 1 or not 0 < arguments.seconds <= 3600:
        parser.error("--rounds must be at least 1, and --seconds above 0 and at most 3600")
    if not set(arguments.works) <= {name for name, *_ in WORKS}:
        parser.error("--works: wanted short, ping or flight")
    if arguments.svg and arguments.what != "growth":
        parser.error("--svg is for growth")
    if arguments.check_arguments:
        return 0
    arguments.given = sys.argv[3:]  # without --bin and its folder
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
