#!/usr/bin/env bash
# Checks what config/deploy holds, each file by the program that it is for:
#
#   scripts/deploy-check.sh         the files alone; takes a few seconds
#   scripts/deploy-check.sh --run   builds the images, too, and runs them as
#                                   compose.yaml says, with a replica replaced
#                                   under load
#
# A program that is missing is a failure and not a check less. Needed are
# haproxy, systemd-analyze, promtool, docker-compose and kubernetes-validate
# (from PyPI, which carries the schemas of Kubernetes); for --run a Rust
# toolchain and a docker engine, and in the environment, where no image registry
# is reached:
#
#   BUILDER_IMAGE  image to compile in, as for scripts/docker-smoke.sh
#   HAPROXY_IMAGE  image with haproxy and wget, as .ci/docker-programs makes it
#
# Stops at the first difference, and takes everything down again in any case;
# the builder's cached layers stay, to make the next run quick.
set -euo pipefail
cd "$(dirname "$0")/.."
exec </dev/null

deploy=config/deploy
most_exposure=20                  # tenths, as systemd-analyze counts
kubernetes_versions=(1.30 1.34)   # the first that the manifests are for, and a later one
client=${CARGO_TARGET_DIR:-target}/release/cli-client
healthy_seconds=60                # within which a container is healthy
grace_seconds=12                  # stop_grace_period of compose.yaml

passed=0
pass() {
    passed=$((passed + 1))
    echo "ok: $*"
}
fail() {
    echo "FAILED: $*" >&2
    exit 1
}

scratch=$(mktemp -d)
composed= # whether there may be something to take down
loads=()  # processes that put load on it
images=()
clean_up() {
    local status=$? load
    for load in "${loads[@]}"; do
        kill -KILL "$load" 2>/dev/null || true
    done
    if [[ -n $composed ]]; then
        if ((status != 0)); then
            compose logs --no-color --tail=50 >&2 || true
        fi
        compose down --volumes --timeout 0 >/dev/null 2>&1 || true
    fi
    ((${#images[@]} == 0)) || docker rmi --force "${images[@]}" >/dev/null 2>&1 || true
    rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Runs a check quietly; if it fails, what it said is shown.
check() { # WHAT COMMAND...
    "${@:2}" >"$scratch/said" 2>&1 || { cat "$scratch/said" >&2 && fail "$1"; }
    pass "$1"
}

need() { # PROGRAM...
    local program missing=()
    for program; do
        command -v "$program" >/dev/null || missing+=("$program")
    done
    ((${#missing[@]} == 0)) || fail "not installed: ${missing[*]}"
}

# --- The files

# Names of replicas mean something beside compose.yaml alone, so addresses stand
# in for them; then there is nothing left to warn of.
check_haproxy() {
    local -x POWER_1=127.0.0.1:1 POWER_2=127.0.0.1:2 SOLO_1=127.0.0.1:3 SOLO_2=127.0.0.1:4
    local -x DUEL_1=127.0.0.1:5 DUEL_2=127.0.0.1:6
    check "haproxy takes haproxy.cfg without a warning" haproxy -c -dW -f "$deploy/haproxy.cfg"
}

# A unit is sound only if its program exists, so one stands in for it.
check_unit() { # UNIT
    local program
    program=$(sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' "$deploy/$1")
    [[ $program == /* ]] || fail "$1: its ExecStart names no program"
    printf '#!/bin/sh\n' >"$scratch/program"
    chmod +x "$scratch/program"
    sed "s,^ExecStart=$program,ExecStart=$scratch/program," "$deploy/$1" >"$scratch/$1"
    check "systemd finds $1 sound" systemd-analyze verify --man=no "$scratch/$1"
    # It warns of what it does not know, and goes on.
    [[ ! -s $scratch/said ]] || { cat "$scratch/said" >&2 && fail "$1: there are warnings"; }
    check "$1 is exposed no more than by $most_exposure tenths" \
        systemd-analyze security --offline=true --threshold="$most_exposure" --no-pager "$deploy/$1"
}

check_files() {
    local unit version profile
    need haproxy systemd-analyze promtool docker-compose kubernetes-validate
    check_haproxy
    for unit in power-server.service rps-server.service; do
        check_unit "$unit"
    done
    check "promtool takes prometheus.yml and alerts.yml" promtool check config --lint=all --lint-fatal "$deploy/prometheus.yml"
    check "the alerts fire and stay silent as alerts_test.yml says" promtool test rules "$deploy/alerts_test.yml"
    for profile in default monitoring; do
        check "docker-compose takes compose.yaml, profile $profile" \
            docker-compose --file "$deploy/compose.yaml" --profile "$profile" config --quiet
    done
    for version in "${kubernetes_versions[@]}"; do
        check "Kubernetes $version takes kubernetes.yaml" \
            kubernetes-validate --strict --version "$version" "$deploy/kubernetes.yaml"
    done
}

# --- The run

compose() {
    docker-compose --file "$deploy/compose.yaml" --project-name "deploy-check-$$" "$@"
}
container() { # SERVICE
    compose ps --quiet "$1"
}
build_images() {
    local server build_args=()
    [[ -z ${BUILDER_IMAGE:-} ]] || build_args=(--build-arg "BUILDER=$BUILDER_IMAGE")
    export POWER_SERVER_IMAGE=deploy-check-power-server:$$ RPS_SERVER_IMAGE=deploy-check-rps-server:$$
    images+=("$POWER_SERVER_IMAGE" "$RPS_SERVER_IMAGE")
    for server in power rps; do
        check "the image of $server-server builds" docker build --quiet --force-rm \
            --target "$server-server" --tag "deploy-check-$server-server:$$" "${build_args[@]}" .
    done
}

# Waits for an event of what the engine or HAProxy tells, from the beginning on.
wait_for() { # WHAT PATTERN COMMAND...
    local events watcher
    exec {events}< <(exec timeout "$healthy_seconds" "${@:3}" 2>&1)
    watcher=$!
    grep -q -m 1 -e "$2" <&"$events" || fail "$1: not within $healthy_seconds s"
    kill "$watcher" 2>/dev/null || true
    exec {events}<&-
    pass "$1"
}
healthy() { # SERVICE
    local container
    container=$(container "$1")
    wait_for "$1 is healthy" 'health_status: healthy' docker events \
        --since "$(docker inspect --format '{{.State.StartedAt}}' "$container")" \
        --filter "container=$container" --filter event=health_status --format '{{.Status}}'
}

# What it is confined to, as the engine has it.
confined() { # SERVICE
    local wanted='true [ALL] [no-new-privileges:true] false' got
    got=$(docker inspect --format '{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}} {{.HostConfig.Privileged}}' "$(container "$1")")
    [[ $got == "$wanted" ]] || fail "$1: wanted it confined as '$wanted', got '$got'"
}

# Stopped, a server has answered everything, and says so.
stopped_well() { # CONTAINER NAME
    local status said
    status=$(docker inspect --format '{{.State.ExitCode}}' "$1")
    said=$(docker logs --tail 1 "$1" 2>&1)
    [[ $status == 0 && $said == *" stopped "*" panicked=0 cut=0" ]] \
        || fail "$2: wanted exit code 0 and nothing cut, got $status and '$said'"
    pass "$2 stopped: exit code 0, ${said##* stopped }"
}

run() {
    local service container load said began since
    need cargo docker
    docker info >/dev/null 2>&1 || fail "no docker engine answers"
    cargo build --release --locked -p cli-client
    build_images

    # Any free port will do, and only this machine reaches it.
    export PUBLISH_ADDRESS=127.0.0.1 POWER_PORT=0 SOLO_PORT=0 DUEL_PORT=0
    composed=yes
    began=$SECONDS
    check "compose.yaml is up: all replicas are healthy" compose up --detach --no-color
    healthy haproxy
    pass "it took $((SECONDS - began)) s"
    for service in power-1 power-2 rps-1 rps-2 haproxy; do
        confined "$service"
    done
    pass "all containers are read-only and without privileges"

    local -x POWER_ADDR RPS_ADDR DUEL_ADDR
    POWER_ADDR=$(compose port haproxy 5000)
    RPS_ADDR=$(compose port haproxy 5001)
    DUEL_ADDR=$(compose port haproxy 5002)
    for service in power rps duel; do
        said=$("$client" probe "$service" --wait 10s) || fail "$service does not answer through HAProxy"
        pass "through HAProxy: $said"
    done

    # While there is load: a replica reads its configuration again, and another
    # container takes its place. The load lasts longer than that can take, and
    # waits longer than a busy machine makes it.
    "$client" bench power -c 32 -z 5m --rate 200 --timeout 20s --json >"$scratch/load" 2>&1 &
    load=$!
    loads+=("$load")
    container=$(container power-1)
    docker kill --signal HUP "$container" >/dev/null
    wait_for "power-1 has read its configuration again" 'configuration was read again: nothing changes' docker logs --follow "$container"
    since=$(date +%s)
    check "power-1 stops" compose stop power-1
    stopped_well "$container" power-1
    check "another container takes its place" compose up --detach --no-deps --force-recreate --no-color power-1
    wait_for "HAProxy sees the new one" 'Server power/power-1 is UP' \
        docker logs --since "$since" --follow "$(container haproxy)"
    kill -TERM "$load"
    wait "$load" || true
    loads=()
    said=$(<"$scratch/load")
    [[ $said =~ \"requests\":([0-9]+),\"right\":([0-9]+),\"errors\":\{\} && ${BASH_REMATCH[1]} == "${BASH_REMATCH[2]}" ]] \
        || fail "wanted no errors meanwhile, got $said"
    pass "meanwhile ${BASH_REMATCH[1]} short connections, all answered right"

    began=$SECONDS
    check "all is stopped" compose stop
    ((SECONDS - began < 2 * grace_seconds)) || fail "it took $((SECONDS - began)) s"
    pass "it took $((SECONDS - began)) s"
    for service in power-1 power-2 rps-1 rps-2; do
        stopped_well "$(container "$service")" "$service"
    done
}

case "${1:-}" in
    '') check_files ;;
    --run)
        check_files
        run
        ;;
    *) fail "usage: $0 [--run]" ;;
esac
echo "deploy check: $passed passed, 0 failed"
