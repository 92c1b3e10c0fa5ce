#!/usr/bin/env bash
# Follows a prefix: prints what is there and every change, each once, through restarts of the daemon and its own.
#
# Usage: example.sh HOST:PORT PREFIX FILE
#
# FILE keeps the position; without it the first thing is a copy.
. "${BASH_SOURCE%"${BASH_SOURCE##*/}"}./kvd.sh"

[ $# = 3 ] || { echo 'usage: example.sh HOST:PORT PREFIX FILE' >&2; exit 2; }
KVD_ADDRESS=$1
position=-
if [ -e "$3" ]; then
    position=
    read -r position <"$3"
    [ -n "$position" ] || { echo "$3: it holds no position: remove it to begin with a copy" >&2; exit 1; }
fi
declare -A copy
trap '' PIPE # a reader who went away is an error of the one who prints
fail() { echo "kvd: $KVD_ERROR" >&2; exit 1; }
show() { printf "$@" || exit 1; }

kvd_follow "$position" "$2*" || fail
while kvd_next; do
    case $KVD_EVENT in
    copy) copy=() ;;
    pair) copy[$KVD_KEY]=$KVD_VALUE ;;
    gone) unset 'copy[$KVD_KEY]' ;; # so quoted, no command in a key is run
    copied) for key in "${!copy[@]}"; do show 'is %s %s\n' "$key" "${copy[$key]}"; done ;;
    set) show 'set %s %s\n' "$KVD_KEY" "$KVD_VALUE" ;;
    del | expire) show '%s %s \n' "$KVD_EVENT" "$KVD_KEY" ;;
    esac
    case $KVD_EVENT in copy | pair | gone) continue ;; esac
    # What is printed is done: only then is its position kept, in one step.
    printf '%s\n' "$KVD_POSITION" >"$3.new" && mv "$3.new" "$3" || exit 1
done
fail
