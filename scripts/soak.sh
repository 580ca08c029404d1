#!/usr/bin/env bash
# Runs both servers for a while under mixed load, with clients among it that
# mean harm, and watches what the servers hold: memory, open files, and
# connections by state. Memory may not grow once a fifth of the time is over, and
# at the end no connection may be left.
#
#   scripts/soak.sh [SECONDS]      # 1800 where none are given
#
# Needs a Rust toolchain, bash (4.4 or later), coreutils and python3 (3.8 or
# later). Prints a line a sample, twenty in all, and what the load came to.
# Where it can (as root, with util-linux and iproute2), it runs in a network of
# its own, so that its connections fill nobody else's tables.
set -euo pipefail
cd "$(dirname "$0")/.."
exec </dev/null

seconds=${1:-1800}
wait_seconds=12 # for what should be there at once
samples=20
# What a process may hold more at the end than after the first fifth of the
# time: what an allocator keeps back varies by so much.
slack_kib=2048

if [[ -z ${SOAK_INSIDE:-} ]]; then
    cargo build --release --locked
    if unshare --net true 2>/dev/null && command -v ip >/dev/null; then
        exec unshare --net env SOAK_INSIDE=1 bash -c 'ip link set lo up && exec "$0" "$@"' "$0" "$@"
    fi
fi
bin=${CARGO_TARGET_DIR:-target}/release

fail() {
    echo "soak: FAILED: $*" >&2
    exit 1
}
scratch=$(mktemp -d)
clean_up() {
    local status=$? jobs
    mapfile -t jobs < <(jobs -p)
    ((${#jobs[@]} == 0)) || kill -KILL "${jobs[@]}" 2>/dev/null || true
    wait 2>/dev/null || true
    ((status == 0)) || tail -n 20 "$scratch"/*.log "$scratch"/*.out >&2 || true
    rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

declare -A pid address
start() { # SERVER ARGUMENT...
    "$bin/$1" --config "config/$1.toml" "${@:2}" >"$scratch/$1.log" &
    pid[$1]=$!
}
# The log is the server's own word for where it listens.
listening() { # SERVER SERVICE
    local line
    line=$(grep -m 1 "listening service=\"$2\"" < <(exec timeout "$wait_seconds" tail -n +1 -f --pid "${pid[$1]}" "$scratch/$1.log")) \
        || fail "$1 does not listen for $2"
    address[$1-$2]=${line##*address=}
}
start power-server --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 \
    --set timeouts.request=2s --set timeouts.idle=5s --set timeouts.write=1s
start rps-server --solo-listen 127.0.0.1:0 --duel-listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 \
    --set duel.window=2s --set timeouts.idle=5s --set timeouts.write=1s
for service in power admin; do listening power-server $service; done
for service in solo duel admin; do listening rps-server $service; done

metric() { # SERVER SERIES
    local admin=${address[$1-admin]}
    exec 3<>"/dev/tcp/${admin%:*}/${admin##*:}"
    printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3
    awk -v series="$2" '$1 == series { print $2 }' <&3
    exec 3>&-
}

# --- The load: what people do, and what nobody should

client=$bin/cli-client
load() { # NAME ARGUMENT...
    "$client" --json bench "${@:2}" -z "${seconds}s" >"$scratch/$1.out" 2>&1 &
}
load power power --addr "${address[power-server-power]}" -c 8 --rate 500
load kept power --addr "${address[power-server-power]}" -c 8 --keep-alive --rate 1000
load flights power --addr "${address[power-server-power]}" -c 2 --keep-alive --pipeline 16 --rate 2000
load solo rps --addr "${address[rps-server-solo]}" -c 8 --rate 1000
load duel duel --addr "${address[rps-server-duel]}" -c 8 --rate 500
loads=(power kept flights solo duel)

cat >"$scratch/trouble.py" <<'PYTHON'
"""Clients that mean harm, or do it: some thirty at a time, each for a moment."""
import random
import socket
import struct
import sys
import threading
import time

end = time.monotonic() + float(sys.argv[1])
addresses = [(host, int(port)) for host, port in (address.rsplit(":", 1) for address in sys.argv[2:])]
done = {}


def reset(stream):
    stream.sendall(random.choice([b"", b"a2", b"1", b"123"]))
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def garbage(stream):
    stream.sendall(random.randbytes(random.randrange(1, 2000)))
    stream.shutdown(socket.SHUT_WR)
    while stream.recv(65536):
        pass


def silence(stream):
    while stream.recv(65536):
        pass


def dribble(stream):
    for _ in range(10):
        stream.sendall(b" ")
        time.sleep(0.3)


def never_read(stream):
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    while time.monotonic() < end:
        stream.sendall(b"1\n" * 4096)


def half_close(stream):
    stream.shutdown(socket.SHUT_WR)
    while stream.recv(65536):
        pass


kinds = [reset, garbage, silence, dribble, never_read, half_close]


def trouble(seed):
    pick = random.Random(seed)
    while time.monotonic() < end:
        kind = pick.choice(kinds)
        try:
            with socket.create_connection(pick.choice(addresses), timeout=20) as stream:
                # The duel's window may keep a player who does nothing wrong.
                stream.settimeout(10)
                kind(stream)
        except OSError:
            pass  # The server ends such clients as it sees fit.
        done[kind.__name__] = done.get(kind.__name__, 0) + 1


threads = [threading.Thread(target=trouble, args=(seed,)) for seed in range(30)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("trouble:", ", ".join(f"{name} {count}" for name, count in sorted(done.items())))
PYTHON
python3 "$scratch/trouble.py" "$seconds" "${address[power-server-power]}" "${address[rps-server-solo]}" \
    "${address[rps-server-duel]}" >"$scratch/trouble.out" 2>&1 &
trouble=$!

# --- The watch

resident() { awk '/^VmRSS:/ { print $2 }' "/proc/${pid[$1]}/status"; }
files() { find "/proc/${pid[$1]}/fd" -mindepth 1 | wc -l; }
# Connections of the servers by state, as the kernel has them (proc(5), net/tcp).
states() {
    local ports=""
    for name in "${!address[@]}"; do ports+=$(printf ':%04X ' "${address[$name]##*:}"); done
    awk -v ports="$ports" 'BEGIN {
        name["01"] = "established"; name["03"] = "syn-recv"; name["04"] = "fin-wait-1"; name["05"] = "fin-wait-2"
        name["06"] = "time-wait"; name["08"] = "close-wait"; name["09"] = "last-ack"; name["0B"] = "closing"
        count = split(ports, list, " "); for (i = 1; i <= count; i++) served[list[i]] = 1 }
        { port = substr($2, index($2, ":")); if (port in served && $4 in name) seen[name[$4]]++ }
        END { for (state in seen) printf "%s %d ", state, seen[state] }' /proc/net/tcp
}
declare -A settled
for ((sample = 1; sample <= samples; sample++)); do
    sleep "$(awk "BEGIN { print $seconds / $samples }")"
    line="sample $sample/$samples:"
    for server in power-server rps-server; do
        held=$(resident $server)
        prefix=${server%-server}
        line+=" $server $held KiB, $(files $server) files, $(metric $server "${prefix}_connections") connections;"
        ((sample * 5 != samples)) || settled[$server]=$held
    done
    echo "$line $(states)"
    # A new configuration now and then is part of a server's life.
    kill -HUP "${pid[power-server]}" "${pid[rps-server]}"
done

wait "$trouble" || fail "the trouble ended by itself: $(<"$scratch/trouble.out")"
cat "$scratch/trouble.out"
for job in $(jobs -p); do
    [[ $job == "${pid[power-server]}" || $job == "${pid[rps-server]}" ]] || wait "$job" || true
done
for name in "${loads[@]}"; do
    summary=$(<"$scratch/$name.out")
    [[ $summary =~ \"requests\":([0-9]+),\"right\":([0-9]+),\"errors\":(\{[^}]*\}) ]] || fail "$name: $summary"
    echo "$name: ${BASH_REMATCH[1]} requests, ${BASH_REMATCH[2]} right, errors ${BASH_REMATCH[3]}"
    [[ ${BASH_REMATCH[3]} == "{}" && ${BASH_REMATCH[1]} == "${BASH_REMATCH[2]}" ]] || fail "$name: $summary"
done

# --- The end: everything was given back

for server in power-server rps-server; do
    prefix=${server%-server}
    last_look=$((SECONDS + wait_seconds))
    until [[ $(metric $server "${prefix}_connections") == 0 ]]; do
        ((SECONDS < last_look)) || fail "$server still has connections: $(states)"
    done
    held=$(resident $server)
    echo "$server: ${settled[$server]} KiB after a fifth of the time, $held KiB at the end, $(files $server) files"
    ((held <= settled[$server] + slack_kib)) || fail "$server has grown"
    [[ $(metric $server "${prefix}_connections_closed_total{reason=\"panicked\"}") == 0 ]] || fail "$server met a panic"
    kill -TERM "${pid[$server]}"
    wait "${pid[$server]}" || fail "$server ended with $?"
    ! grep -E 'ERROR|panic[^k]' "$scratch/$server.log" || fail "$server: its log tells of errors"
    echo "$server: $(grep -c . "$scratch/$server.log") lines of the log, the last: $(tail -n 1 "$scratch/$server.log" | cut -d ' ' -f 3-)"
done
echo "soak: passed in $seconds s"
