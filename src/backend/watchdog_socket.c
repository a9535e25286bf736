/* watchdog_socket.c: see watchdog_socket.h. A rank tries rank 0's addresses one after another, and each only counts
 * once the other side has answered with the token: a container's bridge has the same address on every host. */
#include "backend/watchdog_socket.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"

/* ---- addresses ---- */

static socklen_t length_of(const struct sockaddr_storage *a) {
    return a->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

static void set_port(struct sockaddr_storage *a, uint16_t port) {
    if (a->ss_family == AF_INET6)
        ((struct sockaddr_in6 *)a)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)a)->sin_port = htons(port);
}

/* Of the family, reachable from other hosts without saying through which interface. */
static bool is_usable(const struct ifaddrs *i, int family, const char *interface) {
    if (i->ifa_addr == NULL || i->ifa_addr->sa_family != family || !(i->ifa_flags & IFF_UP)) return false;
    if (family == AF_INET6 &&
        IN6_IS_ADDR_LINKLOCAL(&((const struct sockaddr_in6 *)(const void *)i->ifa_addr)->sin6_addr))
        return false;
    return interface ? strcmp(i->ifa_name, interface) == 0 : !(i->ifa_flags & IFF_LOOPBACK);
}

/* "lo, eth0": an interface has an entry an address, and one without. */
static void name_all(const struct ifaddrs *all, char *text, size_t bytes) {
    size_t n = 0;
    text[0] = 0;
    for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
        bool seen = false;
        for (const struct ifaddrs *k = all; k != i; k = k->ifa_next) seen |= strcmp(k->ifa_name, i->ifa_name) == 0;
        if (!seen) n = dpt_append(text, bytes, n, "%s%s", n ? ", " : "", i->ifa_name);
    }
}

dpt_status dpt_watch_addresses(const char *interface, struct sockaddr_storage *address, int32_t *n) {
    static const int families[] = {AF_INET, AF_INET6};
    struct ifaddrs *all;
    char names[512], host[DPT_WATCH_HOST] = "";
    bool exists = false;
    *n = 0;
    DPT_CHECK(getifaddrs(&all) == 0, DPT_ERR_IO, "the network interfaces cannot be listed: %s", strerror(errno));
    for (int f = 0; f < 2; f++)
        for (const struct ifaddrs *i = all; i && *n < DPT_WATCH_ADDRESSES; i = i->ifa_next) {
            exists |= interface && strcmp(i->ifa_name, interface) == 0;
            if (!is_usable(i, families[f], interface)) continue;
            memset(&address[*n], 0, sizeof address[*n]);
            memcpy(&address[*n], i->ifa_addr,
                   families[f] == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
            ++*n;
        }
    name_all(all, names, sizeof names);
    freeifaddrs(all);
    gethostname(host, sizeof host - 1);
    DPT_CHECK(!interface || *n > 0, DPT_ERR_CONFIG, "comm.interface: %s %s on %s (there are: %s)", interface,
              exists ? "is not up or has no address" : "is no network interface", host, names);
    return DPT_OK;
}

/* ---- links ---- */

void dpt_watch_link_open(dpt_watch_link *link, int fd) {
    int on = 1;
    *link = (dpt_watch_link){.fd = fd};
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void dpt_watch_link_close(dpt_watch_link *link) {
    if (link->fd >= 0) close(link->fd);
    link->fd = -1;
    link->received = link->to_send = 0;
}

/* What is left of the frame under way. */
static void flush(dpt_watch_link *link) {
    while (link->fd >= 0 && link->to_send > 0) {
        const uint8_t *from = link->out + DPT_WATCH_FRAME - link->to_send;
        ssize_t n = send(link->fd, from, link->to_send, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return; /* full, or broken: receiving tells */
        link->to_send -= (size_t)n;
    }
}

bool dpt_watch_link_send(dpt_watch_link *link, const uint8_t frame[DPT_WATCH_FRAME]) {
    flush(link);
    if (link->fd < 0 || link->to_send > 0) return false;
    memcpy(link->out, frame, DPT_WATCH_FRAME);
    link->to_send = DPT_WATCH_FRAME;
    flush(link);
    return true;
}

bool dpt_watch_link_receive(dpt_watch_link *link, bool *closed) {
    *closed = false;
    if (link->received == DPT_WATCH_FRAME) link->received = 0;
    while (link->fd >= 0 && link->received < DPT_WATCH_FRAME) {
        ssize_t n = recv(link->fd, link->in + link->received, DPT_WATCH_FRAME - link->received, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        *closed = n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK);
        if (n <= 0) return false;
        link->received += (size_t)n;
    }
    return link->fd >= 0;
}

/* ---- listening, connecting ---- */

dpt_status dpt_watch_listen(int *fd, uint16_t *port) {
    struct sockaddr_in6 any6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT}, bound;
    struct sockaddr_in any4 = {.sin_family = AF_INET};
    socklen_t length = sizeof bound;
    int off = 0;
    *fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool up = *fd >= 0 && setsockopt(*fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) == 0 &&
              bind(*fd, (struct sockaddr *)&any6, sizeof any6) == 0;
    if (!up) { /* a kernel without IPv6 */
        if (*fd >= 0) close(*fd);
        *fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        up = *fd >= 0 && bind(*fd, (struct sockaddr *)&any4, sizeof any4) == 0;
    }
    up = up && listen(*fd, 4096) == 0 && getsockname(*fd, (struct sockaddr *)&bound, &length) == 0;
    DPT_CHECK(up, DPT_ERR_IO, "the watchdog's socket cannot be opened: %s", strerror(errno));
    *port = ntohs(bound.sin6_port); /* stands where an IPv4 address has it, too */
    return DPT_OK;
}

static bool wait_until(int fd, short events, double end) {
    for (double left = end - dpt_clock_s(); left > 0; left = end - dpt_clock_s()) {
        struct pollfd p = {.fd = fd, .events = events};
        int n = poll(&p, 1, (int)(left * 1000) + 1);
        if (n > 0) return true;
        if (n < 0 && errno != EINTR) return false;
    }
    return false;
}

/* A socket of the interface's, if one is named, unless the way leads through loopback. */
static int open_socket(const struct sockaddr_storage *to, const char *interface) {
    struct sockaddr_storage own[DPT_WATCH_ADDRESSES];
    int32_t n;
    int fd = socket(to->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || interface == NULL || dpt_watch_addresses(interface, own, &n) != DPT_OK) return fd;
    for (int32_t i = 0; i < n; i++)
        if (own[i].ss_family == to->ss_family && bind(fd, (struct sockaddr *)&own[i], length_of(&own[i])) == 0) break;
    return fd;
}

/* Connected, hello said, welcomed. */
static bool try_address(const struct sockaddr_storage *to, const char *interface, const uint8_t *token, int rank,
                        int world, double end, dpt_watch_link *link) {
    int error = 0;
    socklen_t length = sizeof error;
    bool closed = false;
    uint8_t frame[DPT_WATCH_FRAME];
    dpt_watch_message m = {.kind = DPT_WATCH_HELLO, .rank = rank};
    int fd = open_socket(to, interface);
    if (fd < 0) return false;
    dpt_watch_link_open(link, fd);
    if (connect(fd, (const struct sockaddr *)to, length_of(to)) != 0 && errno != EINPROGRESS) goto fail;
    if (!wait_until(fd, POLLOUT, end)) goto fail;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0 || error != 0) goto fail;
    dpt_watch_encode(&m, token, frame);
    if (!dpt_watch_link_send(link, frame)) goto fail;
    while (!closed && wait_until(fd, POLLIN, end))
        if (dpt_watch_link_receive(link, &closed)) {
            if (dpt_watch_decode(link->in, token, world, &m) && m.kind == DPT_WATCH_WELCOME && m.rank == 0) return true;
            break;
        }
fail:
    dpt_watch_link_close(link);
    return false;
}

static struct sockaddr_storage loopback(bool six) {
    struct sockaddr_storage a = {.ss_family = six ? AF_INET6 : AF_INET};
    if (six)
        ((struct sockaddr_in6 *)&a)->sin6_addr = in6addr_loopback;
    else
        ((struct sockaddr_in *)&a)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

dpt_status dpt_watch_connect(const dpt_watch_invitation *to, const char *interface, int rank, int world, double limit_s,
                             dpt_watch_link *link) {
    char host[DPT_WATCH_HOST] = "";
    gethostname(host, sizeof host - 1);
    bool same = strcmp(host, to->host) == 0;
    double end = dpt_clock_s() + limit_s, patience = 1; /* longer with every round: rank 0 may be late */
    link->fd = -1;
    for (; dpt_clock_s() < end; patience *= 2) {
        for (int i = same ? -2 : 0; i < to->n_address; i++) {
            struct sockaddr_storage address = i < 0 ? loopback(i == -1) : to->address[i];
            double until = dpt_clock_s() + patience;
            set_port(&address, to->port);
            if (try_address(&address, i < 0 ? NULL : interface, to->token, rank, world, until < end ? until : end,
                            link))
                return DPT_OK;
        }
        struct timespec pause = {.tv_nsec = 50000000};
        nanosleep(&pause, NULL);
    }
    return dpt_error(DPT_ERR_PEER, "rank 0 on %s cannot be reached within %.3g s", to->host, limit_s);
}
