/* fanout SOURCE_PORT STREAMS FLUSH_MS: the yardstick. What a fan-out costs that does nothing else.
 *
 * One process, epoll, one buffer a stream, send() for each viewer at each flush. It parses nothing, and a viewer begins
 * wherever the buffer ends. Streams are pulled from /ts/bench-N of the source and served under the same path. */
#include "common.h"

#define RING_BYTES (8 << 20)
#define VIEWERS_MAX 8192
#define STREAMS_MAX 256

typedef struct {
    int fd;
    int64_t head;
    unsigned char *ring;
    int has_head;
} Stream;

typedef struct {
    int fd;
    int64_t position;
} Viewer;

static Stream streams[STREAMS_MAX];
static Viewer *viewers[STREAMS_MAX];
static int viewer_counts[STREAMS_MAX];
static int epoll, server, timer, stream_count;
static const char HEAD[] = "HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nConnection: close\r\n\r\n";

static void pull(Stream *stream, int number, int port) {
    struct sockaddr_in address = loopback(port);
    char request[128];
    stream->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    stream->ring = malloc(RING_BYTES);
    if (!stream->ring || connect(stream->fd, (struct sockaddr *)&address, sizeof address) < 0)
        die("source");
    int size = snprintf(request, sizeof request, "GET /ts/bench-%d HTTP/1.0\r\n\r\n", number);
    if (send(stream->fd, request, size, 0) != size)
        die("source");
    watch(epoll, stream->fd, EPOLLIN, stream);
}

/* The answer's head is small and comes at once: it is taken for one piece. */
static void skip_head(Stream *stream) {
    char head[4096];
    ssize_t got = recv(stream->fd, head, sizeof head - 1, MSG_PEEK);
    if (got <= 0)
        die("source");
    head[got] = 0;
    char *end = strstr(head, "\r\n\r\n");
    if (end && recv(stream->fd, head, end + 4 - head, 0) > 0)
        stream->has_head = 1;
}

static void take(Stream *stream) {
    if (!stream->has_head) {
        skip_head(stream);
        return;
    }
    size_t at = stream->head % RING_BYTES;
    ssize_t got = recv(stream->fd, stream->ring + at, RING_BYTES - at, MSG_DONTWAIT);
    if (got > 0)
        stream->head += got;
    else if (got == 0 || errno != EAGAIN)
        die("source");
}

static void accept_all(void) {
    char request[4096];
    int fd;
    while ((fd = accept4(server, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        ssize_t got = recv(fd, request, sizeof request - 1, 0);
        request[got > 0 ? got : 0] = 0;
        char *dash = strstr(request, "/ts/bench-");
        int number = dash ? atoi(dash + 10) : 0;
        if (got <= 0 || number >= stream_count || viewer_counts[number] == VIEWERS_MAX) {
            close(fd);
            continue;
        }
        set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
        send(fd, HEAD, sizeof HEAD - 1, MSG_NOSIGNAL);
        viewers[number][viewer_counts[number]++] = (Viewer){fd, streams[number].head};
    }
}

/* Send what there is; return 0 when the viewer is gone. */
static int flush(Stream *stream, Viewer *viewer) {
    if (stream->head - viewer->position > RING_BYTES / 2)
        viewer->position = stream->head; /* too slow: it misses something */
    while (viewer->position < stream->head) {
        size_t at = viewer->position % RING_BYTES, size = stream->head - viewer->position;
        if (size > RING_BYTES - at)
            size = RING_BYTES - at;
        ssize_t sent = send(viewer->fd, stream->ring + at, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0)
            return errno == EAGAIN;
        viewer->position += sent;
        if ((size_t)sent < size)
            break;
    }
    return 1;
}

static void flush_all(void) {
    for (int s = 0; s < stream_count; s++)
        for (int v = 0; v < viewer_counts[s];) {
            if (flush(&streams[s], &viewers[s][v])) {
                v++;
                continue;
            }
            close(viewers[s][v].fd);
            viewers[s][v] = viewers[s][--viewer_counts[s]];
        }
}

int main(int argc, char **argv) {
    if (argc != 4)
        return fprintf(stderr, "usage: fanout SOURCE_PORT STREAMS FLUSH_MS\n"), 2;
    stream_count = atoi(argv[2]);
    if (stream_count < 1 || stream_count > STREAMS_MAX)
        return fprintf(stderr, "fanout: 1 to %d streams\n", STREAMS_MAX), 2;
    allow_many_files();
    epoll = epoll_create1(EPOLL_CLOEXEC);
    for (int s = 0; s < stream_count; s++) {
        viewers[s] = calloc(VIEWERS_MAX, sizeof(Viewer));
        pull(&streams[s], s, atoi(argv[1]));
    }
    server = listen_somewhere();
    timer = every_ms(atoi(argv[3]));
    watch(epoll, server, EPOLLIN, &server);
    watch(epoll, timer, EPOLLIN, &timer);
    for (;;) {
        struct epoll_event events[64];
        int happened = epoll_wait(epoll, events, 64, -1);
        for (int n = 0; n < happened; n++) {
            if (events[n].data.ptr == &server)
                accept_all();
            else if (events[n].data.ptr == &timer)
                ticks_of(timer);
            else
                take(events[n].data.ptr);
        }
        for (int n = 0; n < happened; n++)
            if (events[n].data.ptr == &timer)
                flush_all();
    }
}
