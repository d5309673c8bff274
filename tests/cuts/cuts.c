/* Counts every change that a process makes below CUTS_FOLDER, over all processes that share CUTS_COUNTER, and cuts at
 * number CUTS_AT: with SIGKILL to the hub and to itself, before that change is made (CUTS_HOW=kill), or by refusing it and
 * the next ones as a full disk does (CUTS_HOW=full). CUTS_LOG gets a line for each, and CUTS_DATA the bytes of each write,
 * in a file with its number: all that is needed to make the folder again as it was after any of them.
 * Calls that copy without a buffer are refused as unknown, so that whoever makes them goes on with write(). */
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
#include <sys/uio.h>
#include <unistd.h>

struct shared { int count; pid_t hub; };
struct bytes { const void *data; size_t size; long long offset; };
static struct shared *shared;
static const char *folder, *data_folder;
static int at = -1, full, refusals, log_fd = -1;

static void __attribute__((constructor)) prepare(void) {
    const char *path = getenv("CUTS_COUNTER");
    folder = getenv("CUTS_FOLDER");
    if (!path || !folder) return;
    int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0) return;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (shared == MAP_FAILED) { shared = NULL; return; }
    if (!shared->hub) shared->hub = getpid();
    if (getenv("CUTS_AT")) at = atoi(getenv("CUTS_AT"));
    full = getenv("CUTS_HOW") && !strcmp(getenv("CUTS_HOW"), "full");
    refusals = getenv("CUTS_REFUSALS") ? atoi(getenv("CUTS_REFUSALS")) : 1;
    data_folder = getenv("CUTS_DATA");
    if (getenv("CUTS_LOG")) log_fd = syscall(SYS_openat, AT_FDCWD, getenv("CUTS_LOG"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

static int inside(const char *whole) {
    size_t n = strlen(folder);
    return !strncmp(whole, folder, n) && (whole[n] == '/' || !whole[n]) && !strstr(whole, "/control.sock")
        && !strstr(whole, "/outbox.db");  /* SQLite's own: it is cut in a test of its own */
}
static int of_fd(int fd, char *whole) {
    char link[64]; snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, link, whole, PATH_MAX - 1);
    if (n <= 0) return 0;
    whole[n] = 0;
    return 1;
}
static int below_fd(int fd, char *whole) { return shared && of_fd(fd, whole) && inside(whole); }
static int below(int dir, const char *path, char *whole) {
    if (!shared || !path) return 0;
    char base[PATH_MAX / 2] = "";
    if (path[0] != '/') {
        if (dir == AT_FDCWD) { if (!getcwd(base, sizeof base)) return 0; }
        else { char at_dir[PATH_MAX]; if (!of_fd(dir, at_dir) || strlen(at_dir) >= sizeof base) return 0; strcpy(base, at_dir); }
    }
    snprintf(whole, PATH_MAX, *base ? "%s/%s" : "%s%s", base, path);
    return inside(whole);
}

static void keep(int number, struct bytes bytes) {
    char path[PATH_MAX]; snprintf(path, sizeof path, "%s/%d", data_folder, number);
    int fd = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) abort();
    if (syscall(SYS_write, fd, bytes.data, bytes.size) != (ssize_t)bytes.size) abort();
    syscall(SYS_close, fd);
}

/* Returns whether the change is to be refused. */
static int change(const char *what, const char *path, const char *to, struct bytes bytes) {
    int number = __atomic_add_fetch(&shared->count, 1, __ATOMIC_SEQ_CST);
    if (at >= 0 && number >= at && !full) { kill(shared->hub, SIGKILL); kill(getpid(), SIGKILL); for (;;) pause(); }
    if (full && at >= 0 && number >= at && number < at + refusals && strcmp(what, "fsync") && strcmp(what, "unlink")) return 1;
    if (bytes.data && data_folder) keep(number, bytes);
    if (log_fd >= 0) {
        char line[2 * PATH_MAX + 64];
        int n = snprintf(line, sizeof line, "%d\t%s\t%s\t%s\t%lld\n", number, what, path, to ? to : "", bytes.offset);
        if (syscall(SYS_write, log_fd, line, n) != n) abort();
    }
    return 0;
}

#define REAL(type, name, ...) static type (*real)(__VA_ARGS__); if (!real) real = dlsym(RTLD_NEXT, name)
#define CHANGE(what, path, to, ...) do { if (change(what, path, to, (struct bytes){__VA_ARGS__})) { errno = ENOSPC; return -1; } } while (0)

static int opens(int dir, const char *path, int flags, mode_t mode) {
    char whole[PATH_MAX];
    if ((flags & (O_CREAT | O_TRUNC)) && below(dir, path, whole)) {
        struct stat now;
        int there = !stat(whole, &now);
        /* only what changes something: a new name, or a file that loses its content */
        if (!there && (flags & O_CREAT)) CHANGE("create", whole, NULL, NULL, 0, 0);
        else if (there && (flags & O_TRUNC) && !(flags & O_EXCL)) CHANGE("truncate", whole, NULL, NULL, 0, 0);
    }
    return syscall(SYS_openat, dir, path, flags | O_LARGEFILE, mode);
}
#define MODE(flags) mode_t mode = 0; if ((flags) & (O_CREAT | __O_TMPFILE)) { va_list a; va_start(a, flags); mode = va_arg(a, mode_t); va_end(a); }
int open(const char *path, int flags, ...) { MODE(flags) return opens(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return opens(AT_FDCWD, path, flags, mode); }
int openat(int dir, const char *path, int flags, ...) { MODE(flags) return opens(dir, path, flags, mode); }
int openat64(int dir, const char *path, int flags, ...) { MODE(flags) return opens(dir, path, flags, mode); }

static long long position(int fd) {
    struct stat now;
    return fcntl(fd, F_GETFL) & O_APPEND && !fstat(fd, &now) ? now.st_size : lseek(fd, 0, SEEK_CUR);
}
ssize_t write(int fd, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    char whole[PATH_MAX];
    if (below_fd(fd, whole)) CHANGE("write", whole, NULL, data, size, position(fd));
    return real(fd, data, size);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    char whole[PATH_MAX];
    if (below_fd(fd, whole)) CHANGE("write", whole, NULL, data, size, offset);
    return real(fd, data, size, offset);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    char whole[PATH_MAX];
    if (below_fd(fd, whole)) return count ? write(fd, parts->iov_base, parts->iov_len) : 0;
    return real(fd, parts, count);
}
ssize_t sendfile64(int to, int from, off64_t *offset, size_t size) {
    REAL(ssize_t, "sendfile64", int, int, off64_t *, size_t);
    char whole[PATH_MAX];
    if (below_fd(to, whole)) { errno = ENOTSOCK; return -1; }
    return real(to, from, offset, size);
}
ssize_t copy_file_range(int from, off64_t *there, int to, off64_t *here, size_t size, unsigned flags) {
    REAL(ssize_t, "copy_file_range", int, off64_t *, int, off64_t *, size_t, unsigned);
    char whole[PATH_MAX];
    if (below_fd(to, whole)) { errno = ENOSYS; return -1; }
    return real(from, there, to, here, size, flags);
}
int ftruncate64(int fd, off64_t size) {
    REAL(int, "ftruncate64", int, off64_t);
    char whole[PATH_MAX];
    if (below_fd(fd, whole)) CHANGE("truncate", whole, NULL, NULL, 0, size);
    return real(fd, size);
}
int renameat(int from_dir, const char *from, int to_dir, const char *to) {
    REAL(int, "renameat", int, const char *, int, const char *);
    char one[PATH_MAX], other[PATH_MAX];
    if (below(from_dir, from, one) && below(to_dir, to, other)) CHANGE("rename", one, other, NULL, 0, 0);
    return real(from_dir, from, to_dir, to);
}
int rename(const char *from, const char *to) { return renameat(AT_FDCWD, from, AT_FDCWD, to); }
int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) {
    REAL(int, "linkat", int, const char *, int, const char *, int);
    char one[PATH_MAX], other[PATH_MAX];
    if (below(from_dir, from, one) && below(to_dir, to, other)) CHANGE("link", one, other, NULL, 0, 0);
    return real(from_dir, from, to_dir, to, flags);
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }
int mkdirat(int dir, const char *path, mode_t mode) {
    REAL(int, "mkdirat", int, const char *, mode_t);
    char whole[PATH_MAX];
    struct stat now;
    char parent[PATH_MAX] = "";
    if (below(dir, path, whole)) { strcpy(parent, whole); *strrchr(parent, '/') = 0; }
    /* without a parent it fails: whoever makes it goes on with that */
    if (*parent && stat(whole, &now) && !stat(parent, &now)) CHANGE("mkdir", whole, NULL, NULL, 0, 0);
    return real(dir, path, mode);
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }
int unlinkat(int dir, const char *path, int flags) {
    REAL(int, "unlinkat", int, const char *, int);
    char whole[PATH_MAX];
    struct stat now;
    if (below(dir, path, whole) && !lstat(whole, &now)) CHANGE("unlink", whole, NULL, NULL, 0, 0);
    return real(dir, path, flags);
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }
int symlinkat(const char *goal, int dir, const char *path) {
    REAL(int, "symlinkat", const char *, int, const char *);
    char whole[PATH_MAX];
    if (below(dir, path, whole)) CHANGE("symlink", whole, goal, NULL, 0, 0);
    return real(goal, dir, path);
}
int symlink(const char *goal, const char *path) { return symlinkat(goal, AT_FDCWD, path); }
int fsync(int fd) {
    REAL(int, "fsync", int);
    char whole[PATH_MAX];
    if (below_fd(fd, whole)) CHANGE("fsync", whole, NULL, NULL, 0, 0);
    return real(fd);
}
int fdatasync(int fd) { return fsync(fd); }
