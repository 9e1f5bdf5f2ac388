# shellcheck shell=bash disable=SC2034 # what this sets is for the scripts
# What the checks beside it share. They source it with the path of the podero-facade binary as $1, and
# expect curl, jq and grpcurl on PATH.

name=$(basename "$0")
e2e=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
facade=$(realpath "${1:?the path of the podero-facade binary}")
work=$(mktemp -d)
checks=0 failed=0 complete=
declare -A started # the processes to end, by name

# Settings of the caller's would change what is checked, and a proxy would hide what is on loopback.
for variable in "${!PODERO_FACADE_@}" "${!OTEL_@}"; do unset "$variable"; done
export NO_PROXY='*' no_proxy='*'

org=016b78a7-0c7c-4241-a277-015c3ad3cb90
api=/api/partners/v2.0

finish() {
  local status=$?
  trap - EXIT
  for program in "${!started[@]}"; do cut_off "$program" || true; done
  rm -rf "$work"
  [ -n "$complete" ] || bad "the script" "it ended early, with status $status"
  echo "e2e $name: $checks checks, $failed failed"
  exit $((failed > 0))
}
trap finish EXIT
trap 'exit 1' INT TERM

# The last line of every script.
end() { complete=yes; }

ok() { checks=$((checks + 1)) && echo "ok  $1"; }
bad() { checks=$((checks + 1)) failed=$((failed + 1)) && echo "FAIL $1, $2"; }

# equal WHAT WANT GOT
equal() { if [ "$2" = "$3" ]; then ok "$1"; else bad "$1" "wanted $2, saw $3"; fi; }

# contains WHAT PART GOT
contains() { if [[ $3 == *"$2"* ]]; then ok "$1"; else bad "$1" "wanted something with $2, saw $3"; fi; }

# poll SECONDS COMMAND...: whether the command succeeds in that time.
poll() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < end)) || return 1
    sleep 0.05
  done
}

# start NAME COMMAND...: runs a program in the background with its output in $work/NAME.out and .err.
start() {
  : >"$work/$1.out" && : >"$work/$1.err"
  "${@:2}" >"$work/$1.out" 2>"$work/$1.err" &
  started[$1]=$!
}

# await NAME TEXT: waits until a started program has written the text.
await() {
  poll 60 wrote_or_gone "$1" "$2" || true
  wrote "$1" "$2" && return
  echo "$1 did not get to write '$2', but:"
  tail -n 20 "$work/$1.out" "$work/$1.err"
  return 1
}
wrote() { grep -qFe "$2" "$work/$1.out" "$work/$1.err"; }
wrote_or_gone() { wrote "$@" || gone "$1"; }
gone() { ! kill -0 "${started[$1]}" 2>/dev/null; }

# serve FLAG...: starts the service, with its addresses in $grpc, $http and $admin.
serve() {
  start serve "$facade" serve --grpc-listen 127.0.0.1:0 --http-listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 \
    --shutdown-drain-delay 0s "$@"
  await serve '"msg":"serving"'
  read -r grpc http admin < <(jq -r 'select(.msg == "serving") | "\(.grpc) \(.http) \(.admin)"' "$work/serve.err")
}

# stop NAME: ends a program as an operator would.
stop() {
  local status=0
  kill -TERM "${started[$1]}"
  poll 10 gone "$1" || bad "$1: ending on SIGTERM" "it still runs 10 s later"
  cut_off "$1" || status=$?
  equal "$1: the status it ends with on SIGTERM" 0 "$status"
}

# cut_off NAME: ends a program, if it still runs, and returns its exit status.
cut_off() {
  local pid=${started[$1]}
  unset "started[$1]"
  kill -KILL "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null # which would say that it was killed
}

# fetch URL [CURL ARGUMENT...]: sets $status, $headers (names in lower case) and $body.
fetch() {
  : >"$work/headers" && : >"$work/body"
  status=$(curl -sS --max-time 15 -D "$work/headers" -o "$work/body" -w '%{http_code}' "${@:2}" "$1" 2>&1) || true
  headers=$(tr -d '\r' <"$work/headers" | sed -E 's/^[^:]+:/\L&/')
  body=$(<"$work/body")
}

# rest EXTERNAL_ID_AND_QUERY [CURL ARGUMENT...]: a lookup over REST.
rest() { fetch "http://$http$api/org/$org/users/by-ext-id/$1" "${@:2}"; }

# rpc EXTERNAL_ID [GRPCURL ARGUMENT...]: a lookup over gRPC. Sets $status (0 for OK) and $body (the
# response, or the error as JSON).
rpc() {
  status=0
  body=$(grpcurl -plaintext -format-error -max-time 15 "${@:2}" \
    -d "$(jq -nc --arg org "$org" --arg id "$1" '{org_id: $org, external_id: $id}')" \
    "$grpc" podero.user.v1.UserService/GetUserByExternalId 2>&1) || status=$(jq .code <<<"$body" 2>/dev/null) || status=$body
}

# user JSON: a user, from REST or gRPC, in one form.
user() { jq -c -L "$e2e" 'include "user"; user' <<<"$1" 2>/dev/null || echo "no user: $1"; }

# reason JSON: the reason of a problem or of a gRPC error.
reason() { jq -r '.reason // (.details[]? | select(."@type" | endswith("ErrorInfo")) | .reason)' <<<"$1"; }

# same WHAT DOCUMENT EXTERNAL_ID [CURL ARGUMENT...]: a lookup gives this user, over REST and over gRPC.
same() {
  rest "$3" "${@:4}"
  equal "$1, REST: 200" 200 "$status"
  equal "$1, REST: the document" "$(user "$2")" "$(user "$body")"
  rpc "$3" "${@:4}"
  equal "$1, gRPC: the document" "$(user "$2")" "$(user "$body")"
}
