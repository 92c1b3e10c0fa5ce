/* A quota, for tests: while the file $QUOTA_REACHED exists, nothing more is written to files whose path begins with
 * $QUOTA_ON.  The last write is cut short, as a real one is; all that follow fail with EDQUOT.  For LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int is_over(int file) {
  const char *reached = getenv("QUOTA_REACHED"), *on = getenv("QUOTA_ON");
  char link[64], path[4096];
  if (!reached || !on || access(reached, F_OK))
    return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path - 1);
  path[length < 0 ? 0 : length] = 0;
  return !strncmp(path, on, strlen(on));
}

ssize_t write(int file, const void *data, size_t size) {
  static ssize_t (*real)(int, const void *, size_t);
  if (!real)
    real = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
  if (!is_over(file))
    return real(file, data, size);
  if (size > 1)
    return real(file, data, size / 2);
  errno = EDQUOT;
  return -1;
}
