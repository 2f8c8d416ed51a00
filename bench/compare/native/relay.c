/* relay LISTEN_PORT UPSTREAM_PORT: a bare byte relay on loopback, the floor that proxies are compared with.
 *
 * Every accepted connection gets one upstream connection; bytes are copied both ways and never looked at. What a
 * user-space proxy cannot avoid is all here (accept, connect, epoll, read, write) and nothing else, so "1.3 x relay"
 * reads as "30 % on top of moving the bytes".
 *
 * Rules: one thread, level-triggered epoll, every socket non-blocking. A direction that cannot write keeps its rest
 * and stops reading (back-pressure); an end of input is passed on as a half-close; pairs are freed only after the
 * batch of events in which they died, because later events of that batch may still point at them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHUNK_BYTES = 64 * 1024, EVENTS_MAX = 256, BACKLOG = 1024 };

struct pair;

/* One socket of a pair. `rest` holds bytes read from the other end that this socket would not take yet. */
struct end {
    struct pair *pair;
    struct end *other;
    int fd;
    unsigned interest; /* what epoll was last told */
    int input_over;    /* the peer sent its FIN */
    int output_over;   /* we sent ours */
    char *rest;
    size_t rest_from, rest_to;
};

struct pair {
    struct end client, upstream;
    struct pair *next_dead;
    int dead;
};

static int epoll;
static struct pair *dead_pairs;
static char chunk[CHUNK_BYTES];

static void die(const char *what) {
    perror(what);
    exit(1);
}

static struct sockaddr_in loopback(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static void set_no_delay(int fd) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static void bury(struct pair *pair) {
    if (pair->dead) return;
    pair->dead = 1;
    close(pair->client.fd);
    close(pair->upstream.fd);
    pair->next_dead = dead_pairs;
    dead_pairs = pair;
}

static void free_dead_pairs(void) {
    while (dead_pairs) {
        struct pair *pair = dead_pairs;
        dead_pairs = pair->next_dead;
        free(pair->client.rest);
        free(pair->upstream.rest);
        free(pair);
    }
}

/* Reads only while the other side keeps up, asks for writability only while something waits. A socket that wants
 * nothing leaves the set: epoll reports a hang-up whether asked or not, and would do so for ever. */
static void update_interest(struct end *end) {
    unsigned wanted = 0;
    if (!end->input_over && !end->other->rest) wanted |= EPOLLIN;
    if (end->rest) wanted |= EPOLLOUT;
    if (wanted == end->interest) return;
    struct epoll_event event = {.events = wanted, .data.ptr = end};
    int change = !wanted ? EPOLL_CTL_DEL : end->interest ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epoll_ctl(epoll, change, end->fd, &event) < 0) die("epoll_ctl");
    end->interest = wanted;
}

/* Passes the end of input on once nothing is left to send before it. Both directions over: the pair is done. */
static void finish_output(struct end *end) {
    if (end->other->input_over && !end->rest && !end->output_over) {
        end->output_over = 1;
        shutdown(end->fd, SHUT_WR);
    }
    if (end->output_over && end->other->output_over) bury(end->pair);
}

/* Sends as much as the socket takes; returns the count, or -1 when the connection is broken. */
static ssize_t send_some(int fd, const char *bytes, size_t count) {
    size_t sent = 0;
    while (sent < count) {
        ssize_t n = send(fd, bytes + sent, count - sent, MSG_NOSIGNAL);
        if (n > 0) sent += (size_t)n;
        else if (n < 0 && errno == EINTR) continue;
        else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
        else return -1;
    }
    return (ssize_t)sent;
}

static int keep_rest(struct end *end, const char *bytes, size_t count) {
    end->rest = malloc(count);
    if (!end->rest) return -1;
    memcpy(end->rest, bytes, count);
    end->rest_from = 0;
    end->rest_to = count;
    return 0;
}

static void flush_rest(struct end *end) {
    ssize_t sent = send_some(end->fd, end->rest + end->rest_from, end->rest_to - end->rest_from);
    if (sent < 0) {
        bury(end->pair);
        return;
    }
    end->rest_from += (size_t)sent;
    if (end->rest_from < end->rest_to) return;
    free(end->rest);
    end->rest = NULL;
    finish_output(end);
}

static void copy_input(struct end *end) {
    ssize_t count = read(end->fd, chunk, sizeof chunk);
    if (count < 0) {
        if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) bury(end->pair);
        return;
    }
    if (count == 0) {
        end->input_over = 1;
        finish_output(end->other);
        return;
    }
    ssize_t sent = send_some(end->other->fd, chunk, (size_t)count);
    if (sent < 0 || (sent < count && keep_rest(end->other, chunk + sent, (size_t)(count - sent)) < 0)) bury(end->pair);
}

static void serve(struct end *end, unsigned events) {
    struct pair *pair = end->pair;
    if (!pair->dead && end->rest && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) flush_rest(end);
    if (!pair->dead && (end->interest & EPOLLIN) && (events & (EPOLLIN | EPOLLERR | EPOLLHUP))) copy_input(end);
    if (pair->dead) return;
    update_interest(end);
    update_interest(end->other);
}

static void register_end(struct end *end, struct pair *pair, struct end *other, int fd) {
    *end = (struct end){.pair = pair, .other = other, .fd = fd, .interest = EPOLLIN};
    set_no_delay(fd);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = end};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
}

static void accept_client(int listener, int upstream_port) {
    int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client < 0) return;
    int upstream = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = loopback(upstream_port);
    struct pair *pair = calloc(1, sizeof *pair);
    if (upstream < 0 || !pair || (connect(upstream, (void *)&address, sizeof address) < 0 && errno != EINPROGRESS)) {
        close(client);
        if (upstream >= 0) close(upstream);
        free(pair);
        return;
    }
    register_end(&pair->client, pair, &pair->upstream, client);
    register_end(&pair->upstream, pair, &pair->client, upstream);
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
    if (argc != 3) {
        fprintf(stderr, "usage: relay LISTEN_PORT UPSTREAM_PORT\n");
        return 2;
    }
    int listener = listen_on(atoi(argv[1])), upstream_port = atoi(argv[2]);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0) die("epoll_create1");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, events[EVENTS_MAX];
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) < 0) die("epoll_ctl");
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS_MAX, -1);
        if (count < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < count; i++) {
            if (!events[i].data.ptr) accept_client(listener, upstream_port);
            else serve(events[i].data.ptr, events[i].events);
        }
        free_dead_pairs();
    }
}
