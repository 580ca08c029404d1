#!/usr/bin/env bash
# Makes certificates for trials of TLS on one machine:
#
#   scripts/certificates.sh FOLDER [NAME...]
#
# A NAME is a host name or an IP address of the server, besides localhost, 127.0.0.1 and ::1. The folder gets these files
# in PEM. The keys are P-256, and the certificates are valid for 30 days.
#
#   ca.pem                        the authority: cli-client --cacert, and tls.client_ca
#   server.pem server-key.pem     the server: tls.certificate and tls.key
#   client.pem client-key.pem     a client: cli-client --cert and --key
#
# The key of the authority is deleted, so that it cannot sign other certificates. The script refuses to
# overwrite a file. Only the user who runs it can read the keys: change the owner of server-key.pem for a server of
# another user. It needs openssl 1.1.1 or later. In production, use certificates of a real authority.
set -euo pipefail

days=30
files=(ca.pem server.pem server-key.pem client.pem client-key.pem)

fail() { # REASON
    echo "certificates: $*" >&2
    exit 1
}

[[ $# -ge 1 && ${1:-} != -* ]] || fail "usage: $0 FOLDER [NAME...]"
command -v openssl >/dev/null || fail "openssl is not installed"
folder=$1
shift

names=DNS:localhost,IP:127.0.0.1,IP:::1
for name; do
    [[ $name =~ ^[A-Za-z0-9.:*-]+$ ]] || fail "$name: not a host name or an IP address"
    if [[ $name == *:* || $name =~ ^[0-9.]+$ ]]; then
        names+=,IP:$name
    else
        names+=,DNS:$name
    fi
done

# Only the user can read the keys, from the first byte on. The user of a container can enter the folder.
umask 077
(umask 022 && mkdir -p "$folder")
for file in "${files[@]}"; do
    [[ ! -e $folder/$file ]] || fail "$folder/$file exists; remove it, or name another folder"
done
scratch=$(mktemp -d "$folder/.certificates.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

# Runs openssl, whose output is shown only if it fails.
quietly() { # ARGUMENT...
    openssl "$@" >"$scratch/output" 2>&1 || fail "openssl $1 failed: $(<"$scratch/output")"
}

make_key() { # NAME
    quietly genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$scratch/$1-key.pem"
}

issue() { # NAME PURPOSE ALTERNATIVE_NAMES
    make_key "$1"
    quietly req -new -key "$scratch/$1-key.pem" -subj "/CN=trial $1" -out "$scratch/$1.csr"
    printf '%s\n' "basicConstraints=critical,CA:FALSE" "keyUsage=critical,digitalSignature" "extendedKeyUsage=$2" \
        "subjectAltName=$3" "subjectKeyIdentifier=hash" "authorityKeyIdentifier=keyid" >"$scratch/$1.cnf"
    quietly x509 -req -in "$scratch/$1.csr" -CA "$scratch/ca.pem" -CAkey "$scratch/ca-key.pem" -days "$days" -sha256 \
        -set_serial "0x$(openssl rand -hex 16)" -extfile "$scratch/$1.cnf" -out "$scratch/$1.pem"
}

# The configuration of the system may add extensions, so it is not used.
cat >"$scratch/ca.cnf" <<'END'
[req]
prompt = no
distinguished_name = name
x509_extensions = extensions
[name]
CN = trial authority
[extensions]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
END
make_key ca
quietly req -x509 -config "$scratch/ca.cnf" -key "$scratch/ca-key.pem" -days "$days" -sha256 -out "$scratch/ca.pem"
issue server serverAuth "$names"
issue client clientAuth DNS:client

for file in "${files[@]}"; do
    mv -n "$scratch/$file" "$folder/$file"
done
# Certificates are public; only the keys are secret.
chmod 0644 "$folder"/{ca,server,client}.pem
echo "$folder: certificates for ${names//,/ }, valid for $days days"
