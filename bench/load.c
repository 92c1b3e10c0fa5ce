/* The load generator: one thread, epoll, a closed loop of CONNECTIONS x DEPTH requests, for any line protocol.
 *
 *   load requests PROTOCOL ADDRESS [name=value ...]   GET and SET of random keys
 *   load fill     PROTOCOL ADDRESS [name=value ...]   SET of every key, once
 *   load fan-out  PROTOCOL ADDRESS [name=value ...]   few writers, many watchers
 *
 * With rate= the loop is open: a light load, to see what else makes the server slow.
 * PROTOCOL is kvd, redis, memcached (requests and fill) or nats (fan-out).  ADDRESS is HOST:PORT (IPv4) or unix:PATH.
 * Names, with their defaults, are in `settings` below.  pid= may be given several times: processes whose processor
 * time is taken over the measured time.  Prints one JSON object, and exits with 1 if it could not do what was asked.
 *
 * It is never idle while a reply waits, keeps no reply, and costs 0.5 to 2 us a request (its own processor time is
 * in the output), so that what it measures is the server.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { MAX_DEPTH = 1024, MAX_PIDS = 64, HEAD = 128, READ_BYTES = 256 * 1024, BUCKETS = 64 * 32, KEY = 12 };

static struct {
    long connections, depth, rate, reads, first, keys, value, watchers, flight, durable, distinct, read_form, write_form;
    long wait;
    double seconds, warmup;
} settings = {
    .connections = 50, /* requests: connections, and */
    .depth = 1,        /* requests in flight on each; or, instead of so many, */
    .rate = 0,         /* requests a second over all, each sent when it is due, whatever is unanswered */
    .reads = 100,      /* per cent of GETs */
    .first = 0,        /* number of the first key, and */
    .keys = 10000,     /* how many there are, key:00000000 and so on, chosen at random */
    .value = 32,       /* bytes in a value */
    .watchers = 1,     /* fan-out: connections that watch, and */
    .flight = 1,       /* those that write, each one change at a time, until it has reached all of them */
    .durable = 0,      /* fan-out: 1 Redis also SETs the key before it PUBLISHes, as kvd does by itself */
    .distinct = 0,     /* fan-out: 0 all watch one key, 1 each its own key, 2 each its own prefix */
    .read_form = 0,    /* requests, of kvd: 0 GET, 1 GET with CR LF, 2 get, 3 GETS, 4 TTL, and */
    .write_form = 0,   /* 0 SET, 1 PUT, 2 PUT with ttl=600, 3 INCR of other keys */
    .wait = 0,         /* requests, of Redis: replicas that a WAIT after each SET waits for, up to 9 */
    .seconds = 3,      /* measured, after */
    .warmup = 0.5,     /* seconds that are not */
};
static int pids[MAX_PIDS], pid_count;

static void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + t.tv_nsec;
}

/* ---- latencies: a histogram with 32 steps to each power of two, 3 % wide */

static uint64_t histogram[BUCKETS], recorded, largest;

static void record(uint64_t ns) {
    int power = ns < 32 ? 0 : 59 - __builtin_clzll(ns);
    histogram[power ? power * 32 + (ns >> (power - 1)) - 32 : ns]++;
    recorded++;
    if (ns > largest)
        largest = ns;
}

static double percentile_us(double share) {
    uint64_t left = recorded * share;
    for (int i = 0; i < BUCKETS; i++) {
        if (histogram[i] > left)
            return (i < 64 ? i : (double)((uint64_t)(i % 32 + 32) << (i / 32 - 1))) / 1000;
        left -= histogram[i];
    }
    return largest / 1000.0;
}

/* ---- processor time */

/* Not from /proc: a short load may take less than the ticks in which that counts. */
static double cpu_of(int pid) {
    clockid_t clock;
    struct timespec used;
    if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &used))
        die("process %d is gone", pid);
    return used.tv_sec + used.tv_nsec / 1e9;
}

static double cpu_own(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* ---- connections */

typedef struct connection {
    int fd, writable; /* writable: whether epoll is asked for room */
    /* What is to be sent. */
    char *out;
    size_t out_size, out_room, out_sent;
    /* Where the reply that is being read stands: the present line's length and beginning, bytes of a value still to
     * come, lines to the end of a message. */
    size_t line, skip, lines;
    char head[HEAD];
    /* Requests in flight, oldest first. */
    unsigned first, count;
    uint64_t sent[MAX_DEPTH];
    char kind[MAX_DEPTH];
    int is_writer; /* fan-out: not a watcher; its slot is in `first` */
} connection;

static int poll_fd;
static const char *protocol;
static uint64_t operations, errors, now;
static uint64_t seed = 88172645463325252u; /* to which `main` adds the time: no two runs choose the same keys */
static char *value;

static uint64_t chance(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}

static connection *connect_to(const char *address) {
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    struct sockaddr_in internet = {.sin_family = AF_INET};
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    char host[64];
    int port, one = 1, is_local = !strncmp(address, "unix:", 5);
    if (is_local)
        snprintf(local.sun_path, sizeof local.sun_path, "%s", address + 5);
    else if (sscanf(address, "%63[^:]:%d", host, &port) == 2 && inet_pton(AF_INET, host, &internet.sin_addr) == 1)
        internet.sin_port = htons(port);
    else
        die("%s is no address: wanted IPV4:PORT or unix:PATH", address);
    int fd = socket(is_local ? AF_UNIX : AF_INET, SOCK_STREAM, 0);
    if (connect(fd, is_local ? (void *)&local : (void *)&internet, is_local ? sizeof local : sizeof internet))
        die("cannot connect to %s: %s", address, strerror(errno));
    if (!is_local)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    /* At the end a reset, which says that nobody reads any more: after a mere half-close kvd goes on sending to a
     * watcher until that fails. */
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    connection *c = calloc(1, sizeof *c);
    c->fd = fd;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event);
    return c;
}

static void push(connection *c, const char *bytes, size_t size) {
    if (c->out_size + size > c->out_room) {
        c->out_room = (c->out_size + size) * 2;
        c->out = realloc(c->out, c->out_room);
    }
    memcpy(c->out + c->out_size, bytes, size);
    c->out_size += size;
}

static void pushf(connection *c, const char *format, ...) {
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    push(c, text, vsnprintf(text, sizeof text, format, arguments));
    va_end(arguments);
}

static void flush(connection *c) {
    while (c->out_sent < c->out_size) {
        ssize_t n = write(c->fd, c->out + c->out_sent, c->out_size - c->out_sent);
        if (n < 0 && errno != EAGAIN)
            die("lost the connection: %s", strerror(errno));
        if (n < 0)
            break;
        c->out_sent += n;
    }
    int waits = c->out_sent < c->out_size;
    if (!waits)
        c->out_size = c->out_sent = 0;
    if (waits != c->writable) {
        struct epoll_event event = {.events = EPOLLIN | (waits ? EPOLLOUT : 0), .data.ptr = c};
        epoll_ctl(poll_fd, EPOLL_CTL_MOD, c->fd, &event);
        c->writable = waits;
    }
}

/* ---- protocols */

static void push_key(connection *c, unsigned number) {
    char key[KEY] = "key:";
    for (int i = KEY; i-- > 4; number /= 10)
        key[i] = '0' + number % 10;
    push(c, key, KEY);
}

static const char *const READS[] = {"GET ", "GET ", "get ", "GETS ", "TTL "},
                  *const WRITES[] = {"SET ", "PUT ", "PUT ", "INCR number/"},
                  *const BEFORE_VALUE[] = {" ", " = ", " ttl=600 = "};

static void push_request(connection *c, char kind, unsigned key) {
    int get = kind == 'g';
    if (*protocol == 'k') {
        pushf(c, get ? READS[settings.read_form] : WRITES[settings.write_form]);
        push_key(c, key);
        if (!get && settings.write_form != 3)
            pushf(c, BEFORE_VALUE[settings.write_form]), push(c, value, settings.value);
        pushf(c, get && settings.read_form == 1 ? "\r\n" : "\n");
    } else if (*protocol == 'r') {
        pushf(c, get ? "*2\r\n$3\r\nGET\r\n$%d\r\n" : "*3\r\n$3\r\nSET\r\n$%d\r\n", KEY);
        push_key(c, key);
        if (!get)
            pushf(c, "\r\n$%ld\r\n", settings.value), push(c, value, settings.value);
        push(c, "\r\n", 2);
        if (!get && settings.wait)
            pushf(c, "*3\r\n$4\r\nWAIT\r\n$1\r\n%ld\r\n$4\r\n1000\r\n", settings.wait);
    } else {
        push(c, get ? "get " : "set ", 4);
        push_key(c, key);
        if (!get)
            pushf(c, " 0 0 %ld\r\n", settings.value), push(c, value, settings.value);
        push(c, "\r\n", 2);
    }
    unsigned place = (c->first + c->count++) % MAX_DEPTH;
    c->sent[place] = now;
    c->kind[place] = kind;
}

/* A whole line of a reply has come: 1 it is the last, 0 there is more of it, -1 it is an error. */
static int line_ends(connection *c) {
    int get = c->kind[c->first] == 'g';
    if (*protocol == 'k')
        return !memcmp(c->head, "OK ", 3) && (!get || settings.read_form > 2 || c->line == (size_t)settings.value + 3)
                   ? 1
                   : -1;
    if (!get && *protocol == 'r' && settings.wait) {
        if (!c->lines)
            return *c->head == '+' ? (c->lines = 1, 0) : -1;
        c->lines = 0;
        return *c->head == ':' && atol(c->head + 1) >= settings.wait ? 1 : -1;
    }
    if (!get)
        return *c->head == (*protocol == 'r' ? '+' : 'S') ? 1 : -1;
    if (c->lines)
        return --c->lines == 0;
    if (*protocol == 'r' ? *c->head != '$' || atol(c->head + 1) != settings.value : *c->head != 'V')
        return -1;
    /* The value, what ends its line, and memcached's END. */
    c->skip = settings.value;
    c->lines = *protocol == 'r' ? 1 : 2;
    return 0;
}

/* Takes what has come; counts complete replies through `ends`. */
static void take(connection *c, const char *data, size_t size, void (*line)(connection *)) {
    while (size) {
        if (c->skip) {
            size_t n = c->skip < size ? c->skip : size;
            c->skip -= n, data += n, size -= n;
            continue;
        }
        const char *end = memchr(data, '\n', size);
        size_t n = end ? (size_t)(end - data) : size;
        if (c->line < HEAD - 1)
            memcpy(c->head + c->line, data, n < HEAD - 1 - c->line ? n : HEAD - 1 - c->line);
        c->line += n;
        if (!end)
            return;
        c->head[c->line < HEAD ? c->line : HEAD - 1] = 0;
        line(c);
        c->line = 0;
        data = end + 1, size -= n + 1;
    }
}

static void (*on_line)(connection *), (*on_taken)(connection *), (*on_timer)(void);

static void turn(int timeout) {
    static char buffer[READ_BYTES];
    struct epoll_event events[256];
    int ready = epoll_wait(poll_fd, events, 256, timeout);
    now = now_ns();
    for (int i = 0; i < ready; i++) {
        connection *c = events[i].data.ptr;
        if (!c) {
            on_timer();
            continue;
        }
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
            ssize_t n = read(c->fd, buffer, sizeof buffer);
            if (n == 0 || (n < 0 && errno != EAGAIN))
                die("the server closed a connection%s%s", n ? ": " : "", n ? strerror(errno) : "");
            if (n > 0)
                take(c, buffer, n, on_line);
            on_taken(c);
        }
        flush(c);
    }
}

/* ---- the measured time */

static double cpu_before[MAX_PIDS], own_before;
static uint64_t began;

static void begin(void) {
    memset(histogram, 0, sizeof histogram);
    recorded = largest = operations = errors = 0;
    for (int i = 0; i < pid_count; i++)
        cpu_before[i] = cpu_of(pids[i]);
    own_before = cpu_own();
    began = now_ns();
}

static void report(void) {
    double seconds = (now_ns() - began) / 1e9;
    double own = cpu_own() - own_before;
    printf("{\"operations\": %lu, \"errors\": %lu, \"seconds\": %.6f, \"p50_us\": %.2f, \"p99_us\": %.2f, "
           "\"max_us\": %.1f, \"generator_cpu\": %.4f, \"cpu\": [",
           operations, errors, seconds, percentile_us(0.5), percentile_us(0.99), largest / 1000.0, own);
    for (int i = 0; i < pid_count; i++)
        printf("%s%.6f", i ? ", " : "", cpu_of(pids[i]) - cpu_before[i]);
    printf("]}\n");
}

static void measure(void) {
    uint64_t start = now_ns();
    while (now_ns() - start < settings.warmup * 1e9)
        turn(1);
    begin();
    while (now - began < settings.seconds * 1e9 || now < began)
        turn(1);
    report();
}

/* ---- requests and fill */

static unsigned next_key;
static int filling;

static void reply_line(connection *c) {
    int done = c->count ? line_ends(c) : (die("a line that nobody asked for: %.60s", c->head), 0);
    if (!done)
        return;
    errors += done < 0;
    record(now - c->sent[c->first]);
    c->first = (c->first + 1) % MAX_DEPTH;
    c->count--;
    operations++;
}

static void ask(connection *c) {
    push_request(c, (long)(chance() % 100) < settings.reads ? 'g' : 's', settings.first + chance() % settings.keys);
}

static void keep_asking(connection *c) {
    while (c->count < settings.depth) {
        if (!filling)
            ask(c);
        else if (next_key < settings.keys)
            push_request(c, 's', settings.first + next_key++);
        else
            return;
    }
}

/* ---- requests at a fixed rate, on the connections in turn */

static connection **paced;
static int timer_fd;
static uint64_t asked;

static void ask_what_is_due(void) {
    uint64_t due;
    if (read(timer_fd, &due, sizeof due) != sizeof due)
        return;
    while (due--) {
        connection *c = paced[asked++ % settings.connections];
        if (c->count == MAX_DEPTH)
            die("the server is slower than rate=%ld", settings.rate);
        ask(c);
        flush(c);
    }
}

static void ask_no_more(connection *c) {
    (void)c;
}

static void start_timer(void) {
    long interval = 1000000000 / settings.rate;
    struct timespec every = {.tv_sec = interval / 1000000000, .tv_nsec = interval % 1000000000};
    struct itimerspec timer = {.it_interval = every, .it_value = every};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    timerfd_settime(timer_fd, 0, &timer, NULL);
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, timer_fd, &event);
    on_timer = ask_what_is_due;
}

static void run_requests(const char *address) {
    on_line = reply_line;
    on_taken = settings.rate ? ask_no_more : keep_asking;
    now = now_ns();
    paced = calloc(settings.connections, sizeof *paced);
    for (int i = 0; i < settings.connections; i++) {
        connection *c = paced[i] = connect_to(address);
        on_taken(c);
        flush(c);
    }
    if (settings.rate)
        start_timer();
    if (!filling) {
        measure();
        return;
    }
    begin();
    while (operations < (uint64_t)settings.keys)
        turn(100);
    report();
}

/* ---- fan-out */

/* As many writers as changes may be in flight; the slot of a writer is the remainder of its changes' numbers. */
static struct {
    connection *connection;
    uint64_t number, sent_at, left;
    int acknowledged;
} writers[MAX_DEPTH];
static size_t lines_of_message;

/* A change is in flight until every watcher it is for has it, and the writer its reply. */
static void write_change(unsigned slot) {
    static unsigned turn_of;
    connection *c = writers[slot].connection;
    char text[64];
    unsigned key = settings.distinct ? turn_of++ % settings.watchers : 0;
    int width = settings.value < 63 ? settings.value : 63;
    writers[slot].number += settings.flight;
    snprintf(text, sizeof text, "%0*lu", width, writers[slot].number);
    if (*protocol == 'k')
        pushf(c, settings.distinct == 2 ? "SET key:%08u/x %s\n" : "SET key:%08u %s\n", key, text);
    else if (*protocol == 'r' && settings.durable)
        pushf(c, "*3\r\n$3\r\nSET\r\n$12\r\nkey:%08u\r\n$%d\r\n%s\r\n"
                 "*3\r\n$7\r\nPUBLISH\r\n$12\r\nkey:%08u\r\n$%d\r\n%s\r\n", key, width, text, key, width, text);
    else if (*protocol == 'r')
        pushf(c, "*3\r\n$7\r\nPUBLISH\r\n$12\r\nkey:%08u\r\n$%d\r\n%s\r\n", key, width, text);
    else
        pushf(c, "PUB key:%08u %d\r\n%s\r\n", key, width, text);
    writers[slot].left = settings.distinct ? 1 : settings.watchers;
    writers[slot].sent_at = now;
    writers[slot].acknowledged = *protocol == 'n'; /* NATS does not acknowledge */
    flush(c);
}

static void write_changes(void) {
    for (unsigned slot = 0; slot < settings.flight; slot++)
        if (!writers[slot].left && writers[slot].acknowledged)
            write_change(slot);
}

/* NATS asks each connection, 2 s after it began and later again, whether it is there. */
static int answered_ping(connection *c) {
    int is_ping = *protocol == 'n' && !c->lines && !strncmp(c->head, "PING", 4);
    if (is_ping) {
        push(c, "PONG\r\n", 6);
        flush(c);
    }
    return is_ping;
}

static void fan_out_line(connection *c) {
    if (answered_ping(c))
        return;
    if (c->is_writer) {
        if (*protocol == 'k' ? memcmp(c->head, "OK ", 3) : *protocol == 'r' && *c->head != ':' && (!settings.durable || *c->head != '+'))
            die("a writer was answered: %.60s", c->head);
        writers[c->first].acknowledged = *c->head != '+' || !settings.durable;
        return;
    }
    if (++c->lines < lines_of_message)
        return;
    c->lines = 0;
    if (*protocol == 'k' && memcmp(c->head, "CHANGE ", 7))
        die("a watcher was sent: %.60s", c->head);
    const char *number = *protocol == 'k' ? strrchr(c->head, ' ') : c->head;
    unsigned slot = strtoul(number, NULL, 10) % settings.flight;
    if (strtoul(number, NULL, 10) != writers[slot].number || !writers[slot].left)
        die("a watcher was sent a change twice, or late: %.120s", c->head);
    operations++;
    record(now - writers[slot].sent_at);
    writers[slot].left--;
}

static void fan_out_taken(connection *c) {
    (void)c;
    write_changes();
}

/* Waits for so many lines, which are the reply to a subscription. */
static void await_lines(connection *c, int wanted) {
    char byte;
    while (wanted) {
        ssize_t n = read(c->fd, &byte, 1);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            die("the server closed a connection that was to watch");
        wanted -= n == 1 && byte == '\n';
    }
}

static void subscribe(connection *c, unsigned number) {
    unsigned key = settings.distinct ? number : 0;
    if (*protocol == 'k')
        pushf(c, settings.distinct == 2 ? "WATCH key:%08u/*\n" : "WATCH key:%08u\n", key);
    else if (*protocol == 'r')
        pushf(c, "*2\r\n$9\r\nSUBSCRIBE\r\n$12\r\nkey:%08u\r\n", key);
    else
        pushf(c, "CONNECT {\"verbose\":false}\r\nSUB key:%08u 1\r\nPING\r\n", key);
    flush(c);
}

/* So many at a time: together they are faster than one by one, and all would be more than may wait to be accepted. */
static void start_watchers(const char *address) {
    connection *batch[100];
    long size = sizeof batch / sizeof *batch;
    for (long first = 0; first < settings.watchers; first += size) {
        long count = settings.watchers - first < size ? settings.watchers - first : size;
        for (long i = 0; i < count; i++)
            subscribe(batch[i] = connect_to(address), first + i);
        for (long i = 0; i < count; i++)
            await_lines(batch[i], *protocol == 'k' ? 1 : *protocol == 'r' ? 6 : 2);
    }
}

static void run_fan_out(const char *address) {
    if (settings.flight > MAX_DEPTH)
        die("at most flight=%d", MAX_DEPTH);
    lines_of_message = *protocol == 'k' ? 1 : *protocol == 'r' ? 7 : 2;
    on_line = fan_out_line;
    on_taken = fan_out_taken;
    start_watchers(address);
    for (unsigned slot = 0; slot < settings.flight; slot++) {
        connection *c = writers[slot].connection = connect_to(address);
        c->is_writer = 1;
        c->first = writers[slot].number = slot;
        writers[slot].acknowledged = 1;
        if (*protocol == 'n') {
            pushf(c, "CONNECT {\"verbose\":false}\r\nPING\r\n");
            flush(c);
            await_lines(c, 2);
        }
    }
    now = now_ns();
    write_changes();
    measure();
}

/* ---- the command line */

static void set(const char *argument) {
    struct { const char *name; long *number; double *seconds; } known[] = {
        {"connections", &settings.connections, 0}, {"depth", &settings.depth, 0}, {"rate", &settings.rate, 0},
        {"reads", &settings.reads, 0}, {"first", &settings.first, 0}, {"keys", &settings.keys, 0},
        {"value", &settings.value, 0},
        {"watchers", &settings.watchers, 0}, {"flight", &settings.flight, 0}, {"distinct", &settings.distinct, 0},
        {"durable", &settings.durable, 0}, {"read-form", &settings.read_form, 0},
        {"write-form", &settings.write_form, 0},
        {"wait", &settings.wait, 0},
        {"seconds", 0, &settings.seconds}, {"warmup", 0, &settings.warmup},
    };
    const char *equals = strchr(argument, '=');
    if (equals && !strncmp(argument, "pid=", 4) && pid_count < MAX_PIDS) {
        pids[pid_count++] = atoi(equals + 1);
        return;
    }
    for (size_t i = 0; equals && i < sizeof known / sizeof *known; i++)
        if (!strncmp(argument, known[i].name, equals - argument) && !known[i].name[equals - argument]) {
            if (known[i].number)
                *known[i].number = atol(equals + 1);
            else
                *known[i].seconds = atof(equals + 1);
            return;
        }
    die("unknown: %s", argument);
}

int main(int count, char **arguments) {
    if (count < 4)
        die("usage: load requests|fill|fan-out kvd|redis|memcached|nats ADDRESS [name=value ...]");
    protocol = arguments[2];
    for (int i = 4; i < count; i++)
        set(arguments[i]);
    if (settings.read_form < 0 || settings.read_form > 4 || settings.write_form < 0 || settings.write_form > 3)
        die("there is no such form");
    if (settings.depth > MAX_DEPTH || settings.depth < 1)
        die("depth is 1 to %d", MAX_DEPTH);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    poll_fd = epoll_create1(0);
    seed += now_ns();
    value = malloc(settings.value);
    for (long i = 0; i < settings.value; i++)
        value[i] = 'a' + chance() % 26;
    filling = !strcmp(arguments[1], "fill");
    if (!strcmp(arguments[1], "fan-out"))
        run_fan_out(arguments[3]);
    else
        run_requests(arguments[3]);
    return 0;
}
