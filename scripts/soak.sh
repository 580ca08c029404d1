#!/usr/bin/env bash
# Runs both servers under mixed load and hostile clients, and monitors their memory, open files and connections.
#
#   scripts/soak.sh [SECONDS [P99_MS [STRENGTH]]]      # default: 1800 20 0.1
#
# Passes if no request of the load fails, 99 % of the replies to each load take at most P99_MS milliseconds, memory does
# not grow after the first fifth of the run, all connections and files are closed at the end, the logs have no panic and
# no error, and each server drains and exits with 0. STRENGTH is that of hostile_clients.py.
#
# Needs a Rust toolchain, bash (5.0 or later), coreutils, python3 (3.9 or later), and a hard limit of 4,000 open files, or
# 20,000 at strength 1. Prints 20 samples and the results of the load. Runs in a separate network namespace if possible
# (with util-linux and iproute2).
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

seconds=${1:-1800} p99_limit_ms=${2:-20} strength=${3:-0.1}
[[ $# -le 3 && "$seconds $p99_limit_ms" =~ ^[1-9][0-9]*\ [1-9][0-9]*$ && $strength =~ ^[0-9]+(\.[0-9]+)?$ ]] \
    || fail "usage: $0 [SECONDS [P99_MS [STRENGTH]]]"
samples=20
window=4 # duel.window in seconds
# Void moves may take this part of the time of the players that keep to the protocol.
void_limit=0.1
# Allowed growth after the first fifth of the run; the memory that the allocator retains varies by as much.
slack_kib=4096

need python3
build --workspace
use_own_network "$@"
set_up

# Prints the value of a metric.
metric() { # SERVER NAME
    http_get "${address[$1 admin]}" /metrics | awk -v name="$2" '$1 == name { print $2 }'
}
resident_kib() { awk '/^VmRSS:/ { print $2 }' "/proc/${pid[$1]}/status"; }
open_files() { find "/proc/${pid[$1]}/fd" -mindepth 1 | wc -l; }
# Prints the number of the servers' sockets in each state (proc(5), net/tcp).
socket_states() {
    local ports
    ports=$(printf ':%04X ' "${address[@]##*:}")
    awk -v ports="$ports" 'BEGIN {
        name["01"] = "established"; name["03"] = "syn-recv"; name["04"] = "fin-wait-1"; name["05"] = "fin-wait-2"
        name["06"] = "time-wait"; name["08"] = "close-wait"; name["09"] = "last-ack"; name["0B"] = "closing"
        count = split(ports, list, " "); for (i = 1; i <= count; i++) served[list[i]] = 1 }
        { port = substr($2, index($2, ":")); if (port in served && $4 in name) seen[name[$4]]++ }
        END { for (state in seen) printf "%s %d ", state, seen[state] }' /proc/net/tcp
}

# Fails if 99 % of the latencies of a load are not within the limit.
check_p99() { # LOAD MICROSECONDS
    awk -v latency="$2" -v limit="$p99_limit_ms" 'BEGIN { exit !(latency <= limit * 1000) }' \
        || fail "$1: the 99th percentile of the latency is $2 µs, the limit is $p99_limit_ms ms"
    pass "$1: the 99th percentile of the latency is $2 µs"
}

ulimit -n "$(ulimit -Hn)" # the servers and the hostile clients need thousands of files
start power-server --set timeouts.request=2s --set timeouts.idle=5s --set timeouts.write=1s
start rps-server --set duel.window=${window}s --set timeouts.idle=5s --set timeouts.write=1s
power=${address[power-server power]} solo=${address[rps-server solo]} duel=${address[rps-server duel]}
declare -A files_at_start baseline_kib peak_kib # by server; the baseline is taken after a fifth of the run
for server in power-server rps-server; do
    files_at_start[$server]=$(open_files $server)
done

loads=(short keepalive pipelined solo)
load() { # NAME BENCH_ARGUMENT...
    # A long timeout: P99_MS limits the latency.
    launch "$1" "$bin/cli-client" --json bench "${@:2}" -z "${seconds}s" --timeout 20s
}
load short power --addr "$power" -c 8 --rate 500
load keepalive power --addr "$power" -c 8 --keep-alive --rate 1000
load pipelined power --addr "$power" -c 2 --keep-alive --pipeline 16 --rate 2000
load solo rps --addr "$solo" -c 8 --rate 1000
admins=("${address[power-server admin]}" "${address[rps-server admin]}")
launch honest python3 "$root/scripts/honest_clients.py" "$seconds" "$window" "$duel" "${admins[@]}"
launch hostile python3 "$root/scripts/hostile_clients.py" "$seconds" "$strength" "$power" "$solo" "$duel" "${admins[@]}"

started=$EPOCHREALTIME
for ((sample = 1; sample <= samples; sample++)); do
    # A sample may take long under load, and the last one is before the end of the load.
    sleep "$(awk -v at="$EPOCHREALTIME" "BEGIN { wait = $started + $seconds * ($sample - 0.5) / $samples - at
        print (wait > 0 ? wait : 0) }")"
    line="sample $sample/$samples:"
    for server in power-server rps-server; do
        memory=$(resident_kib $server)
        ((memory <= ${peak_kib[$server]:-0})) || peak_kib[$server]=$memory
        line+=" $server $memory KiB, $(open_files $server) files, $(metric $server "${server%-server}_connections") connections;"
        ((sample * 5 != samples)) || baseline_kib[$server]=$memory
    done
    echo "$line $(socket_states)"
    # Reload after each sample, because reloads happen in production too.
    kill -HUP "${pid[power-server]}" "${pid[rps-server]}"
done

wait_for_end hostile
((status == 0)) || fail "the hostile clients failed: $(<"$scratch/hostile.log")"
cat "$scratch/hostile.log"
for name in "${loads[@]}"; do
    wait_for_end "$name"
    summary=$(<"$scratch/$name.log")
    [[ $summary =~ \"requests\":([0-9]+),\"right\":([0-9]+),\"errors\":\{\} && ${BASH_REMATCH[1]} == "${BASH_REMATCH[2]}" ]] \
        || fail "$name: expected the correct reply to each request, got $summary"
    pass "$name: ${BASH_REMATCH[1]} requests, all with the correct reply"
    [[ $summary =~ \"p99\":([0-9.]+) ]] || fail "$name: no latency in $summary"
    check_p99 "$name" "${BASH_REMATCH[1]}"
done
wait_for_end honest
summary=$(<"$scratch/honest.log")
((status == 0)) || fail "duels and health checks: $summary"
pass "duels and health checks: $summary"
for name in duel health; do
    [[ $summary =~ \"${name}_p99_us\":\ ([0-9]+) ]] || fail "$name: no latency in $summary"
    check_p99 "$name" "${BASH_REMATCH[1]}"
done
[[ $summary =~ \"void_part\":\ ([0-9.]+) ]] || fail "duel: no void moves in $summary"
awk -v part="${BASH_REMATCH[1]}" -v limit=$void_limit 'BEGIN { exit !(part <= limit) }' \
    || fail "duel: void moves took ${BASH_REMATCH[1]} of the players' time; the limit is $void_limit"
pass "duel: void moves took ${BASH_REMATCH[1]} of the players' time"
for server in power-server rps-server; do
    deadline=$((SECONDS + wait_seconds))
    until [[ $(metric $server "${server%-server}_connections") == 0 && $(open_files $server) -le ${files_at_start[$server]} ]]; do
        ((SECONDS < deadline)) || fail "$server has open connections, or too many open files ($(open_files $server)): $(socket_states)"
    done
    pass "$server: no open connections, and at most ${files_at_start[$server]} open files as at the start"
    memory=$(resident_kib $server)
    ((memory <= baseline_kib[$server] + slack_kib)) \
        || fail "$server: memory grew from ${baseline_kib[$server]} KiB after a fifth of the run to $memory KiB at the end"
    pass "$server: ${baseline_kib[$server]} KiB after a fifth of the run, $memory KiB at the end," \
        "at most ${peak_kib[$server]} KiB in the samples"
    panics=$(metric $server "${server%-server}_connections_closed_total{reason=\"panic\"}")
    [[ $panics == 0 ]] || fail "$server: $panics panics"
    stop $server
    echo "$server: $(wc -l <"$scratch/$server.log") lines of log"
done
echo "soak: passed in $seconds s"
