#!/usr/bin/env bash
# Checks that a rolling update loses no request. Two power servers and two rock-paper-scissors servers run behind
# HAProxy with the shipped configuration (config/deploy/haproxy.cfg) under constant load. Each replica in turn gets
# SIGTERM, without notice to HAProxy, exits, and is started again.
#
# Passes if no request of a short connection fails, long connections are closed only between a reply and the next move,
# no duel waits for a player at the other replica, and each server exits with 0 and aborts no connection. A client over
# the limits per client, of HAProxy or of the servers behind it, does not keep other clients from being served.
#
# Needs a Rust toolchain, bash (4.4 or later), coreutils, haproxy (2.6 or later), openssl and python3 (3.9 or later).
# Takes less than a minute once the workspace is built. Uses free ports of loopback.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
cd "$root"

load_seconds=600   # duration of the load, far longer than a slow machine needs; if it ends by itself, the check fails
long_connections=8 # connections of the long load

# Starts HAProxy. It inherits its listening sockets, so that each has a free port that no other process can take before
# HAProxy binds it. The first line of the log has the addresses.
start_haproxy() { # NAME [VARIABLE=VALUE...]
    launch "$1" env \
        POWER_1="${address[power-1 power]}" POWER_1_ADMIN_PORT="${address[power-1 admin]##*:}" \
        POWER_2="${address[power-2 power]}" POWER_2_ADMIN_PORT="${address[power-2 admin]##*:}" \
        SOLO_1="${address[rps-1 solo]}" DUEL_1="${address[rps-1 duel]}" RPS_1_ADMIN_PORT="${address[rps-1 admin]##*:}" \
        SOLO_2="${address[rps-2 solo]}" DUEL_2="${address[rps-2 duel]}" RPS_2_ADMIN_PORT="${address[rps-2 admin]##*:}" \
        "${@:2}" python3 -c '
import os, socket
listeners = {name: socket.create_server(("127.0.0.1", 0), backlog=1024) for name in ("POWER", "SOLO", "DUEL", "STATUS")}
for name, listener in listeners.items():
    listener.set_inheritable(True)
    os.environ[f"{name}_BIND"] = f"fd@{listener.fileno()}"
print(*("127.0.0.1:%d" % listener.getsockname()[1] for listener in listeners.values()), flush=True)
os.execvp("haproxy", ["haproxy", "-db", "-f", "config/deploy/haproxy.cfg"])
'
    wait_for_log "$1" '^127\.'
    read -r POWER_ADDR RPS_ADDR DUEL_ADDR "address[$1 status]" <<<"$line"
    export POWER_ADDR RPS_ADDR DUEL_ADDR
}

# Waits until HAProxy logs this state for each of the servers, starting at line number FIRST of its log.
wait_for_haproxy() { # UP|DOWN FIRST SERVER...
    local server
    for server in "${@:3}"; do
        wait_for_log haproxy "Server $server is $1" "$2"
    done
}

# Replaces one replica of each service, as a rolling update does.
replace() { # NUMBER
    local from backends=("power/power-$1" "solo/rps-$1" "duel/rps-$1")
    from=$(next_line haproxy)
    kill -TERM "${pid[power-$1]}" "${pid[rps-$1]}"
    check_stopped "power-$1" 0
    check_stopped "rps-$1" 0
    # Wait for DOWN first: otherwise the UP below could be the state before the replacement.
    wait_for_haproxy DOWN "$from" "${backends[@]}"
    from=$(next_line haproxy)
    start "power-$1" "${settings[@]}"
    start "rps-$1" "${settings[@]}"
    wait_for_haproxy UP "$from" "${backends[@]}"
    pass "HAProxy reports the new power-$1 and rps-$1 as up"
}

# Runs players through HAProxy until SIGTERM: against the house and against each other. Each player sends a move, waits
# for its reply, pauses, and connects again when the server has closed the connection. Prints "playing" every 200
# replies, and its counters at the end. Fails if a counter has a value that a drain does not explain.
players() {
    exec python3 -c '
import asyncio, os, random, signal, sys
from collections import Counter

# During a drain, the server closes a connection that was idle for this time, in seconds. If the machine stalls for as
# long, games in progress look idle too, and a move may be in flight when the connection is closed. Such a move counts
# as too late, not as lost.
IDLE_GRACE = 0.05
PAUSE = 0.02

async def play(reader, writer, counts):
    now = asyncio.get_running_loop().time
    sent_at = previous = now()
    while True:
        previous, sent_at = sent_at, now()
        writer.write(random.choice((b"1", b"2", b"3")))
        counts["moves"] += 1
        reply = await reader.read(1)
        if not reply:
            counts["moves lost" if now() - previous < IDLE_GRACE else "moves too late"] += 1
            return
        counts["replies"] += 1
        if counts["replies"] % 200 == 0:
            print("playing", flush=True)
        counts["void"] += reply == b"v"
        counts["invalid replies"] += reply not in b"xyzv"
        counts["longest wait in ms"] = max(counts["longest wait in ms"], round((now() - sent_at) * 1000))
        try:
            counts["unsolicited bytes"] += len(await asyncio.wait_for(reader.read(1), PAUSE))
        except asyncio.TimeoutError:
            continue
        counts["closed between moves"] += 1
        return

async def player(address, counts):
    host, port = address.rsplit(":", 1)
    while True:
        try:
            reader, writer = await asyncio.open_connection(host, port)
            counts["connections"] += 1
            await play(reader, writer, counts)
        except OSError as error:
            counts[f"error {error}"] += 1
            return
        writer.close()

def check(game, counts, players):
    # At the end each player may have one move without a reply.
    pending = counts["moves"] - counts["replies"] - counts["moves too late"]
    expected = Counter({
        **{name: counts[name] for name in ("moves", "replies", "connections", "moves too late")},
        "closed between moves": counts["connections"] - players - counts["moves too late"],
        # Less than duel.window (30 s), after which a move without a partner is void. So each void move is due to a
        # drain, which waits 50 ms for the other player.
        "longest wait in ms": min(counts["longest wait in ms"], 25000),
        "void": counts["void"] if game == "duel" else 0,
    })
    print(f"{game}: {players} players,", ", ".join(f"{counts[name]} {name}" for name in sorted(counts) if counts[name]))
    return 0 <= pending <= players and +counts == +expected and counts["connections"] > players

async def main():
    counts = {"solo": Counter(), "duel": Counter()}
    games = [("solo", os.environ["RPS_ADDR"], 12), ("duel", os.environ["DUEL_ADDR"], 6)]
    tasks = [
        asyncio.create_task(player(address, counts[game])) for game, address, players in games for _ in range(players)
    ]
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    sys.exit(not all([check(game, counts[game], players) for game, _, players in games]))

asyncio.run(main())
'
}

# Exceeds the limits per client of a HAProxy that has small ones, so that a slow machine reaches them too. Fails if the
# client is served beyond them, or another client is not served.
exceed_client_limits() {
    python3 -c '
import os, socket, time

socket.setdefaulttimeout(60)

def connect(service, source):
    host, port = os.environ[service].rsplit(":", 1)
    connection = socket.socket()
    connection.bind((source, 0))
    try:
        connection.connect((host, int(port)))
        connection.sendall(b"a2\n" if service == "POWER_ADDR" else b"1")
        return connection, bool(connection.recv(16))
    except ConnectionError:
        return connection, False

def is_served(service, source):
    connection, served = connect(service, source)
    connection.close()
    return served

# One address opens more connections than it may have, over two services.
held = [connect(("POWER_ADDR", "RPS_ADDR")[number % 2], "127.0.0.2") for number in range(25)]
assert [served for _, served in held] == [True] * 20 + [False] * 5, held
assert not is_served("DUEL_ADDR", "127.0.0.2")
assert is_served("POWER_ADDR", "127.0.0.3") and is_served("RPS_ADDR", "127.0.0.3")
# It is served again once HAProxy and the replicas have closed its connections. The tries do not exceed its rate.
for connection, _ in held:
    connection.close()
for _ in range(30):
    if is_served("POWER_ADDR", "127.0.0.2"):
        break
    time.sleep(0.5)
else:
    raise AssertionError("the client is not served after it has closed its connections")
# One address opens new connections faster than it may.
assert not all(is_served("POWER_ADDR", "127.0.0.4") for _ in range(1000))
assert is_served("POWER_ADDR", "127.0.0.3") and is_served("RPS_ADDR", "127.0.0.3")
'
}

# Exceeds limits.max_connections_per_ip (3) of the servers behind HAProxy. Fails if a client is served beyond it, gets no
# rejection, or keeps another client from being served.
exceed_server_limits() {
    python3 -c '
import os, socket

socket.setdefaulttimeout(60)

def connect(service, source):
    host, port = os.environ[service].rsplit(":", 1)
    connection = socket.create_connection((host, int(port)), source_address=(source, 0))
    connection.sendall(b"a2\n" if service == "POWER_ADDR" else b"1")
    return connection, connection.recv(16)

for service, rejection in (("POWER_ADDR", b"eBUSY"), ("RPS_ADDR", b"f")):
    held = [connect(service, f"127.0.0.{host}") for host in (2, 3) for _ in range(4)]
    replies = [reply.startswith(rejection) for _, reply in held]
    assert replies == [False, False, False, True] * 2, held
'
}

# Checks that each metric in the rules of alerts.yml exists: otherwise the rule could never fire.
check_metrics() {
    local name all count=0
    all=$(http_get "${address[power-1 admin]}" /metrics \
        && http_get "${address[rps-1 admin]}" /metrics \
        && http_get "${address[haproxy status]}" /metrics) || fail "cannot read the metrics"
    while read -r name; do
        [[ $all == *$'\n'"$name"[\{\ ]* ]] || fail "alerts.yml uses $name, which no server exports"
        count=$((count + 1))
    done < <(sed -E '/^ *#/d; s/\(power\|rps\)(\w+)/power\1 rps\1/' config/deploy/alerts.yml \
        | grep -oE '\b(power|rps|haproxy|process)_[a-z_]+' | sort -u)
    pass "all $count metrics in alerts.yml exist"
}

# Waits until the players have made several hundred more moves.
wait_for_moves() {
    for _ in {1..4}; do
        wait_for_log players playing "$(next_line players)"
    done
}

# Stops a load before its end. Sets `summary`.
stop_load() { # NAME
    kill -TERM "${pid[$1]}"
    wait_for_end "$1"
    summary=$(<"$scratch/$1.log")
    ((status == 143)) || fail "$1: expected exit code 143 at SIGTERM, got $status and $summary"
}

need haproxy openssl python3
build --workspace
set_up
scripts/certificates.sh "$scratch/tls" >/dev/null
# HAProxy sends PROXY protocol headers. The certificate is for its metric.
settings=(--set proxy_protocol.trusted=127.0.0.1
    --set "tls.certificate=$scratch/tls/server.pem" --set "tls.key=$scratch/tls/server-key.pem")

started=$SECONDS
for name in power-1 power-2 rps-1 rps-2; do
    start "$name" "${settings[@]}"
done
start_haproxy haproxy
for service in power rps duel; do
    "$bin/cli-client" probe "$service" --wait "${wait_seconds}s" -q || fail "$service cannot be reached through HAProxy"
done
pass "two replicas of each server behind HAProxy at $POWER_ADDR, $RPS_ADDR and $DUEL_ADDR"

launch players players
# A long timeout: a late reply of a slow machine is not a lost request.
load_options=(--timeout 20s --json)
launch short "$bin/cli-client" bench power -c 64 -z "${load_seconds}s" --rate 400 "${load_options[@]}"
launch long "$bin/cli-client" bench rps -c "$long_connections" -z "${load_seconds}s" --rate 200 "${load_options[@]}"
wait_for_moves
replace 1
wait_for_moves
replace 2
wait_for_moves
check_metrics

stop_load short
[[ $summary =~ \"requests\":([0-9]+),\"right\":([0-9]+),\"errors\":\{\}.*\"p50\":([0-9]+).*\"p99\":([0-9]+).*\"max\":([0-9]+) ]] \
    || fail "short connections: expected no errors, got $summary"
((BASH_REMATCH[1] == BASH_REMATCH[2])) || fail "short connections: expected the correct reply to each request, got $summary"
pass "short connections: ${BASH_REMATCH[1]} requests, all with the correct reply: latency p50 ${BASH_REMATCH[3]} µs, p99 ${BASH_REMATCH[4]} µs, max ${BASH_REMATCH[5]} µs"

# This load sends its next move without checking whether the server has closed the connection, so each connection that a
# drain has closed is an error: at most one per connection and replica.
stop_load long
[[ $summary =~ \"requests\":([0-9]+),\"right\":([0-9]+),\"errors\":\{(\"(closed|reset)\":[0-9]+,?)*\} ]] \
    || fail "long connections: expected no errors except closed connections, got $summary"
closed=$((BASH_REMATCH[1] - BASH_REMATCH[2]))
((closed <= 2 * long_connections)) || fail "long connections: $closed closed, expected at most one per connection ($long_connections) and replica (2)"
pass "long connections: ${BASH_REMATCH[2]} correct replies, $closed closed connections"

kill -TERM "${pid[players]}"
wait_for_end players
((status == 0)) || fail "players: a result that a drain does not explain: $(grep -v '^playing$' "$scratch/players.log")"
while read -r line; do
    pass "$line"
done < <(grep -v '^playing$' "$scratch/players.log")
start_haproxy limited CLIENT_CONNECTIONS=20 CLIENT_NEW_CONNECTIONS=60
check 0 "" "" exceed_client_limits
pass "a client over a limit is rejected, and other clients are served"

for kind in power rps; do
    start "$kind-limited" "${settings[@]}" --set limits.max_connections_per_ip=3
done
start_haproxy named POWER_1="${address[power-limited power]}" POWER_1_ADMIN_PORT="${address[power-limited admin]##*:}" \
    POWER_2="${address[power-limited power]}" POWER_2_ADMIN_PORT="${address[power-limited admin]##*:}" \
    SOLO_1="${address[rps-limited solo]}" SOLO_2="${address[rps-limited solo]}" \
    RPS_1_ADMIN_PORT="${address[rps-limited admin]##*:}" RPS_2_ADMIN_PORT="${address[rps-limited admin]##*:}"
check 0 "" "" exceed_server_limits
pass "behind HAProxy, a server limits the connections of each client"
echo "scale-out: $passed passed, 0 failed, in $((SECONDS - started)) s"
