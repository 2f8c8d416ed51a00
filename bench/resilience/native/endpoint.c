/* endpoint PORT NORMAL_MS SLOW_MS JOURNAL: one endpoint of the payments service; HTTP/1.1 on loopback.
 *
 * Every request is answered 200 after NORMAL_MS; after SIGUSR1 after SLOW_MS, and after SIGUSR2 as before. The other
 * faults are real: the script kills, stops and starts this process. What is stopped and goes on does what a real service does:
 * it works through all that came meanwhile, also for callers that have long left.
 *
 * A request is written to the journal, with one write, when all of it is there and before anything is answered: "AT_US GET PATH",
 * "AT_US POST BODY" or "AT_US HEALTH". So a payment counts as applied from here on, whatever becomes of its answer.
 */
#include "common.h"
#include <fcntl.h>
#include <signal.h>

enum { REQUEST_BYTES_MAX = 4096, EVENTS_MAX = 256, BACKLOG = 4096 };

struct connection {
    int fd;
    int waiting;                 /* an answer is due at `due_ns` */
    int input_over;
    int64_t due_ns;
    struct connection *previous, *next;
    size_t used;
    char bytes[REQUEST_BYTES_MAX + 1];
};

static struct connection *all;
static int epoll, journal;
static volatile sig_atomic_t is_slow;

static void on_signal(int number) { is_slow = number == SIGUSR1; }

static void bury(struct connection *c) {
    close(c->fd);
    if (c->previous) c->previous->next = c->next;
    else all = c->next;
    if (c->next) c->next->previous = c->previous;
    free(c);
}

static void accept_one(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    struct connection *c = calloc(1, sizeof *c);
    if (!c) die("calloc");
    set_no_delay(fd);
    c->fd = fd;
    c->next = all;
    if (all) all->previous = c;
    all = c;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
}

static void enter(const char *method, const char *what, size_t length) {
    char line[REQUEST_BYTES_MAX + 64];
    long long at_us = now_ns() / 1000;
    int count = snprintf(line, sizeof line, "%lld %s%s%.*s\n", at_us, method, length ? " " : "", (int)length, what);
    if (write(journal, line, (size_t)count) != count) die("journal");
}

/* Takes one whole request from the front of what was read. Returns 0 when there is none yet, -1 for what is no request. */
static int take_request(struct connection *c) {
    c->bytes[c->used] = 0;
    size_t head = head_length(c->bytes);
    if (!head) return c->used == REQUEST_BYTES_MAX ? -1 : 0;
    const char *length = field(c->bytes, head, "content-length:");
    size_t body = length ? strtoul(length, NULL, 10) : 0;
    if (field(c->bytes, head, "transfer-encoding:") || head + body > REQUEST_BYTES_MAX) return -1;
    if (c->used < head + body) return 0;
    char method[8], path[512];
    if (sscanf(c->bytes, "%7s %511s HTTP/1.1", method, path) != 2) return -1;
    int is_health = !strcmp(path, "/health");
    if (is_health) enter("HEALTH", "", 0);
    else if (!strcmp(method, "POST")) enter("POST", c->bytes + head, body);
    else enter(method, path, strlen(path));
    c->used -= head + body;
    memmove(c->bytes, c->bytes + head + body, c->used);
    return 1;
}

static int begin_next(struct connection *c, int64_t normal_ns, int64_t slow_ns) {
    int taken = take_request(c);
    if (taken > 0) {
        c->waiting = 1;
        c->due_ns = now_ns() + (is_slow ? slow_ns : normal_ns);
    }
    return taken;
}

static void answer(struct connection *c) {
    static const char text[] =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{\"status\":\"settled\"}";
    c->waiting = 0;
    /* If nobody takes it any more, the next read says so. */
    if (send(c->fd, text, sizeof text - 1, MSG_NOSIGNAL) < 0) c->input_over = 1;
}

static void serve_input(struct connection *c, int64_t normal_ns, int64_t slow_ns) {
    ssize_t count = recv(c->fd, c->bytes + c->used, REQUEST_BYTES_MAX - c->used, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (count > 0) c->used += (size_t)count;
    if (count <= 0) c->input_over = 1;
    /* The caller left, or was never a caller: what waits is applied already, and nobody reads its answer. */
    if (c->input_over || (!c->waiting && begin_next(c, normal_ns, slow_ns) < 0)) bury(c);
}

static int64_t answer_due(int64_t normal_ns, int64_t slow_ns) {
    int64_t now = now_ns(), next_ns = INT64_MAX;
    for (struct connection *c = all, *following; c; c = following) {
        following = c->next;
        if (c->waiting && c->due_ns <= now) {
            answer(c);
            if (c->input_over || begin_next(c, normal_ns, slow_ns) < 0) {
                bury(c);
                continue;
            }
        }
        if (c->waiting && c->due_ns < next_ns) next_ns = c->due_ns;
    }
    return next_ns;
}

static int listen_on(int port) {
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = loopback(port);
    if (listener < 0) die("socket");
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (void *)&address, sizeof address) < 0) die("bind");
    if (listen(listener, BACKLOG) < 0) die("listen");
    return listener;
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: endpoint PORT NORMAL_MS SLOW_MS JOURNAL\n");
        return 2;
    }
    int64_t normal_ns = atol(argv[2]) * 1000000LL, slow_ns = atol(argv[3]) * 1000000LL;
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGUSR2, &action, NULL);
    journal = open(argv[4], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (journal < 0 || epoll < 0) die("setup");
    int listener = listen_on(atoi(argv[1])), timer = new_timer(epoll), mark;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &mark}, events[EVENTS_MAX];
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) < 0) die("epoll_ctl");
    for (;;) {
        int64_t next_ns = answer_due(normal_ns, slow_ns);
        wake_at(timer, next_ns);
        int count = epoll_wait(epoll, events, EVENTS_MAX, -1);
        if (count < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < count; i++) {
            if (!events[i].data.ptr) clear_timer(timer);
            else if (events[i].data.ptr == &mark) accept_one(listener);
            else serve_input(events[i].data.ptr, normal_ns, slow_ns);
        }
    }
}
