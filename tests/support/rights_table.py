"""Which rights each request needs: the table that the code is compared with.

Whoever adds a verb, or an option, adds lines with it here.
"""

from kvd.access.needs import Need, Who
from kvd.access.rights import Right

READ, WRITE, WATCH = Right.READ, Right.WRITE, Right.WATCH

K, ANY_K = b"k", b"k*"
R, W = Need(READ, K), Need(WRITE, K)
PART = Need(READ, ANY_K, partly=True)
WATCHES = Need(WATCH, ANY_K)
ADMIN = Need(Right.ADMIN, b"*")

NEEDS: dict[str, set[Need]] = {
    "GET k": {R},
    "GETS k": {R},
    "TTL k": {R},
    "GET k min=7@s": {R},
    "GETS k min=7@s": {R},
    "SET k v": {W},
    "PUT k = v": {W},
    "PUT k ttl=5 = v": {W},
    "PUT k base64=1 = AA==": {W},
    "PUT k if=0 = v": {W},
    "PUT k if=0@s = v": {W},
    "PUT k if=7 = v": {W, R},
    "PUT k if=7@s = v": {W, R},
    "PUT k with=o = v": {W, Need(WRITE, b"o")},
    "PUT k with=o if=7 = v": {W, R, Need(WRITE, b"o")},
    "PUT k* with=o = v": {Need(WRITE, ANY_K), Need(WRITE, b"o")},
    "PUT k* = v": {Need(WRITE, ANY_K)},
    "PUT k* ttl=5 = v": {Need(WRITE, ANY_K)},
    "DEL k": {W},
    "DEL k if=0": {W},
    "DEL k if=7": {W, R},
    "DEL k*": {Need(WRITE, ANY_K)},
    "DEL k* limit=1": {Need(WRITE, ANY_K)},
    "TOUCH k ttl=5": {W},
    "TOUCH k ttl=-": {W},
    "TOUCH k ttl=5 if=0": {W},
    "TOUCH k ttl=5 if=7": {W, R},
    "INCR k": {W, R},
    "INCR k 5": {W, R},
    "CHECK k": {R},
    "CHECK k if=0": {R},
    "CHECK k if=7": {R},
    "CHECK k* if=0": {Need(READ, ANY_K)},
    "CHECK k* since=7@s": {Need(READ, ANY_K)},
    "KEYS k*": {PART},
    "KEYS k* limit=5": {PART},
    "LIST k* after=ka before=kz reverse fold=/": {PART},
    "KEYS k* with=o": {PART, Need(READ, b"o")},
    "COUNT k*": {PART},
    "COUNT k* min=7@s": {PART},
    "LIST k* min=7@s": {PART},
    "WATCH k*": {WATCHES},
    "WATCH *keys k*": {WATCHES},
    "WATCH k* j": {WATCHES, Need(WATCH, b"j")},
    "RESUME 7@s k*": {WATCHES},
    "RESUME 7@s *keys k*": {WATCHES},
    "SYNC k*": {WATCHES, PART},
    "FOLLOW - k*": {WATCHES, PART},
    "FOLLOW 7@s *keys k*": {WATCHES, PART},
    "CHANGES 7@s k*": {WATCHES},
    "CHANGES 7@s *limit=5 *keys k*": {WATCHES},
    "CLIENTS after=7-1 limit=5": {ADMIN},
    "KICK 7-1": {ADMIN},
    "INFO quotas": {ADMIN},
}
FREE = {
    "BEGIN": Who.USER, "COMMIT": Who.USER, "ABORT": Who.USER, "PROGRESS 5": Who.USER, "UNWATCH": Who.USER,
    "PING x": Who.ANYBODY, "INFO": Who.ANYBODY, "INFO store": Who.ANYBODY, "HELP GET": Who.ANYBODY,
    "AUTH a b": Who.ANYBODY, "QUIT": Who.ANYBODY,
}  # fmt: skip
