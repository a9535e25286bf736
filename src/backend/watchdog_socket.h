/* watchdog_socket.h: how watchdogs reach each other: rank 0's addresses, connections that carry whole frames and never
 * block. */
#ifndef DPT_BACKEND_WATCHDOG_SOCKET_H
#define DPT_BACKEND_WATCHDOG_SOCKET_H

#include <sys/socket.h>

#include "backend/watchdog_message.h"

enum { DPT_WATCH_ADDRESSES = 16 };

/* What rank 0 tells the others over the control plane. */
typedef struct dpt_watch_invitation {
    uint8_t token[DPT_WATCH_TOKEN];
    char host[DPT_WATCH_HOST];
    int32_t n_address;
    uint16_t port;
    struct sockaddr_storage address[DPT_WATCH_ADDRESSES]; /* port 0 in each; loopback is not among them */
} dpt_watch_invitation;

/* One connection. fd < 0: closed. */
typedef struct dpt_watch_link {
    int fd;
    size_t received, to_send; /* bytes of a frame that has come in part, that is left to go out */
    uint8_t in[DPT_WATCH_FRAME], out[DPT_WATCH_FRAME];
} dpt_watch_link;

/* The addresses of this host's interfaces that are up, of the named one alone if there is a name; not loopback unless
 * named. DPT_ERR_CONFIG: there is no such interface, or it has no address; those that there are are named. */
dpt_status dpt_watch_addresses(const char *interface, struct sockaddr_storage *address, int32_t *n);
/* A socket that listens on every address; its port. */
dpt_status dpt_watch_listen(int *fd, uint16_t *port);
/* A connection to one of the addresses, by loopback too where this is the same host, that has said hello and been
 * welcomed; from the named interface's address, if there is a name. DPT_ERR_PEER: none within limit_s. */
dpt_status dpt_watch_connect(const dpt_watch_invitation *to, const char *interface, int rank, int world, double limit_s,
                             dpt_watch_link *link);

/* Takes over a connected socket: it will not block. */
void dpt_watch_link_open(dpt_watch_link *link, int fd);
void dpt_watch_link_close(dpt_watch_link *link);
/* Sends, as far as the socket takes it at once; a frame that finds the one before still under way is dropped: false. */
bool dpt_watch_link_send(dpt_watch_link *link, const uint8_t frame[DPT_WATCH_FRAME]);
/* The next whole frame, in link->in until the next call. False: none yet, or (*closed) never again. */
bool dpt_watch_link_receive(dpt_watch_link *link, bool *closed);

#endif
