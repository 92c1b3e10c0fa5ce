#!/usr/bin/env bash
# The adapter with which ../conformance certifies kvd.sh.  Members are strings, so that JSON is read with little ado.
. "${BASH_SOURCE%"${BASH_SOURCE##*/}"}./kvd.sh"

member() { # NAME: sets $found to that member of $line, or fails
    local pattern="\"$1\": \"(([^\"\\\\]|\\\\.)*)\""
    [[ $line =~ $pattern ]] || return 1
    printf -v found %b "${BASH_REMATCH[1]//\\\"/\"}"
}
json() { # TEXT: as a string
    local text=${1//\\/\\\\}
    text=${text//\"/\\\"}
    printf '"%s"' "${text//$'\t'/\\t}"
}
told() { if [ "$KVD_BYTES" ]; then printf '"%s64": "%s"' "$1" "$KVD_VALUE"; else printf '"%s": %s' "$1" "$(json "$KVD_VALUE")"; fi; }
failed() { # MEMBERS in front
    case $KVD_ERROR in
    none) echo '{"ok": null}' ;;
    conflict) printf '{"conflict": "%s"}\n' "$KVD_REVISION" ;;
    *) printf '{%s"error": "%s"%s}\n' "$1" "$KVD_ERROR" "${KVD_RETRY:+, \"retry\": \"$KVD_RETRY\"}" ;;
    esac
}
follow() {
    member position && position=$found
    member patterns
    local IFS=' '
    set -f
    kvd_follow "$position" $found || { failed; return; }
    echo '{"ok": ""}'
    while kvd_next; do
        case $KVD_EVENT in
        set | pair) printf '{"event": "%s", "position": "%s", "key": %s, %s}\n' \
            "$KVD_EVENT" "$KVD_POSITION" "$(json "$KVD_KEY")" "$(told value)" ;;
        *) printf '{"event": "%s", "position": "%s", "key": %s}\n' "$KVD_EVENT" "$KVD_POSITION" "$(json "$KVD_KEY")" ;;
        esac
    done
    failed '"event": "error", '
}

while IFS= read -r line; do
    options=
    member key && key=$found
    member op && op=$found
    member ttl && options="ttl=$found"
    member if && options+="${options:+ }if=$found"
    member value && value=$found
    if member value64; then
        options+="${options:+ }base64" value=$found
        [ "$op" != set ] || op=put
    fi
    case $op in
    connect)
        member address && KVD_ADDRESS=$found
        member timeout && KVD_TIMEOUT=$found
        member user && KVD_USER=$found
        member password && KVD_PASSWORD=$found
        echo '{"ok": ""}'
        ;;
    get) kvd_get "$key" && printf '{%s}\n' "$(told ok)" || failed ;;
    set) kvd_set "$key" "$value" && printf '{"ok": "%s"}\n' "$KVD_REVISION" || failed ;;
    put) kvd_put "$key" "$options" "$value" && printf '{"ok": "%s"}\n' "$KVD_REVISION" || failed ;;
    del) kvd_del "$key" "$options" && printf '{"ok": "%s"}\n' "$KVD_REVISION" || failed ;;
    follow) follow ;;
    esac
done
