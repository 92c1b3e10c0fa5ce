// Follows a prefix: prints what is there and every change, each once, through restarts of the daemon and its own.
//
// Usage: example HOST:PORT PREFIX FILE
//
// FILE keeps the position; without it the first thing is a copy.
#include <fcntl.h>
#include <signal.h>
#include "kvd.h"

static char **copy; // lines to print, each of a key
static size_t count;

static void forget(const char *begin) { // the line that begins so
    for (size_t n = 0; n < count; n++) {
        if (strncmp(copy[n], begin, strlen(begin)) == 0) copy[n--] = copy[--count];
    }
}

static void add(const char *begin, const char *value) {
    char *line = malloc(strlen(begin) + strlen(value) + 1);
    copy = realloc(copy, (count + 1) * sizeof *copy);
    if (!line || !copy) exit(1);
    copy[count++] = strcat(strcpy(line, begin), value);
}

static void keep(const char *position, const char *file) { // in one step
    char other[4096];
    snprintf(other, sizeof other, "%s.new", file);
    FILE *out = fopen(other, "w");
    if (!out || fputs(position, out) < 0 || fclose(out) || rename(other, file)) exit((perror(file), 1));
}

static void begin_with(char position[256], const char *file) {
    FILE *in = fopen(file, "r");
    if (!in && errno == ENOENT) return;
    if (in && fscanf(in, "%255s", position) == 1) {
        fclose(in);
        return;
    }
    fprintf(stderr, "%s: it holds no position: remove it to begin with a copy\n", file);
    exit(1);
}

static void flush(void) { // what was printed, or it ends
    if (fflush(stdout) || ferror(stdout)) exit((perror("standard output"), 1));
}

int main(int words, char **word) {
    if (words != 4) return fprintf(stderr, "usage: example HOST:PORT PREFIX FILE\n"), 2;
    if (fcntl(1, F_GETFD) < 0) return perror("standard output"), 1; // else the connection would take its place
    kvd k = {.address = word[1], .timeout = 30};
    char position[256] = "-", patterns[600], begin[600];
    begin_with(position, word[3]);
    if (strchr(word[2], ' ')) return fprintf(stderr, "bad-key: a PREFIX has no space\n"), 1; // it would be two patterns
    snprintf(patterns, sizeof patterns, "%s*", word[2]);
    signal(SIGPIPE, SIG_IGN); // a reader who went away is an error of the one who prints
    if (kvd_follow(&k, position, patterns)) return fprintf(stderr, "%s\n", k.error), 1;
    while (kvd_next(&k) == 0) {
        if (!strcmp(k.event, "copy")) {
            count = 0;
        } else if (!strcmp(k.event, "pair") || !strcmp(k.event, "gone")) {
            snprintf(begin, sizeof begin, "is %s ", k.key);
            forget(begin);
            if (*k.event == 'p') add(begin, k.value);
        } else {
            if (!strcmp(k.event, "copied")) while (count > 0) puts(copy[--count]);
            else if (strcmp(k.event, "position")) printf("%s %s %s\n", k.event, k.key, k.value);
            flush();
            keep(k.position, word[3]); // what is printed is done: only then is its position kept
        }
    }
    return fprintf(stderr, "%s\n", k.error), 1;
}
