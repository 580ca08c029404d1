#!/usr/bin/env bash
# Runs both servers under mixed load and hostile clients, and watches their memory, open files and connections.
#
#   scripts/soak.sh [SECONDS]      # default: 1800
#
# It requires: no request of the load fails; memory does not grow after the first fifth of the time; at the end
# all connections and files are closed; no panic and no error in the log; each server drains and exits with 0.
#
# Needs a Rust toolchain, bash (4.4 or later), coreutils and python3 (3.9 or later). Prints 20 samples and the results
# of the load. Where it can (with util-linux and iproute2), it runs in a separate network namespace.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

seconds=${1:-1800}
[[ $seconds =~ ^[1-9][0-9]*$ ]] || fail "usage: $0 [SECONDS]"
samples=20
# Growth allowed after the first fifth of the time. The memory that the allocator keeps varies by as much.
slack_kib=2048

need python3
build --workspace
use_own_network "$@"
set_up

# Prints the value of a metric. NAME begins with the server's.
metric() { # SERVER NAME
    http_get "${address[$1 admin]}" /metrics | awk -v name="$2" '$1 == name { print $2 }'
}
resident() { awk '/^VmRSS:/ { print $2 }' "/proc/${pid[$1]}/status"; }
files() { find "/proc/${pid[$1]}/fd" -mindepth 1 | wc -l; }
# Prints the number of the servers' sockets in each state (proc(5), net/tcp).
states() {
    local ports
    ports=$(printf ':%04X ' "${address[@]##*:}")
    awk -v ports="$ports" 'BEGIN {
        name["01"] = "established"; name["03"] = "syn-recv"; name["04"] = "fin-wait-1"; name["05"] = "fin-wait-2"
        name["06"] = "time-wait"; name["08"] = "close-wait"; name["09"] = "last-ack"; name["0B"] = "closing"
        count = split(ports, list, " "); for (i = 1; i <= count; i++) served[list[i]] = 1 }
        { port = substr($2, index($2, ":")); if (port in served && $4 in name) seen[name[$4]]++ }
        END { for (state in seen) printf "%s %d ", state, seen[state] }' /proc/net/tcp
}

start power-server --set timeouts.request=2s --set timeouts.idle=5s --set timeouts.write=1s
start rps-server --set duel.window=2s --set timeouts.idle=5s --set timeouts.write=1s
power=${address[power-server power]} solo=${address[rps-server solo]} duel=${address[rps-server duel]}
declare -A files_at_start settled # by server: open files; KiB of memory after a fifth of the time
for server in power-server rps-server; do
    files_at_start[$server]=$(files $server)
done

loads=(short kept pipelined solo duel)
load() { # NAME BENCH_ARGUMENT...
    launch "$1" "$bin/cli-client" --json bench "${@:2}" -z "${seconds}s"
}
load short power --addr "$power" -c 8 --rate 500
load kept power --addr "$power" -c 8 --keep-alive --rate 1000
load pipelined power --addr "$power" -c 2 --keep-alive --pipeline 16 --rate 2000
load solo rps --addr "$solo" -c 8 --rate 1000
load duel duel --addr "$duel" -c 8 --rate 500
launch hostile python3 "$root/scripts/hostile_clients.py" "$seconds" "$power" "$solo" "$duel"

for ((sample = 1; sample <= samples; sample++)); do
    sleep "$(awk "BEGIN { print $seconds / $samples }")"
    line="sample $sample/$samples:"
    for server in power-server rps-server; do
        held=$(resident $server)
        line+=" $server $held KiB, $(files $server) files, $(metric $server "${server%-server}_connections") connections;"
        ((sample * 5 != samples)) || settled[$server]=$held
    done
    echo "$line $(states)"
    # A reload now and then is part of a server's life.
    kill -HUP "${pid[power-server]}" "${pid[rps-server]}"
done

# The last hostile clients may take some 30 s to end.
wait_seconds=60 wait_for_end hostile
((status == 0)) || fail "the hostile clients failed: $(<"$scratch/hostile.log")"
cat "$scratch/hostile.log"
for name in "${loads[@]}"; do
    wait_for_end "$name"
    summary=$(<"$scratch/$name.log")
    [[ $summary =~ \"requests\":([0-9]+),\"right\":([0-9]+),\"errors\":\{\} && ${BASH_REMATCH[1]} == "${BASH_REMATCH[2]}" ]] \
        || fail "$name: wanted all requests answered right, got $summary"
    pass "$name: ${BASH_REMATCH[1]} requests, all answered right"
done
for server in power-server rps-server; do
    last_look=$((SECONDS + wait_seconds))
    until [[ $(metric $server "${server%-server}_connections") == 0 && $(files $server) -le ${files_at_start[$server]} ]]; do
        ((SECONDS < last_look)) || fail "$server still has connections or $(files $server) files open: $(states)"
    done
    pass "$server has no connection left, and ${files_at_start[$server]} files as at the start"
    held=$(resident $server)
    ((held <= settled[$server] + slack_kib)) \
        || fail "$server has grown: ${settled[$server]} KiB after a fifth of the time, $held KiB at the end"
    pass "$server: ${settled[$server]} KiB after a fifth of the time, $held KiB at the end"
    panics=$(metric $server "${server%-server}_connections_closed_total{reason=\"panicked\"}")
    [[ $panics == 0 ]] || fail "$server: $panics panics"
    stop $server
    echo "$server: $(wc -l <"$scratch/$server.log") lines of log"
done
echo "soak: passed in $seconds s"
