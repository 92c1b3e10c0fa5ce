// The adapter with which ../conformance certifies kvd.h.  Members are strings, so that JSON is read with little ado.
#define _GNU_SOURCE
#include "kvd.h"

static kvd k;

static char *member(const char *line, const char *name) { // a copy without its escapes, or NULL
    char *text = malloc(strlen(line) + 1), *to = text, wanted[64];
    snprintf(wanted, sizeof wanted, "\"%s\": \"", name);
    const char *from = strstr(line, wanted);
    if (!from) return NULL;
    for (from += strlen(wanted); *from != '"'; from++) {
        if (*from == '\\' && *++from != '"' && *from != '\\') {
            const char *kinds = "t\tn\nr\rb\bf\f", *kind = strchr(kinds, *from);
            *to++ = kind ? kind[1] : (from += 4, (char)strtol((char[]){from[-1], from[0], 0}, NULL, 16));
        } else *to++ = *from;
    }
    return *to = 0, text;
}

static void print(const char *name, const char *text) { // as a member
    printf("\"%s\": \"", name);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') putchar('\\');
        if (*text == '\t') printf("\\t"); else putchar(*text);
    }
    putchar('"');
}

static void print64(const char *name, const char *value, size_t size) {
    char *text = malloc(size * 4 / 3 + 8);
    kvd_encode(text, value, size);
    printf("\"%s\": \"%s\"", name, text);
    free(text);
}

static void failed(void) { // the rest of a line
    if (!strcmp(k.error, "conflict")) return (void)printf("\"conflict\": \"%s\"}\n", k.revision);
    printf("\"error\": \"%s\"", k.error);
    if (k.retry >= 0) printf(", \"retry\": \"%g\"", k.retry);
    puts("}");
}

static void follow(void) {
    puts("{\"ok\": \"\"}");
    while (kvd_next(&k) == 0) {
        printf("{\"event\": \"%s\", ", k.event);
        if (strchr("sdepg", *k.event) && strncmp(k.event, "pos", 3)) {
            print("key", k.key);
            printf(", ");
            if (!strcmp(k.event, "set") || !strcmp(k.event, "pair")) { print64("value64", k.value, k.size); printf(", "); }
        }
        printf("\"position\": \"%s\"}\n", k.position);
    }
    printf("{\"event\": \"error\", ");
    failed();
}

int main(void) {
    char *line = NULL;
    size_t room = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (getline(&line, &room, stdin) > 0) {
        char *op = member(line, "op"), *key = member(line, "key"), *value = member(line, "value"), options[128] = "";
        char *ttl = member(line, "ttl"), *condition = member(line, "if"), *encoded = member(line, "value64");
        int done = 0;
        if (ttl) sprintf(options, "ttl=%s", ttl);
        if (condition) sprintf(options + strlen(options), "%sif=%s", ttl ? " " : "", condition);
        k.size = value ? strlen(value) : 0;
        if (encoded) kvd_value(&k, "64", value = encoded);
        if (!strcmp(op, "connect")) {
            k = (kvd){.address = member(line, "address"), .timeout = atof(member(line, "timeout")),
                .user = member(line, "user"), .password = member(line, "password")};
#ifdef KVD_TLS
            k.tls_ca = member(line, "ca"), k.tls_cert = member(line, "cert"), k.tls_key = member(line, "key");
            k.tls = k.tls_ca != NULL;
#endif
            puts("{\"ok\": \"\"}");
            continue;
        }
        if (!strcmp(op, "follow")) done = kvd_follow(&k, member(line, "position"), member(line, "patterns"));
        if (!strcmp(op, "follow") && !done) { follow(); continue; }
        if (!strcmp(op, "get")) done = kvd_get(&k, key);
        if (!strcmp(op, "set")) done = kvd_set(&k, key, value, k.size);
        if (!strcmp(op, "put")) done = kvd_put(&k, key, options, value, k.size);
        if (!strcmp(op, "del")) done = kvd_del(&k, key, options);
        putchar('{');
        if (done < 0) failed();
        else if (done == 1) puts("\"ok\": null}");
        else if (!strcmp(op, "get")) { print64("ok64", k.value, k.size); puts("}"); }
        else printf("\"ok\": \"%s\"}\n", k.revision);
    }
}
