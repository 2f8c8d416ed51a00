/* callers PORTS START_NS RATE SECONDS POST_SHARE SEED PATIENCE_MS: open-loop callers of a payments API on loopback.
 *
 * From START_NS on (CLOCK_MONOTONIC), calls arrive by a Poisson process, whatever the server does: the same calls at the same
 * times for every run with the same seed. A latency runs from the moment a call was due to the last byte of its answer, so a
 * stall is charged to every call that was due during it. A call takes an idle connection or opens one, and never waits for
 * another call. Of several PORTS (a,b,c) each takes its turn.
 *
 * Prints one line a call, in the order of their ends: "DUE_US METHOD NUMBER STATUS LATENCY_US". Where there was no answer, STATUS
 * says what was instead: "closed" (the connection ended first), "refused" (none came about), "late" (PATIENCE_MS went by).
 */
#include "common.h"
#include <math.h>

enum { BYTES_MAX = 8192, EVENTS_MAX = 256, CONNECTIONS_MAX = 8192, PORTS_MAX = 8, CHECK_EVERY_MS = 50 };

struct connection {
    int fd, port, busy, connected;
    int64_t due_ns;
    long number;
    int is_post;
    struct connection *next_idle;
    size_t used;
    char bytes[BYTES_MAX + 1];
};

static struct connection *all[CONNECTIONS_MAX], *idle[PORTS_MAX];
static int connections, busy_calls, epoll, ports[PORTS_MAX], port_count;
static int64_t start_ns;
static uint64_t random_state;

/* xorshift64*, from 0 to below 1. */
static double next_random(void) {
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (double)((random_state * 2685821657736338717ULL) >> 11) / 9007199254740992.0;
}

static void report(const struct connection *c, const char *status) {
    printf("%lld %s %ld %s %lld\n", (long long)((c->due_ns - start_ns) / 1000), c->is_post ? "POST" : "GET", c->number,
           status, (long long)((now_ns() - c->due_ns) / 1000));
    busy_calls--;
}

static void forget_idle(struct connection *c) {
    for (struct connection **at = &idle[c->port]; *at; at = &(*at)->next_idle) {
        if (*at == c) {
            *at = c->next_idle;
            return;
        }
    }
}

static void bury(struct connection *c) {
    if (!c->busy) forget_idle(c);
    close(c->fd);
    for (int i = 0; i < connections; i++) {
        if (all[i] == c) {
            all[i] = all[--connections];
            break;
        }
    }
    free(c);
}

static void send_call(struct connection *c) {
    char request[512], body[64] = "";
    int length = c->is_post ? snprintf(body, sizeof body, "{\"payment\":%ld}", c->number) : 0;
    if (c->is_post)
        length = snprintf(request, sizeof request,
                          "POST /v1/payments HTTP/1.1\r\nHost: payments\r\nContent-Type: application/json\r\n"
                          "Content-Length: %d\r\n\r\n%s", length, body);
    else
        length = snprintf(request, sizeof request, "GET /v1/payments/%ld HTTP/1.1\r\nHost: payments\r\n\r\n", c->number);
    /* A small request fits the send buffer; a broken connection shows as the end of input right after. */
    if (send(c->fd, request, (size_t)length, MSG_NOSIGNAL) < 0 && errno != EPIPE && errno != ECONNRESET) die("send");
}

static struct connection *open_connection(int port) {
    if (connections == CONNECTIONS_MAX) {
        fprintf(stderr, "callers: more than %d calls at once\n", CONNECTIONS_MAX);
        exit(1);
    }
    struct connection *c = calloc(1, sizeof *c);
    struct sockaddr_in address = loopback(ports[port]);
    if (!c) die("calloc");
    c->port = port;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) die("socket");
    set_no_delay(c->fd);
    /* A refusal shows as an error event. */
    if (connect(c->fd, (void *)&address, sizeof address) < 0 && errno != EINPROGRESS && errno != ECONNREFUSED) die("connect");
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) < 0) die("epoll_ctl");
    all[connections++] = c;
    return c;
}

static void arrive(int64_t due_ns, long number, int is_post) {
    int port = (int)(number % port_count);
    struct connection *c = idle[port];
    if (c) idle[port] = c->next_idle;
    else c = open_connection(port);
    c->busy = 1;
    c->used = 0;
    c->due_ns = due_ns;
    c->number = number;
    c->is_post = is_post;
    busy_calls++;
    if (c->connected) send_call(c);
}

static void fail(struct connection *c, const char *how) {
    report(c, how);
    bury(c);
}

static void finish_connecting(struct connection *c) {
    int problem = 0;
    socklen_t size = sizeof problem;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &problem, &size);
    if (problem) {
        fail(c, "refused");
        return;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event) < 0) die("epoll_ctl");
    c->connected = 1;
    send_call(c);
}

/* True when the whole answer is there; then the connection is free, or gone if it closes. */
static void take_answer(struct connection *c) {
    char status[4] = "";
    size_t head = head_length(c->bytes);
    if (!head) return;
    const char *length = field(c->bytes, head, "content-length:"), *closes = field(c->bytes, head, "connection:");
    if (!length || sscanf(c->bytes, "HTTP/1.1 %3[0-9]", status) != 1) {
        fail(c, "closed");
        return;
    }
    if (c->used < head + strtoul(length, NULL, 10)) return;
    if (closes && !strncasecmp(closes, "close", 5)) {
        fail(c, status);
        return;
    }
    report(c, status);
    c->busy = 0;
    c->next_idle = idle[c->port];
    idle[c->port] = c;
}

static void serve(struct connection *c) {
    if (!c->connected) {
        finish_connecting(c);
        return;
    }
    ssize_t count = recv(c->fd, c->bytes + c->used, BYTES_MAX - c->used, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (!c->busy) {
        bury(c);
        return;
    }
    if (count <= 0) {
        fail(c, "closed");
        return;
    }
    c->used += (size_t)count;
    c->bytes[c->used] = 0;
    take_answer(c);
}

static void lose_patience(int64_t patience_ns) {
    int64_t now = now_ns();
    /* From the end, since burying moves the last one to the place that becomes free. */
    for (int i = connections - 1; i >= 0; i--)
        if (all[i]->busy && now - all[i]->due_ns > patience_ns) fail(all[i], "late");
}

static void drive(double rate, double seconds, double post_share, int64_t patience_ns) {
    struct epoll_event events[EVENTS_MAX];
    int timer = new_timer(epoll);
    int64_t end_ns = start_ns + (int64_t)(seconds * 1e9), checked_ns = 0, due_ns = start_ns;
    long number = 0;
    due_ns += (int64_t)(-log(1.0 - next_random()) / rate * 1e9);
    while (due_ns < end_ns || busy_calls) {
        int64_t now = now_ns();
        for (; due_ns <= now && due_ns < end_ns; due_ns += (int64_t)(-log(1.0 - next_random()) / rate * 1e9))
            arrive(due_ns, number++, next_random() < post_share);
        if (now - checked_ns > CHECK_EVERY_MS * 1000000LL) {
            lose_patience(patience_ns);
            checked_ns = now;
        }
        int64_t check_ns = now + CHECK_EVERY_MS * 1000000LL;
        wake_at(timer, due_ns < end_ns && due_ns < check_ns ? due_ns : check_ns);
        int count = epoll_wait(epoll, events, EVENTS_MAX, -1);
        if (count < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr) serve(events[i].data.ptr);
            else clear_timer(timer);
        }
    }
}

static void parse_ports(char *text) {
    for (char *word = strtok(text, ","); word && port_count < PORTS_MAX; word = strtok(NULL, ",")) ports[port_count++] = atoi(word);
}

int main(int argc, char **argv) {
    if (argc != 8) {
        fprintf(stderr, "usage: callers PORTS START_NS RATE SECONDS POST_SHARE SEED PATIENCE_MS\n");
        return 2;
    }
    parse_ports(argv[1]);
    start_ns = atoll(argv[2]);
    double rate = atof(argv[3]), seconds = atof(argv[4]), post_share = atof(argv[5]);
    random_state = strtoull(argv[6], NULL, 10) * 2654435769ULL + 88172645463325252ULL;
    if (!port_count || rate <= 0 || seconds <= 0 || rate > 1e5) {
        fprintf(stderr, "callers: ports, rate or seconds out of range\n");
        return 2;
    }
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0) die("epoll_create1");
    drive(rate, seconds, post_share, atoll(argv[7]) * 1000000LL);
    return 0;
}
