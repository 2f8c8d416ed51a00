/* pacer PORT PATH RATE SECONDS CONNECTIONS: open-loop HTTP/1.1 load on loopback; prints one JSON object.
 *
 * Requests arrive by a Poisson process with a fixed seed, whatever the server does, as they do from many independent
 * clients. A latency runs from the moment a request was due to the last byte of its answer, so a stall is charged to
 * every request that was due during it (a closed-loop generator would wait politely and never see it).
 *
 * Rules: one thread; a due request takes an idle connection or queues (bounded; overflow counts as failed); answers
 * need a Content-Length; a connection closed while idle is replaced silently, one closed under a request is a failure.
 * What is still unanswered GRACE_S after the last arrival is a failure too.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_BYTES_MAX = 16 * 1024, QUEUE_MAX = 1 << 16, EVENTS_MAX = 256, CONNECTIONS_MAX = 4096, GRACE_S = 3 };

struct connection {
    int fd;
    int busy;
    int64_t due_ns;          /* of the request under way */
    char head[HEAD_BYTES_MAX];
    size_t head_used;
    int in_body;
    long body_left;
    int status;
    int closes;              /* the answer said Connection: close */
    struct connection *next_idle;
};

static struct {
    int64_t queue[QUEUE_MAX]; /* due times that wait for a connection */
    unsigned queue_from, queue_to;
    uint32_t *latency_us;
    size_t latencies, latencies_max;
    long due, ok, non_2xx, failed, reconnects;
    char request[2048];
    size_t request_len;
    int port, epoll;
    struct connection *idle_first, *idle_last; /* used in turn, so that every connection carries load */
    uint64_t random;
} run;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* Time to the next arrival: exponential with the mean 1 / rate (xorshift64*, fixed seed: every run is the same). */
static int64_t next_gap_ns(double rate) {
    run.random ^= run.random >> 12;
    run.random ^= run.random << 25;
    run.random ^= run.random >> 27;
    double uniform = (double)((run.random * 2685821657736338717ULL) >> 11) / 9007199254740992.0;
    return (int64_t)(-log(1.0 - uniform) / rate * 1e9);
}

static void connect_now(struct connection *c) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)run.port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0) die("socket");
    if (connect(c->fd, (void *)&address, sizeof address) < 0) die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(run.epoll, EPOLL_CTL_ADD, c->fd, &event) < 0) die("epoll_ctl");
}

static void reconnect(struct connection *c) {
    close(c->fd);
    run.reconnects++;
    connect_now(c);
}

static void start_request(struct connection *c, int64_t due_ns) {
    c->busy = 1;
    c->due_ns = due_ns;
    c->head_used = 0;
    c->in_body = c->closes = 0;
    /* A small request fits an idle connection's send buffer; a broken connection shows as end of input right after. */
    if (send(c->fd, run.request, run.request_len, MSG_NOSIGNAL) < 0 && errno != EPIPE && errno != ECONNRESET) die("send");
}

/* The connection is free again: the oldest waiting request takes it, else it joins the idle ones. */
static void release(struct connection *c) {
    c->busy = 0;
    if (run.queue_from != run.queue_to) {
        start_request(c, run.queue[run.queue_from++ % QUEUE_MAX]);
    } else {
        c->next_idle = NULL;
        if (run.idle_first) run.idle_last->next_idle = c;
        else run.idle_first = c;
        run.idle_last = c;
    }
}

static void arrive(int64_t due_ns) {
    run.due++;
    if (run.idle_first) {
        struct connection *c = run.idle_first;
        run.idle_first = c->next_idle;
        start_request(c, due_ns);
    } else if (run.queue_to - run.queue_from < QUEUE_MAX) {
        run.queue[run.queue_to++ % QUEUE_MAX] = due_ns;
    } else {
        run.failed++;
    }
}

static void complete(struct connection *c) {
    int64_t took_us = (now_ns() - c->due_ns) / 1000;
    if (c->status >= 200 && c->status < 300) run.ok++;
    else run.non_2xx++;
    if (run.latencies < run.latencies_max) run.latency_us[run.latencies++] = (uint32_t)took_us;
    if (c->closes) reconnect(c);
    release(c);
}

/* Reads status, Content-Length and Connection from a complete head. Returns -1 for an answer we cannot frame. */
static int parse_head(struct connection *c, char *end) {
    char *line = strstr(c->head, "\r\n"), *next;
    c->body_left = -1;
    if (sscanf(c->head, "HTTP/1.1 %d", &c->status) != 1) return -1;
    for (line = line ? line + 2 : end; line < end; line = next + 2) {
        next = strstr(line, "\r\n");
        if (!strncasecmp(line, "content-length:", 15)) c->body_left = strtol(line + 15, NULL, 10);
        if (!strncasecmp(line, "connection:", 11) && memmem(line, (size_t)(next - line), "close", 5)) c->closes = 1;
    }
    if (c->body_left < 0 && (c->status == 204 || c->status == 304)) c->body_left = 0;
    return c->body_left < 0 ? -1 : 0;
}

static void fail(struct connection *c) {
    run.failed++;
    reconnect(c);
    release(c);
}

static void take_head(struct connection *c, const char *bytes, size_t count) {
    if (c->head_used + count >= HEAD_BYTES_MAX) {
        fail(c);
        return;
    }
    memcpy(c->head + c->head_used, bytes, count);
    c->head_used += count;
    c->head[c->head_used] = 0;
    char *blank = strstr(c->head, "\r\n\r\n");
    if (!blank) return;
    if (parse_head(c, blank + 2) < 0) {
        fail(c);
        return;
    }
    c->in_body = 1;
    c->body_left -= (long)(c->head_used - (size_t)(blank + 4 - c->head));
    if (c->body_left < 0) fail(c); /* bytes beyond the answer: nobody asked for them */
    else if (c->body_left == 0) complete(c);
}

static void read_answer(struct connection *c) {
    static char bytes[64 * 1024];
    /* Before the head is complete, read no more than it may hold: the rest stays in the socket. */
    size_t wanted = c->in_body ? sizeof bytes : HEAD_BYTES_MAX - 1 - c->head_used;
    ssize_t count = recv(c->fd, bytes, wanted, MSG_DONTWAIT);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (!c->busy) {
        /* Closed (or spoken to) while idle: a new connection takes the place; it stays in the idle list. */
        reconnect(c);
    } else if (count <= 0) {
        fail(c);
    } else if (!c->in_body) {
        take_head(c, bytes, (size_t)count);
    } else if ((c->body_left -= count) < 0) {
        fail(c);
    } else if (c->body_left == 0) {
        complete(c);
    }
}

static void wake_at(int timer, int64_t at_ns) {
    if (at_ns < 1) at_ns = 1;
    struct itimerspec spec = {.it_value = {.tv_sec = at_ns / 1000000000LL, .tv_nsec = at_ns % 1000000000LL}};
    if (timerfd_settime(timer, TFD_TIMER_ABSTIME, &spec, NULL) < 0) die("timerfd_settime");
}

static void drive(double rate, double seconds) {
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, events[EVENTS_MAX];
    if (timer < 0 || epoll_ctl(run.epoll, EPOLL_CTL_ADD, timer, &event) < 0) die("timerfd");
    int64_t due = now_ns() + next_gap_ns(rate), last = now_ns() + (int64_t)(seconds * 1e9);
    int64_t give_up = last + GRACE_S * 1000000000LL;
    for (;;) {
        int64_t now = now_ns();
        for (; due <= now && due < last; due += next_gap_ns(rate)) arrive(due);
        int arrivals_over = due >= last;
        if (arrivals_over && run.ok + run.non_2xx + run.failed >= run.due) break;
        if (now >= give_up) break;
        wake_at(timer, arrivals_over ? give_up : due);
        int count = epoll_wait(run.epoll, events, EVENTS_MAX, -1);
        if (count < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < count; i++) {
            uint64_t expirations;
            if (events[i].data.ptr) read_answer(events[i].data.ptr);
            else if (read(timer, &expirations, sizeof expirations) < 0 && errno != EAGAIN) die("timerfd read");
        }
    }
    run.failed += run.due - run.ok - run.non_2xx - run.failed;
}

static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static uint32_t quantile(double share) {
    if (!run.latencies) return 0;
    size_t index = (size_t)ceil(share * (double)run.latencies);
    return run.latency_us[index ? index - 1 : 0];
}

int main(int argc, char **argv) {
    if (argc != 6) {
        fprintf(stderr, "usage: pacer PORT PATH RATE SECONDS CONNECTIONS\n");
        return 2;
    }
    double rate = atof(argv[3]), seconds = atof(argv[4]);
    int connections = atoi(argv[5]);
    run.port = atoi(argv[1]);
    if (rate <= 0 || seconds <= 0 || rate * seconds > 5e7 || connections < 1 || connections > CONNECTIONS_MAX) {
        fprintf(stderr, "pacer: rate, seconds or connections out of range\n");
        return 2;
    }
    run.random = 88172645463325252ULL;
    run.latencies_max = (size_t)(rate * seconds * 1.5) + 1000;
    run.latency_us = malloc(run.latencies_max * sizeof *run.latency_us);
    int length = snprintf(run.request, sizeof run.request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n", argv[2], run.port);
    if (!run.latency_us || length < 0 || (size_t)length >= sizeof run.request) die("setup");
    run.request_len = (size_t)length;
    run.epoll = epoll_create1(EPOLL_CLOEXEC);
    struct connection *all = calloc((size_t)connections, sizeof *all);
    if (run.epoll < 0 || !all) die("setup");
    for (int i = 0; i < connections; i++) {
        connect_now(&all[i]);
        release(&all[i]);
    }
    drive(rate, seconds);
    qsort(run.latency_us, run.latencies, sizeof *run.latency_us, by_value);
    printf("{\"due\": %ld, \"ok\": %ld, \"non_2xx\": %ld, \"failed\": %ld, \"reconnects\": %ld, \"p50_us\": %u, "
           "\"p90_us\": %u, \"p99_us\": %u, \"p999_us\": %u, \"max_us\": %u}\n",
           run.due, run.ok, run.non_2xx, run.failed, run.reconnects, quantile(.5), quantile(.9), quantile(.99),
           quantile(.999), quantile(1));
    return 0;
}
