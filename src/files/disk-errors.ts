/** What a system's error means to a user. */
import type { ErrorCode } from "../base/errors.ts";

/** Whether the error says that there is no room: the transfer stops and can be resumed. */
export function isOutOfSpace(errno: string): boolean {
  return errno === "ENOSPC" || errno === "EDQUOT";
}

/** The failure of reading a source. */
export function sourceErrorCode(errno: string): ErrorCode {
  switch (errno) {
    case "ENOENT":
    case "ENOTDIR":
      return "SOURCE_MISSING";
    case "ENOTREG":
    case "ELOOP":
      return "SOURCE_SPECIAL";
    default:
      return "SOURCE_UNREADABLE";
  }
}

/** The failure of writing a destination. */
export function destinationErrorCode(errno: string): ErrorCode {
  switch (errno) {
    case "ENOSPC":
    case "EDQUOT":
      return "NO_SPACE";
    case "EFBIG":
      return "FILE_TOO_LARGE";
    case "EEXIST":
      return "EXISTS";
    case "EBUSY":
      return "LOCKED";
    case "ELOOP":
    case "ENOTREG":
      return "DESTINATION_SPECIAL";
    case "ENOENT":
    case "ENOTDIR":
    case "EACCES":
    case "EPERM":
    case "EROFS":
    case "ENAMETOOLONG":
      return "DESTINATION_UNWRITABLE";
    default:
      return "DISK_ERROR";
  }
}

/** The system's error in words, for messages. */
export function errnoText(errno: string): string {
  return ERRNO_TEXT[errno] ?? errno;
}

const ERRNO_TEXT: Readonly<Record<string, string>> = {
  ENOENT: "no such file or directory",
  ENOTDIR: "not a directory",
  EACCES: "permission denied",
  EPERM: "operation not permitted",
  EROFS: "read-only file system",
  ENOSPC: "disk full",
  EDQUOT: "disk quota exceeded",
  EFBIG: "over the file size limit",
  EIO: "input/output error of the disk",
  EEXIST: "exists already",
  EISDIR: "is a directory",
  ELOOP: "is a symbolic link",
  ENOTREG: "not a regular file",
  EMFILE: "too many open files",
  ENFILE: "too many open files in the system",
  ENAMETOOLONG: "name too long",
  EBUSY: "in use by another transfer",
  ESTALE: "stale file handle",
  EXDEV: "on another file system",
};
