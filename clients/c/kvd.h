// A client of kvd: one header.  A kvd is one connection, for one thread, and one watch if it follows:
//
//     kvd k = {.address = "127.0.0.1:5830", .timeout = 30};
//
// It logs in with .user and .password, if there is a user.
// timeout: seconds without a byte, while one is due, until a connection is given up.  What fails returns -1 and sets
// error: the daemon's code, also `unavailable` (certainly not done), `uncertain` (perhaps done) and `conflict`; and retry:
// seconds, -1 where the daemon told none.  What is pointed to stays until the next call.
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef struct {
    const char *address; double timeout; const char *user, *password;
    char error[64], revision[64], position[256], patterns[65536], ended[64], *event, *key, *value;
    size_t size;                    // of the value
    double retry, pause;
    int fd, open, answered, copying;
    char *buffer; size_t used, have, room;
} kvd;

static const char KVD_ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#pragma GCC diagnostic ignored "-Wunused-function"

static int kvd_fail(kvd *k, const char *text) { // CODE TEXT
    const char *told = strstr(text, " retry=");
    k->retry = told && strchr(text, ' ') == told ? atof(told + 7) : -1;
    snprintf(k->error, sizeof k->error, "%.*s", (int)strcspn(text, " "), text);
    return -1;
}

static double kvd_now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec / 1e9; }

static double kvd_rest(double pause, double retry) { // the next pause
    double random = (double)((unsigned long)(kvd_now() * 1e9) * 2654435761u % 1000) / 1000;
    double seconds = retry >= 0 ? retry : pause * (0.5 + random / 2);
    struct timespec t = {(time_t)seconds, (long)((seconds - (time_t)seconds) * 1e9)};
    nanosleep(&t, NULL);
    return pause < 5 ? pause * 2 : 10;
}

static void kvd_close(kvd *k) { if (k->open) close(k->fd); k->open = 0; }

static int kvd_open(kvd *k) {
    char host[256];
    const char *colon = strrchr(k->address, ':'), *from = k->address + (*k->address == '[');
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found, *each;
    struct timeval wait = {(time_t)k->timeout, (long)((k->timeout - (time_t)k->timeout) * 1e6)};
    if (!colon) return -1;
    snprintf(host, sizeof host, "%.*s", (int)(colon - from - (from > k->address)), from);
    if (getaddrinfo(host, colon + 1, &hints, &found)) return -1;
    for (each = found; each && !k->open; each = each->ai_next) {
        if ((k->fd = socket(each->ai_family, each->ai_socktype, 0)) < 0) continue;
        setsockopt(k->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
        setsockopt(k->fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
        setsockopt(k->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        k->open = connect(k->fd, each->ai_addr, each->ai_addrlen) == 0;
        if (!k->open) close(k->fd);
    }
    freeaddrinfo(found);
    k->used = k->have = k->answered = k->copying = k->ended[0] = 0;
    return k->open ? 0 : -1;
}

static char *kvd_line(kvd *k) { // without its end, or NULL
    size_t seen = k->used;
    char *end, *line;
    while (!k->room || !(end = memchr(k->buffer + seen, '\n', k->have - seen))) {
        if (k->used) memmove(k->buffer, k->buffer + k->used, k->have - k->used);
        seen = k->have -= k->used;
        k->used = 0;
        if (k->room - k->have < 65536) k->buffer = realloc(k->buffer, k->room = 2 * k->room + 131072);
        ssize_t came = k->buffer ? recv(k->fd, k->buffer + k->have, 65536, 0) : -1;
        if (came <= 0) return NULL;
        k->have += came;
    }
    line = k->buffer + k->used;
    k->used = end + 1 - k->buffer;
    end[0] = end[-(end > line && end[-1] == '\r')] = 0;
    return line;
}

static char *kvd_cut(char **rest) { // takes the first word off
    char *word = *rest, *space = strchr(word, ' ');
    *rest = space ? space + 1 : word + strlen(word);
    if (space) *space = 0;
    return word;
}

static int kvd_ready(kvd *k) { // connects and logs in; -1: nothing came of it; 1: refused, and error says so
    char request[1200], *rest, *word;
    if (kvd_open(k) || !k->user) return k->open ? 0 : -1;
    send(k->fd, request, snprintf(request, sizeof request, "AUTH %.64s %.1024s\n", k->user, k->password), MSG_NOSIGNAL);
    word = (rest = kvd_line(k)) ? kvd_cut(&rest) : "";
    if (!strcmp(word, "OK")) return 0;
    kvd_close(k); // nothing was asked yet
    return strcmp(word, "ERR") ? -1 : (kvd_fail(k, rest), 1);
}

static void kvd_value(kvd *k, const char *word, char *text) { // decodes in place
    size_t n = strlen(text), bits = 0, number = 0;
    k->value = text;
    k->size = n;
    if (!strstr(word, "64")) return;
    for (k->size = 0; *text && *text != '='; text++) {
        number = number << 6 | (strchr(KVD_ALPHABET, *text) ? strchr(KVD_ALPHABET, *text) - KVD_ALPHABET : 0);
        if ((bits += 6) >= 8) k->value[k->size++] = (char)(number >> (bits -= 8));
    }
    k->value[k->size] = 0;
}

static int kvd_is_status(const char *word) {
    return !strcmp(word, "OK") || !strcmp(word, "OK64") || !strcmp(word, "NONE") || !strcmp(word, "CONFLICT")
        || !strcmp(word, "ERR"); // these are closed for good
}

static int kvd_is_key(const char *key, size_t size) {
    for (size_t n = 0; n < size; n++) if ((unsigned char)key[n] <= ' ' || key[n] == '*' || key[n] == 127) return 0;
    return size > 0;
}

// Asks again when no reply came, if so told; what was not sent yet may always be sent.  1: NONE.
static int kvd_ask(kvd *k, int again, const char *verb, const char *key, const char *options, const char *end) {
    double pause = 0.1, deadline = kvd_now() + k->timeout;
    size_t size = strlen(verb) + strlen(key) + strlen(options) + strlen(end) + 4;
    char *request = malloc(size), byte, *rest, *word;
    int sent = 0, result = -1;
    if (!request || !kvd_is_key(key, strlen(key))) return free(request), kvd_fail(k, "bad-key");
    size = snprintf(request, size, "%s %s%s%s%s\n", verb, key, *options ? " " : "", options, end);
    for (;; pause = kvd_rest(pause, -1)) {
        // What came unasked means that the place is lost, or that the connection has ended.
        int came = k->open && (k->used < k->have || recv(k->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN);
        if (came) kvd_close(k);
        if (!(sent = k->open) && (result = kvd_ready(k)) > 0) return free(request), -1;
        sent = sent || result == 0;
        if (sent) send(k->fd, request, size, MSG_NOSIGNAL); // its end shows when the reply is read
        for (word = ""; sent && !kvd_is_status(word) && (rest = kvd_line(k));) word = kvd_cut(&rest); // others are skipped
        if (kvd_is_status(word)) break;
        kvd_close(k);
        if (sent && !again) word = "ERR", rest = "uncertain";
        else if (kvd_now() > deadline) word = "ERR", rest = "unavailable";
        if (*word) break;
    }
    free(request);
    if (!strcmp(word, "ERR")) return kvd_fail(k, rest);
    snprintf(k->revision, sizeof k->revision, "%.63s", rest);
    if (!strcmp(word, "CONFLICT")) return kvd_fail(k, "conflict");
    if ((result = strcmp(word, "NONE") == 0)) return 1;
    kvd_value(k, word, rest);
    return 0;
}
static int kvd_get(kvd *k, const char *key) { return kvd_ask(k, 1, "GET", key, "", ""); } // 0: value and size; 1: none
static int kvd_del(kvd *k, const char *key, const char *options) { return kvd_ask(k, 0, "DEL", key, options, ""); } // if=
static int kvd_put(kvd *k, const char *key, const char *options, const char *value, size_t size) { // ttl=, if=: revision
    char *end = malloc(size * 4 / 3 + 64), *to = end, all[256];
    size_t n, plain = 1;
    if (!end || strlen(options) > 200) return free(end), kvd_fail(k, "usage");
    for (n = 0; n < size; n++) plain &= value[n] == '\t' || (value[n] >= ' ' && value[n] < 127);
    to += sprintf(to, " = ");
    if (plain) memcpy(to, value, size), to[size] = 0;
    else { // the daemon sees for itself whether it is text
        for (n = 0; n < size; n += 3) {
            unsigned long bits = 0;
            for (size_t m = 0; m < 3; m++) bits = bits << 8 | (n + m < size ? (unsigned char)value[n + m] : 0);
            for (size_t m = 0; m < 4; m++) *to++ = n + m > size ? '=' : KVD_ALPHABET[bits >> (18 - 6 * m) & 63];
        }
        *to = 0;
    }
    snprintf(all, sizeof all, plain ? "%s" : "%s%sbase64=%zu", options, *options ? " " : "", size);
    n = kvd_ask(k, 0, "PUT", key, all, end);
    free(end);
    return (int)n;
}
static int kvd_set(kvd *k, const char *key, const char *value, size_t size) { return kvd_put(k, key, "", value, size); }
// Patterns have spaces between them; `-` begins with a copy.  Then kvd_next gives the events after the position, for ever.
static int kvd_follow(kvd *k, const char *position, const char *patterns) {
    for (const char *from = patterns, *to; *from; from = to + (*to == ' ')) {
        size_t size = (to = from + strcspn(from, " ")) - from;
        if (!(size == 1 && *from == '*') && !kvd_is_key(from, size - (size && to[-1] == '*'))) return kvd_fail(k, "bad-key");
    }
    snprintf(k->position, sizeof k->position, "%s", position);
    snprintf(k->patterns, sizeof k->patterns, "%s", patterns);
    kvd_close(k);
    k->pause = 0.1;
    return 0;
}
static int kvd_tell(kvd *k, const char *word, char *rest) { // an event of KEY VALUE
    static char *kinds[] = {
        "SET", "set", "SET64", "set", "DEL", "del", "EXPIRE", "expire", "PAIR", "pair", "PAIR64", "pair", "GONE", "gone"};
    for (size_t n = 0; n < sizeof kinds / sizeof *kinds; n += 2) if (!strcmp(word, kinds[n])) k->event = kinds[n + 1];
    k->key = kvd_cut(&rest);
    kvd_value(k, word, rest);
    return 1;
}
static int kvd_step(kvd *k) { // one line of a watch; 1: it has an event
    char request[66000], *word, *rest, *position;
    if (!k->open) {
        int came = kvd_ready(k);
        if (came) return came > 0 ? -1 : kvd_fail(k, "unavailable"); // without PROGRESS silence could not be told from quiet
        int size = snprintf(request, sizeof request, "PROGRESS %.3f\nFOLLOW %s %s\n", k->timeout / 3, k->position, k->patterns);
        send(k->fd, request, size, MSG_NOSIGNAL);
    }
    if (*k->ended) return kvd_fail(k, k->ended);
    if (!(rest = kvd_line(k))) return kvd_fail(k, "unavailable");
    word = kvd_cut(&rest);
    if (!strcmp(word, "ERR")) return kvd_fail(k, rest);
    if (kvd_is_status(word)) {
        if (strcmp(word, "OK") || k->answered == 2) return kvd_fail(k, "unavailable"); // its place is lost
        if (!k->answered++) return 0; // that of PROGRESS
        if (!k->copying && strcmp(rest, k->position)) return kvd_fail(k, "unavailable");
        k->event = k->copying ? "copied" : "position";
        k->copying = 0;
        return snprintf(k->position, sizeof k->position, "%s", rest), 1;
    }
    if (k->answered == 1 && !strcmp(word, "COPY")) return k->event = "copy", k->copying = 1;
    if (k->copying && (!strncmp(word, "PAIR", 5) || !strcmp(word, "PAIR64") || !strcmp(word, "GONE"))) {
        kvd_cut(&rest);
        return kvd_tell(k, word, rest);
    }
    if (k->answered != 2 || (strcmp(word, "CHANGE") && strcmp(word, "PROGRESS") && strcmp(word, "END"))) return 0;
    position = kvd_cut(&rest);
    if (!strcmp(word, "END")) { // told as an event first, if it moves the position
        kvd_cut(&rest);
        snprintf(k->ended, sizeof k->ended, "unavailable %.50s", rest);
    }
    if (strcmp(position + strcspn(position, "@"), k->position + strcspn(k->position, "@"))) return kvd_fail(k, "unavailable");
    if (atoll(position) <= atoll(k->position)) return 0; // it was told before
    snprintf(k->position, sizeof k->position, "%s", position);
    k->event = "position";
    if (!strcmp(word, "CHANGE")) { word = kvd_cut(&rest); kvd_tell(k, word, rest); }
    return 1;
}
static int kvd_next(kvd *k) { // sets event (set del expire, copy pair gone copied, position), key, value, size, position
    for (int told; (told = kvd_step(k)) < 1;) {
        if (told == 0) continue;
        kvd_close(k); // the next connection goes on where this one ended
        if (!strcmp(k->error, "compacted") || !strcmp(k->error, "store") || !strcmp(k->error, "future")) strcpy(k->position, "-");
        else if (strcmp(k->error, "unavailable")) return -1;
        k->pause = kvd_rest(k->pause, k->retry);
    }
    k->pause = 0.1;
    return 0;
}
