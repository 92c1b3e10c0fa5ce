#!/usr/bin/env bash
# Run a command for each change of the keys that match, with nothing but bash and netcat:
#
#     docs/examples/on_change.sh PATTERN FILE COMMAND...      such as: 'deploy/*' ~/deploy.position ./deploy
#
# The command gets two more words, the verb (SET, DEL or EXPIRE) and the key, and the value on standard input.  FILE
# keeps the position of the last change that was handled: started again, the script goes on after it and misses nothing.
# A command that fails ends the script; the next start runs it again for the same change.  KVCTL_ADDR, as HOST:PORT,
# names the daemon.
set -eu

if [ $# -lt 3 ]; then
    echo "usage: on_change.sh PATTERN FILE COMMAND...     such as: 'deploy/*' ~/deploy.position ./deploy" >&2
    exit 2
fi
pattern=$1 file=$2
shift 2
address=${KVCTL_ADDR:-127.0.0.1:5830}

keep() { # in one step, so that a crash leaves the old position or the new one
    printf '%s\n' "$1" >"$file.new"
    mv "$file.new" "$file"
}

ask="WATCH $pattern"
[ -s "$file" ] && ask="RESUME $(<"$file") $pattern"

# The daemon says PROGRESS every 10 seconds; after 30 seconds without a line it is given up.
while IFS= read -r -t 30 line; do
    read -r word position verb key _ <<<"$line"
    case $word in
        CHANGE)
            case $verb in
                SET) printf '%s' "${line#"CHANGE $position SET $key "}" ;;
                SET64) printf '%s' "${line##* }" | base64 -d ;;
            esac | "$@" "${verb%64}" "$key"
            keep "$position"
            ;;
        OK | PROGRESS) [ -z "$position" ] || keep "$position" ;;
        END) keep "$position" ;;
        ERR)
            [ ! -s "$file" ] || line+=" (remove $file to begin anew, without the changes until now)"
            echo "on_change: $line" >&2
            exit 1
            ;;
    esac
done < <(printf '%s\nPROGRESS 10\n' "$ask" | nc "${address%:*}" "${address##*:}")
echo "on_change: the daemon is gone; start again to go on where it stopped" >&2
exit 1
