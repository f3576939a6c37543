/*
 * Preloaded into a process, plays a kernel or a path that refuses what the addon likes best. GODWIT_REFUSE
 * names it: gso-eio, gso-einval (super-packets fail), gso-late (all but the first ten do), mmsg (ENOSYS).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static int refuses(const char *what) {
  const char *list = getenv("GODWIT_REFUSE");
  return list != NULL && strcmp(list, what) == 0;
}

static int is_super_packet(const struct msghdr *message) {
  for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR((struct msghdr *)message, c)) {
    if (c->cmsg_level == 17 /* SOL_UDP */ && c->cmsg_type == 103 /* UDP_SEGMENT */) return 1;
  }
  return 0;
}

/* 0, or the error this message meets. */
static int error_for(const struct msghdr *message) {
  static int super_packets = 0;
  if (!is_super_packet(message)) return 0;
  if (refuses("gso-eio")) return EIO;
  if (refuses("gso-einval")) return EINVAL;
  if (refuses("gso-late") && super_packets++ >= 10) return EIO;
  return 0;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
  static ssize_t (*real)(int, const struct msghdr *, int);
  if (real == NULL) real = (ssize_t (*)(int, const struct msghdr *, int))dlsym(RTLD_NEXT, "sendmsg");
  int error = error_for(message);
  if (error == 0) return real(fd, message, flags);
  errno = error;
  return -1;
}

int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags) {
  if (refuses("mmsg")) {
    errno = ENOSYS;
    return -1;
  }
  unsigned sent = 0;
  for (; sent < count; sent++) {
    ssize_t bytes = sendmsg(fd, &messages[sent].msg_hdr, flags);
    if (bytes < 0) break;
    messages[sent].msg_len = (unsigned)bytes;
  }
  return sent > 0 ? (int)sent : -1;
}

int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout) {
  static int (*real)(int, struct mmsghdr *, unsigned, int, struct timespec *);
  if (real == NULL) {
    real = (int (*)(int, struct mmsghdr *, unsigned, int, struct timespec *))dlsym(RTLD_NEXT, "recvmmsg");
  }
  if (!refuses("mmsg")) return real(fd, messages, count, flags, timeout);
  errno = ENOSYS;
  return -1;
}
