# A client of kvd for bash 5, with no other program.  Source it, and set KVD_ADDRESS to HOST:PORT; KVD_TIMEOUT is how many
# seconds without a byte, while one is due, a connection is given (30).  It logs in as KVD_USER with KVD_PASSWORD, if set.
# What fails returns 1 and sets KVD_ERROR: the daemon's code, also `unavailable` (certainly not done), `uncertain` (perhaps
# done), `conflict`, and `none` where there is no such key; KVD_RETRY: seconds, where the daemon told them; KVD_REVISION: of
# a conflict, and of a write.  Variables hold no NUL: a byte value comes in base64, with KVD_BYTES=1; kvd_decode writes it.
KVD_STATUS_WORDS=' OK OK64 NONE CONFLICT ERR ' KVD_HINT='^[^ ]* retry=([0-5]?[0-9](\.[0-9]+)?|60)( |$)' # closed for good
KVD_ALPHABET=ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/
exec {KVD_NEVER}<> <(:) # nothing ever comes from it, so that it can be waited for

kvd_get() { kvd_check "$1" && kvd_ask again "GET $1" && kvd_value "$KVD_WORD" "$KVD_REST"; } # KEY
kvd_set() { kvd_check "$1" $# 2 && kvd_put "$1" '' "$2"; } # KEY VALUE
kvd_put() { # KEY OPTIONS VALUE; OPTIONS: ttl=SECONDS, if=REVISION (0: a new key only), base64 (VALUE is so encoded)
    local LC_ALL=C options=${2:+ $2} value=$3
    kvd_check "$1" $# 3 || return 1
    if [[ " $2 " != *' base64 '* && $value == *[!$'\t'\ -~]* ]]; then # the daemon sees for itself whether it is text
        options+=" base64=${#value}" value=$(printf %s "$value" | kvd_encode)
    fi
    kvd_ask once "PUT $1$options = $value" && KVD_REVISION=${KVD_REST//[!0-9]/} # an expression could run commands
}
kvd_del() { kvd_check "$1" && kvd_ask once "DEL $1${2:+ $2}" && KVD_REVISION=${KVD_REST//[!0-9]/}; } # KEY [if=REVISION]
kvd_close() { [ -z "$KVD_FD" ] || exec {KVD_FD}<&-; KVD_FD=; }
kvd_follow() { # POSITION PATTERN...: kvd_next gives the events after it, for ever; with a copy first for the position -
    for KVD_KEY in "${@:2}"; do [ "$KVD_KEY" = '*' ] || kvd_check "${KVD_KEY%\*}" || return 1; done
    KVD_POSITION=$1 KVD_PATTERNS=${*:2} KVD_PAUSE=100 KVD_WATCH=
}
kvd_next() { # sets KVD_EVENT (set del expire, copy pair gone copied, position), KVD_KEY, KVD_VALUE, KVD_BYTES, KVD_POSITION
    local LC_ALL=C
    KVD_EVENT= KVD_KEY= KVD_VALUE= KVD_BYTES=
    while [ -z "$KVD_EVENT" ]; do
        KVD_ERROR=unavailable KVD_RETRY=
        kvd_step && continue
        [ -z "$KVD_WATCH" ] || exec {KVD_WATCH}<&-
        KVD_WATCH=
        case $KVD_ERROR in
        compacted | store | future) KVD_POSITION=- ;;
        unavailable) ;; # the next connection goes on where this one ended
        *) return 1 ;;
        esac
        kvd_rest KVD_PAUSE
    done
    KVD_PAUSE=100
}
kvd_step() { # one line of a watch
    local third new word
    if [ -z "$KVD_WATCH" ]; then
        kvd_open KVD_WATCH || { [ -z "$KVD_REFUSED" ] || kvd_error "$KVD_REFUSED"; return 1; }
        KVD_ANSWERED=0 KVD_COPYING= KVD_ENDED= third=$(($(kvd_ms) / 3))
        printf -v third %d.%03d $((third / 1000)) $((third % 1000)) # without PROGRESS silence could not be told from quiet
        kvd_send "$KVD_WATCH" "PROGRESS $third"$'\n'"FOLLOW $KVD_POSITION $KVD_PATTERNS"
    fi
    [ -z "$KVD_ENDED" ] || { kvd_error "$KVD_ENDED"; return 1; }
    kvd_line "$KVD_WATCH" || return 1
    case $KVD_ANSWERED:$KVD_COPYING:$KVD_WORD in
    ?:*:ERR) kvd_error "$KVD_REST"; return 1 ;;
    0::OK) KVD_ANSWERED=1 ;; # that of PROGRESS
    1:+:OK) [[ $KVD_REST =~ ^[0-9]+@[^\ @]+$ ]] && KVD_ANSWERED=2 KVD_COPYING= KVD_POSITION=$KVD_REST KVD_EVENT=copied ;;
    1::OK) [ "$KVD_REST" = "$KVD_POSITION" ] && KVD_ANSWERED=2 KVD_EVENT=position ;;
    1:*:COPY) KVD_COPYING=+ KVD_EVENT=copy ;;
    1:+:PAIR | 1:+:PAIR64) kvd_change pair "$KVD_WORD" "${KVD_REST#* }" ;;
    1:+:GONE) kvd_change gone "$KVD_WORD" "${KVD_REST#* }" ;;
    2::CHANGE | 2::PROGRESS | 2::END)
        new=${KVD_REST%% *} word=$KVD_WORD KVD_REST=${KVD_REST#* }
        [ "$word" != END ] || KVD_ENDED="unavailable ${KVD_REST#* }"
        [ "${new#*@}" = "${KVD_POSITION#*@}" ] || return 1 # another store's, without a copy
        [ "${new%@*}" -gt "${KVD_POSITION%@*}" ] || return 0 # it was told before
        KVD_POSITION=$new KVD_EVENT=position KVD_WORD=${KVD_REST%% *}
        [ "$word" != CHANGE ] || kvd_change "${KVD_WORD%64}" "$KVD_WORD" "${KVD_REST#* }"
        ;;
    *) [[ $KVD_STATUS_WORDS != *" $KVD_WORD "* ]] ;; # at a status word the place is lost; other words are skipped
    esac
}
kvd_change() { KVD_EVENT=${1,,} KVD_KEY=${3%% *}; kvd_value "$2" "${3:${#KVD_KEY}+1}"; } # EVENT WORD, and KEY with VALUE
kvd_value() { KVD_VALUE=$2 KVD_BYTES=; [[ $1 != *64 ]] || KVD_BYTES=1; } # WORD VALUE
kvd_ask() { # again|once REQUEST: when no reply came; what was not sent yet may always be sent
    local LC_ALL=C pause=100 sent deadline=$((${EPOCHREALTIME/[.,]/} / 1000 + $(kvd_ms)))
    KVD_RETRY=
    while :; do
        # What came unasked means that the place is lost, or that the connection has ended.
        if [ -n "$KVD_FD" ] && read -r -t 0 -u "$KVD_FD"; then kvd_close; fi
        [ -n "$KVD_FD" ] || kvd_open KVD_FD || [ -z "$KVD_REFUSED" ] || { kvd_error "$KVD_REFUSED"; return 1; }
        sent=$KVD_FD
        [ -z "$sent" ] || kvd_send "$sent" "$2"
        while [ -n "$sent" ] && kvd_line "$KVD_FD"; do
            case $KVD_WORD in
            OK | OK64) return 0 ;;
            NONE) KVD_ERROR=none; return 1 ;;
            CONFLICT) KVD_ERROR=conflict KVD_REVISION=${KVD_REST//[!0-9]/}; return 1 ;;
            ERR) kvd_error "$KVD_REST"; return 1 ;;
            esac # whatever else comes is skipped
        done
        kvd_close
        [ -z "$sent" ] || [ "$1" = again ] || { KVD_ERROR=uncertain; return 1; }
        ((${EPOCHREALTIME/[.,]/} / 1000 < deadline)) || { KVD_ERROR=unavailable; return 1; }
        kvd_rest pause
    done
}
kvd_open() { # NAME: of the variable for the connection
    local host=${KVD_ADDRESS%:*} fd
    host=${host#[} host=${host%]} KVD_WORD=OK KVD_REFUSED=; [[ $KVD_ADDRESS == *:?* ]] || { KVD_REFUSED=usage; return 1; }
    { exec {fd}<>"/dev/tcp/$host/${KVD_ADDRESS##*:}"; } 2>/dev/null || return 1
    [ -z "$KVD_USER" ] || { KVD_WORD=; kvd_send "$fd" "AUTH $KVD_USER $KVD_PASSWORD"; kvd_line "$fd"; }
    [ "$KVD_WORD" != ERR ] || KVD_REFUSED=$KVD_REST
    if [ "$KVD_WORD" = OK ]; then printf -v "$1" %s "$fd"; else exec {fd}<&- && return 1; fi
}
kvd_send() { (trap '' PIPE; printf '%s\n' "$2" >&"$1") 2>/dev/null || :; } # FD TEXT; an end shows when the reply is read
kvd_line() { # FD: sets KVD_WORD, and KVD_REST after one space
    local line= piece status
    until IFS= read -r -t "${KVD_TIMEOUT:-30}" -u "$1" piece; do
        status=$? line+=$piece
        [[ $status -gt 128 && -n $piece ]] || return 1 # while something comes it is not silent
    done
    line+=$piece line=${line%$'\r'} KVD_WORD=${line%% *} KVD_REST=
    [[ $line != *' '* ]] || KVD_REST=${line#* }
}
kvd_error() { KVD_ERROR=${1%% *}; [[ ! $1 =~ $KVD_HINT || ${BASH_REMATCH[1]} != *[1-9]* ]] || KVD_RETRY=${BASH_REMATCH[1]}; }
kvd_check() { # KEY [WORDS EXPECTED]; of a value that was not quoted only the first word would be written
    local LC_ALL=C; [ "${2-}" = "${3-}" ] || { KVD_ERROR=usage KVD_RETRY=; return 1; }
    [[ -n $1 && $1 != *[[:space:][:cntrl:]*]* ]] || { KVD_ERROR=bad-key KVD_RETRY=; return 1; }
}
kvd_ms() { # KVD_TIMEOUT in milliseconds
    [[ ${KVD_TIMEOUT:-30}.000 =~ ^([0-9]+)\.([0-9]*)\.?0 ]]
    local part=${BASH_REMATCH[2]}000
    echo $((BASH_REMATCH[1] * 1000 + 10#${part:0:3}))
}
kvd_rest() { # NAME: of a pause in milliseconds, which grows
    local seconds=$(($1 / 2 + RANDOM * $1 / 65536))
    printf -v seconds %d.%03d $((seconds / 1000)) $((seconds % 1000))
    read -r -t "${KVD_RETRY:-$seconds}" -u "$KVD_NEVER"
    printf -v "$1" %d $(($1 < 5000 ? $1 * 2 : 10000))
}
kvd_encode() { # writes standard input in base64
    local LC_ALL=C byte code number=0 bits=0 out=
    while IFS= read -r -d '' -n 1 byte; do
        printf -v code %d "'$byte"
        ((number = (number << 8 | code & 255) & 0xffff, bits += 8))
        for (( ; bits >= 6; bits -= 6)); do out+=${KVD_ALPHABET:number >> bits - 6 & 63:1}; done
    done
    ((bits == 0)) || out+=${KVD_ALPHABET:number << 6 - bits & 63:1}
    while ((${#out} % 4)); do out+='='; done
    echo "$out"
}
kvd_decode() { # BASE64: writes the bytes
    local LC_ALL=C number=0 bits=0 at before
    for ((at = 0; at < ${#1}; at++)); do
        before=${KVD_ALPHABET%%"${1:at:1}"*}
        ((${#before} < 64 && (number = (number << 6 | ${#before}) & 0xffff, bits += 6))) || break # at =
        ((bits < 8)) || printf "\\x$(printf %02x $((number >> bits - 8 & 255)))"
        ((bits < 8 || (bits -= 8, 1)))
    done
}
