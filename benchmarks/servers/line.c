/* A wide-area line in user space: a TCP proxy with delay, a window for each connection and a capacity for all.
 *
 *   line [OPTION ...] LISTEN:TARGET ...        ports of this machine; a line may have up to 16 entrances
 *
 *   -d MS    delay one way: half of the round trip        -c BYTES  capacity per second, each way
 *   -w BYTES largest window of a connection               -i BYTES  first window (64 KiB)
 *   -C BYTES -T S -U S   another capacity from T to U seconds after the first byte
 *   -r S     connections are reset at random, every S seconds each on average
 *   -l S     loss: a connection's window is halved at random, every S seconds on average
 *   -s S -S S   a direction stands still at random, every s seconds on average, for S seconds
 *   -n N     connections above N at an entrance are answered with 503
 *   -x SEED  of the randomness                            -o FILE   statistics
 *
 * A direction of a connection begins with the first window, which doubles each round trip while it is used up to the
 * largest, and begins again after a second of idleness. After a loss it grows by a sixteenth of the largest each round
 * trip. Bytes are in flight from when they are read at the source until the destination took them and one delay more.
 * The capacity is handed out round robin in quanta to the connections that have bytes and room in their windows. A
 * connection is of use one round trip after it was made, as after a handshake.
 *
 * Round trips are counted, not timed, so that a busy machine does not change them: whatever the client sends has the
 * count of the latest that it has received, an answer has one more than what it answers, a new connection one more
 * than the moment of its opening. Processing counts as long as the delay is much longer.
 *
 * Statistics, a line every 50 ms: seconds, round trips, resets, losses, refusals, connections made; then for each entrance
 * bytes down, bytes up, connections open, connections with bytes in flight, and the counts of round trips at which the
 * first byte came down and the first one was sent up (-1: none yet).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { QUANTUM = 16384, SEGMENT = 1448, MAX_CONNECTIONS = 4096, MAX_ENTRANCES = 16, BUFFER = 262144, DOWN = 1, UP = 0 };

typedef struct piece { struct piece *next; double due; long trips; int size, sent; char data[]; } piece;
typedef struct { piece *first, *last; } queue;
typedef struct {
    int readable, ended, end_passed, lost;
    double end_due, window, in_flight, used, still_until, next_still, next_loss;
    queue way, acks;
} direction;
typedef struct connection {
    struct connection *self[2];   /* what an epoll event points to: which of the two sockets */
    int socket[2], writable[2], entrance, dead, refused;
    long opened, asked;           /* round trips: from when it is of use; of the last bytes that the server has got */
    double ready, reset, refused_until;
    direction to[2];              /* to[UP] reads socket[0], the client's; to[DOWN] reads socket[1], the server's */
} connection;
typedef struct { int listener, target, open, served; long long bytes[2]; long first[2]; } entrance;

static double delay, largest, capacity, other = -1, other_from, other_to, first_window = 65536;
static double mean_reset, mean_loss, mean_still, still_for, began = -1, credit[2];
static connection *all[MAX_CONNECTIONS];
static entrance in[MAX_ENTRANCES];
static int count, entrances, most = MAX_CONNECTIONS, poll_fd;
static long trips, resets, losses, refusals, made;
static volatile int ended;

static double clock_now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec * 1e-9; }
static double after(double mean, double now) { return mean > 0 ? now - mean * log(1.0 - drand48()) : INFINITY; }
static void on_signal(int number) { (void)number; ended = 1; }
static long later(long a, long b) { return a > b ? a : b; }

static void push(queue *q, piece *p) {
    p->next = NULL;
    if (q->first) q->last->next = p; else q->first = p;
    q->last = p;
}

static void pop(queue *q) { piece *p = q->first; q->first = p->next; free(p); }

static void end_connection(connection *c, int reset) {
    struct linger hard = {1, 0};
    if (c->dead) return;
    c->dead = 1; in[c->entrance].open--; in[c->entrance].served -= !c->refused;
    for (int i = 0; i < 2; i++) {
        if (c->socket[i] >= 0) {
            if (reset) setsockopt(c->socket[i], SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
            close(c->socket[i]);
        }
        while (c->to[i].way.first) pop(&c->to[i].way);
        while (c->to[i].acks.first) pop(&c->to[i].acks);
    }
}

static void watch(connection *c, int i) {
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = &c->self[i]};
    c->self[i] = c;
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, c->socket[i], &e);
}

static void accept_all(int which, double now) {
    for (int client; (client = accept4(in[which].listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        int one = 1, size = BUFFER, server = -1;
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(in[which].target), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        connection *c = calloc(1, sizeof *c);
        setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        c->refused = in[which].served >= most;
        if (!c->refused) {
            server = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
            setsockopt(server, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
            setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        }
        if (count == MAX_CONNECTIONS || (server >= 0 && connect(server, (void *)&a, sizeof a) < 0 && errno != EINPROGRESS)) {
            close(client); close(server); free(c);
            continue;
        }
        c->socket[0] = client; c->socket[1] = server; c->entrance = which;
        c->opened = trips + 1; c->ready = now + 2 * delay; c->reset = after(mean_reset, c->ready);
        c->refused_until = c->refused ? c->ready + 2 * delay + 5 : INFINITY;
        for (int k = 0; k < 2; k++) {
            direction *d = &c->to[k];
            d->window = fmin(first_window, largest); d->used = now; d->readable = c->writable[k] = 1;
            d->next_still = after(mean_still, now); d->next_loss = after(mean_loss, now);
        }
        all[count++] = c; made++; refusals += c->refused;
        in[which].open++; in[which].served += !c->refused;
        watch(c, 0);
        if (server >= 0) watch(c, 1);
    }
}

/* A surplus connection: what it sends is thrown away, and it is told so after a round trip. */
static void refuse(connection *c, double now) {
    static const char answer[] = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    char waste[QUANTUM];
    ssize_t n;
    if (now < c->ready) return;
    while ((n = recv(c->socket[0], waste, sizeof waste, 0)) > 0)
        if (c->to[DOWN].end_due == 0) c->to[DOWN].end_due = now + 2 * delay;
    if (c->to[DOWN].end_due && now >= c->to[DOWN].end_due && !c->to[DOWN].ended) {
        c->to[DOWN].ended = 1;
        if (send(c->socket[0], answer, sizeof answer - 1, MSG_NOSIGNAL) < 0) n = 0;
        shutdown(c->socket[0], SHUT_WR);
    }
    if (n == 0 || (n < 0 && errno != EAGAIN) || now > c->refused_until) end_connection(c, 0);
}

/* One quantum of one direction: 1 if bytes went, 0 if there is nothing to send now. */
static int take_quantum(connection *c, int k, double now) {
    direction *d = &c->to[k];
    if (c->dead || c->refused || !d->readable || d->ended || now < c->ready || now < d->still_until) return 0;
    if (d->in_flight == 0 && now - d->used > 1 + 2 * delay) { d->window = fmin(first_window, largest); d->lost = 0; }
    double room = d->window - d->in_flight;
    if (room < SEGMENT && d->in_flight > 0) return 0;
    int wanted = room < QUANTUM ? (int)room : QUANTUM;
    piece *p = malloc(sizeof *p + wanted);
    ssize_t n = recv(c->socket[k], p->data, wanted, 0);
    if (n <= 0) {
        free(p);
        if (n == 0) { d->ended = 1; d->end_due = now + delay; }
        else if (errno == EAGAIN || errno == ENOTCONN) d->readable = 0;
        else end_connection(c, 1);
        return 0;
    }
    p->size = n; p->sent = 0; p->due = now + delay;
    p->trips = k == UP ? later(trips, c->opened) : c->asked + 1;
    push(&d->way, p);
    d->in_flight += n; d->used = now; credit[k] -= n;
    in[c->entrance].bytes[k] += n;
    if (began < 0) began = now;
    if (k == UP && in[c->entrance].first[UP] < 0) in[c->entrance].first[UP] = p->trips;
    return 1;
}

static void deliver(connection *c, int k, double now) {
    direction *d = &c->to[k];
    int target = c->socket[1 - k];
    if (now >= d->next_loss) {
        if (d->in_flight > 0) { d->window = fmax(d->window / 2, 2 * SEGMENT); d->lost = 1; losses++; }
        d->next_loss = after(mean_loss, now);
    }
    for (piece *a; (a = d->acks.first) && a->due <= now; pop(&d->acks)) {
        double grown = d->lost ? a->size / d->window * largest / 16 : a->size;
        if (2 * d->in_flight >= d->window) d->window = fmin(largest, d->window + grown);
        d->in_flight -= a->size;
    }
    for (piece *p; (p = d->way.first) && p->due <= now && c->writable[1 - k];) {
        ssize_t n = send(target, p->data + p->sent, p->size - p->sent, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EAGAIN || errno == ENOTCONN) c->writable[1 - k] = 0;
            else end_connection(c, 1);
            return;
        }
        if ((p->sent += n) < p->size) continue;
        if (k == UP) c->asked = later(c->asked, p->trips);
        else {
            trips = later(trips, p->trips);
            if (in[c->entrance].first[DOWN] < 0) in[c->entrance].first[DOWN] = p->trips;
        }
        piece *a = malloc(sizeof *a);
        a->size = p->size; a->due = (now - p->due < 0.002 ? p->due : now) + delay;
        push(&d->acks, a);
        pop(&d->way);
    }
    if (d->ended && !d->end_passed && !d->way.first && now >= d->end_due) { shutdown(target, SHUT_WR); d->end_passed = 1; }
}

static void move_time(double now, double passed) {
    double rate = other >= 0 && began >= 0 && now >= began + other_from && now < began + other_to ? other : capacity;
    static int turn;
    int kept = 0;
    for (int i = 0; i < count; i++) {
        connection *c = all[i];
        if (c->refused) { refuse(c, now); continue; }
        for (int k = 0; k < 2 && !c->dead; k++) {
            direction *d = &c->to[k];
            if (now >= d->next_still) {
                if (d->in_flight > 0) d->still_until = now + still_for;
                d->next_still = after(mean_still, now + still_for);
            }
            deliver(c, k, now);
        }
        if (!c->dead && now >= c->reset) { end_connection(c, 1); resets++; }
        if (!c->dead && c->to[UP].end_passed && c->to[DOWN].end_passed) end_connection(c, 0);
    }
    for (int i = 0; i < count; i++) if (all[i]->dead) free(all[i]); else all[kept++] = all[i];
    count = kept;
    for (int k = 0; k < 2; k++) {
        credit[k] = fmin(credit[k] + rate * passed, fmax(rate * 0.02, 2 * QUANTUM));
        for (int idle = 0; count && credit[k] > 0 && idle < count;) {
            turn = (turn + 1) % count;
            idle = take_quantum(all[turn], k, now) ? 0 : idle + 1;
        }
    }
}

static void report(FILE *out, double now) {
    int active[MAX_ENTRANCES] = {0};
    for (int i = 0; i < count; i++)
        active[all[i]->entrance] += all[i]->to[UP].in_flight + all[i]->to[DOWN].in_flight > 4096;
    fprintf(out, "%.3f %ld %ld %ld %ld %ld", now, trips, resets, losses, refusals, made);
    for (int i = 0; i < entrances; i++)
        fprintf(out, " %lld %lld %d %d %ld %ld", in[i].bytes[DOWN], in[i].bytes[UP], in[i].open, active[i], in[i].first[DOWN], in[i].first[UP]);
    fprintf(out, "\n");
    fflush(out);
}

static int listen_at(entrance *e, int port) {
    int one = 1, size = BUFFER, mss = SEGMENT;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    e->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    e->first[UP] = e->first[DOWN] = -1;
    setsockopt(e->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(e->listener, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);   /* so that little of what is sent waits here */
    setsockopt(e->listener, IPPROTO_TCP, TCP_MAXSEG, &mss, sizeof mss);   /* buffers grow as on a line, not as on loopback */
    return bind(e->listener, (void *)&a, sizeof a) < 0 || listen(e->listener, 1024) < 0;
}

int main(int argc, char **argv) {
    FILE *out = stdout;
    long seed = 1;
    for (int o; (o = getopt(argc, argv, "d:c:w:i:C:T:U:r:l:s:S:n:x:o:")) != -1;) {
        double v = atof(optarg);
        switch (o) {
        case 'd': delay = v / 1000; break; case 'c': capacity = v; break; case 'w': largest = v; break;
        case 'i': first_window = v; break; case 'C': other = v; break; case 'T': other_from = v; break;
        case 'U': other_to = v; break; case 'r': mean_reset = v; break; case 'l': mean_loss = v; break;
        case 's': mean_still = v; break; case 'S': still_for = v; break; case 'n': most = v; break;
        case 'x': seed = v; break; case 'o': out = fopen(optarg, "w"); break;
        default: return 2;
        }
    }
    if (!out || capacity <= 0 || largest <= 0) return 2;
    srand48(seed); signal(SIGTERM, on_signal); signal(SIGINT, on_signal);
    poll_fd = epoll_create1(0);
    for (int port; optind < argc && entrances < MAX_ENTRANCES; optind++, entrances++) {
        entrance *e = &in[entrances];
        if (sscanf(argv[optind], "%d:%d", &port, &e->target) != 2) return 2;
        if (listen_at(e, port)) { perror("listen"); return 1; }
        struct epoll_event readable = {.events = EPOLLIN, .data.u64 = entrances};
        epoll_ctl(poll_fd, EPOLL_CTL_ADD, e->listener, &readable);
    }
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct itimerspec every = {{0, 500000}, {0, 500000}};
    timerfd_settime(timer, 0, &every, NULL);
    struct epoll_event ticks = {.events = EPOLLIN, .data.u64 = MAX_ENTRANCES}, events[256];
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, timer, &ticks);
    printf("ready\n"); fflush(stdout);
    for (double last = clock_now(), next_report = last; !ended;) {
        int n = epoll_wait(poll_fd, events, 256, 1000), tick = 0;
        double now = clock_now();
        for (int i = 0; i < n; i++) {
            uint64_t gone, what = events[i].data.u64;
            if (what == MAX_ENTRANCES) tick = read(timer, &gone, 8) == 8;
            else if (what < MAX_ENTRANCES) accept_all((int)what, now);
            else {
                connection **at = events[i].data.ptr, *c = *at;
                int which = at - c->self;
                if (events[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) c->to[which].readable = 1;
                if (events[i].events & EPOLLOUT) c->writable[which] = 1;
            }
        }
        if (!tick) continue;
        move_time(now, now - last);
        last = now;
        if (now >= next_report) { report(out, now); next_report = now + 0.05; }
    }
    return 0;
}
