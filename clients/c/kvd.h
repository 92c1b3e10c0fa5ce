// A client of kvd (with kvd_connection.h and kvd_tls.h).  A kvd is one connection, for one thread, and one watch:
//
//     kvd k = {.address = "127.0.0.1:5830", .timeout = 30};
//
// It logs in with .user and .password, if there is a user.  Built with -DKVD_TLS -lssl -lcrypto it speaks TLS where .tls is
// 1, with the files .tls_ca (else those of the system), .tls_cert and .tls_key; SIGPIPE is ignored then.
// timeout: seconds without a byte, while one is due, until a connection is given up.  What fails returns -1 and sets
// error: the daemon's code, also `unavailable` (certainly not done), `uncertain` (perhaps done) and `conflict`; and retry:
// seconds, -1 where the daemon told none.  What is pointed to stays until the next call.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *address; double timeout; const char *user, *password;
    char error[64], revision[64], position[256], patterns[65536], *event, *key, *value;
    size_t size;                    // of the value
    double retry, pause;
    int fd, open, copying;
    char *buffer; size_t used, have, room;
#ifdef KVD_TLS
    int tls; const char *tls_ca, *tls_cert, *tls_key; void *ssl;
#endif
} kvd;

static int kvd_fail(kvd *k, const char *text) { // CODE TEXT; the code `lost` is of a connection
    const char *told = strstr(text, " retry=");
    k->retry = told && strchr(text, ' ') == told ? atof(told + 7) : -1;
    if (!(k->retry > 0 && k->retry <= 60)) k->retry = -1; // no time that a daemon tells
    snprintf(k->error, sizeof k->error, "%.*s", (int)strcspn(text, " "), text);
    return -1;
}

#pragma GCC diagnostic ignored "-Wunused-function"
#include "kvd_connection.h"

static int kvd_is_key(const char *key, size_t size) {
    for (size_t n = 0; n < size; n++) if ((unsigned char)key[n] <= ' ' || key[n] == '*' || key[n] == 127) return 0;
    return size > 0;
}

// Asks again when no reply came, if so told; what was not sent yet may always be sent.  1: NONE.
static int kvd_ask(kvd *k, int again, const char *verb, const char *key, const char *options, const char *end) {
    double deadline = kvd_now() + k->timeout;
    size_t size = strlen(verb) + strlen(key) + strlen(options) + strlen(end) + 4;
    char *request = malloc(size), *rest, *word = NULL;
    if (!request || !kvd_is_key(key, strlen(key))) return free(request), kvd_fail(k, "bad-key");
    size = snprintf(request, size, "%s %s%s%s%s\n", verb, key, *options ? " " : "", options, end);
    while (!word) {
        if (k->open && !kvd_is_quiet(k)) kvd_close(k); // what came unasked means that the place is lost, or that it has ended
        int sent = k->open || kvd_open(k) == 0;
        if (sent) kvd_send(k, request, size); // its end shows when the reply is read
        if (sent) word = kvd_line(k, "OK OK64 NONE CONFLICT", &rest);
        if (word || strcmp(k->error, "lost")) break;
        kvd_close(k);
        if (sent && !again) kvd_fail(k, "uncertain");
        else if (kvd_now() > deadline) kvd_fail(k, "unavailable");
        else { kvd_rest(k); continue; }
        break;
    }
    free(request);
    k->pause = 0;
    if (!word) return -1;
    snprintf(k->revision, sizeof k->revision, "%.63s", rest);
    if (!strcmp(word, "CONFLICT")) return kvd_fail(k, "conflict");
    if (!strcmp(word, "NONE")) return 1;
    kvd_value(k, word, rest);
    return 0;
}
static int kvd_get(kvd *k, const char *key) { return kvd_ask(k, 1, "GET", key, "", ""); } // 0: value and size; 1: none
static int kvd_del(kvd *k, const char *key, const char *options) { return kvd_ask(k, 0, "DEL", key, options, ""); } // if=
static int kvd_put(kvd *k, const char *key, const char *options, const char *value, size_t size) { // ttl=, if=: revision
    char *end = malloc(size * 4 / 3 + 64), all[256];
    size_t n, plain = 1;
    if (!end || strlen(options) > 200) return free(end), kvd_fail(k, "usage");
    for (n = 0; n < size; n++) plain &= value[n] == '\t' || (value[n] >= ' ' && value[n] < 127);
    snprintf(all, sizeof all, plain ? "%s" : "%s%sbase64=%zu", options, *options ? " " : "", size);
    strcpy(end, " = ");
    if (plain) memcpy(end + 3, value, size), end[3 + size] = 0;
    else kvd_encode(end + 3, value, size); // the daemon sees for itself whether it is text
    int result = kvd_ask(k, 0, "PUT", key, all, end);
    free(end);
    return result;
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
    return 0;
}
static int kvd_begin(kvd *k) { // 1: it has an event
    char request[66000], *rest, *word;
    int size = snprintf(request, sizeof request, "PROGRESS %.3f\nFOLLOW %s %s\n", k->timeout / 3, k->position, k->patterns);
    if (kvd_open(k)) return -1;
    kvd_send(k, request, size); // without PROGRESS silence could not be told from quiet
    if (!kvd_line(k, "OK", &rest) || !(word = kvd_line(k, "OK COPY", &rest))) return -1;
    k->copying = !strcmp(word, "COPY");
    if (!k->copying && strcmp(rest, k->position)) return kvd_fail(k, "lost");
    k->event = k->copying ? "copy" : "position";
    return 1;
}
static int kvd_tell(kvd *k, const char *word, char *rest) { // an event of KEY VALUE
    static char *kinds[] = {
        "SET", "set", "SET64", "set", "DEL", "del", "EXPIRE", "expire", "PAIR", "pair", "PAIR64", "pair", "GONE", "gone"};
    for (size_t n = 0; n < sizeof kinds / sizeof *kinds; n += 2) if (!strcmp(word, kinds[n])) k->event = kinds[n + 1];
    k->key = kvd_cut(&rest);
    kvd_value(k, word, rest);
    return 1;
}
static int kvd_step(kvd *k) { // one line of a watch; 1: it has an event; 0: it was told before
    char *rest, *position, *word;
    if (!k->open) return kvd_begin(k);
    word = kvd_line(k, k->copying ? "OK PAIR PAIR64 GONE" : "CHANGE PROGRESS END", &rest);
    if (!word) return -1;
    if (!strcmp(word, "OK")) {
        k->copying = 0;
        k->event = "copied";
        return snprintf(k->position, sizeof k->position, "%s", rest), 1;
    }
    position = kvd_cut(&rest);
    if (k->copying) return kvd_tell(k, word, rest); // what was cut off is its revision
    if (strcmp(position + strcspn(position, "@"), k->position + strcspn(k->position, "@"))) return kvd_fail(k, "lost");
    int is_new = atoll(position) > atoll(k->position);
    if (is_new) snprintf(k->position, sizeof k->position, "%s", position);
    if (!strcmp(word, "END")) {
        char text[64];
        return kvd_cut(&rest), snprintf(text, sizeof text, "unavailable %.50s", rest), kvd_fail(k, text);
    }
    k->event = "position";
    if (is_new && !strcmp(word, "CHANGE")) word = kvd_cut(&rest), kvd_tell(k, word, rest);
    return is_new;
}
static int kvd_next(kvd *k) { // sets event (set del expire, copy pair gone copied, position), key, value, size, position
    k->key = k->value = "", k->size = 0;
    for (int told; (told = kvd_step(k)) < 1;) {
        if (told == 0) continue;
        kvd_close(k); // the next connection goes on where this one ended
        if (kvd_is_among("compacted store future", k->error)) strcpy(k->position, "-");
        else if (!kvd_is_among("lost unavailable", k->error)) return -1;
        kvd_rest(k);
    }
    return k->pause = 0, 0;
}
