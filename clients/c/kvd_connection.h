// The connections of kvd.h, which includes it: sockets, TLS, logging in, lines and values.
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char KVD_ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#ifdef KVD_TLS
#include "kvd_tls.h"
#else
static int kvd_secure(kvd *k, const char *host) { return (void)k, (void)host, 0; }
static ssize_t kvd_receive(kvd *k, char *data, size_t size) { return recv(k->fd, data, size, 0); }
static ssize_t kvd_give(kvd *k, const char *data, size_t size) { return send(k->fd, data, size, MSG_NOSIGNAL); }
static void kvd_close(kvd *k) { if (k->open) close(k->fd); k->open = 0; }
#endif

static double kvd_now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec / 1e9; }

// A signal, or being stopped for a while, interrupts a wait: it goes on, once more at the most when its time is over.
static int kvd_waits_on(double *until) {
    if (errno != EINTR || !*until) return 0;
    return *until = kvd_now() < *until ? *until : 0, 1;
}
static ssize_t kvd_wait(kvd *k, char *data, size_t size) {
    double until = kvd_now() + k->timeout;
    ssize_t came;
    do errno = 0; while ((came = kvd_receive(k, data, size)) < 0 && kvd_waits_on(&until));
    return came;
}
static void kvd_send(kvd *k, const char *data, size_t size) {
    double until = kvd_now() + k->timeout;
    for (ssize_t gone; size > 0; data += gone, size -= gone) {
        errno = 0;
        if ((gone = kvd_give(k, data, size)) <= 0 && !kvd_waits_on(&until)) return;
        if (gone < 0) gone = 0;
    }
}

static void kvd_rest(kvd *k) { // before it connects again: each time longer, or as told
    double random = (double)((unsigned long)(kvd_now() * 1e9) * 2654435761u % 1000) / 1000;
    k->pause = k->pause < 5 ? 2 * k->pause + 0.1 : 10;
    double seconds = k->retry >= 0 ? k->retry : k->pause * (0.5 + random / 2);
    struct timespec t = {(time_t)seconds, (long)((seconds - (time_t)seconds) * 1e9)};
    nanosleep(&t, NULL);
}

static int kvd_is_quiet(kvd *k) {
    char byte;
    return k->used == k->have && recv(k->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

static int kvd_is_among(const char *words, const char *word) {
    size_t size = strlen(word);
    for (const char *at = words; size && (at = strstr(at, word)); at += size) {
        if ((at == words || at[-1] == ' ') && (at[size] == ' ' || !at[size])) return 1;
    }
    return 0;
}

static char *kvd_cut(char **rest) { // takes the first word off
    char *word = *rest, *space = strchr(word, ' ');
    *rest = space ? space + 1 : word + strlen(word);
    if (space) *space = 0;
    return word;
}

static char *kvd_read(kvd *k) { // a line without its end, or NULL
    size_t seen = k->used;
    char *end, *line;
    while (!k->room || !(end = memchr(k->buffer + seen, '\n', k->have - seen))) {
        if (k->used) memmove(k->buffer, k->buffer + k->used, k->have - k->used);
        seen = k->have -= k->used;
        k->used = 0;
        if (k->room - k->have < 65536) k->buffer = realloc(k->buffer, k->room = 2 * k->room + 131072);
        ssize_t came = k->buffer ? kvd_wait(k, k->buffer + k->have, 65536) : -1;
        if (came <= 0) return NULL;
        k->have += came;
    }
    line = k->buffer + k->used;
    k->used = end + 1 - k->buffer;
    end[0] = end[-(end > line && end[-1] == '\r')] = 0;
    return line;
}

// The first word of the next line that is expected, and the rest after one space; or NULL and an error.
static char *kvd_line(kvd *k, const char *expected, char **rest) {
    while ((*rest = kvd_read(k))) {
        char *word = kvd_cut(rest);
        if (!strcmp(word, "ERR")) return kvd_fail(k, *rest), NULL;
        if (kvd_is_among(expected, word)) return word;
        if (kvd_is_among("OK OK64 NONE CONFLICT", word)) break; // closed for good: its place is lost; others are skipped
    }
    return kvd_fail(k, "lost"), NULL;
}

static int kvd_connect(kvd *k, const char *host, const char *port) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found, *each;
    struct timeval wait = {(time_t)k->timeout, (long)((k->timeout - (time_t)k->timeout) * 1e6)};
    if (getaddrinfo(host, port, &hints, &found)) return -1;
    for (each = found; each && !k->open; each = each->ai_next) {
        if ((k->fd = socket(each->ai_family, each->ai_socktype, 0)) < 0) continue;
        setsockopt(k->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
        setsockopt(k->fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
        setsockopt(k->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        k->open = connect(k->fd, each->ai_addr, each->ai_addrlen) == 0;
        if (!k->open) close(k->fd);
    }
    freeaddrinfo(found);
    return k->open ? 0 : -1;
}

static int kvd_open(kvd *k) { // connects and logs in, before anything is asked; 0, or -1 and an error
    const char *colon = strrchr(k->address, ':'), *from = k->address + (*k->address == '[');
    char text[1200], *rest = "";
    k->used = k->have = k->copying = 0;
    if (!colon || !colon[1]) return kvd_fail(k, "usage"); // HOST:PORT is expected
    snprintf(text, sizeof text, "%.*s", (int)(colon - from - (from > k->address)), from);
    int opened = kvd_connect(k, text, colon + 1) == 0 && kvd_secure(k, text) == 0;
    if (!opened) kvd_fail(k, "lost");
    if (opened && k->user) {
        kvd_send(k, text, snprintf(text, sizeof text, "AUTH %.64s %.1024s\n", k->user, k->password));
        opened = kvd_line(k, "OK", &rest) != NULL;
    }
    if (!opened) kvd_close(k);
    return opened ? 0 : -1;
}

static void kvd_value(kvd *k, const char *word, char *text) { // decodes in place
    size_t bits = 0, number = 0;
    k->value = text;
    k->size = strlen(text);
    if (!strstr(word, "64")) return;
    for (k->size = 0; *text && *text != '='; text++) {
        number = number << 6 | (strchr(KVD_ALPHABET, *text) ? strchr(KVD_ALPHABET, *text) - KVD_ALPHABET : 0);
        if ((bits += 6) >= 8) k->value[k->size++] = (char)(number >> (bits -= 8));
    }
    k->value[k->size] = 0;
}

static void kvd_encode(char *to, const char *value, size_t size) { // base64
    for (size_t n = 0; n < size; n += 3) {
        unsigned long bits = 0;
        for (size_t m = 0; m < 3; m++) bits = bits << 8 | (n + m < size ? (unsigned char)value[n + m] : 0);
        for (size_t m = 0; m < 4; m++) *to++ = n + m > size ? '=' : KVD_ALPHABET[bits >> (18 - 6 * m) & 63];
    }
    *to = 0;
}
