#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* One connection after another, each for one request without a body. */
static void answer(int client) {
    char head[8192], path[1024] = "";
    const ssize_t length = read(client, head, sizeof head - 1);
    if (length <= 0) {
        return;
    }
    head[length] = '\0';
    sscanf(head, "%*s %1023s", path);
    dprintf(client, "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n"
                    "Hello from C, at %s\n", path);
}

int main(void) {
    const char *port = getenv("PORT");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port != NULL ? atoi(port) : 8080)};
    const int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 64) != 0) {
        perror("listen");
        return 1;
    }
    for (;;) {
        const int client = accept(listener, NULL, NULL);
        if (client >= 0) {
            answer(client);
            close(client);
        }
    }
}
