/* load PORT: viewers, as many as asked for, told what to do on standard input; each answer is one line of JSON.
 *
 *   open COUNT PATH STREAMS PROBE SECONDS  open viewers of PATH (a printf format of the stream's number), every PROBE-th
 *                                          reads the stamps in what it gets; answers when all had media, or in time
 *   window SECONDS                         count for so long: bytes and longest gap of each viewer, delays of the probes
 *   join COUNT PATH SPACING_MS BYTES DIR   come one after another, stay for BYTES each; DIR/N.ts has what every tenth got
 *   hls COUNT PLAYLIST SPREAD_MS           open viewers that ask for a playlist and its segments, from the newest on
 *   close                                  end all of them
 *
 * What is not looked at is thrown away in the kernel (MSG_TRUNC): the load maker must not be what is measured. */
#include "common.h"

#define HEAD_BYTES 8192
#define BODY_BYTES (256 << 10)
#define READ_BYTES (1 << 20)
#define DELAYS_MAX (4 << 20)
#define OPENING_MAX 64

enum { CLOSED, CONNECTING, HEAD, MEDIA, PLAYLIST, SEGMENT, WAITING };

typedef struct {
    int fd, state, probe, is_hls, stamp_have, keep_fd;
    size_t head_have;
    int64_t connected_at, first_at, asked_at, last_at, gap_ns, bytes, left, keep_left;
    int64_t next_poll_at, polled_at, sequence, wanted[32];
    int wanted_count, wanted_at;
    char *buffer; /* of heads and playlists; NULL while it is not needed */
    char names[32][96];
    unsigned char stamp[STAMP_MAGIC_BYTES + 8];
} Viewer;

static Viewer *viewers;
static int viewer_count, viewer_room, epoll, port, opening, lost;
static int32_t *delays_us;
static int64_t delay_count, segments, segment_ns_max, segment_ns_sum;
static char path_format[512], playlist_path[256], playlist_folder[256];
static unsigned char scratch[READ_BYTES];
static int counting, target_ms = 4000;

static void shut(Viewer *viewer) {
    if (viewer->state == CLOSED)
        return;
    if (viewer->state == CONNECTING || viewer->state == HEAD)
        opening--;
    close(viewer->fd);
    if (viewer->keep_fd > 0)
        close(viewer->keep_fd);
    free(viewer->buffer);
    viewer->buffer = NULL;
    viewer->state = CLOSED;
}

static void lose(Viewer *viewer) {
    lost++;
    shut(viewer);
}

static void ask(Viewer *viewer, const char *path) {
    char request[768];
    int size = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: bench\r\nUser-Agent: load\r\n\r\n", path);
    viewer->asked_at = now_ns();
    viewer->head_have = 0;
    if (!viewer->buffer)
        viewer->buffer = malloc(BODY_BYTES);
    if (send(viewer->fd, request, size, MSG_NOSIGNAL) != size)
        lose(viewer);
}

static void begin(Viewer *viewer) {
    struct sockaddr_in address = loopback(port);
    viewer->connected_at = now_ns();
    viewer->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (viewer->fd < 0)
        die("socket");
    viewer->state = CONNECTING;
    opening++;
    if (connect(viewer->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS) {
        lose(viewer);
        return;
    }
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.u32 = viewer - viewers};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, viewer->fd, &event) < 0)
        die("epoll_ctl");
}

static Viewer *add_viewer(void) {
    if (viewer_count == viewer_room) {
        viewer_room = viewer_room ? 2 * viewer_room : 1024;
        viewers = realloc(viewers, viewer_room * sizeof(Viewer));
        if (!viewers)
            die("viewers");
    }
    Viewer *viewer = &viewers[viewer_count++];
    memset(viewer, 0, sizeof *viewer);
    return viewer;
}

static void on_connected(Viewer *viewer) {
    char path[600];
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = viewer - viewers};
    epoll_ctl(epoll, EPOLL_CTL_MOD, viewer->fd, &event);
    set_option(viewer->fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (viewer->is_hls) {
        viewer->state = WAITING;
        opening--;
        return;
    }
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(path, sizeof path, path_format, (int)viewer->sequence);
#pragma GCC diagnostic pop
    viewer->state = HEAD;
    ask(viewer, path);
}

/* Look for stamps in what was read; a stamp may be cut in two. */
static void probe(Viewer *viewer, const unsigned char *block, size_t size, int64_t now) {
    const unsigned char *at = block, *end = block + size;
    while (at < end) {
        if (viewer->stamp_have == 0) {
            at = memchr(at, STAMP_MAGIC[0], end - at);
            if (!at)
                return;
        }
        while (at < end && viewer->stamp_have < (int)sizeof viewer->stamp) {
            if (viewer->stamp_have < STAMP_MAGIC_BYTES && *at != STAMP_MAGIC[viewer->stamp_have]) {
                viewer->stamp_have = 0; /* no prefix of the text begins inside it again: P comes once */
                break;
            }
            viewer->stamp[viewer->stamp_have++] = *at++;
        }
        if (viewer->stamp_have == (int)sizeof viewer->stamp) {
            int64_t sent_at;
            memcpy(&sent_at, viewer->stamp + STAMP_MAGIC_BYTES, sizeof sent_at);
            if (counting && delay_count < DELAYS_MAX)
                delays_us[delay_count++] = (now - sent_at) / 1000;
            viewer->stamp_have = 0;
        } else if (at < end && viewer->stamp_have == 0 && *at != STAMP_MAGIC[0]) {
            at++;
        }
    }
}

static void note(Viewer *viewer, int64_t size, int64_t now) {
    if (!viewer->first_at)
        viewer->first_at = now;
    if (counting && now - viewer->last_at > viewer->gap_ns)
        viewer->gap_ns = now - viewer->last_at;
    viewer->last_at = now;
    viewer->bytes += size;
}

static void keep(Viewer *viewer, const unsigned char *block, size_t size) {
    if (viewer->keep_fd > 0 && write(viewer->keep_fd, block, size) != (ssize_t)size)
        die("write");
}

/* Return the size of the body that has come with the head, or -1 while the head is not complete. */
static ssize_t read_head(Viewer *viewer, int *status, char **body, int64_t *length) {
    ssize_t got = recv(viewer->fd, viewer->buffer + viewer->head_have, HEAD_BYTES - 1 - viewer->head_have, 0);
    if (got == 0 || (got < 0 && errno != EAGAIN)) {
        lose(viewer);
        return -1;
    }
    if (got < 0)
        return -1;
    viewer->head_have += got;
    viewer->buffer[viewer->head_have] = 0;
    char *end = strstr(viewer->buffer, "\r\n\r\n");
    if (!end) {
        if (viewer->head_have >= HEAD_BYTES - 1)
            lose(viewer);
        return -1;
    }
    *end = 0;
    *status = atoi(viewer->buffer + 9);
    char *field = strcasestr(viewer->buffer, "\r\ncontent-length:");
    *length = field ? atoll(field + 17) : -1;
    *body = end + 4;
    return viewer->buffer + viewer->head_have - *body;
}

static void on_head(Viewer *viewer) {
    int status;
    int64_t length;
    char *body;
    ssize_t size = read_head(viewer, &status, &body, &length);
    if (size < 0)
        return;
    if (status != 200) {
        fprintf(stderr, "load: status %d\n", status);
        lose(viewer);
        return;
    }
    opening--;
    viewer->state = MEDIA;
    if (size > 0) {
        int64_t now = now_ns();
        note(viewer, size, now);
        keep(viewer, (unsigned char *)body, size);
        viewer->keep_left -= size;
    }
    free(viewer->buffer);
    viewer->buffer = NULL;
}

static void on_media(Viewer *viewer) {
    int looked_at = viewer->probe || viewer->keep_fd > 0;
    ssize_t got = recv(viewer->fd, scratch, sizeof scratch, looked_at ? 0 : MSG_TRUNC);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        lose(viewer);
        return;
    }
    int64_t now = now_ns();
    note(viewer, got, now);
    if (viewer->probe)
        probe(viewer, scratch, got, now);
    keep(viewer, scratch, got);
    if (viewer->keep_left > 0 && (viewer->keep_left -= got) <= 0)
        shut(viewer);
}

/* HLS */

/* RFC 8216, 6.3.4: a target duration after a playlist with something new was asked for, else half of that. */
static void poll_later(Viewer *viewer) {
    viewer->state = WAITING;
    viewer->next_poll_at = viewer->polled_at + target_ms * (viewer->wanted_count ? 1000000LL : 500000LL);
}

static void next_segment(Viewer *viewer) {
    char path[512];
    if (viewer->wanted_at == viewer->wanted_count) {
        poll_later(viewer);
        return;
    }
    snprintf(path, sizeof path, "%s%s", playlist_folder, viewer->names[viewer->wanted_at]);
    viewer->sequence = viewer->wanted[viewer->wanted_at++];
    viewer->state = SEGMENT;
    viewer->left = -1;
    ask(viewer, path);
}

static void read_playlist(Viewer *viewer, char *text) {
    char *saved = NULL, *found = strstr(text, "#EXT-X-MEDIA-SEQUENCE:");
    int64_t sequence = found ? atoll(found + 22) : 0;
    int is_first = viewer->sequence < 0;
    char *target = strstr(text, "#EXT-X-TARGETDURATION:");
    if (target)
        target_ms = atoi(target + 22) * 1000;
    viewer->wanted_count = viewer->wanted_at = 0;
    for (char *line = strtok_r(text, "\r\n", &saved); line; line = strtok_r(NULL, "\r\n", &saved)) {
        if (line[0] == '#')
            continue;
        if (is_first)
            viewer->wanted_count = 0; /* the newest only */
        if (sequence > viewer->sequence && viewer->wanted_count < 32) {
            snprintf(viewer->names[viewer->wanted_count], sizeof viewer->names[0], "%s", line);
            viewer->wanted[viewer->wanted_count++] = sequence;
        }
        sequence++;
    }
    next_segment(viewer);
}

static void on_playlist(Viewer *viewer) {
    int status;
    int64_t length, have;
    char *body;
    ssize_t size = read_head(viewer, &status, &body, &length);
    if (size < 0)
        return;
    if (status != 200 || length < 0 || length + (body - viewer->buffer) >= BODY_BYTES) {
        fprintf(stderr, "load: playlist: status %d\n", status);
        lose(viewer);
        return;
    }
    for (have = size; have < length;) { /* a playlist is small: its rest is on its way */
        ssize_t got = recv(viewer->fd, body + have, length - have, 0);
        if (got == 0 || (got < 0 && errno != EAGAIN)) {
            lose(viewer);
            return;
        }
        have += got > 0 ? got : 0;
    }
    body[length] = 0;
    viewer->bytes += length;
    read_playlist(viewer, body);
}

static void on_segment(Viewer *viewer) {
    ssize_t got;
    if (viewer->left < 0) {
        int status;
        char *body;
        got = read_head(viewer, &status, &body, &viewer->left);
        if (got < 0) {
            viewer->left = -1;
            return;
        }
        if (status != 200 || viewer->left < 0) {
            fprintf(stderr, "load: segment: status %d\n", status);
            lose(viewer);
            return;
        }
    } else {
        got = recv(viewer->fd, scratch, sizeof scratch, MSG_TRUNC);
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0) {
            lose(viewer);
            return;
        }
    }
    note(viewer, got, now_ns());
    viewer->left -= got;
    if (viewer->left > 0)
        return;
    int64_t took = now_ns() - viewer->asked_at;
    segments++;
    segment_ns_sum += took;
    if (took > segment_ns_max)
        segment_ns_max = took;
    next_segment(viewer);
}

static void poll_due(void) {
    int64_t now = now_ns();
    for (int n = 0; n < viewer_count; n++)
        if (viewers[n].state == WAITING && viewers[n].next_poll_at <= now) {
            viewers[n].state = PLAYLIST;
            viewers[n].polled_at = now;
            ask(&viewers[n], playlist_path);
        }
}

/* The loop */

static void on_event(Viewer *viewer, uint32_t events) {
    switch (viewer->state) {
    case CONNECTING:
        if (events & (EPOLLERR | EPOLLHUP))
            lose(viewer);
        else if (events & EPOLLOUT)
            on_connected(viewer);
        break;
    case HEAD:
        on_head(viewer);
        break;
    case MEDIA:
        on_media(viewer);
        break;
    case PLAYLIST:
        on_playlist(viewer);
        break;
    case SEGMENT:
        on_segment(viewer);
        break;
    case WAITING:
        if (events & EPOLLIN)
            lose(viewer);
        break;
    }
}

static int is_hls;

static void turn(int64_t until) {
    struct epoll_event events[256];
    int64_t left_ms = (until - now_ns()) / 1000000;
    int wait_ms = left_ms < 0 ? 0 : left_ms > 10 ? 10 : (int)left_ms;
    int happened = epoll_wait(epoll, events, 256, wait_ms);
    for (int n = 0; n < happened; n++)
        on_event(&viewers[events[n].data.u32], events[n].events);
    if (is_hls)
        poll_due();
}

static int media_count(void) {
    int found = 0;
    for (int n = 0; n < viewer_count; n++)
        found += viewers[n].state == MEDIA && viewers[n].first_at != 0;
    return found;
}

static int open_count(void) {
    int found = 0;
    for (int n = 0; n < viewer_count; n++)
        found += viewers[n].state != CLOSED;
    return found;
}

static void print_first_bytes(int from) {
    const char *comma = "";
    printf("\"first_byte_us\": [");
    for (int n = from; n < viewer_count; n++)
        if (viewers[n].first_at) {
            printf("%s%lld", comma, (long long)(viewers[n].first_at - viewers[n].connected_at) / 1000);
            comma = ", ";
        }
    printf("]");
}

static void answer_open(int wanted, int streams, int probe_every, double seconds) {
    int from = viewer_count, n = 0;
    int64_t until = now_ns() + (int64_t)(seconds * 1e9);
    while (now_ns() < until) {
        while (n < wanted && opening < OPENING_MAX) {
            Viewer *viewer = add_viewer();
            viewer->sequence = n % streams;
            viewer->probe = probe_every > 0 && n % probe_every == 0;
            n++;
            begin(viewer);
        }
        turn(now_ns() + 10000000);
        if (n == wanted && !opening && media_count() + lost >= viewer_count)
            break;
    }
    printf("{\"watching\": %d, \"lost\": %d, ", media_count(), lost);
    print_first_bytes(from);
    printf("}\n");
}

static void answer_hls(int wanted, int spread_ms) {
    int64_t now = now_ns();
    char *slash = strrchr(playlist_path, '/');
    snprintf(playlist_folder, sizeof playlist_folder, "%.*s", (int)(slash + 1 - playlist_path), playlist_path);
    is_hls = 1;
    for (int n = 0; n < wanted; n++) {
        Viewer *viewer = add_viewer();
        viewer->is_hls = 1;
        viewer->sequence = -1;
        viewer->next_poll_at = now + (int64_t)spread_ms * 1000000 * n / wanted;
        begin(viewer);
        turn(now_ns());
    }
    printf("{\"watching\": %d, \"lost\": %d}\n", open_count(), lost);
}

static void answer_window(double seconds) {
    int64_t began = now_ns(), until = began + (int64_t)(seconds * 1e9);
    delay_count = segments = segment_ns_max = segment_ns_sum = 0;
    for (int n = 0; n < viewer_count; n++) {
        viewers[n].bytes = viewers[n].gap_ns = 0;
        viewers[n].last_at = began;
    }
    counting = 1;
    while (now_ns() < until)
        turn(until);
    counting = 0;
    int64_t took = now_ns() - began;
    const char *comma = "";
    printf("{\"seconds\": %.6f, \"watching\": %d, \"lost\": %d, \"segments\": %lld, ", took / 1e9, open_count(), lost,
           (long long)segments);
    printf("\"segment_ms_mean\": %.3f, \"segment_ms_max\": %.3f, \"bytes\": [", segments ? segment_ns_sum / 1e6 / segments : 0,
           segment_ns_max / 1e6);
    for (int n = 0; n < viewer_count; n++, comma = ", ")
        printf("%s%lld", comma, (long long)viewers[n].bytes);
    comma = "";
    printf("], \"gap_us\": [");
    for (int n = 0; n < viewer_count; n++, comma = ", ")
        printf("%s%lld", comma, (long long)viewers[n].gap_ns / 1000);
    comma = "";
    printf("], \"delay_us\": [");
    for (int64_t n = 0; n < delay_count; n++, comma = ", ")
        printf("%s%d", comma, delays_us[n]);
    printf("]}\n");
}

static void answer_join(int wanted, int spacing_ms, int64_t stay_bytes, const char *folder) {
    int from = viewer_count;
    int64_t next = now_ns();
    for (int n = 0; n < wanted; n++) {
        Viewer *viewer = add_viewer();
        viewer->keep_left = stay_bytes;
        if (n % 10 == 0) {
            char name[600];
            snprintf(name, sizeof name, "%s/%d.ts", folder, n);
            viewer->keep_fd = open(name, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);
            if (viewer->keep_fd < 0)
                die(name);
        }
        begin(viewer);
        next += spacing_ms * 1000000LL;
        while (now_ns() < next)
            turn(next);
    }
    for (int64_t until = now_ns() + 10000000000LL; now_ns() < until;) {
        int staying = 0;
        for (int n = from; n < viewer_count; n++)
            staying += viewers[n].state != CLOSED;
        if (!staying)
            break;
        turn(now_ns() + 10000000);
    }
    printf("{\"lost\": %d, ", lost);
    print_first_bytes(from);
    printf("}\n");
    for (int n = from; n < viewer_count; n++)
        shut(&viewers[n]);
    viewer_count = from;
}

static int obey(char *line) {
    char path[512], folder[512];
    int count, streams, every, milliseconds;
    long long bytes;
    double seconds;
    if (sscanf(line, "open %d %511s %d %d %lf", &count, path, &streams, &every, &seconds) == 5) {
        strcpy(path_format, path);
        answer_open(count, streams, every, seconds);
    } else if (sscanf(line, "window %lf", &seconds) == 1) {
        answer_window(seconds);
    } else if (sscanf(line, "join %d %511s %d %lld %511s", &count, path, &milliseconds, &bytes, folder) == 5) {
        strcpy(path_format, path);
        answer_join(count, milliseconds, bytes, folder);
    } else if (sscanf(line, "hls %d %255s %d", &count, playlist_path, &milliseconds) == 3) {
        answer_hls(count, milliseconds);
    } else if (strncmp(line, "close", 5) == 0) {
        for (int n = 0; n < viewer_count; n++)
            shut(&viewers[n]);
        viewer_count = lost = is_hls = 0;
        printf("{}\n");
    } else {
        return fprintf(stderr, "load: what is %s", line), 0;
    }
    fflush(stdout);
    return 1;
}

int main(int argc, char **argv) {
    static char input[4096];
    size_t have = 0;
    if (argc != 2)
        return fprintf(stderr, "usage: load PORT\n"), 2;
    port = atoi(argv[1]);
    allow_many_files();
    delays_us = malloc(DELAYS_MAX * sizeof *delays_us);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    fcntl(0, F_SETFL, O_NONBLOCK);
    for (;;) { /* between commands viewers go on reading */
        ssize_t got = read(0, input + have, sizeof input - 1 - have);
        if (got == 0)
            return 0;
        if (got > 0)
            input[have += got] = 0;
        char *end;
        while (have && (end = strchr(input, '\n'))) {
            char line[1024];
            snprintf(line, sizeof line, "%.*s\n", (int)(end - input), input);
            if (!obey(line))
                return 2;
            have -= end + 1 - input;
            memmove(input, end + 1, have + 1);
        }
        turn(now_ns() + 5000000);
    }
}
