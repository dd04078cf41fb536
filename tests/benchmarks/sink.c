/* An SMTP sink that is never the bottleneck: loopback only, no TLS, PIPELINING; a thread for each connection.
 *
 *   sink FILE [END REPLY]   prints its port on a line; at SIGTERM writes what it took to FILE and ends.
 *
 * END and REPLY play a relay that takes its time: milliseconds before replies are sent, END if the end of a letter is among what
 * they answer, else REPLY.
 *
 * FILE: a first line "letters octets seconds", seconds from the first MAIL to the last reply to a letter, then a line for each
 * recipient of each letter that was taken, in no order.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ROOM = 1 << 18 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *taken;
static size_t taken_len, taken_room;
static long letters, octets;
static double first, last;
static long end_ms, reply_ms;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

struct talk {
    int fd;
    char out[4096];
    size_t out_len;
    int ended;
    char rcpts[1 << 16];
    size_t rcpts_len;
};

static void flush(struct talk *t) {
    size_t done = 0;
    long wait = t->ended ? end_ms : reply_ms;
    if (t->out_len && wait) {
        struct timespec pause = {wait / 1000, wait % 1000 * 1000000};
        nanosleep(&pause, NULL);
    }
    t->ended = 0;
    while (done < t->out_len) {
        ssize_t n = write(t->fd, t->out + done, t->out_len - done);
        if (n <= 0)
            break;
        done += n;
    }
    t->out_len = 0;
}

static void say(struct talk *t, const char *line) {
    size_t n = strlen(line);
    if (t->out_len + n > sizeof t->out)
        flush(t);
    memcpy(t->out + t->out_len, line, n);
    t->out_len += n;
}

static void took(struct talk *t, size_t size) {
    pthread_mutex_lock(&lock);
    while (taken_len + t->rcpts_len > taken_room) {
        taken_room = taken_room ? 2 * taken_room : 1 << 20;
        taken = realloc(taken, taken_room);
    }
    memcpy(taken + taken_len, t->rcpts, t->rcpts_len);
    taken_len += t->rcpts_len;
    letters++;
    octets += size;
    last = now();
    pthread_mutex_unlock(&lock);
    t->rcpts_len = 0;
}

/* One command; 1: content follows, -1: goodbye. */
static int command(struct talk *t, const char *line, size_t n) {
    if (n >= 4 && !strncasecmp(line, "EHLO", 4)) {
        say(t, "250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250-DSN\r\n250 SIZE 104857600\r\n");
    } else if (n >= 4 && !strncasecmp(line, "MAIL", 4)) {
        pthread_mutex_lock(&lock);
        if (first == 0)
            first = now();
        pthread_mutex_unlock(&lock);
        t->rcpts_len = 0;
        say(t, "250 2.1.0 Ok\r\n");
    } else if (n >= 4 && !strncasecmp(line, "RCPT", 4)) {
        const char *from = memchr(line, '<', n), *to = from ? memchr(from, '>', line + n - from) : NULL;
        if (!to || t->rcpts_len + (to - from) + 1 > sizeof t->rcpts) {
            say(t, "501 5.1.3 Which address?\r\n");
            return 0;
        }
        memcpy(t->rcpts + t->rcpts_len, from + 1, to - from - 1);
        t->rcpts_len += to - from - 1;
        t->rcpts[t->rcpts_len++] = '\n';
        say(t, "250 2.1.5 Ok\r\n");
    } else if (n >= 4 && !strncasecmp(line, "DATA", 4)) {
        if (!t->rcpts_len) {
            say(t, "503 5.5.1 To whom?\r\n");
            return 0;
        }
        say(t, "354 Go on\r\n");
        return 1;
    } else if (n >= 4 && !strncasecmp(line, "QUIT", 4)) {
        say(t, "221 2.0.0 Bye\r\n");
        return -1;
    } else {
        say(t, "250 2.0.0 Ok\r\n"); /* HELO, RSET, NOOP */
    }
    return 0;
}

static void *serve(void *given) {
    struct talk *t = given;
    char *in = malloc(ROOM);
    size_t len = 0, size = 0;
    int content = 0;
    say(t, "220 sink.test ESMTP\r\n");
    for (;;) {
        flush(t); /* all that was asked is answered: now wait */
        ssize_t n = read(t->fd, in + len, ROOM - len);
        if (n <= 0)
            goto end;
        len += n;
        size_t at = 0;
        while (at < len) {
            if (content) { /* its last CR LF is kept in sight, so that an end that comes in pieces is found */
                char *end = memmem(in + at, len - at, "\r\n.\r\n", 5);
                if (!end) {
                    size_t seen = len - at > 4 ? len - at - 4 : 0;
                    size += seen;
                    at += seen;
                    break;
                }
                size += end + 2 - (in + at);
                at = end + 5 - in;
                content = 0;
                took(t, size);
                t->ended = 1;
                size = 0;
                say(t, "250 2.0.0 Taken\r\n");
            } else {
                char *end = memchr(in + at, '\n', len - at);
                if (!end)
                    break;
                int what = command(t, in + at, end - (in + at));
                at = end + 1 - in;
                content = what == 1;
                if (what < 0) {
                    flush(t);
                    goto end;
                }
            }
        }
        memmove(in, in + at, len - at);
        len -= at;
        if (len == ROOM)
            goto end; /* a line without an end */
    }
end:
    close(t->fd);
    free(in);
    free(t);
    return NULL;
}

static void *listening(void *given) {
    int server = *(int *)given, yes = 1;
    for (;;) {
        int fd = accept(server, NULL, NULL);
        if (fd < 0)
            continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        struct talk *t = calloc(1, sizeof *t);
        pthread_t thread;
        t->fd = fd;
        pthread_create(&thread, NULL, serve, t);
        pthread_detach(thread);
    }
    return NULL;
}

int main(int count, char **given) {
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof here;
    int server = socket(AF_INET, SOCK_STREAM, 0), got;
    pthread_t thread;
    sigset_t stop;
    if (count == 4) {
        end_ms = atol(given[2]);
        reply_ms = atol(given[3]);
    }
    if ((count != 2 && count != 4) || bind(server, (struct sockaddr *)&here, sizeof here) || listen(server, 512) ||
        getsockname(server, (struct sockaddr *)&here, &size)) {
        perror("sink");
        return 1;
    }
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    pthread_sigmask(SIG_BLOCK, &stop, NULL); /* all threads inherit it: main alone waits for them */
    signal(SIGPIPE, SIG_IGN);
    pthread_create(&thread, NULL, listening, &server);
    printf("%d\n", ntohs(here.sin_port));
    fflush(stdout);
    sigwait(&stop, &got);
    pthread_mutex_lock(&lock);
    FILE *file = fopen(given[1], "w");
    if (!file)
        return 1;
    fprintf(file, "%ld %ld %.6f\n", letters, octets, last > first ? last - first : 0.0);
    fwrite(taken, 1, taken_len, file);
    return fclose(file) ? 1 : 0;
}
