#!/usr/bin/env bash
# Checks that a rolling update loses no request. Two power servers and two rock-paper-scissors servers run behind
# HAProxy with the shipped configuration (config/deploy/haproxy.cfg) under constant load. The rock-paper-scissors servers
# play duels with each other through a redis-server ([duel.cluster]). Each replica in turn gets SIGTERM, without notice to
# HAProxy, exits, and is started again; one of them also while the redis-server is stopped.
#
# Passes if no request of a short connection fails, long connections are closed only between a reply and the next move,
# and each server exits with 0 and aborts no connection. Duels are played across the replicas: no player waits long, no
# reply is lost, the replies of all players fit each other, and only a server that drains makes a move void. A client over
# the limits per client, of HAProxy or of the servers behind it, does not keep other clients from being served.
#
# Needs a Rust toolchain, bash (4.4 or later), coreutils, haproxy (2.6 or later), openssl, python3 (3.9 or later) and
# redis-server (6.2 or later). Takes less than a minute once the workspace is built. Uses free ports of loopback.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
cd "$root"

load_seconds=600   # duration of the load, far longer than a slow machine needs; if it ends by itself, the check fails
long_connections=8 # connections of the long load
drains=0           # of each kind of server, so far

# Starts HAProxy. It inherits its listening sockets, so that each has a free port that no other process can take before
# HAProxy binds it. The first line of the log has the addresses.
start_haproxy() { # NAME [VARIABLE=VALUE...]
    launch "$1" env \
        POWER_1="${address[power-1 power]}" POWER_1_ADMIN_PORT="${address[power-1 admin]##*:}" \
        POWER_2="${address[power-2 power]}" POWER_2_ADMIN_PORT="${address[power-2 admin]##*:}" \
        SOLO_1="${address[rps-1 solo]}" DUEL_1="${address[rps-1 duel]}" WEB_1="${address[rps-1 web]}" \
        SOLO_2="${address[rps-2 solo]}" DUEL_2="${address[rps-2 duel]}" WEB_2="${address[rps-2 web]}" \
        RPS_1_ADMIN_PORT="${address[rps-1 admin]##*:}" RPS_2_ADMIN_PORT="${address[rps-2 admin]##*:}" \
        "${@:2}" python3 -c '
import os, socket
names = "POWER", "SOLO", "DUEL", "WEB", "STATUS"
listeners = {name: socket.create_server(("127.0.0.1", 0), backlog=1024) for name in names}
for name, listener in listeners.items():
    listener.set_inheritable(True)
    os.environ[f"{name}_BIND"] = f"fd@{listener.fileno()}"
print(*("127.0.0.1:%d" % listener.getsockname()[1] for listener in listeners.values()), flush=True)
os.execvp("haproxy", ["haproxy", "-db", "-f", "config/deploy/haproxy.cfg"])
'
    wait_for_log "$1" '^127\.'
    read -r POWER_ADDR RPS_ADDR DUEL_ADDR "address[$1 web]" "address[$1 status]" <<<"$line"
    export POWER_ADDR RPS_ADDR DUEL_ADDR
}

# Waits until HAProxy logs this state for each of the servers, starting at line number FIRST of its log.
wait_for_haproxy() { # UP|DOWN FIRST SERVER...
    local server
    for server in "${@:3}"; do
        wait_for_log haproxy "Server $server is $1" "$2"
    done
}

# Starts a redis-server without data, and waits until it accepts connections.
start_engine() {
    launch engine redis-server --port 0 --unixsocket "$scratch/engine.socket" --save "" --appendonly no --dir "$scratch"
    wait_for_log engine '[Rr]eady to accept connections'
}
stop_engine() {
    kill -TERM "${pid[engine]}"
    wait_for_end engine
}

# Prints the value of a metric of a server. SERIES is a name with its labels.
metric() { # NAME SERIES
    local text
    text=$'\n'$(http_get "${address[$1 admin]}" /metrics)
    [[ $text == *$'\n'"$2 "* ]] || fail "$1 has no metric $2"
    text=${text#*$'\n'"$2 "}
    echo "${text%%[!0-9]*}"
}
# Waits until a metric of a server has at least, or at most, this value.
wait_for_metric() { # NAME SERIES -ge|-le VALUE
    local deadline=$((SECONDS + wait_seconds))
    until test "$(metric "$1" "$2")" "$3" "$4"; do
        ((SECONDS < deadline)) || fail "$1: $2 is not $3 $4 within $wait_seconds s"
        sleep 0.05
    done
}
# Waits until both replicas reach the engine, or do not reach it.
wait_for_engine() { # 1|0
    local compare=-ge
    (($1)) || compare=-le
    wait_for_metric rps-1 rps_cluster_engine_up "$compare" "$1"
    wait_for_metric rps-2 rps_cluster_engine_up "$compare" "$1"
}
# Waits until players of the two replicas are partners of each other, over a link in each direction.
wait_for_cross_pairs() {
    local number accepted
    for number in 1 2; do
        accepted=$(metric "rps-$number" 'rps_cluster_claims_total{result="accepted"}')
        wait_for_metric "rps-$number" 'rps_cluster_claims_total{result="accepted"}' -ge $((accepted + 1))
        wait_for_metric "rps-$number" rps_cluster_guests -ge 1
    done
}
# Checks that a running replica has made no move void, and left no outcome unknown.
check_no_voids() { # NAME
    local series value
    for series in 'rps_rounds_total{mode="duel",outcome="void"}' rps_cluster_unknown_outcomes_total; do
        value=$(metric "$1" "$series")
        ((value == 0)) || fail "$1 does not drain, but its $series is $value"
    done
}

# Replaces one replica of each service, as a rolling update does.
replace() { # NUMBER
    local from other=$((3 - $1)) backends=("power/power-$1" "solo/rps-$1" "duel/rps-$1")
    check_no_voids "rps-$1"
    from=$(next_line haproxy)
    kill -TERM "${pid[power-$1]}" "${pid[rps-$1]}"
    check_stopped "power-$1" 0
    check_stopped "rps-$1" 0
    # Wait for DOWN first: otherwise the UP below could be the state before the replacement.
    wait_for_haproxy DOWN "$from" "${backends[@]}"
    from=$(next_line haproxy)
    start "power-$1" "${settings[@]}"
    start "rps-$1" "${settings[@]}" "${cluster[@]}"
    wait_for_haproxy UP "$from" "${backends[@]}"
    check_no_voids "rps-$other"
    drains=$((drains + 1))
    pass "HAProxy reports the new power-$1 and rps-$1 as up"
}

# Runs players through HAProxy until SIGTERM: against the house and against each other. Each player sends a move, waits
# for its reply, pauses, and connects again when the server has closed the connection. Players of duels also connect again
# after some rounds, so that new pairs form at all replicas. Prints "playing" every 200 replies, and its counters at the
# end. Fails if a counter has a value that the drains do not explain; the file DRAINS has their number.
players() {
    exec python3 -c '
import asyncio, os, random, signal, sys
from collections import Counter

# During a drain, the server closes a connection that was idle for this time, in seconds. If the machine stalls for as
# long, games in progress look idle too, and a move may be in flight when the connection is closed. Such a move counts
# as too late, not as lost.
IDLE_GRACE = 0.05
PAUSE = 0.02
# At the end, a move that waits for another player has this long.
LAST_REPLY = 5

async def play(reader, writer, rounds, counts, stop):
    now = asyncio.get_running_loop().time
    sent_at = previous = now()
    while not stop.is_set():
        if rounds == 0:
            counts["left"] += 1
            return
        rounds -= 1
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
        outcomes = {b"x": "draws", b"y": "losses", b"z": "wins", b"v": "void"}
        counts[outcomes.get(reply, "invalid replies")] += 1
        counts["longest wait in ms"] = max(counts["longest wait in ms"], round((now() - sent_at) * 1000))
        try:
            counts["unsolicited bytes"] += len(await asyncio.wait_for(reader.read(1), PAUSE))
        except asyncio.TimeoutError:
            continue
        counts["closed between moves"] += 1
        return

async def player(address, game, counts, stop):
    host, port = address.rsplit(":", 1)
    while not stop.is_set():
        try:
            reader, writer = await asyncio.open_connection(host, port)
            counts["connections"] += 1
            rounds = random.randint(1, 60) if game == "duel" else sys.maxsize
            await play(reader, writer, rounds, counts, stop)
        except OSError as error:
            counts[f"error {error}"] += 1
            return
        writer.close()

def check(game, counts, players):
    drains = int(open(os.environ["DRAINS"]).read())
    # At the end, one player in the lobby can wait for another one at each replica.
    pending = counts["moves"] - counts["replies"] - counts["moves too late"]
    known = ("moves", "replies", "connections", "moves too late", "left", "draws", "wins", "losses")
    expected = Counter({
        **{name: counts[name] for name in known},
        "closed between moves": counts["connections"] - players - counts["moves too late"] - counts["left"],
        # Less than duel.window (30 s), after which a move without a partner is void. So each void move is due to a
        # drain, which waits 50 ms for the other player.
        "longest wait in ms": min(counts["longest wait in ms"], 25000),
        "void": counts["void"] if game == "duel" else 0,
    })
    print(f"{game}: {players} players,", ", ".join(f"{counts[name]} {name}" for name in sorted(counts) if counts[name]))
    # Each judged round has two replies that fit each other. A move that came too late has no reply, but can be the other
    # half of a round.
    contradictions = abs(counts["wins"] - counts["losses"]) + counts["draws"] % 2 if game == "duel" else 0
    return (
        0 <= pending <= 2
        and +counts == +expected
        and counts["connections"] > players
        and counts["moves too late"] <= drains * players
        and contradictions <= counts["moves too late"]
    )

async def main():
    counts = {"solo": Counter(), "duel": Counter()}
    games = [("solo", os.environ["RPS_ADDR"], 12), ("duel", os.environ["DUEL_ADDR"], 8)]
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    tasks = [
        asyncio.create_task(player(address, game, counts[game], stop))
        for game, address, players in games
        for _ in range(players)
    ]
    await stop.wait()
    _, waiting = await asyncio.wait(tasks, timeout=LAST_REPLY)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
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

need haproxy openssl python3 redis-server
build --workspace
set_up
scripts/certificates.sh "$scratch/tls" >/dev/null
# HAProxy sends PROXY protocol headers. The certificate is for its metric.
settings=(--set proxy_protocol.trusted=127.0.0.1
    --set "tls.certificate=$scratch/tls/server.pem" --set "tls.key=$scratch/tls/server-key.pem")

openssl rand -hex 32 >"$scratch/duel-secret"
cluster=(--set "duel.cluster.engine=redis+unix://$scratch/engine.socket" --set duel.cluster.listen=127.0.0.1:0
    --set "duel.cluster.secret_file=$scratch/duel-secret")

started=$SECONDS
start_engine
for number in 1 2; do
    start "power-$number" "${settings[@]}"
    start "rps-$number" "${settings[@]}" "${cluster[@]}"
done
wait_for_engine 1
start_haproxy haproxy
for service in power rps duel; do
    "$bin/cli-client" probe "$service" --wait "${wait_seconds}s" -q || fail "$service cannot be reached through HAProxy"
done
pass "two replicas of each server behind HAProxy at $POWER_ADDR, $RPS_ADDR and $DUEL_ADDR"

# Plays scissors over WebSocket, as a browser does, and prints the reply. The frame has a mask of zeros.
launch browser python3 -c '
import socket, sys
host, port = sys.argv[1].split(":")
connection = socket.create_connection((host, int(port)), timeout=60)
connection.sendall(b"GET /duel HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                   b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
stream = connection.makefile("rb")
while stream.readline() not in (b"\r\n", b""):
    pass
connection.sendall(b"\x82\x81\0\0\0\0001")
opcode, length = stream.read(2)
print(stream.read(length).decode())
' "${address[haproxy web]}"
check 0 "rock win" "" "$bin/cli-client" rps throw rock --duel
wait_for_end browser
check 0 "z" "" cat "$scratch/browser.log"
pass "a player in a browser and one on TCP meet through HAProxy"

export DRAINS=$scratch/drains # a file with the number of drains
launch players players
# A long timeout: a late reply of a slow machine is not a lost request.
load_options=(--timeout 20s --json)
launch short "$bin/cli-client" bench power -c 64 -z "${load_seconds}s" --rate 400 "${load_options[@]}"
launch long "$bin/cli-client" bench rps -c "$long_connections" -z "${load_seconds}s" --rate 200 "${load_options[@]}"
wait_for_moves
for number in 1 2; do
    wait_for_cross_pairs
    replace "$number"
    wait_for_moves
done
wait_for_cross_pairs
pass "players of the two replicas are partners of each other before and after each replacement"
stop_engine
wait_for_engine 0
replace 1
wait_for_moves
check_no_voids rps-1
start_engine
wait_for_engine 1
wait_for_cross_pairs
pass "a replica is replaced without the engine, and players of the two replicas meet once it is back"
check_metrics

stop_load short
[[ $summary =~ \"requests\":([0-9]+),\"right\":([0-9]+),\"errors\":\{\}.*\"p50\":([0-9]+).*\"p99\":([0-9]+).*\"max\":([0-9]+) ]] \
    || fail "short connections: expected no errors, got $summary"
((BASH_REMATCH[1] == BASH_REMATCH[2])) || fail "short connections: expected the correct reply to each request, got $summary"
pass "short connections: ${BASH_REMATCH[1]} requests, all with the correct reply: latency p50 ${BASH_REMATCH[3]} µs, p99 ${BASH_REMATCH[4]} µs, max ${BASH_REMATCH[5]} µs"

# This load sends its next move without checking whether the server has closed the connection, so each connection that a
# drain has closed is an error: at most one per connection and drain.
stop_load long
[[ $summary =~ \"requests\":([0-9]+),\"right\":([0-9]+),\"errors\":\{(\"(closed|reset)\":[0-9]+,?)*\} ]] \
    || fail "long connections: expected no errors except closed connections, got $summary"
closed=$((BASH_REMATCH[1] - BASH_REMATCH[2]))
((closed <= drains * long_connections)) \
    || fail "long connections: $closed closed, expected at most one per connection ($long_connections) and drain ($drains)"
pass "long connections: ${BASH_REMATCH[2]} correct replies, $closed closed connections"

check_no_voids rps-1
check_no_voids rps-2
echo "$drains" >"$DRAINS"
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
