#!/bin/sh
# Run a daemon and a client on this machine, for "make chat". The daemon is stopped when the client exits.
# Usage: tools/chat.sh DIRECTORY_OF_TWISTD_AND_SECURECHAT

set -eu
programs=$1
state=$(mktemp -d)
log=$state/log
: > "$log"

"$programs/twistd" -n --pidfile= securechat \
	--listen tcp:0:interface=127.0.0.1 --state-dir "$state" > "$log" 2>&1 &
daemon=$!
# If the daemon is not running any more, it has failed: show its log.
trap 'kill $daemon 2> /dev/null || cat "$log" >&2; wait $daemon 2> /dev/null || :; rm -rf "$state"' EXIT
trap : INT  # the client handles Ctrl-C
trap 'exit 1' HUP TERM

# The kernel chooses the port; the daemon logs it when it listens.
until port=$(sed -n 's/.* starting on \([0-9][0-9]*\)$/\1/p' "$log") && [ "$port" ]; do
	kill -0 $daemon 2> /dev/null || exit 1
	sleep 0.1
done

"$programs/securechat" --known-hosts "$state/known_hosts" --accept-new "127.0.0.1:$port"
