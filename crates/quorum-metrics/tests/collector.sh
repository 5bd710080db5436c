#!/bin/sh
# Sends real metrics and a real trace to a real collector, and shows the scraped text to promtool.
#
# Needs curl, python3 and the `rotel-agent` of the PyPI package rotel==0.0.1a15, which lies inside the installed package;
# name it in ROTEL_AGENT if it is not on the PATH. Checks with `promtool` too if it is there (Debian package prometheus).
# Everything stays on loopback. Exits 0 only if all of it arrived.
#
#     ROTEL_AGENT=.../site-packages/rotel/rotel-agent crates/quorum-metrics/tests/collector.sh
set -eu
cd "$(dirname "$0")/../../.."

work=$(mktemp -d)
collector=
finish() {
    [ -z "$collector" ] || kill "$collector" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT

cargo test -q -p quorum-metrics --no-run

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
grpc=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
ROTEL_OTLP_HTTP_ENDPOINT=127.0.0.1:$port ROTEL_OTLP_GRPC_ENDPOINT=127.0.0.1:$grpc \
    "${ROTEL_AGENT:-rotel-agent}" start --debug-log traces --debug-log metrics --debug-log-verbosity detailed --exporter blackhole \
    >"$work/log" 2>&1 &
collector=$!
until curl -s -o "$work/answer" "http://127.0.0.1:$port/"; do
    kill -0 "$collector" || { cat "$work/log"; exit 1; }
    sleep 0.1
done

OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:$port OTEL_SERVICE_NAME=collector-check \
    cargo test -q -p quorum-metrics --test push -- --ignored --exact a_real_collector_takes_it

for name in quorum.commit quorum.apply replication_quorum_ack_total replication_commit_duration_seconds \
    quorum_build_info collector-check; do
    tries=0
    until grep -q "$name" "$work/log"; do
        tries=$((tries + 1))
        [ "$tries" -lt 100 ] || { echo "the collector never saw $name:"; cat "$work/log"; exit 1; }
        sleep 0.1
    done
    echo "the collector saw $name"
done

if command -v promtool >"$work/answer"; then
    QUORUM_METRICS_TEXT=$work/metrics \
        cargo test -q -p quorum-metrics --test scrape -- --ignored --exact text_for_promtool
    promtool check metrics <"$work/metrics"
    echo "promtool has no objection"
fi
