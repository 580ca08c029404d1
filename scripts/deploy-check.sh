#!/usr/bin/env bash
# Checks each file in config/deploy with the program that reads it:
#
#   scripts/deploy-check.sh         only the files; takes a few seconds
#   scripts/deploy-check.sh --run   also builds the images and runs compose.yaml, with a replica replaced under load
#
# A missing program is a failure. Needs haproxy, systemd-analyze, promtool, docker-compose and kubernetes-validate
# (from PyPI, which has the schemas of Kubernetes); for --run also a Rust toolchain, a docker engine and, where no image
# registry can be reached, in the environment:
#
#   BUILDER_IMAGE  image to compile in, as for scripts/docker-smoke.sh
#   HAPROXY_IMAGE  image with haproxy and wget, as .ci/docker-programs makes it
#
# Stops at the first failed check. The containers and images are removed at the end; the builder's cached layers stay,
# to make the next run quick.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
cd "$root"

deploy=config/deploy
most_exposure=20                # tenths, as systemd-analyze counts
kubernetes_versions=(1.30 1.34) # the first that the manifests are for, and a later one
grace_seconds=12                # stop_grace_period of compose.yaml
wait_seconds=60                 # limit until a container is healthy

composed= # not empty once there may be containers
images=()
clean_up_more() { # STATUS
    if [[ -n $composed ]]; then
        (($1 == 0)) || compose logs --no-color --tail=50 >&2 || true
        compose down --volumes --timeout 0 >/dev/null 2>&1 || true
    fi
    ((${#images[@]} == 0)) || docker rmi --force "${images[@]}" >/dev/null 2>&1 || true
}

# Runs a command without its output, which is shown only when it fails.
succeeds() { # WHAT COMMAND...
    "${@:2}" >"$scratch/output.log" 2>&1 || fail "$1"
    pass "$1"
}

# --- The files

# The names of the replicas resolve only with compose.yaml, so addresses replace them here.
check_haproxy() {
    local -x POWER_1=127.0.0.1:1 POWER_2=127.0.0.1:2 SOLO_1=127.0.0.1:3 SOLO_2=127.0.0.1:4
    local -x DUEL_1=127.0.0.1:5 DUEL_2=127.0.0.1:6
    succeeds "haproxy takes haproxy.cfg without a warning" haproxy -c -dW -f "$deploy/haproxy.cfg"
}

# A unit is valid only if its program exists, so the check makes one.
check_unit() { # UNIT
    local program
    program=$(sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' "$deploy/$1")
    [[ $program == /* ]] || fail "$1: its ExecStart names no program"
    printf '#!/bin/sh\n' >"$scratch/program"
    chmod +x "$scratch/program"
    sed "s,^ExecStart=$program,ExecStart=$scratch/program," "$deploy/$1" >"$scratch/$1"
    succeeds "systemd-analyze accepts $1" systemd-analyze verify --man=no "$scratch/$1"
    # systemd-analyze only warns about keys that it does not know.
    [[ ! -s $scratch/output.log ]] || fail "$1: systemd-analyze has warnings"
    succeeds "the exposure of $1 is at most $most_exposure tenths" \
        systemd-analyze security --offline=true --threshold="$most_exposure" --no-pager "$deploy/$1"
}

check_files() {
    local unit version profile
    need haproxy systemd-analyze promtool docker-compose kubernetes-validate
    check_haproxy
    for unit in power-server.service rps-server.service; do
        check_unit "$unit"
    done
    succeeds "promtool takes prometheus.yml and alerts.yml" promtool check config --lint=all --lint-fatal "$deploy/prometheus.yml"
    succeeds "the alerts fire and stay silent as alerts_test.yml says" promtool test rules "$deploy/alerts_test.yml"
    for profile in default monitoring; do
        succeeds "docker-compose takes compose.yaml, profile $profile" \
            docker-compose --file "$deploy/compose.yaml" --profile "$profile" config --quiet
    done
    for version in "${kubernetes_versions[@]}"; do
        succeeds "Kubernetes $version takes kubernetes.yaml" \
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
        succeeds "the image of $server-server builds" docker build --quiet --force-rm \
            --target "$server-server" --tag "deploy-check-$server-server:$$" "${build_args[@]}" .
    done
}

# Checks the confinement of a container, as the engine reports it.
confined() { # SERVICE
    local wanted='true [ALL] [no-new-privileges:true] false' got
    got=$(docker inspect --format '{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}} {{.HostConfig.Privileged}}' "$(container "$1")")
    [[ $got == "$wanted" ]] || fail "$1: wanted it confined as '$wanted', got '$got'"
}

# Checks a stopped server: exit code 0, no panic and no aborted connection.
stopped_well() { # CONTAINER NAME
    local status last
    status=$(docker inspect --format '{{.State.ExitCode}}' "$1")
    last=$(docker logs --tail 1 "$1" 2>&1)
    [[ $status == 0 && $last == *" stopped "*" panicked=0 cut=0" ]] \
        || fail "$2: wanted exit code 0 and no aborted connection, got $status and '$last'"
    pass "$2 stopped: exit code 0, ${last##* stopped }"
}

run() {
    local service container summary began since
    need cargo docker
    docker info >/dev/null 2>&1 || fail "no docker engine answers"
    build -p cli-client
    PATH=$bin:$PATH
    build_images

    # Free ports, which only this machine can reach.
    export PUBLISH_ADDRESS=127.0.0.1 POWER_PORT=0 SOLO_PORT=0 DUEL_PORT=0
    composed=yes
    began=$SECONDS
    succeeds "compose.yaml is up: all replicas are healthy" compose up --detach --no-color
    wait_until_healthy haproxy "$(container haproxy)"
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
        check 0 "$service at * works *" "" cli-client probe "$service" --wait 10s
    done

    # Under load, a replica reloads its configuration, and then another container replaces it. The load lasts longer than
    # that, and its timeout is long, for slow machines.
    launch load cli-client bench power -c 32 -z 5m --rate 200 --timeout 20s --json
    container=$(container power-1)
    docker kill --signal HUP "$container" >/dev/null
    wait_for power-1 'configuration was read again: nothing changes' docker logs --follow "$container"
    pass "power-1 has read its configuration again"
    since=$(date +%s)
    succeeds "power-1 stops" compose stop power-1
    stopped_well "$container" power-1
    succeeds "another container takes its place" compose up --detach --no-deps --force-recreate --no-color power-1
    wait_for haproxy 'Server power/power-1 is UP' docker logs --since "$since" --follow "$(container haproxy)"
    pass "HAProxy sees the new container"
    kill -TERM "${pid[load]}"
    wait_for_end load
    summary=$(<"$scratch/load.log")
    [[ $summary =~ \"requests\":([0-9]+),\"right\":([0-9]+),\"errors\":\{\} && ${BASH_REMATCH[1]} == "${BASH_REMATCH[2]}" ]] \
        || fail "the load: wanted all requests answered right, got $summary"
    pass "during that, ${BASH_REMATCH[1]} short connections, all answered right"

    began=$SECONDS
    succeeds "all is stopped" compose stop
    ((SECONDS - began < 2 * grace_seconds)) || fail "it took $((SECONDS - began)) s"
    pass "it took $((SECONDS - began)) s"
    for service in power-1 power-2 rps-1 rps-2; do
        stopped_well "$(container "$service")" "$service"
    done
}

(($# == 0)) || [[ $* == --run ]] || fail "usage: $0 [--run]"
set_up
check_files
(($# == 0)) || run
echo "deploy check: $passed passed, 0 failed"
