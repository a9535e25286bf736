/* watchdog_start.c: rank 0 listens, tells the others where by the control plane, and takes in those that know the
 * token; then it stops to listen. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include "backend/watchdog_private.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"

static const double start_limit_s = 20;
static const double stranger_limit_s = 2; /* to say who it is */
enum { STRANGERS = 64 };                  /* connections that have not said who they are yet */
enum { SPARE_FILES = STRANGERS + 64 };    /* what else rank 0 has open */

/* ---- rank 0 takes the others in ---- */

typedef struct reception {
    dpt_watchdog *w;
    int listener, arrived;
    dpt_watch_link stranger[STRANGERS];
    double since_s[STRANGERS];
} reception;

/* As many as there are places for; the others wait in the listener's queue. */
static void accept_some(reception *r) {
    for (int i = 0; i < STRANGERS; i++) {
        if (r->stranger[i].fd >= 0) continue;
        int fd = accept4(r->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) return;
        dpt_watch_link_open(&r->stranger[i], fd);
        r->since_s[i] = dpt_clock_s();
    }
}

/* A rank that comes again has given up the way it came before. */
static void welcome(reception *r, dpt_watch_link *from, int rank) {
    uint8_t frame[DPT_WATCH_FRAME];
    dpt_watch_message m = {.kind = DPT_WATCH_WELCOME, .rank = 0};
    dpt_watch_link *to = &r->w->links[rank];
    r->arrived += to->fd < 0;
    dpt_watch_link_close(to);
    dpt_watch_link_open(to, from->fd);
    from->fd = -1;
    dpt_watch_encode(&m, r->w->token, frame);
    dpt_watch_link_send(to, frame);
    bool closed;
    dpt_watch_link_receive(to, &closed);
    if (!closed) return;
    dpt_watch_link_close(to); /* it has given up this way, too */
    r->arrived--;
}

static void listen_to(reception *r, int i) {
    bool closed;
    dpt_watch_message m;
    dpt_watch_link *stranger = &r->stranger[i];
    if (stranger->fd < 0) return;
    if (dpt_watch_link_receive(stranger, &closed)) {
        if (dpt_watch_decode(stranger->in, r->w->token, r->w->world, &m) && m.kind == DPT_WATCH_HELLO && m.rank > 0)
            welcome(r, stranger, m.rank);
        else
            closed = true;
    }
    if (closed || dpt_clock_s() - r->since_s[i] > stranger_limit_s) dpt_watch_link_close(stranger);
}

static void address_text(const struct sockaddr_storage *a, char *text, socklen_t bytes) {
    const void *number = a->ss_family == AF_INET6 ? (const void *)&((const struct sockaddr_in6 *)a)->sin6_addr
                                                  : (const void *)&((const struct sockaddr_in *)a)->sin_addr;
    if (inet_ntop(a->ss_family, number, text, bytes) == NULL) snprintf(text, bytes, "?");
}

static dpt_status name_missing(const dpt_watchdog *w, const dpt_watch_invitation *invitation) {
    char who[256], where[512], one[INET6_ADDRSTRLEN];
    size_t n = 0;
    bool *missing = dpt_alloc((size_t)w->world * sizeof *missing);
    DPT_CHECK_ALLOC(missing);
    for (int r = 0; r < w->world; r++) missing[r] = r > 0 && w->links[r].fd < 0;
    dpt_append_ranks(who, sizeof who, 0, missing, w->world);
    dpt_free(missing);
    snprintf(where, sizeof where, "loopback alone");
    for (int i = 0; i < invitation->n_address; i++) {
        address_text(&invitation->address[i], one, sizeof one);
        n = dpt_append(where, sizeof where, n, "%s%s", i ? ", " : "", one);
    }
    return dpt_error(DPT_ERR_PEER,
                     "%s did not reach the watchdog of rank 0 on %s (%s; port %d) within %.3g s: name a network "
                     "interface that all hosts share with comm.interface=, or do without with watchdog.enabled=false",
                     who, w->host, where, (int)invitation->port, start_limit_s);
}

static dpt_status receive_all(dpt_watchdog *w, int listener, const dpt_watch_invitation *invitation) {
    reception r = {.w = w, .listener = listener};
    struct pollfd polls[STRANGERS + 1];
    for (int i = 0; i < STRANGERS; i++) r.stranger[i].fd = -1;
    double end = dpt_clock_s() + start_limit_s;
    while (r.arrived < w->world - 1 && dpt_clock_s() < end) {
        for (int i = 0; i < STRANGERS; i++) polls[i] = (struct pollfd){.fd = r.stranger[i].fd, .events = POLLIN};
        polls[STRANGERS] = (struct pollfd){.fd = listener, .events = POLLIN};
        poll(polls, STRANGERS + 1, 50);
        accept_some(&r);
        for (int i = 0; i < STRANGERS; i++) listen_to(&r, i);
    }
    for (int i = 0; i < STRANGERS; i++) dpt_watch_link_close(&r.stranger[i]);
    return r.arrived == w->world - 1 ? DPT_OK : name_missing(w, invitation);
}

/* ---- start ---- */

static dpt_status take_memory(dpt_watchdog *w) {
    w->n_link = w->rank == 0 ? w->world : 1;
    w->ranks = dpt_alloc_zero((size_t)w->world, sizeof *w->ranks);
    w->links = dpt_alloc_zero((size_t)w->n_link, sizeof *w->links);
    w->polls = dpt_alloc_zero((size_t)w->n_link + 1, sizeof *w->polls);
    if (w->links == NULL) w->n_link = 0;
    for (int i = 0; i < w->n_link; i++) w->links[i].fd = -1;
    return w->ranks && w->links && w->polls ? DPT_OK : DPT_ERR_MEMORY;
}

/* Every rank looks for the interface, rank 0 also opens what the others come to. */
static dpt_status prepare(dpt_watchdog *w, dpt_watch_invitation *invitation, int *listener) {
    DPT_TRY(take_memory(w));
    w->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    DPT_CHECK(w->wake >= 0, DPT_ERR_IO, "the watchdog's eventfd cannot be made: %s", strerror(errno));
    DPT_TRY(dpt_watch_addresses(w->o.interface, invitation->address, &invitation->n_address));
    if (w->rank > 0) return DPT_OK;
    struct rlimit files = {0};
    DPT_CHECK(getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur >= (rlim_t)w->world + SPARE_FILES, DPT_ERR_CONFIG,
              "the watchdog of rank 0 needs a socket for each of %d ranks, and open files are limited to %llu: raise "
              "that (ulimit -n), or take watchdog.enabled=false",
              w->world, (unsigned long long)files.rlim_cur);
    ssize_t n = getrandom(invitation->token, sizeof invitation->token, 0);
    DPT_CHECK(n == (ssize_t)sizeof invitation->token, DPT_ERR_IO, "no random numbers: %s", strerror(errno));
    memcpy(invitation->host, w->host, sizeof invitation->host);
    return dpt_watch_listen(listener, &invitation->port);
}

static dpt_status name_hosts(const dpt_control *control, dpt_watchdog *w) {
    char(*hosts)[DPT_WATCH_HOST] = dpt_alloc((size_t)w->world * sizeof *hosts);
    DPT_TRY(dpt_control_agree(control, hosts ? DPT_OK : DPT_ERR_MEMORY));
    dpt_status status = dpt_control_gather(control, w->host, sizeof w->host, hosts);
    for (int r = 0; r < w->world && status == DPT_OK; r++) snprintf(w->ranks[r].host, sizeof *hosts, "%s", hosts[r]);
    dpt_free(hosts);
    return status;
}

dpt_status dpt_watchdog_connect(const dpt_control *control, dpt_watchdog *w) {
    dpt_watch_invitation invitation = {0};
    int listener = -1;
    dpt_status status;
    gethostname(w->host, sizeof w->host - 1);
    DPT_TRY_GOTO(dpt_control_agree(control, prepare(w, &invitation, &listener)), fail);
    DPT_TRY_GOTO(dpt_control_broadcast(control, &invitation, sizeof invitation, 0), fail);
    memcpy(w->token, invitation.token, sizeof w->token);
    DPT_TRY_GOTO(name_hosts(control, w), fail);
    if (w->rank == 0)
        status = receive_all(w, listener, &invitation);
    else
        status = dpt_watch_connect(&invitation, w->o.interface, w->rank, w->world, start_limit_s, &w->links[0]);
    status = dpt_control_agree(control, status);
fail:
    if (listener >= 0) close(listener);
    return status;
}

void dpt_watchdog_free(dpt_watchdog *w) {
    for (int i = 0; i < w->n_link; i++) dpt_watch_link_close(&w->links[i]);
    if (w->wake >= 0) close(w->wake);
    pthread_mutex_destroy(&w->lock);
    pthread_mutex_destroy(&w->comm_lock);
    dpt_free(w->ranks);
    dpt_free(w->links);
    dpt_free(w->polls);
    dpt_free(w);
}
