#!/usr/bin/env bash
# Measures both servers on this machine, and beside them what is installed of
# redis, memcached and nginx, and the same two services in plain Python on asyncio.
#
#   scripts/bench.sh [--rounds 5] [--seconds 2]    # against the others
#   scripts/bench.sh growth [--svg FILE]           # from one connection to thousands
#
# Prints Markdown on stdout, and how far it is on stderr. --help says the rest.
# BIN names a folder with the three programs; without it they are built.
#
# Needs Linux, a Rust toolchain (but for BIN), bash (4.4 or later), coreutils and
# python3 (3.8 or later). Takes some three minutes, growth four. Where it can
# (with util-linux and iproute2; as root, or where anyone may), it runs in a
# network of its own, so that nobody else's connections are in the way, nor its
# own in theirs. All listens on loopback, on free ports, and is gone at the end.
set -euo pipefail
exec </dev/null
root=$(cd "$(dirname "$0")/.." && pwd)

bin=${BIN:-}
if [[ -z $bin ]]; then
    bin=${CARGO_TARGET_DIR:-$root/target}/release
    [[ -n ${BENCH_INSIDE:-} ]] || cargo build --release --locked --manifest-path "$root/Cargo.toml"
fi
if [[ -z ${BENCH_INSIDE:-} ]]; then
    own_networks=(--net "--net --map-root-user")
    for own_network in "${own_networks[@]}"; do
        # Some are two words, and what is in quotes is for the inner shell.
        # shellcheck disable=SC2016,SC2086
        if unshare $own_network ip link set lo up 2>/dev/null; then
            exec unshare $own_network env BENCH_INSIDE=1 bash -c 'ip link set lo up && exec "$0" "$@"' "$0" "$@"
        fi
    done
fi
# It leaves nothing behind, not even what it was compiled to.
exec python3 -B "$root/scripts/bench" --bin "$bin" "$@"
