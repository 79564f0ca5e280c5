/* What a program tries from inside a sandbox: `probe ATTEMPT [ARGUMENT]`. Prints a line an attempt,
 * with "ok" or the errno's name. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void told(const char *what, long result) {
    printf("%s %s\n", what, result < 0 ? strerrorname_np(errno) : "ok");
    fflush(stdout);
}

static void attempts(void) {
    char byte;
    struct iovec io = {&byte, 1};
    long args[11] = {CLONE_NEWUSER, 0, 0, 0, SIGCHLD};
    told("ptrace", ptrace(PTRACE_ATTACH, 1, 0, 0));
    told("process_vm_readv", syscall(SYS_process_vm_readv, 1, &io, 1, &io, 1, 0));
    told("raw", socket(AF_INET, SOCK_RAW, 1));
    told("packet", socket(AF_PACKET, SOCK_RAW, 0));
    told("obsolete-packet", socket(AF_INET, 10, 0));
    told("vsock", socket(40, SOCK_STREAM, 0));
    told("netlink-audit", socket(AF_NETLINK, SOCK_RAW, 9));
    told("netlink-route", socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0));
    told("mount", mount("none", "/tmp", "tmpfs", 0, NULL));
    told("umount", umount2("/tmp", MNT_DETACH));
    told("chroot", chroot("/tmp"));
    told("unshare", unshare(CLONE_NEWUSER));
    told("clone", syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
    told("clone3", syscall(SYS_clone3, args, sizeof args));
    told("setns", setns(0, 0));
    told("keyctl", syscall(SYS_keyctl, 0, -3, 0));
    told("add_key", syscall(SYS_add_key, "user", "a", "b", 1, -3));
    told("io_uring", syscall(SYS_io_uring_setup, 4, args));
    told("bpf", syscall(SYS_bpf, 0, args, sizeof args));
    told("perf", syscall(SYS_perf_event_open, args, 0, -1, -1, 0));
    told("userfaultfd", syscall(SYS_userfaultfd, 0));
    told("kexec", syscall(SYS_kexec_load, 0, 0, 0, 0));
    told("reboot", syscall(SYS_reboot, 0, 0, 0, 0));
    told("module", syscall(SYS_delete_module, "a", 0));
    told("swapoff", syscall(SYS_swapoff, "/tmp/a"));
    told("settime", syscall(SYS_clock_settime, 0, args));
    told("personality", personality(ADDR_NO_RANDOMIZE));
    told("tiocsti", ioctl(0, TIOCSTI, "x"));
    told("sethostname", sethostname("x", 1));
    told("setuid-root", setuid(0));
    told("unknown", syscall(9999));
#ifdef __x86_64__
    told("x32", syscall(0x40000000 | SYS_getpid));
#endif
    told("thread-of-libc", getpid() > 1 ? 0 : -1);
}

static void paths(char **path) {
    for (; *path; path++) {
        int fd = open(*path, O_RDONLY);
        printf("%s ", *path);
        told("read", fd);
    }
}

static void list(const char *folder, int numbers_only) {
    DIR *dir = opendir(folder);
    if (!dir) {
        told(folder, -1);
        return;
    }
    for (struct dirent *entry; (entry = readdir(dir));)
        if (numbers_only ? entry->d_name[0] >= '0' && entry->d_name[0] <= '9' && atoi(entry->d_name) != dirfd(dir)
                         : entry->d_name[0] != '.')
            printf("%s\n", entry->d_name);
    closedir(dir);
}

static int dial(const char *address, int port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, address, &to.sin_addr);
    return connect(fd, (struct sockaddr *)&to, sizeof to) < 0 ? -1 : fd;
}

static void serve(int family, int port) {
    int fd = socket(family, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_loopback};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, 26, &one, sizeof one);
    told("bind", family == AF_INET ? bind(fd, (void *)&v4, sizeof v4) : bind(fd, (void *)&v6, sizeof v6));
    told("listen", listen(fd, 512));
    for (;;) {
        char buffer[256];
        int peer = accept(fd, NULL, NULL);
        long length = read(peer, buffer, sizeof buffer);
        if (length > 0 && write(peer, buffer, length) < 0) exit(1);
        close(peer);
    }
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    long number = argc > 2 ? atol(argv[2]) : 0;
    if (!strcmp(what, "attempts")) attempts();
    else if (!strcmp(what, "paths")) paths(argv + 2);
    else if (!strcmp(what, "list")) list(argv[2], 0);
    else if (!strcmp(what, "fds")) list("/proc/self/fd", 1);
    else if (!strcmp(what, "processes")) list("/proc", 1);
    else if (!strcmp(what, "exit")) return number;
    else if (!strcmp(what, "raise")) {
        raise(number);
    } else if (!strcmp(what, "write")) {
        told("write", open(argv[2], O_WRONLY | O_CREAT, 0600));
    } else if (!strcmp(what, "kill")) {
        told("kill", kill(number, 0));
    } else if (!strcmp(what, "fork")) {
        long children = 0;
        while (children < 10000) {
            pid_t child = fork();
            if (child < 0) break;
            if (child == 0) pause(), exit(0);
            children++;
        }
        told("fork", children < 10000 ? -1 : 0);
        printf("%ld\n", children);
    } else if (!strcmp(what, "fill")) {
        static char block[1 << 16];
        int fd = open(argv[2], O_WRONLY | O_CREAT, 0600);
        long total = 0, length;
        signal(SIGXFSZ, SIG_IGN);
        while ((length = write(fd, block, sizeof block)) > 0) total += length;
        told("fill", length);
        printf("%ld\n", total);
    } else if (!strcmp(what, "memory")) {
        for (long done = 0; done < number; done += 1 << 20) {
            char *block = malloc(1 << 20);
            if (!block) {
                told("memory", -1);
                return 3;
            }
            memset(block, 1, 1 << 20);
        }
        told("memory", 0);
    } else if (!strcmp(what, "daemon")) {
        /* Two forks and a session of its own: nobody's child, in nobody's group. */
        int done[2];
        char byte;
        if (pipe(done) < 0) return 1;
        if (fork() == 0) {
            setsid();
            if (fork() == 0) {
                signal(SIGTERM, SIG_IGN), signal(SIGHUP, SIG_IGN);
                printf("daemon\n"), fflush(stdout);
                if (write(done[1], "x", 1) < 0) return 1;
                for (;;) pause();
            }
            exit(0);
        }
        if (read(done[0], &byte, 1) < 0) return 1;
        if (number) for (;;) pause();
    } else if (!strcmp(what, "stubborn")) {
        signal(SIGTERM, SIG_IGN), signal(SIGINT, SIG_IGN);
        printf("ready\n"), fflush(stdout);
        for (;;) pause();
    } else if (!strcmp(what, "wait")) {
        printf("ready\n"), fflush(stdout);
        for (;;) pause();
    } else if (!strcmp(what, "connect")) {
        told("connect", dial(argv[2], atoi(argv[3])));
    } else if (!strcmp(what, "send")) {
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(53)};
        int fd = socket(AF_INET, SOCK_DGRAM, 0);
        inet_pton(AF_INET, argv[2], &to.sin_addr);
        told("send", fd < 0 ? -1 : sendto(fd, "x", 1, 0, (void *)&to, sizeof to));
    } else if (!strcmp(what, "abstract")) {
        struct sockaddr_un to = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        strncpy(to.sun_path + 1, argv[2], sizeof to.sun_path - 2);
        told("abstract", connect(fd, (void *)&to, 3 + strlen(argv[2])));
    } else if (!strcmp(what, "talk")) {
        char buffer[64] = {0};
        int fd = dial("127.0.0.1", number);
        if (fd < 0 || write(fd, "hello", 5) != 5) return 1;
        if (read(fd, buffer, sizeof buffer - 1) < 0) return 2;
        printf("%s\n", buffer);
    } else if (!strcmp(what, "serve")) serve(AF_INET, number);
    else if (!strcmp(what, "serve6")) serve(AF_INET6, number);
    else if (!strcmp(what, "signals")) {
        sigset_t set;
        struct sigaction action;
        sigprocmask(SIG_SETMASK, NULL, &set);
        for (int signal = 1; signal < 32; signal++) {
            sigaction(signal, NULL, &action);
            if (sigismember(&set, signal)) printf("blocked %d\n", signal);
            if (action.sa_handler != SIG_DFL) printf("ignored %d\n", signal);
        }
        printf("%d %d\n", getpid() == getpgrp(), getpid() == getsid(0));
    } else return 99;
    return 0;
}
