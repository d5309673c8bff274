/* Counts every change that a process makes below CUTS_FOLDER, over all processes that share CUTS_COUNTER, and cuts at
 * number CUTS_AT: with SIGKILL to the hub and to itself, before that change is made (CUTS_HOW=kill), or by refusing it and
 * the next ones as a full disk does (CUTS_HOW=full). CUTS_LOG gets a line for each: what is needed to tell what a power
 * cut would have left. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct shared { int count; pid_t hub; };
static struct shared *shared;
static const char *folder, *saved;
static int at = -1, full, refusals, log_fd = -1;

static void __attribute__((constructor)) prepare(void) {
    const char *path = getenv("CUTS_COUNTER");
    folder = getenv("CUTS_FOLDER");
    if (!path || !folder) return;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (shared == MAP_FAILED) { shared = NULL; return; }
    if (!shared->hub) shared->hub = getpid();
    if (getenv("CUTS_AT")) at = atoi(getenv("CUTS_AT"));
    full = getenv("CUTS_HOW") && !strcmp(getenv("CUTS_HOW"), "full");
    refusals = getenv("CUTS_REFUSALS") ? atoi(getenv("CUTS_REFUSALS")) : 1;
    saved = getenv("CUTS_SAVED");
    if (getenv("CUTS_LOG")) log_fd = syscall(SYS_openat, AT_FDCWD, getenv("CUTS_LOG"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

static int below(const char *path, char *whole) {
    if (!shared || !path) return 0;
    if (path[0] == '/') snprintf(whole, PATH_MAX, "%s", path);
    else { char cwd[PATH_MAX / 2]; if (!getcwd(cwd, sizeof cwd)) return 0; snprintf(whole, PATH_MAX, "%s/%s", cwd, path); }
    size_t n = strlen(folder);
    return !strncmp(whole, folder, n) && (whole[n] == '/' || !whole[n]) && !strstr(whole, "/control.sock");
}

static int below_fd(int fd, char *whole) {
    if (!shared) return 0;
    char link[64]; snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, link, whole, PATH_MAX - 1);
    if (n <= 0) return 0;
    whole[n] = 0;
    size_t length = strlen(folder);
    return !strncmp(whole, folder, length) && (whole[length] == '/' || !whole[length]) && !strstr(whole, "/control.sock");
}

/* Returns whether the change is to be refused. */
static int change(const char *what, const char *path, const char *to) {
    int number = __atomic_add_fetch(&shared->count, 1, __ATOMIC_SEQ_CST);
    if (at >= 0 && number >= at && !full) { kill(shared->hub, SIGKILL); kill(getpid(), SIGKILL); for (;;) pause(); }
    if (log_fd >= 0) {
        char line[2 * PATH_MAX + 64];
        int n = snprintf(line, sizeof line, "%d\t%s\t%s\t%s\n", number, what, path, to ? to : "");
        syscall(SYS_write, log_fd, line, n);
    }
    if (to && saved && !strcmp(what, "rename")) {
        char keep[PATH_MAX]; snprintf(keep, sizeof keep, "%s/%d", saved, number);
        syscall(SYS_linkat, AT_FDCWD, to, AT_FDCWD, keep, 0);
    }
    return full && at >= 0 && number >= at && number < at + refusals && strcmp(what, "fsync") && strcmp(what, "unlink");
}

#define REAL(type, name, ...) static type (*real)(__VA_ARGS__); if (!real) real = dlsym(RTLD_NEXT, name)
#define REFUSED(what, path, to) do { if (change(what, path, to)) { errno = ENOSPC; return -1; } } while (0)

static int opens(const char *name, int dir, const char *path, int flags, mode_t mode) {
    char whole[PATH_MAX];
    if ((flags & (O_CREAT | O_TRUNC)) && (dir == AT_FDCWD || path[0] == '/') && below(path, whole)) REFUSED("open", whole, NULL);
    (void)name;
    return syscall(SYS_openat, dir, path, flags | O_LARGEFILE, mode);
}
#define MODE(flags) mode_t mode = 0; if ((flags) & (O_CREAT | __O_TMPFILE)) { va_list a; va_start(a, flags); mode = va_arg(a, mode_t); va_end(a); }
int open(const char *path, int flags, ...) { MODE(flags) return opens("open", AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return opens("open64", AT_FDCWD, path, flags, mode); }
int openat(int dir, const char *path, int flags, ...) { MODE(flags) return opens("openat", dir, path, flags, mode); }
int openat64(int dir, const char *path, int flags, ...) { MODE(flags) return opens("openat64", dir, path, flags, mode); }

ssize_t write(int fd, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    char whole[PATH_MAX];
    if (shared && below_fd(fd, whole)) REFUSED("write", whole, NULL);
    return real(fd, data, size);
}
int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    char one[PATH_MAX], other[PATH_MAX];
    if (below(from, one) && below(to, other)) REFUSED("rename", one, other);
    return real(from, to);
}
int mkdir(const char *path, mode_t mode) {
    REAL(int, "mkdir", const char *, mode_t);
    char whole[PATH_MAX];
    if (below(path, whole)) REFUSED("mkdir", whole, NULL);
    return real(path, mode);
}
int unlink(const char *path) {
    REAL(int, "unlink", const char *);
    char whole[PATH_MAX];
    if (below(path, whole)) REFUSED("unlink", whole, NULL);
    return real(path);
}
int symlink(const char *goal, const char *path) {
    REAL(int, "symlink", const char *, const char *);
    char whole[PATH_MAX];
    if (below(path, whole)) REFUSED("symlink", whole, NULL);
    return real(goal, path);
}
int ftruncate64(int fd, off64_t size) {
    REAL(int, "ftruncate64", int, off64_t);
    char whole[PATH_MAX];
    if (shared && below_fd(fd, whole)) REFUSED("truncate", whole, NULL);
    return real(fd, size);
}
int fsync(int fd) {
    REAL(int, "fsync", int);
    char whole[PATH_MAX];
    if (shared && below_fd(fd, whole)) REFUSED("fsync", whole, NULL);
    return real(fd);
}
