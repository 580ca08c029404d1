#!/usr/bin/env python3
"""Servers of the three services in Python: correct ones, and ones with exactly one fault each.

    servers.py power|solo|duel [--fault NAME] [--set KEY=VALUE]...
    servers.py --list

A server listens on a free port of 127.0.0.1, and the first line of its output has the address. It exits when its stdin
ends, or at SIGTERM. `--list` prints every fault as a line of JSON. The keys of `--set` and their defaults are in
`service.py`. Needs Python 3.11 on Linux, and nothing else.
"""

import argparse
import asyncio
import json
import sys

# Leaves no files among the sources.
sys.dont_write_bytecode = True

import duel
import power
import service
import solo

SERVICES = {
    "power": (power.PowerConnection, power.FAULTS),
    "solo": (solo.SoloConnection, solo.FAULTS),
    "duel": (duel.DuelConnection, duel.FAULTS),
}


def main():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("service", nargs="?", choices=SERVICES)
    parser.add_argument("--fault", default="", metavar="NAME")
    parser.add_argument("--set", default=[], action="append", metavar="KEY=VALUE")
    parser.add_argument("--list", action="store_true", help="print all faults")
    arguments = parser.parse_args()
    if arguments.list:
        for name, (_, faults) in SERVICES.items():
            for fault, what in faults.items():
                print(json.dumps({"service": name, "fault": fault, "what": what}))
        return
    if arguments.service is None:
        parser.error("a service or --list is required")
    connection_class, faults = SERVICES[arguments.service]
    if arguments.fault and arguments.fault not in faults:
        parser.error(f"{arguments.service} has no fault {arguments.fault}")
    settings = dict(each.partition("=")[::2] for each in arguments.set)
    for key in settings.keys() - service.DEFAULTS.keys():
        parser.error(f"unknown key: {key}")
    if arguments.service != "power":
        settings.setdefault("timeouts.idle", "300s")
    service.raise_open_file_limit()
    asyncio.run(service.Service(connection_class, arguments.fault, settings).run())


if __name__ == "__main__":
    main()
