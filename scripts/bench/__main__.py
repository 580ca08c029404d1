"""The program behind scripts/bench.sh.

All servers run for the whole benchmark. Each round runs each load against every server in turn, so that other activity
on the machine affects all of them alike. The result is the median of the rounds. The most reliable number is the
server's CPU time per request, as the kernel accounts it.
"""

import argparse
import signal
import sys

from compare import LOADS, compare
from features import MAX_SECONDS, features
from growth import growth
from servers import Bench, Failed, progress


def main():
    parser = argparse.ArgumentParser(
        prog="scripts/bench.sh",
        description="Measures both servers: compared with other servers, as the number of connections grows, or with "
        "and without their features: PROXY headers, TLS, Unix sockets, WebSocket and duels across replicas.",
    )
    parser.add_argument("command", nargs="?", choices=["compare", "growth", "features"], default="compare")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds (default: 5)")
    parser.add_argument("--seconds", type=float, default=2, help="seconds of each run (default: 2)")
    parser.add_argument(
        "--works", type=lambda names: names.split(","), default=[name for name, *_ in LOADS],
        help="for compare: run only these loads, separated by commas: short, ping, flight",
    )  # fmt: skip
    parser.add_argument("--svg", metavar="FILE", help="for growth: also write the charts to this file")
    # Set by bench.sh: the folder of the programs, or a request to only check the arguments.
    shell = parser.add_mutually_exclusive_group(required=True)
    shell.add_argument("--bin", help=argparse.SUPPRESS)
    shell.add_argument("--check-arguments", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rounds < 1 or not 0 < arguments.seconds <= 3600:
        parser.error("--rounds must be at least 1, and --seconds above 0 and at most 3600")
    if not set(arguments.works) <= {name for name, *_ in LOADS}:
        parser.error("--works accepts short, ping and flight")
    if arguments.svg and arguments.command != "growth":
        parser.error("--svg is only valid with growth")
    if arguments.command == "features" and arguments.seconds > MAX_SECONDS:
        parser.error(f"--seconds is at most {MAX_SECONDS} with features")
    if arguments.check_arguments:
        return 0
    arguments.given = sys.argv[3:]  # without --bin and its folder
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with Bench(arguments) as bench:
            return {"compare": compare, "growth": growth, "features": features}[arguments.command](bench)
    except Failed as failure:
        progress(f"FAILED: {failure}")
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
