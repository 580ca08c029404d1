#!/usr/bin/env bash
# Measures both servers on this machine. Compares them with those of redis, memcached and nginx that are installed and
# with the same two services in plain Python on asyncio.
#
#   scripts/bench.sh [--rounds 5] [--seconds 2]    # comparison
#   scripts/bench.sh growth [--svg FILE]           # cost as connections grow from one to thousands
#
# Prints Markdown on stdout and progress on stderr; --help lists all arguments. BIN names a folder with the three
# programs; without it they are built.
#
# Needs Linux, a Rust toolchain (except with BIN), bash (4.4 or later), coreutils and python3 (3.8 or later). Takes
# about three minutes, growth four. Where it can (with util-linux and iproute2), it runs in a separate network
# namespace. All servers listen on free ports of loopback and are stopped at the end.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

need python3
# Wrong arguments are refused before anything is built. Only --help prints something here. -B: leave no compiled files.
help=$(python3 -B "$root/scripts/bench" --check-arguments "$@")
[[ -z $help ]] || { echo "$help" && exit; }
bin=${BIN:-}
[[ -n $bin ]] || build --workspace
use_own_network "$@"
exec python3 -B "$root/scripts/bench" --bin "$bin" "$@"
