/*
 * A meter of loss and latency: sends numbered frames into one CAN interface and receives them on another.
 *
 *   meter FROM TO RATE COUNT
 *
 * COUNT frames go out at RATE frames a second on an absolute schedule that waits for nothing (open loop). A frame's latency
 * is counted from the instant at which it should have been sent, to the kernel's receive time on TO: what the sender is
 * late is in it, what the receiver is late is not. Before, single frames of another identifier are sent until one
 * arrives, so that whatever lies between may first connect.
 *
 * Prints one line, times in microseconds:
 *
 *   sent=N received=N lost=N duplicated=N reordered=N p50=US p99=US p99.9=US max=US max_at=NUMBER late_p99=US
 *
 * received counts every copy; lost, frames that never came; reordered, frames whose first copy came after one of a higher
 * number; max_at, the number of the frame that took longest, from 0; late_p99, what of the latency is the sender's own.
 * Exit status: 0; 1 when anything was lost; 2 when nothing could be measured.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/can.h>
#include <linux/can/raw.h>
#include <linux/sock_diag.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S INT64_C(1000000000)
#define NS_PER_MS INT64_C(1000000)

/* Numbered frames; the frames that ask whether anything comes through at all. */
enum { NUMBERED = 0x123, PROBE = 0x124 };
/* Memory: 17 bytes a frame, 170 MB at the most. */
enum { COUNT_LIMIT = 10000000 };
/* Asked of the kernel for what is received: some 140,000 frames, 7 s at 20,000 a second. Drops all the same are an error. */
enum { RECEIVE_QUEUE_BYTES = 64 << 20 };
/* Frames a system call of the receiver. */
enum { BATCH_FRAMES = 64 };
/* Probes: one every 10 ms, for 20 s. A bridge in an emulated machine takes a second or two to connect. */
enum { PROBE_ATTEMPTS = 2000 };
#define PROBE_PAUSE_NS (10 * NS_PER_MS)
/* Silence after the last frame was sent that ends the run: when something is missing, and when only copies can come. */
#define SILENCE_MISSING_NS (1000 * NS_PER_MS)
#define SILENCE_COMPLETE_NS (200 * NS_PER_MS)
/* The receiver looks up this often when nothing comes. */
#define RECEIVE_WAIT_NS (20 * NS_PER_MS)
/* A full transmit queue (real controllers only) is asked again this often, for a second. */
enum { QUEUE_FULL_ATTEMPTS = 10000 };
#define QUEUE_FULL_PAUSE_NS (NS_PER_MS / 10)
/* A wall clock that was moved by more than this during the run spoils what was measured with it. */
#define CLOCK_MOVED_NS (NS_PER_MS / 10)

struct payload { /* the 8 bytes of data */
    uint32_t run; /* frames of another run are not ours */
    uint32_t number;
};

static int send_socket, receive_socket;
static uint32_t run, count;
static int64_t rate, start_ns, wall_offset_ns;
static int64_t *latency_ns, *late_ns;
static uint8_t *seen;
static uint64_t received, distinct, duplicated, reordered;
static uint32_t slowest; /* number of the frame that took longest */
static _Atomic int64_t sent_at_ns; /* when the last frame was sent; 0 before */

static void fail(const char *what) {
    fprintf(stderr, "meter: %s: %s\n", what, strerror(errno));
    exit(2);
}

static int64_t now_ns(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec * NS_PER_S + time.tv_nsec;
}

static struct timespec to_timespec(int64_t ns) {
    return (struct timespec){.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};
}

static void pause_ns(int64_t ns) {
    struct timespec pause = to_timespec(ns);
    nanosleep(&pause, NULL);
}

/* Wall clock minus monotonic clock: the closest of several readings, each taken between two of the other clock. */
static int64_t measure_wall_offset(void) {
    int64_t best = INT64_MAX, offset = 0;
    for (int attempt = 0; attempt < 20; attempt++) {
        int64_t before = now_ns(CLOCK_MONOTONIC);
        int64_t wall = now_ns(CLOCK_REALTIME);
        int64_t after = now_ns(CLOCK_MONOTONIC);
        if (after - before < best) {
            best = after - before;
            offset = wall - (before + after) / 2;
        }
    }
    return offset;
}

static int64_t intended_ns(uint32_t number) { return start_ns + (int64_t)number * NS_PER_S / rate; }

/* ---- sockets --------------------------------------------------------------------------------------------------- */

static int open_can(const char *interface, const struct can_filter *filters, socklen_t filters_bytes) {
    struct sockaddr_can address = {.can_family = AF_CAN, .can_ifindex = (int)if_nametoindex(interface)};
    if (address.can_ifindex == 0) fail(interface);
    int descriptor = socket(AF_CAN, SOCK_RAW, CAN_RAW);
    if (descriptor < 0) fail("CAN socket");
    if (setsockopt(descriptor, SOL_CAN_RAW, CAN_RAW_FILTER, filters, filters_bytes) < 0) fail("filter");
    if (bind(descriptor, (struct sockaddr *)&address, sizeof address) < 0) fail(interface);
    return descriptor;
}

static void prepare_receiving(int descriptor) {
    int one = 1, bytes = RECEIVE_QUEUE_BYTES;
    struct timeval wait = {.tv_usec = RECEIVE_WAIT_NS / 1000};
    if (setsockopt(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) < 0 &&
        setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes) < 0) fail("SO_RCVBUF");
    if (setsockopt(descriptor, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one) < 0) fail("SO_TIMESTAMPNS");
    if (setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait) < 0) fail("SO_RCVTIMEO");
}

static uint32_t dropped_by_kernel(int descriptor) {
    uint32_t memory[SK_MEMINFO_VARS];
    socklen_t length = sizeof memory;
    if (getsockopt(descriptor, SOL_SOCKET, SO_MEMINFO, memory, &length) < 0) fail("SO_MEMINFO");
    return memory[SK_MEMINFO_DROPS];
}

static void send_frame(canid_t identifier, uint32_t number) {
    struct payload payload = {run, number};
    struct can_frame frame = {.can_id = identifier, .len = sizeof payload};
    memcpy(frame.data, &payload, sizeof payload);
    for (int attempt = 0; attempt < QUEUE_FULL_ATTEMPTS; attempt++) {
        if (write(send_socket, &frame, sizeof frame) == (ssize_t)sizeof frame) return;
        if (errno != ENOBUFS) fail("write to the CAN socket");
        pause_ns(QUEUE_FULL_PAUSE_NS);
    }
    fail("write to the CAN socket");
}

/* ---- the two sides --------------------------------------------------------------------------------------------- */

static void *send_all(void *unused) {
    (void)unused;
    for (uint32_t number = 0; number < count; number++) {
        struct timespec due = to_timespec(intended_ns(number));
        /* A frame that is due already costs no call for a sleep, so that a late sender catches up. */
        if (now_ns(CLOCK_MONOTONIC) < intended_ns(number))
            while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) == EINTR) {}
        late_ns[number] = now_ns(CLOCK_MONOTONIC) - intended_ns(number);
        send_frame(NUMBERED, number);
    }
    atomic_store(&sent_at_ns, now_ns(CLOCK_MONOTONIC));
    return NULL;
}

/*
 * A bus interrupts whoever computes, so the sender does too, where it may. It stays on one processor: virtual CAN queues what
 * is sent on the processor of the sender, and one that moves overtakes itself.
 */
static pthread_t start_sending(void) {
    struct sched_param priority = {.sched_priority = 10};
    cpu_set_t here;
    pthread_t thread;
    CPU_ZERO(&here);
    CPU_SET((unsigned)sched_getcpu(), &here);
    if (pthread_create(&thread, NULL, send_all, NULL) != 0) fail("thread");
    if (pthread_setaffinity_np(thread, sizeof here, &here) != 0) fail("affinity");
    int refused = pthread_setschedparam(thread, SCHED_FIFO, &priority);
    if (refused != 0) fprintf(stderr, "meter: the sender has no real-time priority: %s\n", strerror(refused));
    return thread;
}

static void account(const struct can_frame *frame, int64_t stamp_ns) {
    static uint32_t highest;
    static int64_t longest_ns;
    struct payload payload;
    memcpy(&payload, frame->data, sizeof payload);
    if (frame->can_id != NUMBERED || frame->len != sizeof payload || payload.run != run || payload.number >= count) return;
    received++;
    if (seen[payload.number]) {
        duplicated++;
        return;
    }
    seen[payload.number] = 1;
    int64_t latency = stamp_ns - wall_offset_ns - intended_ns(payload.number);
    if (distinct == 0 || latency > longest_ns) {
        longest_ns = latency;
        slowest = payload.number;
    }
    latency_ns[distinct++] = latency;
    if (payload.number < highest) reordered++;
    else highest = payload.number;
}

static int64_t stamp_of(struct msghdr *header) {
    for (struct cmsghdr *control = CMSG_FIRSTHDR(header); control != NULL; control = CMSG_NXTHDR(header, control)) {
        if (control->cmsg_level == SOL_SOCKET && control->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec time;
            memcpy(&time, CMSG_DATA(control), sizeof time);
            return time.tv_sec * NS_PER_S + time.tv_nsec;
        }
    }
    fprintf(stderr, "meter: a frame without the kernel's receive time\n");
    exit(2);
}

/* Takes what there is, or waits until something is there or RECEIVE_WAIT_NS has passed. Returns how many frames came. */
static int receive_some(int for_probe) {
    static struct can_frame frames[BATCH_FRAMES];
    static struct iovec parts[BATCH_FRAMES];
    static struct mmsghdr messages[BATCH_FRAMES];
    static char controls[BATCH_FRAMES][CMSG_SPACE(sizeof(struct timespec))];
    int probes = 0;
    for (int index = 0; index < BATCH_FRAMES; index++) {
        parts[index] = (struct iovec){&frames[index], sizeof frames[index]};
        messages[index].msg_hdr = (struct msghdr){.msg_iov = &parts[index], .msg_iovlen = 1,
            .msg_control = controls[index], .msg_controllen = sizeof controls[index]};
    }
    int got = recvmmsg(receive_socket, messages, BATCH_FRAMES, for_probe ? MSG_DONTWAIT : MSG_WAITFORONE, NULL);
    if (got < 0 && errno != EAGAIN && errno != EINTR) fail("recvmmsg");
    for (int index = 0; index < got; index++) {
        if (frames[index].can_id == PROBE && memcmp(frames[index].data, &run, sizeof run) == 0) probes++;
        else if (!for_probe) account(&frames[index], stamp_of(&messages[index].msg_hdr));
    }
    return for_probe ? probes : got;
}

static void await_passage(const char *from, const char *to) {
    for (int attempt = 0; attempt < PROBE_ATTEMPTS; attempt++) {
        send_frame(PROBE, 0);
        pause_ns(PROBE_PAUSE_NS);
        if (receive_some(1) > 0) return;
    }
    fprintf(stderr, "meter: nothing that is sent to %s arrives on %s\n", from, to);
    exit(2);
}

static void receive_all(void) {
    int64_t last_ns = 0;
    for (;;) {
        if (receive_some(0) > 0) last_ns = now_ns(CLOCK_MONOTONIC);
        int64_t sent_ns = atomic_load(&sent_at_ns);
        int64_t since_ns = sent_ns > last_ns ? sent_ns : last_ns;
        int64_t silence_ns = distinct == count ? SILENCE_COMPLETE_NS : SILENCE_MISSING_NS;
        if (sent_ns != 0 && now_ns(CLOCK_MONOTONIC) - since_ns > silence_ns) return;
    }
}

/* ---- the report ------------------------------------------------------------------------------------------------ */

static int by_value(const void *left, const void *right) {
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

/* The smallest value that `permille` of the sorted values do not exceed, in microseconds. */
static double percentile_us(const int64_t *sorted, uint64_t length, uint64_t permille) {
    if (length == 0) return 0;
    uint64_t rank = (length * permille + 999) / 1000;
    return (double)sorted[rank == 0 ? 0 : rank - 1] / 1000;
}

static int report(void) {
    uint64_t lost = count - distinct;
    uint32_t dropped = dropped_by_kernel(receive_socket);
    int64_t moved_ns = measure_wall_offset() - wall_offset_ns;
    qsort(latency_ns, distinct, sizeof *latency_ns, by_value);
    qsort(late_ns, count, sizeof *late_ns, by_value);
    printf("sent=%u received=%lu lost=%lu duplicated=%lu reordered=%lu p50=%.1f p99=%.1f p99.9=%.1f max=%.1f max_at=%u late_p99=%.1f\n",
        count, received, lost, duplicated, reordered, percentile_us(latency_ns, distinct, 500),
        percentile_us(latency_ns, distinct, 990), percentile_us(latency_ns, distinct, 999),
        percentile_us(latency_ns, distinct, 1000), slowest, percentile_us(late_ns, count, 990));
    if (dropped > 0) {
        fprintf(stderr, "meter: the kernel dropped %u frames at the meter itself: nothing can be said of loss\n", dropped);
        return 2;
    }
    if (llabs(moved_ns) > CLOCK_MOVED_NS) {
        fprintf(stderr, "meter: the wall clock was moved by %.0f us during the run\n", (double)moved_ns / 1000);
        return 2;
    }
    return lost > 0 ? 1 : 0;
}

int main(int argument_count, char **arguments) {
    long long counted = argument_count == 5 ? atoll(arguments[4]) : 0;
    rate = argument_count == 5 ? atoll(arguments[3]) : 0;
    if (rate < 1 || rate > 1000000 || counted < 1 || counted > COUNT_LIMIT) {
        fprintf(stderr, "usage: meter FROM TO RATE COUNT (at most 1000000 frames a second, %d frames)\n", COUNT_LIMIT);
        return 2;
    }
    count = (uint32_t)counted;
    run = (uint32_t)getpid() ^ (uint32_t)now_ns(CLOCK_REALTIME);
    latency_ns = calloc(count, sizeof *latency_ns);
    late_ns = calloc(count, sizeof *late_ns);
    seen = calloc(count, 1);
    if (latency_ns == NULL || late_ns == NULL || seen == NULL) fail("memory");
    /* Every page now, none during the run. */
    memset(latency_ns, 1, count * sizeof *latency_ns);
    memset(late_ns, 1, count * sizeof *late_ns);
    /* The default slack of 50 us would make every frame that late. */
    if (prctl(PR_SET_TIMERSLACK, 1UL) < 0) fail("PR_SET_TIMERSLACK");

    struct can_filter wanted[] = {
        {NUMBERED, CAN_SFF_MASK | CAN_EFF_FLAG | CAN_RTR_FLAG},
        {PROBE, CAN_SFF_MASK | CAN_EFF_FLAG | CAN_RTR_FLAG},
    };
    send_socket = open_can(arguments[1], NULL, 0);
    receive_socket = open_can(arguments[2], wanted, sizeof wanted);
    prepare_receiving(receive_socket);
    await_passage(arguments[1], arguments[2]);

    wall_offset_ns = measure_wall_offset();
    start_ns = now_ns(CLOCK_MONOTONIC) + 50 * NS_PER_MS;
    pthread_t sender = start_sending();
    receive_all();
    pthread_join(sender, NULL);
    return report();
}
