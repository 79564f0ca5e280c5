/*
 * A plain C program as a core module of WASI preview 1: reads stdin and QUERY_STRING, and prints.
 *
 * The node must reply with the lines `Hello from C!`, `method: M`, `query: Q`, `stdin-bytes: N` and then stdin itself;
 * a variable that is not set is printed as `-`. With the query `fail` it writes `failing` on stderr and returns 3.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *variable(const char *name) {
    const char *value = getenv(name);
    return value != NULL ? value : "-";
}

/* Reads stdin to its end; gives NULL when there is no memory for it. */
static char *read_all(size_t *length) {
    size_t size = 4096;
    char *bytes = malloc(size);
    *length = 0;
    while (bytes != NULL) {
        const size_t got = fread(bytes + *length, 1, size - *length, stdin);
        *length += got;
        if (got == 0) {
            return bytes;
        }
        if (*length == size) {
            size *= 2;
            char *larger = realloc(bytes, size);
            if (larger == NULL) {
                free(bytes);
            }
            bytes = larger;
        }
    }
    return NULL;
}

int main(void) {
    const char *query = variable("QUERY_STRING");
    if (strcmp(query, "fail") == 0) {
        fputs("failing\n", stderr);
        return 3;
    }
    size_t length;
    char *bytes = read_all(&length);
    if (bytes == NULL) {
        fputs("no memory\n", stderr);
        return 1;
    }
    printf("Hello from C!\nmethod: %s\nquery: %s\nstdin-bytes: %zu\n", variable("REQUEST_METHOD"), query, length);
    fwrite(bytes, 1, length, stdout);
    free(bytes);
    return 0;
}
