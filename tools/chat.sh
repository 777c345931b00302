#!/bin/sh
# A daemon and a client on this machine, for "make chat"; the daemon lives as long as the conversation.
# Usage: tools/chat.sh DIRECTORY_OF_TWISTD_AND_SECURECHAT

set -eu
programs=$1
state=$(mktemp -d)
log=$state/log
: > "$log"

"$programs/twistd" -n --pidfile= securechat --listen tcp:0:interface=127.0.0.1 --state-dir "$state" > "$log" 2>&1 &
daemon=$!
# A daemon that cannot be stopped has stopped before its time: its log says why.
trap 'kill $daemon 2> /dev/null || cat "$log" >&2; wait $daemon 2> /dev/null || :; rm -rf "$state"' EXIT
trap : INT  # Ctrl-C is the client's affair
trap 'exit 1' HUP TERM

# The kernel chose the port; the daemon logs it once it listens.
until port=$(sed -n 's/.* starting on \([0-9][0-9]*\)$/\1/p' "$log") && [ "$port" ]; do
	kill -0 $daemon 2> /dev/null || exit 1
	sleep 0.1
done

"$programs/securechat" --known-hosts "$state/known_hosts" --accept-new "127.0.0.1:$port"
