#!/usr/bin/env bash
# Two nodes are one Kelpie: an agent that is made through one answers through the other, and goes on in the middle of an
# answer when its node is killed, which is back a moment later. By hand, in two terminals:
#
#   KELPIE_NODE=node1 npm start -- --port 8283
#   KELPIE_NODE=node2 npm start -- --port 8284 --join localhost:8283
#
# Needs bash and curl. PORT1 and PORT2 choose other ports.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -x node_modules/.bin/node ] || node scripts/setup.mjs
port1=${PORT1:-18283} port2=${PORT2:-18284}
folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$folder"' EXIT
export KELPIE_DISCOVER_LOCAL=no

kelpie() { node_modules/.bin/node src/main.ts "$@"; }
until_ready() {
  for _ in $(seq 600); do curl -sf "http://localhost:$1/v1/ready" >/dev/null && return; sleep 0.1; done
  echo "No node answers at port $1:"; cat "$folder"/node*; exit 1
}

KELPIE_NODE=node1 node_modules/.bin/node src/main.ts serve --json --port "$port1" --data "$folder/data" >"$folder/node1" 2>&1 &
until_ready "$port1"
KELPIE_NODE=node2 node_modules/.bin/node src/main.ts serve --port "$port2" --join "localhost:$port1" >"$folder/node2" 2>&1 &
until_ready "$port2"
kelpie nodes --server "http://localhost:$port2"

echo; echo "An agent is made through node1, and answers through node2:"
agent=$(kelpie agents create --name Ada --server "http://localhost:$port1" 2>/dev/null)
kelpie chat --agent "$agent" -m "Remember that my name is Ada" --server "http://localhost:$port1"
kelpie chat --agent "$agent" -m "What is my name?" --server "http://localhost:$port2"

echo; echo "It counts to 200; node1 is killed with SIGKILL on the way:"
curl -sN "http://localhost:$port1/v1/agents/$agent/messages/stream" -H "content-type: application/json" \
  -d '{"messages":[{"role":"user","content":"Count to 200"}],"background":true,"stream_tokens":true}' >"$folder/stream" &
until grep -q '"seq_id":30,' "$folder/stream"; do sleep 0.05; done
kill -9 "$(grep -o '"pid":[0-9]*' "$folder/node1" | cut -d: -f2)"
wait %?stream 2>/dev/null || true

# Whole lines only: the last one may have been cut.
grep -o '^data: {.*"assistant_message".*}$' "$folder/stream" >"$folder/seen"
run=$(grep -o '"run_id":"[^"]*"' "$folder/seen" | head -1 | cut -d'"' -f4)
last=$(tail -1 "$folder/seen" | grep -o '"seq_id":[0-9]*' | cut -d: -f2)
echo "$(wc -l <"$folder/seen") events came from node1. The rest of $run comes from node2:"
kelpie runs follow "$run" --after "$last" --json --server "http://localhost:$port2" >>"$folder/seen"
echo "The supervisor of node1 has started it again:"
until_ready "$port1"
kelpie nodes --server "http://localhost:$port2"

grep '"assistant_message"' "$folder/seen" | sed 's/.*"content":"\([^"]*\)".*/\1/' | tr -d '\n' | tr -s ' ' '\n' >"$folder/numbers"
echo >>"$folder/numbers"
diff <(seq 200) "$folder/numbers" && echo "1 to 200, each once."
