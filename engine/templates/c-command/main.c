#include <stdio.h>
#include <stdlib.h>

int main(void) {
    const char *path = getenv("PATH_INFO");
    printf("Hello from C, at %s\n", path != NULL ? path : "");
    return 0;
}
