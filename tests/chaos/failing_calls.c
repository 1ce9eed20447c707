// Loaded before the C library (LD_PRELOAD), it makes the program's dealings with files fail, and its clock jump.
//
//   HPM_CHAOS_FOLDER   the folder whose files are concerned
//   HPM_CHAOS_CALL     write, fsync, rename, open (for writing), close or flock
//   HPM_CHAOS_AFTER    how many calls of that kind go well; all later ones fail
//   HPM_CHAOS_ERRNO    with this error (5: EIO, 28: ENOSPC, 38: ENOSYS)
//   HPM_CHAOS_CLOCK    after so many looks at the clock, the time of day is a day later, then a day earlier, and so on
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static atomic_long seen_calls, seen_times;

static int under_folder(const char* path) {
  const char* folder = getenv("HPM_CHAOS_FOLDER");
  return folder && path && strncmp(path, folder, strlen(folder)) == 0;
}

static int file_under_folder(int fd) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, path, sizeof path - 1);
  if (length <= 0) return 0;
  path[length] = 0;
  return under_folder(path);
}

static int fails(const char* call) {
  const char* wanted = getenv("HPM_CHAOS_CALL");
  if (!wanted || strcmp(wanted, call) != 0) return 0;
  if (atomic_fetch_add(&seen_calls, 1) < atol(getenv("HPM_CHAOS_AFTER"))) return 0;
  errno = atoi(getenv("HPM_CHAOS_ERRNO"));
  return 1;
}

#define NEXT(result, name, ...)                                   \
  static result (*next)(__VA_ARGS__);                             \
  if (!next) next = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

ssize_t write(int fd, const void* bytes, size_t size) {
  NEXT(ssize_t, "write", int, const void*, size_t);
  if (file_under_folder(fd) && fails("write")) return -1;
  return next(fd, bytes, size);
}

ssize_t writev(int fd, const struct iovec* parts, int count) {
  NEXT(ssize_t, "writev", int, const struct iovec*, int);
  if (file_under_folder(fd) && fails("write")) return -1;
  return next(fd, parts, count);
}

ssize_t pwrite(int fd, const void* bytes, size_t size, off_t at) {
  NEXT(ssize_t, "pwrite", int, const void*, size_t, off_t);
  if (file_under_folder(fd) && fails("write")) return -1;
  return next(fd, bytes, size, at);
}

int fsync(int fd) {
  NEXT(int, "fsync", int);
  if (file_under_folder(fd) && fails("fsync")) return -1;
  return next(fd);
}

int fdatasync(int fd) {
  NEXT(int, "fdatasync", int);
  if (file_under_folder(fd) && fails("fsync")) return -1;
  return next(fd);
}

int close(int fd) {
  NEXT(int, "close", int);
  const int failed = file_under_folder(fd) && fails("close"), error = errno;
  const int result = next(fd);  // Linux closes the file in any case
  if (!failed) return result;
  errno = error;
  return -1;
}

int flock(int fd, int operation) {
  NEXT(int, "flock", int, int);
  if (file_under_folder(fd) && fails("flock")) return -1;
  return next(fd, operation);
}

int rename(const char* from, const char* to) {
  NEXT(int, "rename", const char*, const char*);
  if (under_folder(to) && fails("rename")) return -1;
  return next(from, to);
}

static int refused(const char* path, int flags) {
  return (flags & (O_WRONLY | O_RDWR | O_CREAT)) && under_folder(path) && fails("open");
}

int open(const char* path, int flags, ...) {
  NEXT(int, "open", const char*, int, ...);
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  return refused(path, flags) ? -1 : next(path, flags, mode);
}

int open64(const char* path, int flags, ...) {
  NEXT(int, "open64", const char*, int, ...);
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  return refused(path, flags) ? -1 : next(path, flags, mode);
}

FILE* fopen(const char* path, const char* mode) {
  NEXT(FILE*, "fopen", const char*, const char*);
  return strpbrk(mode, "wa+") && under_folder(path) && fails("open") ? NULL : next(path, mode);
}

FILE* fopen64(const char* path, const char* mode) {
  NEXT(FILE*, "fopen64", const char*, const char*);
  return strpbrk(mode, "wa+") && under_folder(path) && fails("open") ? NULL : next(path, mode);
}

static long jump(void) {
  const char* after = getenv("HPM_CHAOS_CLOCK");
  if (!after) return 0;
  const long seen = atomic_fetch_add(&seen_times, 1), every = atol(after);
  return seen / every == 0 ? 0 : seen / every % 2 ? 86400 : -86400;
}

int clock_gettime(clockid_t clock, struct timespec* now) {
  NEXT(int, "clock_gettime", clockid_t, struct timespec*);
  const int result = next(clock, now);
  if (clock == CLOCK_REALTIME) now->tv_sec += jump();
  return result;
}

int gettimeofday(struct timeval* restrict now, void* restrict zone) {
  NEXT(int, "gettimeofday", struct timeval*, void*);
  const int result = next(now, zone);
  now->tv_sec += jump();
  return result;
}

time_t time(time_t* where) {
  NEXT(time_t, "time", time_t*);
  const time_t now = next(NULL) + jump();
  if (where) *where = now;
  return now;
}
