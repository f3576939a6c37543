/*
 * File data that needs no device: read from the page cache, read and written in file systems that live in
 * memory. Everything else is told as "not at once", and a thread of libuv's does it.
 */
#include <errno.h>
#include <limits.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "arguments.h"

/* Bytes of one call at most: copying them holds the caller's thread for about a tenth of a millisecond. */
#define NOW_BYTES_MAX (1024 * 1024)

/* File systems whose data is in memory (linux/magic.h). */
#define TMPFS 0x01021994
#define RAMFS 0x858458f6

/* preadv2's flag (linux/fs.h): what is not in memory is EAGAIN. */
#define NOWAIT 0x8

/* Offsets are exact in a double up to here: 2^53 - 1. */
#define OFFSET_MAX 9007199254740991.0

/* The answer when a call has to wait or may have to: a thread is the place for it. */
#define NOT_NOW (-1)

/* What a call is about: a descriptor, memory, an offset. */
typedef struct {
  int file;
  struct iovec memory;
  off_t offset;
} file_range;

static bool take_file_range(napi_env env, napi_callback_info info, file_range *range) {
  napi_value arguments[3];
  span bytes;
  size_t file, offset;
  if (!take_arguments(env, info, 3, arguments) || !take_index(env, arguments[0], INT_MAX, &file) ||
      !take_index(env, arguments[2], (size_t)OFFSET_MAX, &offset) ||
      !take_span(env, arguments[1], napi_uint8_array, &bytes)) {
    return false;
  }
  range->file = (int)file;
  range->offset = (off_t)offset;
  range->memory.iov_base = bytes.data;
  range->memory.iov_len = bytes.length < NOW_BYTES_MAX ? bytes.length : NOW_BYTES_MAX;
  return true;
}

static bool is_in_memory(int file) {
  struct statfs status;
  if (fstatfs(file, &status) != 0) return false;
  uint32_t kind = (uint32_t)status.f_type;
  return kind == TMPFS || kind == RAMFS;
}

/* Errors are found again, and named, by the thread that tries next. */
static napi_value answer(napi_env env, ssize_t bytes) {
  return make_number(env, bytes < 0 ? NOT_NOW : (double)bytes);
}

/* readNow(file, target, offset): bytes read, 0 at the end of the file, -1 when that would have to wait */
static napi_value read_now(napi_env env, napi_callback_info info) {
  file_range range;
  if (!take_file_range(env, info, &range)) return NULL;
  /* As a plain system call: not every C library has the function. The kernel takes the offset in two halves. */
  ssize_t bytes = syscall(SYS_preadv2, range.file, &range.memory, 1L, (long)range.offset, 0L, (long)NOWAIT);
  /* A file system in memory may not know the flag, and never waits. */
  if (bytes < 0 && (errno == EOPNOTSUPP || errno == ENOSYS) && is_in_memory(range.file)) {
    bytes = pread(range.file, range.memory.iov_base, range.memory.iov_len, range.offset);
  }
  return answer(env, bytes);
}

/* writeNow(file, bytes, offset): bytes written, -1 when that might have to wait */
static napi_value write_now(napi_env env, napi_callback_info info) {
  file_range range;
  if (!take_file_range(env, info, &range)) return NULL;
  if (!is_in_memory(range.file)) return answer(env, NOT_NOW);
  return answer(env, pwrite(range.file, range.memory.iov_base, range.memory.iov_len, range.offset));
}

void register_file_now(napi_env env, napi_value exports) {
  define(env, exports, "readNow", read_now);
  define(env, exports, "writeNow", write_now);
}
