/* Opening, watching and closing a socket, and what it counts. */
#include "udp.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/errqueue.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#ifndef IP_PMTUDISC_PROBE
#define IP_PMTUDISC_PROBE 3
#endif
#ifndef SOL_UDP
#define SOL_UDP 17
#endif

/* Error messages read in one go: an ICMP flood costs turns of the loop, it does not stop it. */
#define ERRORS_PER_TURN 64

/* SEND_BUFFER_BYTES of src/node/sockets/socket-options.ts: what waits to be sent delays all that follows it. */
#define SEND_BUFFER_MAX (4 * 1024 * 1024)

const napi_type_tag UDP_TAG = {0x676f647769742075ULL, 0x64702d7631202020ULL};

bool words_to_address(const udp_socket *socket, const int32_t *words, struct sockaddr_storage *out,
                      socklen_t *length) {
  int32_t port = words[4];
  if (port <= 0 || port > 65535) return false;
  memset(out, 0, sizeof(struct sockaddr_in6));
  if (socket->family == AF_INET) {
    if (words[0] != 0 || words[1] != 0 || words[2] != 0xffff) return false;
    struct sockaddr_in *ipv4 = (struct sockaddr_in *)out;
    ipv4->sin_family = AF_INET;
    ipv4->sin_port = htons((uint16_t)port);
    ipv4->sin_addr.s_addr = htonl((uint32_t)words[3]);
    *length = sizeof *ipv4;
    return true;
  }
  struct sockaddr_in6 *ipv6 = (struct sockaddr_in6 *)out;
  ipv6->sin6_family = AF_INET6;
  ipv6->sin6_port = htons((uint16_t)port);
  for (int i = 0; i < 4; i++) {
    uint32_t word = htonl((uint32_t)words[i]);
    memcpy(ipv6->sin6_addr.s6_addr + 4 * i, &word, 4);
  }
  ipv6->sin6_scope_id = (uint32_t)words[5];
  *length = sizeof *ipv6;
  return true;
}

void address_to_words(const struct sockaddr_storage *address, int32_t *words) {
  memset(words, 0, ADDRESS_WORDS * sizeof *words);
  if (address->ss_family == AF_INET) {
    const struct sockaddr_in *ipv4 = (const struct sockaddr_in *)address;
    words[2] = 0xffff;
    words[3] = (int32_t)ntohl(ipv4->sin_addr.s_addr);
    words[4] = ntohs(ipv4->sin_port);
  } else if (address->ss_family == AF_INET6) {
    const struct sockaddr_in6 *ipv6 = (const struct sockaddr_in6 *)address;
    for (int i = 0; i < 4; i++) {
      uint32_t word;
      memcpy(&word, ipv6->sin6_addr.s6_addr + 4 * i, 4);
      words[i] = (int32_t)ntohl(word);
    }
    words[4] = ntohs(ipv6->sin6_port);
    words[5] = (int32_t)ipv6->sin6_scope_id;
  }
}

void udp_read_errors(udp_socket *socket) {
  for (int i = 0; i < ERRORS_PER_TURN; i++) {
    char control[512];
    char data[1];
    struct iovec iov = {data, sizeof data};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    if (recvmsg(socket->fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) break;
    socket->statistics[STAT_PATH_ERRORS]++;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c != NULL; c = CMSG_NXTHDR(&message, c)) {
      bool is_error = (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) ||
                      (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR);
      if (!is_error || c->cmsg_len < CMSG_LEN(sizeof(struct sock_extended_err))) continue;
      struct sock_extended_err error;
      memcpy(&error, CMSG_DATA(c), sizeof error);
      if (error.ee_errno == EMSGSIZE) socket->statistics[STAT_PATH_MTU] = error.ee_info;
    }
  }
  int pending;
  socklen_t length = sizeof pending;
  getsockopt(socket->fd, SOL_SOCKET, SO_ERROR, &pending, &length);
}

/* Calls one of the three functions given to `open`. An exception becomes node's uncaughtException. */
static void call_handler(udp_socket *socket, int which) {
  napi_env env = socket->env;
  napi_handle_scope scope;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  napi_value self, function, error;
  if (napi_get_reference_value(env, socket->self, &self) == napi_ok &&
      napi_get_reference_value(env, socket->handlers[which], &function) == napi_ok &&
      napi_make_callback(env, socket->context, self, function, 0, NULL, NULL) == napi_pending_exception &&
      napi_get_and_clear_last_exception(env, &error) == napi_ok) {
    napi_fatal_exception(env, error);
  }
  napi_close_handle_scope(env, scope);
}

static void handle_poll(uv_poll_t *poll, int status, int events) {
  udp_socket *socket = poll->data;
  if (status < 0 || (events & UV_PRIORITIZED) != 0) {
    udp_read_errors(socket);
    /* libuv stops watching when the kernel only said "error". */
    if (status < 0 && udp_watch(socket) != 0) {
      call_handler(socket, HANDLE_ERROR);
      return;
    }
  }
  if ((events & UV_WRITABLE) != 0 && socket->wants_writable) {
    socket->wants_writable = false;
    udp_watch(socket);
    call_handler(socket, HANDLE_WRITABLE);
  }
  if ((events & UV_READABLE) != 0 && !socket->is_closed) {
    socket->is_delivering = true;
    call_handler(socket, HANDLE_READABLE);
    socket->is_delivering = socket->is_drained = false;
  }
}

int udp_watch(udp_socket *socket) {
  if (socket->is_closed) return 0;
  int events = UV_PRIORITIZED;
  if (socket->is_started) events |= UV_READABLE;
  if (socket->wants_writable) events |= UV_WRITABLE;
  return uv_poll_start(&socket->poll, events, handle_poll);
}

static void release(udp_socket *socket) {
  if (--socket->owners > 0) return;
  free(socket->spill);
  free(socket);
}

static void handle_closed(uv_handle_t *handle) {
  udp_socket *socket = handle->data;
  if (socket->cleanup != NULL) napi_remove_async_cleanup_hook(socket->cleanup);
  release(socket);
}

static void close_socket(udp_socket *socket) {
  if (socket->is_closed) return;
  socket->is_closed = true;
  uv_poll_stop(&socket->poll);
  uv_close((uv_handle_t *)&socket->poll, handle_closed);
  close(socket->fd);
  socket->fd = -1;
  for (int i = 0; i < 3; i++) napi_delete_reference(socket->env, socket->handlers[i]);
  napi_delete_reference(socket->env, socket->self);
  napi_async_destroy(socket->env, socket->context);
}

/* The environment (a worker, the process) ends while the socket is open. */
static void handle_cleanup(napi_async_cleanup_hook_handle handle, void *data) { close_socket(data); }

static void finalize_socket(napi_env env, void *data, void *hint) { release(data); }

static bool set_option(int fd, int level, int option, int value) {
  return setsockopt(fd, level, option, &value, sizeof value) == 0;
}

/* The forced form needs a privilege and goes beyond the system's limit; the plain one is cut down to it. */
static void set_buffer(int fd, int forced, int plain, int bytes) {
  if (!set_option(fd, SOL_SOCKET, forced, bytes)) set_option(fd, SOL_SOCKET, plain, bytes);
}

/* Everything but DF is a convenience: a kernel without it only makes us slower or less informed. */
static unsigned configure(int fd, int family, int buffer_bytes, unsigned features) {
  set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, buffer_bytes);
  set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, buffer_bytes < SEND_BUFFER_MAX ? buffer_bytes : SEND_BUFFER_MAX);
  /* PROBE sets DF and ignores what ICMP made the kernel believe: datagrams are never cut, and forged
     messages cannot shrink them. */
  set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
  set_option(fd, IPPROTO_IP, IP_RECVERR, 1);
  set_option(fd, IPPROTO_IP, IP_RECVTOS, 1);
  if (family == AF_INET6) {
    set_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
    set_option(fd, IPPROTO_IPV6, IPV6_RECVERR, 1);
    set_option(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
  }
  set_option(fd, SOL_SOCKET, SO_RXQ_OVFL, 1);
  set_option(fd, SOL_SOCKET, SO_SELECT_ERR_QUEUE, 1);
  int segment;
  socklen_t length = sizeof segment;
  if (getsockopt(fd, SOL_UDP, UDP_SEGMENT, &segment, &length) != 0) features &= ~(unsigned)FEATURE_GSO;
  if ((features & FEATURE_GRO) != 0 && !set_option(fd, SOL_UDP, UDP_GRO, 1)) features &= ~(unsigned)FEATURE_GRO;
  return features;
}

static int bind_socket(int family, const int32_t *words, int buffer_bytes, unsigned *features, int *out) {
  int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return errno;
  struct sockaddr_storage address;
  memset(&address, 0, sizeof address);
  socklen_t length;
  if (family == AF_INET) {
    struct sockaddr_in *ipv4 = (struct sockaddr_in *)&address;
    ipv4->sin_family = AF_INET;
    ipv4->sin_port = htons((uint16_t)words[4]);
    ipv4->sin_addr.s_addr = htonl((uint32_t)words[3]);
    length = sizeof *ipv4;
  } else {
    struct sockaddr_in6 *ipv6 = (struct sockaddr_in6 *)&address;
    ipv6->sin6_family = AF_INET6;
    ipv6->sin6_port = htons((uint16_t)words[4]);
    for (int i = 0; i < 4; i++) {
      uint32_t word = htonl((uint32_t)words[i]);
      memcpy(ipv6->sin6_addr.s6_addr + 4 * i, &word, 4);
    }
    ipv6->sin6_scope_id = (uint32_t)words[5];
    length = sizeof *ipv6;
    set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
  }
  if (bind(fd, (struct sockaddr *)&address, length) != 0) {
    int error = errno;
    close(fd);
    return error;
  }
  *features = configure(fd, family, buffer_bytes, *features);
  *out = fd;
  return 0;
}

static bool take_functions(napi_env env, const napi_value *arguments) {
  for (int i = 0; i < 3; i++) {
    napi_valuetype type;
    if (napi_typeof(env, arguments[i], &type) != napi_ok || type != napi_function) {
      throw_type_error(env, "a handler is not a function");
      return false;
    }
  }
  return true;
}

/* Ties a bound descriptor to the loop and to a JavaScript object. Closes it when that fails. */
static napi_value adopt(napi_env env, int fd, int family, unsigned features, const napi_value *handlers) {
  uv_loop_t *loop;
  udp_socket *socket = calloc(1, sizeof *socket);
  if (socket == NULL || napi_get_uv_event_loop(env, &loop) != napi_ok ||
      uv_poll_init(loop, &socket->poll, fd) != 0) {
    free(socket);
    close(fd);
    return throw_system_error(env, ENOMEM, "open");
  }
  socket->env = env;
  socket->fd = fd;
  socket->family = family;
  socket->features = features;
  socket->poll.data = socket;
  socket->owners = 2;
  napi_value name = NULL;
  napi_value handle = make_handle(env, socket, &UDP_TAG, finalize_socket);
  /* Without an object nobody calls finalize_socket. */
  if (handle == NULL) socket->owners = 1;
  bool is_tied = handle != NULL && napi_create_reference(env, handle, 1, &socket->self) == napi_ok;
  for (int i = 0; i < 3 && is_tied; i++) {
    is_tied = napi_create_reference(env, handlers[i], 1, &socket->handlers[i]) == napi_ok;
  }
  is_tied = is_tied && napi_create_string_utf8(env, "godwit-udp", NAPI_AUTO_LENGTH, &name) == napi_ok &&
            napi_async_init(env, handle, name, &socket->context) == napi_ok &&
            napi_add_async_cleanup_hook(env, handle_cleanup, socket, &socket->cleanup) == napi_ok;
  if (is_tied) return handle;
  close_socket(socket);
  return throw_system_error(env, ENOMEM, "open");
}

/* openSocket(family: 4 | 6, address: Int32Array(6), bufferBytes, features, readable, writable, error) */
static napi_value open_socket(napi_env env, napi_callback_info info) {
  napi_value arguments[7];
  size_t family, buffer_bytes, features;
  span words;
  if (!take_arguments(env, info, 7, arguments) || !take_index(env, arguments[0], 6, &family) ||
      !take_span(env, arguments[1], napi_int32_array, &words) ||
      !take_index(env, arguments[2], 1 << 30, &buffer_bytes) ||
      !take_index(env, arguments[3], FEATURE_ALL, &features) || !take_functions(env, arguments + 4)) {
    return NULL;
  }
  if ((family != 4 && family != 6) || words.length != ADDRESS_WORDS) {
    return throw_type_error(env, "a family is 4 or 6, an address six words");
  }
  int32_t address[ADDRESS_WORDS];
  memcpy(address, words.data, sizeof address);
  if (address[4] < 0 || address[4] > 65535) return throw_type_error(env, "a port is 0 to 65535");
  int fd = -1;
  unsigned used = (unsigned)features;
  int kernel_family = family == 4 ? AF_INET : AF_INET6;
  int error = bind_socket(kernel_family, address, (int)buffer_bytes, &used, &fd);
  if (error != 0) return throw_system_error(env, error, "bind");
  return adopt(env, fd, kernel_family, used, arguments + 4);
}

/* startSocket(socket) */
static napi_value start_socket(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  void *data;
  if (!take_arguments(env, info, 1, arguments) || !take_handle(env, arguments[0], &UDP_TAG, &data)) return NULL;
  udp_socket *socket = data;
  if (socket->is_closed) return throw_type_error(env, "the socket is closed");
  socket->is_started = true;
  int error = udp_watch(socket);
  return error == 0 ? NULL : throw_system_error(env, -error, "poll");
}

/* closeSocket(socket): again does nothing */
static napi_value shut_socket(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  void *data;
  if (!take_arguments(env, info, 1, arguments) || !take_handle(env, arguments[0], &UDP_TAG, &data)) return NULL;
  close_socket(data);
  return NULL;
}

/* localAddress(socket, out: Int32Array(6)) */
static napi_value local_address(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  void *data;
  span words;
  if (!take_arguments(env, info, 2, arguments) || !take_handle(env, arguments[0], &UDP_TAG, &data) ||
      !take_span(env, arguments[1], napi_int32_array, &words)) {
    return NULL;
  }
  udp_socket *socket = data;
  if (socket->is_closed || words.length != ADDRESS_WORDS) {
    return throw_type_error(env, "the socket is closed, or an address is not six words");
  }
  struct sockaddr_storage address;
  socklen_t length = sizeof address;
  if (getsockname(socket->fd, (struct sockaddr *)&address, &length) != 0) {
    return throw_system_error(env, errno, "getsockname");
  }
  address_to_words(&address, words.data);
  return NULL;
}

/* pathMtu(socket, address: Int32Array(6)): the kernel's MTU towards it in bytes, 0 when it has no way there */
static napi_value path_mtu(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  void *data;
  span words;
  if (!take_arguments(env, info, 2, arguments) || !take_handle(env, arguments[0], &UDP_TAG, &data) ||
      !take_span(env, arguments[1], napi_int32_array, &words)) {
    return NULL;
  }
  udp_socket *owner = data;
  if (words.length != ADDRESS_WORDS) return throw_type_error(env, "an address is six words");
  struct sockaddr_storage address;
  socklen_t length;
  if (!words_to_address(owner, words.data, &address, &length)) return make_number(env, 0);
  /* Connecting a UDP socket sends nothing; it only makes the kernel look up the route. */
  int fd = socket(owner->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return make_number(env, 0);
  int mtu = 0;
  socklen_t size = sizeof mtu;
  const int32_t *w = words.data;
  bool is_ipv4 = w[0] == 0 && w[1] == 0 && w[2] == 0xffff;
  if (connect(fd, (struct sockaddr *)&address, length) != 0 ||
      getsockopt(fd, is_ipv4 ? IPPROTO_IP : IPPROTO_IPV6, is_ipv4 ? IP_MTU : IPV6_MTU, &mtu, &size) != 0) {
    mtu = 0;
  }
  close(fd);
  return make_number(env, mtu);
}

/* statistics(socket, out: Float64Array(STAT_COUNT)) */
static napi_value statistics(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  void *data;
  span out;
  if (!take_arguments(env, info, 2, arguments) || !take_handle(env, arguments[0], &UDP_TAG, &data) ||
      !take_span(env, arguments[1], napi_float64_array, &out)) {
    return NULL;
  }
  if (out.length != STAT_COUNT) return throw_type_error(env, "no room for the statistics");
  udp_socket *socket = data;
  socket->statistics[STAT_FEATURES] = socket->features;
  memcpy(out.data, socket->statistics, sizeof socket->statistics);
  return NULL;
}

void register_udp(napi_env env, napi_value exports) {
  define(env, exports, "openSocket", open_socket);
  define(env, exports, "startSocket", start_socket);
  define(env, exports, "closeSocket", shut_socket);
  define(env, exports, "localAddress", local_address);
  define(env, exports, "pathMtu", path_mtu);
  define(env, exports, "statistics", statistics);
  define(env, exports, "send", udp_send);
  define(env, exports, "receive", udp_receive);
}
