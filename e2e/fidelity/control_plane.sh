#!/bin/sh
# Run a command against a real etcd, kube-apiserver and two controllers in a network namespace of its own.
#
#   control_plane.sh BINARIES COMMAND...
#
# BINARIES is the folder with kube-apiserver, kube-controller-manager and etcd (or `server`, as Go calls it), or
# several folders with colons between. The command finds the cluster in $KUBECONFIG. Needs root, iproute2, curl and
# openssl; whatever happens, nothing of it is left afterwards.
set -eu

if [ "$(id -u)" != 0 ]; then echo "control_plane.sh needs root: it makes a network namespace" >&2; exit 2; fi
for tool in unshare ip openssl curl; do
    command -v "$tool" >/dev/null || { echo "control_plane.sh needs $tool on PATH" >&2; exit 2; }
done
[ $# -ge 2 ] || { echo "usage: control_plane.sh BINARIES COMMAND..." >&2; exit 2; }
found() { # names: the first of them that is in a folder of BINARIES
    for name in "$@"; do
        PATH=$binaries command -v "$name" && return
    done
    echo "control_plane.sh: there is no $1 in $binaries" >&2
    return 1
}
binaries=$1
etcd=$(found etcd server) && apiserver=$(found kube-apiserver) && controllers=$(found kube-controller-manager) || exit 2

if [ -z "${FIDELITY_INSIDE:-}" ]; then
    # The process namespace takes every child along when its first process ends, also after kill -9.
    FIDELITY_INSIDE=1 exec unshare --net --mount --pid --fork --kill-child --mount-proc sh "$0" "$@"
fi
shift

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
ip link set lo up
cd "$work"

openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=fidelity-ca -keyout ca.key -out ca.crt 2>/dev/null
issue() { # name, subject, extensions
    openssl req -newkey rsa:2048 -nodes -subj "$2" -keyout "$1.key" -out "$1.csr" 2>/dev/null
    printf '%s\n' "$3" >"$1.ext"
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile "$1.ext" \
        -out "$1.crt" 2>/dev/null
}
issue apiserver /CN=kube-apiserver "subjectAltName=DNS:localhost,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:10.96.0.1"
issue admin /O=system:masters/CN=shoal-local "extendedKeyUsage=clientAuth"
openssl genrsa -out accounts.key 2048 2>/dev/null
openssl rsa -in accounts.key -pubout -out accounts.pub 2>/dev/null

cat >kubeconfig <<CONFIG
apiVersion: v1
kind: Config
current-context: fidelity
clusters: [{name: fidelity, cluster: {server: "https://127.0.0.1:6443", certificate-authority: $work/ca.crt}}]
users: [{name: admin, user: {client-certificate: $work/admin.crt, client-key: $work/admin.key}}]
contexts: [{name: fidelity, context: {cluster: fidelity, user: admin}}]
CONFIG

"$etcd" --unsafe-no-fsync --data-dir "$work/etcd" --listen-client-urls http://127.0.0.1:2379 \
    --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380 >etcd.log 2>&1 &
# Service accounts' tokens would be mounted into every pod; no kubelet of the embedded server could do that.
"$apiserver" --etcd-servers http://127.0.0.1:2379 --secure-port 6443 --bind-address 127.0.0.1 \
    --advertise-address 127.0.0.1 --endpoint-reconciler-type none --client-ca-file ca.crt \
    --tls-cert-file apiserver.crt --tls-private-key-file apiserver.key \
    --service-account-key-file accounts.pub --service-account-signing-key-file accounts.key \
    --service-account-issuer https://kubernetes.default.svc --service-cluster-ip-range 10.96.0.0/16 \
    --authorization-mode Node,RBAC --disable-admission-plugins ServiceAccount --cert-dir "$work" \
    >apiserver.log 2>&1 &
"$controllers" --kubeconfig kubeconfig --leader-elect=false --cert-dir "$work" \
    --controllers garbage-collector-controller,namespace-controller --authorization-always-allow-paths /healthz \
    >controllers.log 2>&1 &

tries=0
until [ "$(openssl s_client -connect 127.0.0.1:6443 </dev/null 2>/dev/null | grep -c BEGIN)" != 0 ] &&
    curl -sf --cacert ca.crt --cert admin.crt --key admin.key https://127.0.0.1:6443/readyz >/dev/null; do
    tries=$((tries + 1))
    [ $tries -lt 240 ] || { echo "the API server is not ready after 60 s:" >&2; tail -5 apiserver.log etcd.log >&2; exit 1; }
    sleep 0.25
done
export KUBECONFIG="$work/kubeconfig"
cd "$OLDPWD"
"$@"
