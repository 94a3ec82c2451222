/*
 * The least that a bridge can do, as a measure for bridges that do more: CAN images of 16 bytes over one TCP connection,
 * two blocking threads, and as few system calls as there can be:
 *
 *   CAN socket --recvmmsg--> memory --send--> TCP        one thread
 *   TCP --recv--> memory --sendmmsg--> CAN socket        the other
 *
 * No greeting, no sequence numbers, no times, no filters, no counters, no reconnecting, nothing but 127.0.0.1. It shares no
 * code with canip_peer. Whatever goes wrong ends it with a line on standard error and status 1.
 *
 *   floor server|client IFACE PORT
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/can.h>
#include <linux/can/raw.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Frames a system call: 3 ms of a bus at 20,000 frames a second, more than gathers between two wake-ups. */
enum { BATCH_FRAMES = 64 };
/* Asked of the kernel, so that it is the bridge that is measured and not its default queue of some 250 frames. */
enum { RECEIVE_QUEUE_BYTES = 8 << 20 };
/* A client waits so long for its server to listen: 500 attempts, 10 ms apart. */
enum { CONNECT_ATTEMPTS = 500, CONNECT_PAUSE_NS = 10000000 };

static int can_socket, tcp_socket;

static void fail(const char *what) {
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int open_can(const char *interface) {
    int bytes = RECEIVE_QUEUE_BYTES;
    struct sockaddr_can address = {.can_family = AF_CAN, .can_ifindex = (int)if_nametoindex(interface)};
    if (address.can_ifindex == 0) fail(interface);
    int descriptor = socket(AF_CAN, SOCK_RAW, CAN_RAW);
    if (descriptor < 0) fail("CAN socket");
    if (setsockopt(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) < 0) fail("SO_RCVBUFFORCE (are you root?)");
    if (bind(descriptor, (struct sockaddr *)&address, sizeof address) < 0) fail(interface);
    return descriptor;
}

static int accept_one(struct sockaddr_in address) {
    int one = 1;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0) fail("TCP socket");
    if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0) fail("SO_REUSEADDR");
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0) fail("bind");
    if (listen(listener, 1) < 0) fail("listen");
    int connection = accept(listener, NULL, NULL);
    if (connection < 0) fail("accept");
    close(listener);
    return connection;
}

static int connect_to(struct sockaddr_in address) {
    struct timespec pause = {.tv_nsec = CONNECT_PAUSE_NS};
    for (int attempt = 0; attempt < CONNECT_ATTEMPTS; attempt++) {
        int connection = socket(AF_INET, SOCK_STREAM, 0);
        if (connection < 0) fail("TCP socket");
        if (connect(connection, (struct sockaddr *)&address, sizeof address) == 0) return connection;
        if (errno != ECONNREFUSED) fail("connect");
        close(connection);
        nanosleep(&pause, NULL);
    }
    fail("connect");
    return -1;
}

static void *bus_to_network(void *unused) {
    (void)unused;
    static struct can_frame frames[BATCH_FRAMES];
    static struct iovec parts[BATCH_FRAMES];
    static struct mmsghdr messages[BATCH_FRAMES];
    for (int index = 0; index < BATCH_FRAMES; index++) {
        parts[index] = (struct iovec){&frames[index], sizeof frames[index]};
        messages[index].msg_hdr = (struct msghdr){.msg_iov = &parts[index], .msg_iovlen = 1};
    }
    int count;
    while ((count = recvmmsg(can_socket, messages, BATCH_FRAMES, MSG_WAITFORONE, NULL)) >= 0) {
        const char *unsent = (const char *)frames;
        size_t left = (size_t)count * sizeof frames[0];
        while (left > 0) {
            ssize_t sent = send(tcp_socket, unsent, left, MSG_NOSIGNAL);
            if (sent < 0) fail("send");
            unsent += sent;
            left -= (size_t)sent;
        }
    }
    fail("recvmmsg");
    return NULL;
}

static void network_to_bus(void) {
    static struct can_frame frames[BATCH_FRAMES];
    static struct iovec parts[BATCH_FRAMES];
    static struct mmsghdr messages[BATCH_FRAMES];
    size_t filled = 0;
    for (int index = 0; index < BATCH_FRAMES; index++) {
        parts[index] = (struct iovec){&frames[index], sizeof frames[index]};
        messages[index].msg_hdr = (struct msghdr){.msg_iov = &parts[index], .msg_iovlen = 1};
    }
    for (;;) {
        ssize_t received = recv(tcp_socket, (char *)frames + filled, sizeof frames - filled, 0);
        if (received < 0) fail("recv");
        if (received == 0) return;
        filled += (size_t)received;
        unsigned whole = (unsigned)(filled / sizeof frames[0]);
        for (unsigned written = 0; written < whole;) {
            int count = sendmmsg(can_socket, messages + written, whole - written, 0);
            if (count < 0) fail("sendmmsg");
            written += (unsigned)count;
        }
        filled -= whole * sizeof frames[0];
        memmove(frames, frames + whole, filled);
    }
}

int main(int argument_count, char **arguments) {
    int one = 1;
    pthread_t thread;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int port = argument_count == 4 ? atoi(arguments[3]) : 0;
    int is_server = argument_count == 4 && strcmp(arguments[1], "server") == 0;
    int is_client = argument_count == 4 && strcmp(arguments[1], "client") == 0;
    if (port < 1 || port > 65535 || !(is_server || is_client)) {
        fprintf(stderr, "usage: floor server|client IFACE PORT\n");
        return 2;
    }
    address.sin_port = htons((uint16_t)port);
    can_socket = open_can(arguments[2]);
    tcp_socket = is_server ? accept_one(address) : connect_to(address);
    if (setsockopt(tcp_socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0) fail("TCP_NODELAY");
    if (pthread_create(&thread, NULL, bus_to_network, NULL) != 0) fail("thread");
    network_to_bus();
    return 0;
}
