#!/usr/bin/env bash
# Measures both servers on this machine. Compares them with redis, memcached and nginx, if installed, and with the same
# two services in plain Python on asyncio.
#
#   scripts/bench.sh [--rounds 5] [--seconds 2]    # comparison
#   scripts/bench.sh growth [--svg FILE]           # cost as connections grow from one to thousands
#   scripts/bench.sh features                      # cost of PROXY headers, TLS, WebSocket, Unix sockets, replicas
#
# Prints Markdown on stdout and progress on stderr; --help lists all arguments. BIN is a folder with the three programs;
# without it they are built.
#
# Needs Linux, a Rust toolchain (except with BIN), bash (4.4 or later), coreutils and python3 (3.8 or later); features
# also needs openssl, and has rows for haproxy, nginx with its module stream, and redis or valkey, if installed. Takes
# about three minutes, growth four. Runs in a separate network namespace if possible (with util-linux and iproute2). All
# servers listen on free ports of loopback and are stopped at the end.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

need python3
# Checks the arguments before the build. Only --help prints to stdout here. -B: leave no compiled files.
help=$(python3 -B "$root/scripts/bench" --check-arguments "$@")
[[ -z $help ]] || { echo "$help" && exit; }
bin=${BIN:-}
[[ -n $bin ]] || build --workspace
use_own_network "$@"
exec python3 -B "$root/scripts/bench" --bin "$bin" "$@"
