/* source CLIP BITS_PER_SECOND TICK_MS: one live MPEG-TS programme over HTTP, for as many clients as come.
 *
 * The clip is looped with its clocks and counters carried on, so that nothing jumps. Each tick ends with a stamp. A
 * client that does not take a tick at once is cut off: the source of a measurement must never be what waits. */
#include "common.h"

#define CLIENTS_MAX 4096
#define CLOCK_WRAP (1LL << 33)

static unsigned char *clip;
static long clip_packets, at_packet;
static int64_t clip_ticks;  /* of 90 kHz: what a loop lasts */
static int64_t shift;       /* what is added to every clock now */
static int counters[8192];
static int clients[CLIENTS_MAX], count;
static const char HEAD[] = "HTTP/1.0 200 OK\r\nContent-Type: video/mp2t\r\nCache-Control: no-store\r\n\r\n";

static void read_clip(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file)
        die(path);
    fseek(file, 0, SEEK_END);
    clip_packets = ftell(file) / PACKET_BYTES;
    rewind(file);
    clip = malloc(clip_packets * PACKET_BYTES);
    if (!clip || fread(clip, PACKET_BYTES, clip_packets, file) != (size_t)clip_packets)
        die("read clip");
    fclose(file);
}

static int pid_of(const unsigned char *packet) { return (packet[1] & 0x1F) << 8 | packet[2]; }

static void add_to_pcr(unsigned char *field) {
    int64_t base = (int64_t)field[0] << 25 | field[1] << 17 | field[2] << 9 | field[3] << 1 | field[4] >> 7;
    base = (base + shift) % CLOCK_WRAP;
    field[0] = base >> 25, field[1] = base >> 17, field[2] = base >> 9, field[3] = base >> 1;
    field[4] = (field[4] & 0x7F) | (base & 1) << 7;
}

static void add_to_stamp(unsigned char *field) {
    int64_t clock = (int64_t)(field[0] >> 1 & 7) << 30 | field[1] << 22 | (field[2] >> 1) << 15 | field[3] << 7 | field[4] >> 1;
    clock = (clock + shift) % CLOCK_WRAP;
    field[0] = (field[0] & 0xF1) | (clock >> 30 & 7) << 1;
    field[1] = clock >> 22, field[2] = (clock >> 14 & 0xFE) | 1;
    field[3] = clock >> 7, field[4] = (clock << 1 & 0xFE) | 1;
}

/* Carry the clocks and the counter of one packet on over the loops. */
static void restamp(unsigned char *packet) {
    int pid = pid_of(packet), control = packet[3] >> 4 & 3, at = 4;
    if (pid == 0x1FFF)
        return;
    if (control & 1) {
        counters[pid] = (counters[pid] + 1) & 0x0F;
        packet[3] = (packet[3] & 0xF0) | counters[pid];
    } else {
        packet[3] = (packet[3] & 0xF0) | counters[pid];
    }
    if (control & 2) {
        if (packet[4] >= 7 && packet[5] & 0x10)
            add_to_pcr(packet + 6);
        at += 1 + packet[4];
    }
    if (!(packet[1] & 0x40) || !(control & 1) || at + 19 > PACKET_BYTES)
        return;
    unsigned char *body = packet + at;
    if (body[0] || body[1] || body[2] != 1 || body[3] < 0xBD)
        return;
    if (body[7] & 0x80)
        add_to_stamp(body + 9);
    if ((body[7] & 0xC0) == 0xC0)
        add_to_stamp(body + 14);
}

static void write_stamp(unsigned char *packet) {
    static int counter;
    int64_t now = now_ns();
    memset(packet, 0xFF, PACKET_BYTES);
    packet[0] = 0x47, packet[1] = STAMP_PID >> 8, packet[2] = STAMP_PID & 0xFF, packet[3] = 0x10 | (counter++ & 0x0F);
    memcpy(packet + 4, STAMP_MAGIC, STAMP_MAGIC_BYTES);
    memcpy(packet + 4 + STAMP_MAGIC_BYTES, &now, sizeof now);
}

static size_t fill(unsigned char *block, long packets) {
    for (long n = 0; n < packets; n++) {
        memcpy(block + n * PACKET_BYTES, clip + at_packet * PACKET_BYTES, PACKET_BYTES);
        restamp(block + n * PACKET_BYTES);
        if (++at_packet == clip_packets) {
            at_packet = 0;
            shift = (shift + clip_ticks) % CLOCK_WRAP;
        }
    }
    write_stamp(block + packets * PACKET_BYTES);
    return (packets + 1) * PACKET_BYTES;
}

static void accept_all(int server) {
    char request[4096];
    int fd;
    while ((fd = accept4(server, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        struct timeval patience = {1, 0};
        size_t have = 0;
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        while (have < sizeof request - 1) {
            ssize_t got = recv(fd, request + have, sizeof request - 1 - have, 0);
            if (got <= 0)
                break;
            request[have += got] = 0;
            if (strstr(request, "\r\n\r\n"))
                break;
        }
        set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
        set_option(fd, SOL_SOCKET, SO_SNDBUF, 4 << 20);
        if (count == CLIENTS_MAX || send(fd, HEAD, sizeof HEAD - 1, MSG_NOSIGNAL) < 0)
            close(fd);
        else
            clients[count++] = fd;
    }
}

static void send_to_all(const unsigned char *block, size_t size) {
    for (int n = 0; n < count;) {
        if (send(clients[n], block, size, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)size) {
            n++;
            continue;
        }
        fprintf(stderr, "source: a client is gone or does not keep up\n");
        close(clients[n]);
        clients[n] = clients[--count];
    }
}

int main(int argc, char **argv) {
    if (argc != 4)
        return fprintf(stderr, "usage: source CLIP BITS_PER_SECOND TICK_MS\n"), 2;
    int bits = atoi(argv[2]), tick_ms = atoi(argv[3]);
    read_clip(argv[1]);
    memset(counters, 0xFF, sizeof counters);
    clip_ticks = (int64_t)((double)clip_packets * PACKET_BYTES * 8 * 90000 / bits + 0.5);
    allow_many_files();
    int server = listen_somewhere(), epoll = epoll_create1(EPOLL_CLOEXEC), timer = every_ms(tick_ms);
    watch(epoll, server, EPOLLIN, &server);
    watch(epoll, timer, EPOLLIN, &timer);
    unsigned char *block = malloc(8 << 20);
    int64_t began = now_ns();
    double sent_packets = 0;
    for (;;) {
        struct epoll_event events[2];
        int happened = epoll_wait(epoll, events, 2, -1);
        for (int n = 0; n < happened; n++)
            if (events[n].data.ptr == &server)
                accept_all(server);
        if (!ticks_of(timer))
            continue;
        double due = (double)(now_ns() - began) / 1e9 * bits / 8 / PACKET_BYTES;
        long packets = (long)(due - sent_packets);
        if (packets > 40000)
            packets = 40000;
        if (packets > 0) {
            sent_packets += packets;
            send_to_all(block, fill(block, packets));
        }
    }
}
