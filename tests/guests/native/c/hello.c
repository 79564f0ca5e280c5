/*
 * Hello in C, linked with nothing that is loaded at its start, for figures of cold starts. It is
 * two guests: with AWS_LAMBDA_RUNTIME_API a `bootstrap` that speaks the Runtime API over one
 * connection, else a server on $PORT with a thread for each connection.
 *
 * It replies `Hello, world!` as `text/plain` to any event, whose body it reads by its
 * `content-length`, and to any request without a body.
 */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define REPLY \
    "{\"statusCode\":200,\"headers\":{\"content-type\":\"text/plain\"},\"body\":\"Hello, world!\"}"

static const char RESPONSE[] =
    "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 13\r\n\r\nHello, world!";

/* A message's head, as far as it matters here, and the bytes that have been read. */
struct reader {
    int socket;
    size_t start, end;
    char bytes[16 * 1024];
    char id[128];
    size_t length;
};

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void write_all(int socket, const char *bytes, size_t length) {
    while (length > 0) {
        const ssize_t written = write(socket, bytes, length);
        if (written <= 0) {
            exit(0);
        }
        bytes += written;
        length -= (size_t)written;
    }
}

/* Reads more into the buffer; returns 0 at the end of the connection. */
static int fill(struct reader *reader) {
    if (reader->start > 0) {
        memmove(reader->bytes, reader->bytes + reader->start, reader->end - reader->start);
        reader->end -= reader->start;
        reader->start = 0;
    }
    if (reader->end == sizeof reader->bytes) {
        return 0;
    }
    const size_t room = sizeof reader->bytes - reader->end;
    const ssize_t got = read(reader->socket, reader->bytes + reader->end, room);
    if (got <= 0) {
        return 0;
    }
    reader->end += (size_t)got;
    return 1;
}

/*
 * Reads a message's head, with its id and its body's length; returns 0 at the end of the
 * connection.
 */
static int read_head(struct reader *reader) {
    reader->id[0] = '\0';
    reader->length = 0;
    for (;;) {
        char *line = reader->bytes + reader->start;
        char *end = memchr(line, '\n', reader->end - reader->start);
        if (end == NULL) {
            if (!fill(reader)) {
                return 0;
            }
            continue;
        }
        reader->start += (size_t)(end - line) + 1;
        if (end == line || (end == line + 1 && *line == '\r')) {
            return 1;
        }
        *end = '\0';
        if (strncasecmp(line, "lambda-runtime-aws-request-id:", 30) == 0) {
            sscanf(line + 30, " %127[^ \r]", reader->id);
        } else if (strncasecmp(line, "content-length:", 15) == 0) {
            reader->length = (size_t)strtoul(line + 15, NULL, 10);
        }
    }
}

/* Reads an answer of the API and drops its body; returns 0 at the end of the connection. */
static int read_answer(struct reader *reader) {
    if (!read_head(reader)) {
        return 0;
    }
    size_t left = reader->length;
    for (;;) {
        const size_t there = reader->end - reader->start;
        const size_t taken = left < there ? left : there;
        reader->start += taken;
        left -= taken;
        if (left == 0) {
            return 1;
        }
        if (!fill(reader)) {
            return 0;
        }
    }
}

static void set_nodelay(int socket) {
    const int on = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static struct sockaddr_in address_of(const char *host, unsigned port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) {
        fprintf(stderr, "%s is no address\n", host);
        exit(1);
    }
    return address;
}

static void run_bootstrap(const char *api) {
    char host[64];
    unsigned port;
    if (sscanf(api, "%63[^:]:%u", host, &port) != 2) {
        fprintf(stderr, "%s is no address of a Runtime API\n", api);
        exit(1);
    }
    static struct reader reader;
    const struct sockaddr_in address = address_of(host, port);
    reader.socket = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(reader.socket, (const struct sockaddr *)&address, sizeof address) != 0) {
        fail("connect");
    }
    set_nodelay(reader.socket);
    for (;;) {
        char request[512];
        int length = snprintf(request, sizeof request,
            "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: %s\r\n\r\n", api);
        write_all(reader.socket, request, (size_t)length);
        if (!read_answer(&reader)) {
            return;
        }
        length = snprintf(request, sizeof request,
            "POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nhost: %s\r\n"
            "content-length: %zu\r\n\r\n%s", reader.id, api, strlen(REPLY), REPLY);
        write_all(reader.socket, request, (size_t)length);
        if (!read_answer(&reader)) {
            return;
        }
    }
}

static void *serve(void *argument) {
    struct reader *reader = argument;
    set_nodelay(reader->socket);
    while (read_head(reader) && write(reader->socket, RESPONSE, sizeof RESPONSE - 1) > 0) {
    }
    close(reader->socket);
    free(reader);
    return NULL;
}

static void run_server(const char *port) {
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    const int on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    const struct sockaddr_in address = address_of("0.0.0.0", (unsigned)strtoul(port, NULL, 10));
    if (bind(listener, (const struct sockaddr *)&address, sizeof address) != 0) {
        fail("bind");
    }
    if (listen(listener, 128) != 0) {
        fail("listen");
    }
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    for (;;) {
        const int socket = accept(listener, NULL, NULL);
        if (socket < 0) {
            fail("accept");
        }
        struct reader *reader = malloc(sizeof *reader);
        if (reader == NULL) {
            fail("malloc");
        }
        reader->socket = socket;
        reader->start = reader->end = 0;
        pthread_t thread;
        if (pthread_create(&thread, &attributes, serve, reader) != 0) {
            fail("pthread_create");
        }
    }
}

int main(void) {
    const char *api = getenv("AWS_LAMBDA_RUNTIME_API");
    if (api != NULL) {
        run_bootstrap(api);
        return 0;
    }
    const char *port = getenv("PORT");
    run_server(port != NULL ? port : "8080");
}
