#!/usr/bin/env bash
# Measures what it costs to bring a member up that was away while a small part of the data changed.
#
#   docs/examples/repair-traffic.sh            1,000,000 records, 10,000 of them change, release build
#   docs/examples/repair-traffic.sh --small    20,000 records, 1,000 of them change, debug build
#
# NODE_BINARY=/path/to/quorum-node uses that program and builds none. Exits with 0 only if the bytes sent to repair are at
# most 1.5 times the bytes of what changed, and all three nodes end with equal digests.

set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
records=1000000 changed=10000 profile=release
case "${1-}" in
'') ;;
--small) records=20000 changed=1000 profile=debug ;;
*)
    echo "usage: $0 [--small]" >&2
    exit 2
    ;;
esac

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

if [ -n "${NODE_BINARY-}" ]; then
    program=$NODE_BINARY
else
    release=()
    [ "$profile" = debug ] || release=(--release)
    (cd "$root" && cargo build --locked -p quorum-node ${release[@]+"${release[@]}"})
    program=${CARGO_TARGET_DIR:-$root/target}/$profile/quorum-node
fi
[ -x "$program" ] || fail "$program is not a program"
for variable in $(compgen -e | grep '^QUORUM_' || true); do unset "$variable"; done

work=$(mktemp -d)
declare -A pids=() urls=()
clean_up() {
    trap - EXIT INT TERM
    for pid in "${pids[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Lines for records `first`, `first + step`, and so on: keys of 8 bytes, values of 300.
lines() {
    local first=$1 step=$2 count=$3 word=$4
    awk -v first="$first" -v step="$step" -v count="$count" -v word="$word" 'BEGIN {
        filler = sprintf("%280s", ""); gsub(/ /, "v", filler)
        for (i = 0; i < count; i++) {
            key = first + i * step
            printf "{\"key\":\"k%07d\",\"value\":\"%s %012d%s\"}\n", key, word, key, substr(filler, 1, 287 - length(word))
        }
    }'
}

start() {
    local name=$1 log=$work/$1.out deadline=$((SECONDS + 120))
    : >"$log"
    "$program" serve --config "$work/cluster/$name/quorum.toml" --set http.listen=127.0.0.1:0 \
        >"$log" 2>>"$work/$name.log" &
    pids[$name]=$!
    until grep -q ready "$log"; do
        if ! kill -0 "${pids[$name]}" 2>/dev/null; then
            unset "pids[$name]"
            return 1
        fi
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.05
    done
    urls[$name]=$(grep -o 'https\?://[^ ,]*' "$log" | head -n 1)
}

stop() {
    kill -9 "${pids[$1]}" 2>/dev/null || true
    wait "${pids[$1]}" 2>/dev/null || true
    unset "pids[$1]"
}

# Waits until the nodes have met: the first start of a mesh needs them all.
meet() {
    local name deadline=$((SECONDS + 60))
    for name in n1 n2 n3; do
        until "$program" --json status --url "${urls[$name]}" | grep -q '"reachable": 3'; do
            [ "$SECONDS" -lt "$deadline" ] || fail "the nodes do not meet"
            sleep 0.05
        done
    done
}

for attempt in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf "$work/cluster"
    "$program" init --cluster-dir "$work/cluster" --base-port $((20000 + RANDOM)) >"$work/init.log"
    if start n1 && start n2 && start n3; then break; fi
    for name in "${!pids[@]}"; do stop "$name"; done
    [ "$attempt" -lt 10 ] || { cat "$work"/n?.log >&2; fail "the nodes do not start"; }
done
meet

# A number that a node says of its peer n3.
number() {
    "$program" --json peers --url "$1" 2>/dev/null |
        awk -v RS='}' '/"node": "n3"/' | sed -n 's/.*"'"$2"'": *\([0-9]*\).*/\1/p'
}

missing() { # writes that n1 and n2 hold and n3 lacks, as they know
    local one other
    one=$(number "${urls[n1]}" missing_writes) other=$(number "${urls[n2]}" missing_writes)
    echo $((${one:-1} + ${other:-1}))
}

sent() { # bytes and records that n1 and n2 have sent n3 because it lacked them
    local what=$1
    echo $(($(number "${urls[n1]}" "$what") + $(number "${urls[n2]}" "$what")))
}

until_complete() {
    local deadline=$((SECONDS + 900))
    until [ "$(missing)" = 0 ]; do
        [ "$SECONDS" -lt "$deadline" ] || fail "n3 still lacks $(missing) writes"
        sleep 0.1
    done
}

put() { # writes lines through n1 and fails unless all are committed
    lines "$@" | "$program" batch --namespace load --url "${urls[n1]}" >"$work/batch.out" ||
        fail "not everything was committed: $(tail -n 2 "$work/batch.out")"
}

began=$SECONDS
put 0 1 "$records" before
until_complete
echo "$records records of 300 bytes on three nodes after $((SECONDS - began)) s"

stop n3
put 7 $((records / changed)) "$changed" changed
before=$(sent repaired_bytes)
began=$(date +%s.%N)
start n3 || fail "n3 does not start: $(tail -n 5 "$work/n3.log")"
started=$(date +%s.%N)
until_complete
ended=$(date +%s.%N)
bytes=$(($(sent repaired_bytes) - before))
size=$(lines 7 $((records / changed)) "$changed" changed | wc -c)
awk -v bytes="$bytes" -v changed="$changed" -v size="$size" \
    -v start="$(awk "BEGIN { print $started - $began }")" -v took="$(awk "BEGIN { print $ended - $started }")" 'BEGIN {
    printf "%d records changed, %d bytes as lines of JSON; %d bytes were sent to repair: %.2f times\n", changed, size, bytes, bytes / size
    printf "n3 started in %.2f s and had them %.2f s later\n", start, took
    exit !(bytes <= 1.5 * size && bytes > 0)
}' || fail "more than 1.5 times what changed was sent"

digest() { "$program" --json status --digest --url "$1" | sed -n 's/.*"content_digest": *"\([0-9a-f]*\)".*/\1/p'; }
one=$(digest "${urls[n1]}")
for name in n2 n3; do
    [ -n "$one" ] && [ "$one" = "$(digest "${urls[$name]}")" ] || fail "$name differs from n1"
done
echo "all three hold the same: $one"
