# fish completion for securechat. Made by tools/share.py from the program's settings.

function __securechat_hosts
    set -l config $HOME/.config
    set -q XDG_CONFIG_HOME; and set config $XDG_CONFIG_HOME
    sed -n 's/^[[:space:]]*\[host\."\{0,1\}\([^]"]*\)"\{0,1\}\].*/\1/p' "$config/securechat/client.toml" 2>/dev/null
end

complete -c securechat -f -a '(__securechat_hosts)'
complete -c securechat -s F -l config -r -F -d 'configuration file, with these options and names of servers, in TOML'
complete -c securechat -s i -l identity -r -F -d 'your private Ed25519 key, or the public key of one in ssh-agent'
complete -c securechat -l agent -d 'authenticate with the keys in ssh-agent'
complete -c securechat -l known-hosts -r -F -d 'host keys of known servers, in OpenSSH\'s format'
complete -c securechat -l host-key -x -d 'connect only to a server whose host key has this fingerprint'
complete -c securechat -l accept-new -d 'accept and save the host key of an unknown server without asking'
complete -c securechat -l suite -x -a 'mlkem768x25519-chacha20poly1305 rsa2048-fernet' -d 'cipher suite'
complete -c securechat -s m -l message -x -d 'send this message, print the reply and exit; can be repeated'
complete -c securechat -l stdin -d 'send all of standard input as one message, below the first -m; the default for a pipe'
complete -c securechat -l lines -d 'send each line of standard input as a message'
complete -c securechat -l json -d 'print a JSON object for each message, on one line, when its reply has ended'
complete -c securechat -l wait -d 'after the last reply, wait in the foreground until the connection can be closed without revealing the reply\'s length, and not in the background'
complete -c securechat -l serve -x -d 'serve an OpenAI-compatible HTTP API on this port of this machine, or on unix:PATH, and pass its requests to the server'
complete -c securechat -l serve-sessions -x -d 'requests of the API that are carried out at the same time, each in a session of its own'
complete -c securechat -l serve-key-file -r -F -d 'file with the API key that the API\'s clients have to send'
complete -c securechat -l serve-open -d 'require no API key: every user and program on this machine may send requests'
complete -c securechat -l serve-origin -x -d 'allow requests from web pages of this origin; can be repeated'
complete -c securechat -l serve-any-address -d 'let --serve listen on addresses that other machines can reach, unencrypted, as in a container'
complete -c securechat -l print-env -d 'print the API\'s URL and key as shell commands, for eval, and exit'
complete -c securechat -s q -l quiet -d 'print only errors; with --serve, log no requests and show no status'
complete -c securechat -s v -l verbose -d 'print debugging messages'
complete -c securechat -l no-history -d 'neither read nor keep the history of what you type'
complete -c securechat -l save-conversations -d 'save each conversation held at a terminal, for --continue and --resume'
complete -c securechat -l continue -d 'continue the conversation saved last, on this server or another'
complete -c securechat -l resume -x -d 'continue the conversation saved under this name or in this file'
complete -c securechat -s h -l help -d 'show this help message and exit'
complete -c securechat -l version -d 'show the version and exit'
