#!/usr/bin/env bash
# Checks the release binaries and the files in config/. Builds the workspace, starts each server alone with its shipped
# configuration file, and checks: each command of the client with valid and invalid input, both protocols with plain TCP
# clients, TLS with certificates of the clients, Unix sockets, and each server's health check, start, reload and drain.
# The Rust tests check the behaviour in depth.
#
# Needs a Rust toolchain, bash (4.4 or later), coreutils, openssl and python3 (3.8 or later). Takes a few seconds once
# the workspace is built. Uses free ports. Stops at the first failed check.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
cd "$root"

# Sends a request as a plain TCP client and checks the first COUNT bytes of the reply. Leaves the connection open, as
# `connection`.
connect() { # ADDRESS REQUEST COUNT REPLY
    exec {connection}<>"/dev/tcp/${1%:*}/${1##*:}"
    printf %s "$2" >&"$connection"
    check 0 "$4" "" timeout "$wait_seconds" head -c "$3" <&"$connection"
}
# Sends a request as an asyncio client and half-closes. Prints the whole reply, with | for each line feed.
exchange() { # ADDRESS REQUEST
    python3 -c '
import asyncio, sys
async def main(address, request):
    reader, writer = await asyncio.open_connection(*address.split(":"))
    writer.write(request.encode())
    writer.write_eof()
    print((await reader.read()).decode().replace("\n", "|"))
asyncio.run(asyncio.wait_for(main(*sys.argv[1:]), 12))' "$1" "$2"
}

# Checks the exit code and the output of the process `player`.
check_player() { # STDOUT
    wait_for_end player
    ((status == 0)) || fail "player: expected exit code 0, got $status"
    check 0 "$1" "" cat "$scratch/player.log"
}
# Checks the admin listener and the reload of a server that has replied to requests.
check_operation() { # NAME METRIC
    local admin=${address[$1 admin]} from
    check 0 $'HTTP/1.0 200 OK\r*ok' "" http_get "$admin" /healthz
    check 0 $'HTTP/1.0 200 OK\r*ready' "" http_get "$admin" /readyz
    check 0 $'HTTP/1.0 200 OK\r*'"$2 [1-9]*" "" http_get "$admin" /metrics
    check 0 $'HTTP/1.0 200 OK\r*<title>*-server: ready</title>*' "" http_get "$admin" /
    check 0 $'HTTP/1.0 404 Not Found\r*/metrics' "" http_get "$admin" /nothing
    from=$(next_line "$1")
    kill -HUP "${pid[$1]}"
    wait_for_log "$1" 'config reloaded: no changes' "$from"
    pass "$1 reloads its configuration at SIGHUP"
}

need openssl python3
build --workspace
set_up
PATH=$bin:$PATH

# --- Configuration

printf '[limits]\nmax_conections = 5\n' >"$scratch/bad.toml"
for server in power-server rps-server; do
    check 2 "" "*bad.toml:2: limits.max_conections:*" $server --config "$scratch/bad.toml"
    check 2 "" "*limits.backlog=0: limits.backlog:*" $server --set limits.backlog=0
    check 0 "*backlog = 7*" "" $server --config config/$server.toml --set limits.backlog=7 --check-config
    $server --config config/$server.toml --check-config >"$scratch/effective.toml"
    $server --config "$scratch/effective.toml" --check-config >"$scratch/again.toml"
    # The comments have the sources, which differ.
    check 0 "" "" diff <(sed 's/  # .*//' "$scratch/effective.toml") <(sed 's/  # .*//' "$scratch/again.toml")
done

# --- power-server alone

start power-server
export POWER_ADDR=${address[power-server power]}
check 0 4.0 "" cli-client power square 2
check 0 -0.125 "" cli-client power cube -.5
check 0 16.0 "" cli-client power fourth 2
check 0 1e-05 "" cli-client power echo 0.00001
check 0 $'49.0\n4.0\n9.0' "" cli-client power square --keep-alive 7 - < <(printf '2\n3\n')
check 1 $'4.0\n9.0' "*error reply: RANGE *'1e+200'*" cli-client power square 2 1e200 3
check 2 4.0 "*line 2: 'x'*" cli-client power square - < <(printf '2\nx\n')
check 0 4.0 "*>  61 32 2e 30 * a2.0*half-close*<  64 34 2e 30 * d4.0*" cli-client power square 2 --trace
check 0 '{"schema":1,"op":"square","operand":2.0,"result":4.0}' "" cli-client --json power square 2
check 2 "" "cli-client: *无效*" cli-client --lang zh power square abc
check 0 "*_CLI_CLIENT_COMPLETE*" "" cli-client completions bash
check 0 "*EXIT STATUS*" "" cli-client man
check 5 "" "*protocol*" cli-client probe rps --addr "$POWER_ADDR"
check 0 "*10,000 correct replies*p50 *" "" cli-client bench power -n 10k --pipeline 64
check 0 "*100 correct replies*" "" cli-client bench exchange --addr "$POWER_ADDR" --send 'a2\n' --expect 'd4.0\n' -n 100
check 2 "" "*whole number*" cli-client bench power -n 0
check 0 "*0 failed*no fault found at level full" "" cli-client check power -q --only 1.1,1.2,1.3
# Without --foreground, timeout sends the signal twice; the second one would end the client without a summary.
check 143 "*correct replies*" "" timeout --foreground --preserve-status 1 cli-client bench power --keep-alive -z 1h
check 0 d-27.0 "" exchange "$POWER_ADDR" b-3
check 0 "d4.0|eBADOP *|d16.0|d-0.0|" "" exchange "$POWER_ADDR" $'a2\nx\nc2\r\n\nd-0'
check 0 "" "" power-server --healthcheck --listen "$POWER_ADDR"
check 1 "*ERROR*$POWER_ADDR*in use*" "power-server: cannot listen on $POWER_ADDR (listen, --listen): *" power-server --admin-listen "" --listen "$POWER_ADDR"
check_operation power-server 'power_requests_total{op="square",result="ok"}'
connect "$POWER_ADDR" a2 4 d4.0
stop power-server 0
check 0 "" "" read_to_end <&"$connection"
check 3 "" "*$POWER_ADDR*cannot connect*" cli-client power square 2
check 1 "" "*not healthy*$POWER_ADDR*" power-server --healthcheck --listen "$POWER_ADDR"

# --- rps-server alone

start rps-server
export RPS_ADDR=${address[rps-server solo]} DUEL_ADDR=${address[rps-server duel]}
outcome='@(draw|win|lose)'
check 0 "scissors $outcome"$'\n'"rock $outcome"$'\n'"paper $outcome" "" cli-client rps throw scissors 2 布
check 0 "rock $outcome"$'\n'"@([01] won, [01] lost, [01] drawn)" "" cli-client rps play < <(printf 'r\n')
check 2 "" "*'lizard'*not a move*" cli-client rps throw lizard
check 0 $'HTTP/1.0 200 OK\r*<title>Rock, paper, scissors</title>*' "" http_get "${address[rps-server web]}" /
check 2 "" "*odd number*" cli-client rps play --best-of 2
check 4 "" "*no reply within 100ms; *--duel*" cli-client rps throw rock --addr "$DUEL_ADDR" --timeout 100ms
launch player cli-client rps throw rock rock rock --duel
check 0 $'paper win\nscissors lose\nrock draw' "" cli-client rps throw paper scissors 2 --duel
check_player $'rock lose\nrock win\nrock draw'
check 0 "0 won, 0 lost, 0 drawn" "" cli-client rps play --duel
check 0 "rps at $RPS_ADDR works *" "" cli-client probe rps
check 0 "duel at $DUEL_ADDR works *" "" cli-client probe duel
check 0 "*1,000 correct replies*outcomes*fairness*" "" cli-client bench rps -n 1k --rate 20k
check 0 "*0 failed*no fault found at level full" "" cli-client check rps -q
check 0 "*0 failed*no fault found at level full" "" cli-client check duel -q --window 30s
check 0 '{"schema":1,"bench":"duel",*"requests":100,"right":100,"errors":{},*' "" cli-client --json bench duel -c 2 -n 100
check 0 "[xyz]e[xyz][xyz]" "" exchange "$RPS_ADDR" $'1\n9\r\n23'
launch player exchange "$DUEL_ADDR" $'1\n'
check 0 ey "" exchange "$DUEL_ADDR" '?2'
check_player z
check 0 "" "" rps-server --healthcheck --solo-listen "$RPS_ADDR" --duel-listen "$DUEL_ADDR"
check 1 "*ERROR*$RPS_ADDR*in use*" "rps-server: cannot listen on $RPS_ADDR (solo.listen, --solo-listen): *" rps-server --admin-listen "" --solo-listen "$RPS_ADDR" --duel-listen ""
check 1 "*ERROR*$DUEL_ADDR*in use*" "rps-server: cannot listen on $DUEL_ADDR (duel.listen, --duel-listen): *" rps-server --admin-listen "" --solo-listen "" --duel-listen "$DUEL_ADDR"
check_operation rps-server 'rps_rounds_total{mode="duel",outcome="win"}'
connect "$RPS_ADDR" 1 1 "[xyz]"
connect "$DUEL_ADDR" '?1' 1 e
stop rps-server 0
check 0 v "" read_to_end <&"$connection"
check 1 "" "*not healthy*$DUEL_ADDR*" rps-server --healthcheck --solo-listen "" --duel-listen "$DUEL_ADDR"

# --- Full servers

start power-full --set limits.max_connections=1
connect "${address[power-full power]}" a2 4 d4.0
check 1 "" "*BUSY*" cli-client power square 2 --addr "${address[power-full power]}"
stop power-full 1
start rps-full --set limits.max_connections=1
connect "${address[rps-full solo]}" 1 1 "[xyz]"
check 1 "" "*full*" cli-client rps throw rock --addr "${address[rps-full solo]}"
check 1 "" "*full*" cli-client rps throw rock --duel --addr "${address[rps-full duel]}"
stop rps-full 2

# --- TLS with certificates of the clients, and Unix sockets

bash scripts/certificates.sh "$scratch/tls" >/dev/null
server_tls=(--set "tls.certificate=$scratch/tls/server.pem" --set "tls.key=$scratch/tls/server-key.pem"
    --set "tls.client_ca=$scratch/tls/ca.pem")
client_tls=(--cacert "$scratch/tls/ca.pem" --cert "$scratch/tls/client.pem" --key "$scratch/tls/client-key.pem")
for service in "power-tls power" "rps-tls solo" "rps-tls duel"; do
    address[$service]=tls://127.0.0.1:0,unix:$scratch/${service#* }.sock
done
start power-tls "${server_tls[@]}"
start rps-tls "${server_tls[@]}"
for kind in tls unix; do
    power=unix:$scratch/power.sock solo=unix:$scratch/solo.sock duel=unix:$scratch/duel.sock options=()
    if [[ $kind == tls ]]; then
        power=${address[power-tls power]} solo=${address[rps-tls solo]} duel=${address[rps-tls duel]}
        options=("${client_tls[@]}")
    fi
    check 0 $'4.0\n0.25' "" cli-client power square 2 0.5 --addr "$power" "${options[@]}"
    check 0 "power at $power works *" "" cli-client probe power --addr "$power" "${options[@]}"
    check 0 "*1,000 correct replies*" "" cli-client bench power -n 1k --addr "$power" "${options[@]}"
    check 0 "*0 failed*" "" cli-client check power -q --only 1.1,half-close,transcript-5 --addr "$power" "${options[@]}"
    check 0 "rock $outcome" "" cli-client rps throw rock --addr "$solo" "${options[@]}"
    check 0 "rock $outcome"$'\n'"@([01] won, [01] lost, [01] drawn)" "" \
        cli-client rps play --addr "$solo" "${options[@]}" < <(printf 'r\n')
    check 0 "rps at $solo works *" "" cli-client probe rps --addr "$solo" "${options[@]}"
    check 0 "*1,000 correct replies*" "" cli-client bench rps -n 1k --addr "$solo" "${options[@]}"
    check 0 "duel at $duel works *" "" cli-client probe duel --addr "$duel" "${options[@]}"
done
power=${address[power-tls power]}
check 3 "" "*certificate*--cert*" cli-client power square 2 --addr "$power" --cacert "$scratch/tls/ca.pem"
check 3 "" "*certificate*--cacert*" cli-client power square 2 --addr "$power"
stop power-tls 0
stop rps-tls 0
[[ -z $(compgen -G "$scratch/*.sock") ]] || fail "a Unix socket is left"

# --- The client with the asyncio servers

for service in power rps; do
    launch "$service-peer" python3 scripts/asyncio_peer.py $service 0
    wait_for_log "$service-peer" 'listening on'
    address[$service]=${line##* }
    check 0 "$service at ${address[$service]} works *" "" cli-client probe $service --addr "${address[$service]}"
    check 0 "*0 failed*no fault found at level core" "" cli-client check $service --level core -q --addr "${address[$service]}"
done
check 0 $'4.0\n0.25' "" cli-client power square 2 0.5 --framing bare --addr "${address[power]}"
check 0 "rock $outcome"$'\n'"paper $outcome" "" cli-client rps throw rock paper --addr "${address[rps]}"

echo "smoke: $passed passed, 0 failed"
