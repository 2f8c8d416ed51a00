/* What the two programs of this folder share: time, sockets on loopback, and HTTP/1.1 heads that have a Content-Length. */
#ifndef RESILIENCE_COMMON_H
#define RESILIENCE_COMMON_H
#define _GNU_SOURCE
#include <errno.h>
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

static void die(const char *what) {
    perror(what);
    exit(1);
}

/* CLOCK_MONOTONIC: the same clock for every process of the machine, so the script's times hold here too. */
static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
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

static int new_timer(int epoll) {
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (timer < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event) < 0) die("timerfd");
    return timer;
}

static void wake_at(int timer, int64_t at_ns) {
    if (at_ns < 1) at_ns = 1;
    struct itimerspec spec = {.it_value = {.tv_sec = at_ns / 1000000000LL, .tv_nsec = at_ns % 1000000000LL}};
    if (timerfd_settime(timer, TFD_TIMER_ABSTIME, &spec, NULL) < 0) die("timerfd_settime");
}

static void clear_timer(int timer) {
    uint64_t expirations;
    if (read(timer, &expirations, sizeof expirations) < 0 && errno != EAGAIN) die("timerfd read");
}

/* The length of the head at the start of `bytes` (which end in 0), 0 while it is not complete. */
static size_t head_length(const char *bytes) {
    const char *blank = strstr(bytes, "\r\n\r\n");
    return blank ? (size_t)(blank - bytes) + 4 : 0;
}

/* The value of a field of the head, or NULL. `name` is in lower case and ends in a colon. */
static const char *field(const char *head, size_t length, const char *name) {
    const char *end = head + length - 2, *line = strstr(head, "\r\n");
    for (line += 2; line < end; line = strstr(line, "\r\n") + 2)
        if (!strncasecmp(line, name, strlen(name))) return line + strlen(name) + strspn(line + strlen(name), " ");
    return NULL;
}

#endif
