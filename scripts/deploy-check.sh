#!/usr/bin/env bash
# Checks each file in config/deploy with the program that reads it, and the queries of the dashboard and of the alerts
# with the metrics of both servers:
#
#   scripts/deploy-check.sh         checks only the files; takes a few seconds
#   scripts/deploy-check.sh --run   also builds the images, runs compose.yaml, replaces a replica under load, stops
#                                   Valkey, and runs compose.tls.yaml
#
# Needs a Rust toolchain, haproxy, systemd-analyze, promtool, python3, docker-compose, openssl and kubernetes-validate
# (from PyPI; with the schemas of Kubernetes), and fails if one is missing. --run also needs curl, a docker engine and,
# where no image registry can be reached, three environment variables:
#
#   BUILDER_IMAGE  image to compile in, as for scripts/docker-smoke.sh
#   HAPROXY_IMAGE  image with haproxy and wget, such as .ci/docker-programs makes
#   VALKEY_IMAGE   image with valkey-server and valkey-cli, made in the same way
#
# Stops at the first failed check. The containers and images are removed at the end; the builder's cached layers stay
# for the next run.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
cd "$root"

deploy=config/deploy
max_exposure=20                 # in tenths, the unit of systemd-analyze --threshold
kubernetes_versions=(1.30 1.34) # the oldest supported version, and a later one
grace_seconds=12                # stop_grace_period of compose.yaml

composed= # set once containers may exist
images=()
clean_up_more() { # STATUS
    if [[ -n $composed ]]; then
        (($1 == 0)) || compose logs --no-color --tail=50 >&2 || true
        compose down --volumes --timeout 0 >/dev/null 2>&1 || true
    fi
    ((${#images[@]} == 0)) || docker rmi --force "${images[@]}" >/dev/null 2>&1 || true
}

# Runs a command, whose output is shown only if it fails.
check_success() { # CHECK COMMAND...
    "${@:2}" >"$scratch/output.log" 2>&1 || fail "$1"
    pass "$1"
}

# --- The files

# The names of the replicas resolve only under compose.yaml, so the check uses addresses.
check_haproxy() {
    local -x POWER_1=127.0.0.1:1 POWER_2=127.0.0.1:2 SOLO_1=127.0.0.1:3 SOLO_2=127.0.0.1:4
    local -x DUEL_1=127.0.0.1:5 DUEL_2=127.0.0.1:6 WEB_1=127.0.0.1:7 WEB_2=127.0.0.1:8
    check_success "haproxy accepts haproxy.cfg without a warning" haproxy -c -dW -f "$deploy/haproxy.cfg"
    sed 's/# NO ENGINE: //' "$deploy/haproxy.cfg" >"$scratch/haproxy.cfg"
    check_success "haproxy accepts haproxy.cfg for duels without an engine" haproxy -c -dW -f "$scratch/haproxy.cfg"
    (($(grep -cE '^ *server rps-2 .* backup$' "$scratch/haproxy.cfg") == 2)) \
        || fail "haproxy.cfg: without an engine, one server of the duels and one of the web endpoints is a backup"
}

# A unit is valid only if its program exists, so the check creates one. The units are checked together, because a socket
# needs its service.
check_units() { # SERVICE_UNIT...
    local unit program type=notify-reload sockets=("$deploy"/*.socket)
    # systemd-analyze 252, of Debian 12, does not know this type. It can still check the rest.
    (($(systemd-analyze --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p') >= 253)) || type=notify
    printf '#!/bin/sh\n' >"$scratch/program"
    chmod +x "$scratch/program"
    cp "${sockets[@]}" "$scratch"
    for unit; do
        program=$(sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' "$deploy/$unit")
        [[ $program == /* ]] || fail "$unit: ExecStart has no absolute path of a program"
        sed -e "s,^ExecStart=$program,ExecStart=$scratch/program," -e "s/^Type=notify-reload$/Type=$type/" \
            "$deploy/$unit" >"$scratch/$unit"
    done
    for unit in "$@" "${sockets[@]##*/}"; do
        check_success "systemd-analyze accepts $unit" systemd-analyze verify --man=no "$scratch/$unit"
        # For an unknown key, systemd-analyze prints a warning but exits with 0.
        [[ ! -s $scratch/output.log ]] || fail "$unit: systemd-analyze prints warnings: $(<"$scratch/output.log")"
    done
    for unit; do
        check_success "the exposure of $unit is at most $max_exposure tenths" \
            systemd-analyze security --offline=true --threshold="$max_exposure" --no-pager "$scratch/$unit"
    done
}
# A socket unit that its service does not name is not passed to it when the service is started first. If the service
# listens on the address itself, only one of the two can start.
check_sockets() {
    local unit service address name configured
    for unit in "$deploy"/*.socket; do
        service=$(sed -n 's/^Service=//p' "$unit")
        name=$(sed -n 's/^FileDescriptorName=//p' "$unit")
        address=$(sed -n 's/^ListenStream=//p' "$unit")
        unit=${unit##*/}
        grep -qE "^Sockets=(.* )?$unit( |$)" "$deploy/$service" || fail "$service does not name $unit in Sockets="
        grep -qE "^Also=(.* )?$unit( |$)" "$deploy/$service" || fail "$service does not name $unit in Also="
        grep -qE "^Environment=(.* )?[A-Z_]+_LISTEN=fd:$name( |$)" "$deploy/$service" \
            || fail "$service does not listen on fd:$name, the socket of $unit"
        configured=config/${service%.service}.toml
        grep -qxF "listen = \"$address\"" "$configured" || fail "$unit: $configured does not listen on $address"
        pass "$service gets the socket of $unit as fd:$name, on the address of $configured"
    done
}

# Prints the documents of this kind in kubernetes.yaml.
kubernetes_documents() { # KIND
    awk -v RS='\n---\n' -v pattern="(^|\n)kind: $1\n" '$0 ~ pattern' "$deploy/kubernetes.yaml"
}
# The admin port has no access control, and links and Valkey are for the replicas only, so the pods of each Deployment
# need a policy that names who may reach them.
check_network_policies() {
    local name names policies port
    names=$(kubernetes_documents Deployment | sed -n '/^metadata:/ { n; s/^  name: //p }')
    policies=$(kubernetes_documents NetworkPolicy)
    [[ -n $names ]] || fail "kubernetes.yaml: no Deployment found"
    for name in $names; do
        [[ $policies == *"podSelector: {matchLabels: {app.kubernetes.io/name: $name}}"* ]] || fail "no NetworkPolicy for $name"
        pass "a NetworkPolicy applies to $name"
    done
    for port in admin cluster valkey; do
        [[ $policies == *"port: $port"* ]] || fail "kubernetes.yaml: no rule for the port $port found"
        # A rule is a line with its ports, then the line `from`.
        ! grep -A 1 "port: $port" <<<"$policies"$'\n' | grep -vE "port: $port|^      from:\$|^--\$" >&2 \
            || fail "a NetworkPolicy opens the port $port to every source"
        pass "no NetworkPolicy opens the port $port to every source"
    done
}

check_certificates() {
    local certificate
    check 0 '*' '' scripts/certificates.sh "$scratch/tls" example.com 192.0.2.1
    # The user of a container must be able to enter the folder.
    check 0 $'755\n600\n600' "" stat --format %a "$scratch/tls" "$scratch/tls"/{server,client}-key.pem
    for certificate in server client; do
        check_success "the authority has signed the certificate of the $certificate" \
            openssl verify -purpose "ssl$certificate" -CAfile "$scratch/tls/ca.pem" "$scratch/tls/$certificate.pem"
    done
    check 0 '*does match*' '' openssl x509 -in "$scratch/tls/server.pem" -noout -checkhost example.com
    check 0 '*does match*' '' openssl x509 -in "$scratch/tls/server.pem" -noout -checkip ::1
    check 1 '' '*exists; remove it*' scripts/certificates.sh "$scratch/tls"
}

# The servers use TLS and duel.cluster, so that all metrics exist. No engine listens at the path. Uses the certificate
# of check_certificates.
check_monitoring() {
    local name tls=(--set "tls.certificate=$scratch/tls/server.pem" --set "tls.key=$scratch/tls/server-key.pem")
    start power-monitored "${tls[@]}"
    start rps-monitored "${tls[@]}" \
        --set "duel.cluster.engine=redis+unix://$scratch/no-engine" --set duel.cluster.listen=127.0.0.1:0
    for name in power rps; do
        http_get "${address[$name-monitored admin]}" /metrics >"$scratch/$name.metrics"
    done
    check 0 '*' '' scripts/monitoring_check.py "$scratch"/{power.metrics,rps.metrics,dashboard-rules.yml}
    # Without the lint: in recording rules, queries that are the same would be reported.
    check_success "promtool accepts the queries of the dashboard" promtool check rules --lint=none "$scratch/dashboard-rules.yml"
    stop power-monitored 0
    stop rps-monitored 0
}

check_files() {
    local version profile
    need cargo haproxy systemd-analyze promtool python3 docker-compose kubernetes-validate openssl
    build --workspace # as the other scripts, so that it is built already
    check_haproxy
    check_units power-server.service rps-server.service
    check_sockets
    check_success "promtool accepts prometheus.yml and alerts.yml" promtool check config --lint=all --lint-fatal "$deploy/prometheus.yml"
    check_success "the alert rules pass alerts_test.yml" promtool test rules "$deploy/alerts_test.yml"
    for profile in default monitoring; do
        check_success "docker-compose accepts compose.yaml, profile $profile" \
            docker-compose --file "$deploy/compose.yaml" --profile "$profile" config --quiet
    done
    check_success "docker-compose accepts compose.yaml with compose.tls.yaml" \
        docker-compose --file "$deploy/compose.yaml" --file "$deploy/compose.tls.yaml" config --quiet
    sed 's/# TLS: //' "$deploy/kubernetes.yaml" >"$scratch/kubernetes-tls.yaml"
    for version in "${kubernetes_versions[@]}"; do
        check_success "Kubernetes $version accepts kubernetes.yaml" \
            kubernetes-validate --strict --version "$version" "$deploy/kubernetes.yaml"
        check_success "Kubernetes $version accepts kubernetes.yaml with TLS" \
            kubernetes-validate --strict --version "$version" "$scratch/kubernetes-tls.yaml"
    done
    check_certificates
    check_monitoring
    check_network_policies
}

# --- The services

compose_files=("$deploy/compose.yaml")
compose() {
    docker-compose "${compose_files[@]/#/--file=}" --project-name "deploy-check-$$" "$@"
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
        check_success "the image of $server-server is built" docker build --quiet --force-rm \
            --target "$server-server" --tag "deploy-check-$server-server:$$" "${build_args[@]}" .
    done
}

# Sends a request to each service through HAProxy. Sets the variables with the endpoints of the client.
probe_services() { # SCHEME ARGUMENT...
    local service
    POWER_ADDR=$1$(compose port haproxy 5000)
    RPS_ADDR=$1$(compose port haproxy 5001)
    DUEL_ADDR=$1$(compose port haproxy 5002)
    for service in power rps duel; do
        check 0 "$service at $1* works *" "" cli-client probe "$service" --wait "${wait_seconds}s" "${@:2}"
    done
    check 0 "*<title>Rock, paper, scissors</title>*" "" curl --silent --show-error "${@:2}" "${1:+https://}$(compose port haproxy 5080)/"
}

# Plays duels through HAProxy until players of the two replicas have met. HAProxy gives a new connection to the replica
# with the fewest, so two players are most often at two replicas. Only HAProxy's container reaches the metrics.
check_duels_across_replicas() { # ARGUMENT...
    local try replica metrics series='rps_cluster_claims_total{result="accepted"}'
    for try in {1..20}; do
        check 0 '*' '' cli-client bench duel -c 2 -n 100 --timeout 20s -q "$@"
        for replica in rps-1 rps-2; do
            metrics=$(compose exec -T haproxy wget -q -O - "http://$replica:9501/metrics") || fail "cannot read the metrics"
            if [[ $metrics == *$'\n'"$series "[1-9]* ]]; then
                pass "players of the two replicas have met, at try $try"
                return
            fi
        done
    done
    fail "no players of the two replicas have met"
}
# Waits for a line in the log of the current container of a service.
wait_for_container_log() { # SERVICE PATTERN [SINCE]
    wait_for "$1" "$2" docker logs --since "${3:-0}" --follow "$(container "$1")"
}

# Replaces a replica while Valkey is stopped: it starts and serves. Then starts Valkey again.
run_without_engine() {
    local since
    since=$(date +%s)
    check_success "Valkey stops" compose stop valkey
    wait_for_container_log rps-2 'engine is unavailable' "$since"
    check_success "a new container replaces rps-1 without Valkey" compose up --detach --no-deps --force-recreate --no-color rps-1
    wait_until_healthy rps-1 "$(container rps-1)"
    since=$(date +%s)
    check_success "Valkey starts again" compose start valkey
    wait_for_container_log rps-1 'engine is available' "$since"
    wait_for_container_log rps-2 'engine is available' "$since"
    pass "both replicas reach the new Valkey"
    check_duels_across_replicas
}

# Checks the security settings of a container, as the engine reports them.
check_confined() { # SERVICE
    local expected='true [ALL] [no-new-privileges:true] false' got
    got=$(docker inspect --format '{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}} {{.HostConfig.Privileged}}' "$(container "$1")")
    [[ $got == "$expected" ]] || fail "$1: expected the security settings '$expected', got '$got'"
}

# Checks a stopped server: exit code 0, no panic and no aborted connection.
check_container_stopped() { # CONTAINER NAME
    local status last
    status=$(docker inspect --format '{{.State.ExitCode}}' "$1")
    last=$(docker logs --tail 1 "$1" 2>&1)
    [[ $status == 0 && $last == *" stopped "*" panicked=0 aborted=0" ]] \
        || fail "$2: expected exit code 0 and no aborted connection, got $status and '$last'"
    pass "$2 stopped: exit code 0, ${last##* stopped }"
}

# Starts the stopped containers again, with TLS. A replica is healthy only if its check and its command find the
# certificate, and the probes work only if the replicas also trust HAProxy.
run_tls() {
    local -x TLS_FOLDER=$scratch/tls
    compose_files+=("$deploy/compose.tls.yaml")
    # Instead of chown, which needs root. The folder above is private.
    chmod 0644 "$TLS_FOLDER/server-key.pem"
    check_success "compose.tls.yaml starts and all replicas are healthy" compose up --detach --no-color
    wait_until_healthy haproxy "$(container haproxy)"
    probe_services tls:// --cacert "$TLS_FOLDER/ca.pem"
    check_duels_across_replicas --cacert "$TLS_FOLDER/ca.pem"
}

run() {
    local service container summary started since
    need curl docker
    docker info >/dev/null 2>&1 || fail "no docker engine is available"
    build -p cli-client
    PATH=$bin:$PATH
    build_images

    # Free ports on loopback.
    export PUBLISH_ADDRESS=127.0.0.1 POWER_PORT=0 SOLO_PORT=0 DUEL_PORT=0 WEB_PORT=0
    # Instead of chown, which needs root. The folder is private.
    export DUEL_SECRET_FILE=$scratch/duel-secret
    openssl rand -hex 32 >"$DUEL_SECRET_FILE"
    chmod 0644 "$DUEL_SECRET_FILE"
    composed=yes
    started=$SECONDS
    check_success "compose.yaml starts and all replicas are healthy" compose up --detach --no-color
    wait_until_healthy haproxy "$(container haproxy)"
    pass "the start took $((SECONDS - started)) s"
    for service in power-1 power-2 rps-1 rps-2 valkey haproxy; do
        check_confined "$service"
    done
    pass "all containers are read-only and unprivileged"

    local -x POWER_ADDR RPS_ADDR DUEL_ADDR
    probe_services ""
    wait_for_container_log rps-1 'engine is available'
    wait_for_container_log rps-2 'engine is available'
    check_duels_across_replicas
    run_without_engine

    # Under load, a replica reloads its configuration and is then replaced by a new container. The load lasts longer
    # than both. Its timeout is long for slow machines.
    launch load cli-client bench power -c 32 -z 5m --rate 200 --timeout 20s --json
    container=$(container power-1)
    docker kill --signal HUP "$container" >/dev/null
    wait_for power-1 'config reloaded: no changes' docker logs --follow "$container"
    pass "power-1 reloads its configuration"
    since=$(date +%s)
    check_success "power-1 stops" compose stop power-1
    check_container_stopped "$container" power-1
    check_success "a new container replaces power-1" compose up --detach --no-deps --force-recreate --no-color power-1
    wait_for haproxy 'Server power/power-1 is UP' docker logs --since "$since" --follow "$(container haproxy)"
    pass "HAProxy reports the new container as up"
    kill -TERM "${pid[load]}"
    wait_for_end load
    summary=$(<"$scratch/load.log")
    [[ $summary =~ \"requests\":([0-9]+),\"right\":([0-9]+),\"errors\":\{\} && ${BASH_REMATCH[1]} == "${BASH_REMATCH[2]}" ]] \
        || fail "the load: expected the correct reply to each request, got $summary"
    pass "${BASH_REMATCH[1]} short connections during the replacement, all with the correct reply"

    started=$SECONDS
    check_success "all containers stop" compose stop
    ((SECONDS - started < 2 * grace_seconds)) || fail "stopping took $((SECONDS - started)) s"
    pass "stopping took $((SECONDS - started)) s"
    for service in power-1 power-2 rps-1 rps-2; do
        check_container_stopped "$(container "$service")" "$service"
    done
    run_tls
}

(($# == 0)) || [[ $* == --run ]] || fail "usage: $0 [--run]"
set_up
check_files
(($# == 0)) || run
echo "deploy check: $passed passed, 0 failed"
