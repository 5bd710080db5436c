#!/usr/bin/env bash
# Imports real records into a mesh of three processes while one of them is killed with `kill -9` and
# started again, and shows that afterwards all three hold exactly the same data.
#
#   docs/examples/real-data.sh            100,000 records or more, release build
#   docs/examples/real-data.sh --small    3,000 records, debug build
#
# NODE_BINARY=/path/to/quorum-node uses that program and builds none. Records are the stanzas of the
# package index on a Debian machine, filled up with lines of the Rust sources found here.
# Exits with 0 only if every record was committed and the three exports are identical.

set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
records=100000
profile=release
case "${1-}" in
'') ;;
--small) records=3000 profile=debug ;;
*)
    echo "usage: $0 [--small]" >&2
    exit 2
    ;;
esac

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# ---- the program ------------------------------------------------------------------------------------

if [ -n "${NODE_BINARY-}" ]; then
    program=$NODE_BINARY
else
    release=()
    [ "$profile" = debug ] || release=(--release)
    (cd "$root" && cargo build --locked -p quorum-node ${release[@]+"${release[@]}"})
    program=${CARGO_TARGET_DIR:-$root/target}/$profile/quorum-node
fi
[ -x "$program" ] || fail "$program is not a program"
# Settings of the caller's own nodes and clients must not reach these.
for variable in $(compgen -e | grep '^QUORUM_' || true); do unset "$variable"; done

# ---- a place that is cleaned up ---------------------------------------------------------------------

work=$(mktemp -d)
declare -A pids=() urls=()
clean_up() {
    trap - EXIT INT TERM
    [ -z "${import-}" ] || kill -9 "$import" "$(cat "$work/import.pid" 2>/dev/null)" 2>/dev/null || true
    for pid in "${pids[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# ---- real records, as lines of JSON -----------------------------------------------------------------

# Bytes that are no text, and control characters that JSON would need escapes for, are left out.
json_escape() {
    iconv -f UTF-8 -t UTF-8 -c | LC_ALL=C tr -d '\000-\010\013-\037\177' |
        LC_ALL=C sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/	/\\t/g'
}

# One record per package: the key says which, the value is its whole stanza.
stanzas() {
    local list
    for list in /var/lib/apt/lists/*_Packages*; do
        [ -f "$list" ] || continue
        /usr/lib/apt/apt-helper cat-file "$list" 2>/dev/null || true
        echo
    done | json_escape | LC_ALL=C awk -v RS= -F '\n' '{
        value = name = version = architecture = ""
        for (i = 1; i <= NF; i++) {
            if ($i ~ /^Package: /) name = substr($i, 10)
            if ($i ~ /^Version: /) version = substr($i, 10)
            if ($i ~ /^Architecture: /) architecture = substr($i, 15)
            value = value (i > 1 ? "\\n" : "") $i
        }
        key = name "/" version "/" architecture
        if (seen[key]++) key = key "#" seen[key]
        printf "{\"key\":\"package/%s\",\"value\":\"%s\"}\n", key, value
    }'
}

# One record per line of Rust.
source_lines() {
    find "$root/crates" "$root/xtask" "${CARGO_HOME:-$HOME/.cargo}/registry/src" -name '*.rs' \
        -type f -print0 2>/dev/null | xargs -0 cat 2>/dev/null | json_escape |
        LC_ALL=C awk '{ printf "{\"key\":\"line/%09d\",\"value\":\"%s\"}\n", NR, $0 }'
}

input=$work/records.ndjson
: >"$input"
if [ -x /usr/lib/apt/apt-helper ]; then
    # `head` ends early on purpose, and then its writers do.
    (set +o pipefail; if [ "$profile" = debug ]; then stanzas | head -n "$records"; else stanzas; fi) >"$input"
fi
packages=$(wc -l <"$input")
if [ "$packages" -lt "$records" ]; then
    (set +o pipefail; source_lines | head -n $((records - packages))) >>"$input"
fi
total=$(wc -l <"$input")
[ "$total" -ge "$records" ] || fail "only $total records were found on this machine"
echo "records: $total ($packages packages, $((total - packages)) lines of source)," \
    "$(du -h "$input" | cut -f 1)"

# ---- three processes --------------------------------------------------------------------------------

# Starts a node and waits until it says that it is ready; fails if it ends instead.
start() {
    local name=$1 log=$work/$1.out deadline=$((SECONDS + 60))
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

stop_all() {
    for name in "${!pids[@]}"; do
        kill -9 "${pids[$name]}" 2>/dev/null || true
        wait "${pids[$name]}" 2>/dev/null || true
        unset "pids[$name]"
    done
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

# The UDP ports have to be known before the first node starts, and may be taken: then try others.
for attempt in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf "$work/cluster"
    "$program" init --cluster-dir "$work/cluster" --base-port $((20000 + RANDOM)) >"$work/init.log"
    if start n1 && start n2 && start n3; then break; fi
    stop_all
    [ "$attempt" -lt 10 ] || { cat "$work"/n?.log >&2; fail "the nodes do not start"; }
done
meet
echo "three nodes: ${urls[n1]} ${urls[n2]} ${urls[n3]}"

held() { # how many records a node holds
    "$program" --json status --url "$1" 2>/dev/null | sed -n 's/^ *"records": *\([0-9]*\).*/\1/p'
}

until_held() { # waits until the first node holds so many records; 1 if the import ended before
    local count
    while kill -0 "$import" 2>/dev/null; do
        count=$(held "${urls[n1]}")
        [ "${count:-0}" -lt "$1" ] || return 0
    done
    return 1
}

# ---- the import, and the crash ----------------------------------------------------------------------

# Runs until every record is committed; what is committed is not written again.
import_all() {
    local attempt
    for attempt in 1 2 3 4 5 6 7 8 9 10; do
        "$program" import "$input" --namespace real --w 2 --state "$work/state" --url "${urls[n1]}" \
            >>"$work/import.out" &
        # Where the shell that is cleaning up finds it: it is a child of this function's own shell.
        echo $! >"$work/import.pid"
        wait $! && return 0
        echo "import: attempt $attempt did not finish, again" >&2
    done
    return 1
}

began=$(date +%s.%N)
import_all &
import=$!

until_held $((total / 4)) || fail "the import was over before a node could be killed"
kill -9 "${pids[n3]}"
wait "${pids[n3]}" 2>/dev/null || true
unset 'pids[n3]'
echo "n3 killed with kill -9 at $(held "${urls[n1]}") of $total records"

until_held $((total / 2)) || fail "the import was over before the node could be started again"
start n3 || fail "n3 does not start after kill -9: $(tail -n 5 "$work/n3.log")"
echo "n3 started again at $(held "${urls[n1]}") of $total records"

wait "$import" || fail "not everything could be committed: $(tail -n 3 "$work/import.out")"
imported=$(date +%s.%N)
sed 's/^/import: /' "$work/import.out"

# ---- the three hold the same ------------------------------------------------------------------------

same() {
    local name
    for name in n1 n2 n3; do
        "$program" export --url "${urls[$name]}" --output "$work/$name.ndjson" 2>/dev/null || return 1
    done
    [ "$(wc -l <"$work/n1.ndjson")" -eq "$total" ] &&
        cmp -s "$work/n1.ndjson" "$work/n2.ndjson" && cmp -s "$work/n1.ndjson" "$work/n3.ndjson"
}

deadline=$((SECONDS + 300))
until same; do
    if [ "$SECONDS" -ge "$deadline" ]; then
        wc -l "$work"/n?.ndjson >&2 || true
        fail "the exports still differ"
    fi
done
converged=$(date +%s.%N)

seconds() { awk -v from="$1" -v to="$2" 'BEGIN { printf "%.1f", to - from }'; }
for name in n1 n2 n3; do
    echo "$name: $(wc -l <"$work/$name.ndjson") records, sha256 $(sha256sum <"$work/$name.ndjson" | cut -d ' ' -f 1)"
done
echo "imported in $(seconds "$began" "$imported") s, identical and exported" \
    "$(seconds "$imported" "$converged") s later"
echo "OK: every record committed at W=2, and the three exports are identical"
