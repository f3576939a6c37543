/** Small state files: replaced as a whole, durable, readable by their owner only. */
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  openSync,
  readSync,
  renameSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { randomBytes } from "node:crypto";
import { GodwitError } from "../../base/errors.ts";

/**
 * Replaces `path` with `bytes`: a new file (mode 0600) is written, synced and renamed over it, and the
 * directory is synced. On any failure the old version stays as it was.
 *
 * @throws GodwitError NO_SPACE or CONFIGURATION naming the file.
 */
export function replaceFile(path: string, bytes: Uint8Array): void {
  const temporary = `${path}.${randomBytes(6).toString("hex")}.new`;
  let descriptor: number | undefined;
  try {
    descriptor = openSync(
      temporary,
      constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | (constants.O_NOFOLLOW ?? 0),
      0o600,
    );
    for (let at = 0; at < bytes.length;) at += writeSync(descriptor, bytes, at, bytes.length - at);
    fsyncSync(descriptor);
    closeSync(descriptor);
    descriptor = undefined;
    renameSync(temporary, path);
    syncDirectory(dirname(path));
  } catch (error) {
    if (descriptor !== undefined) closeSync(descriptor);
    try {
      unlinkSync(temporary);
    } catch {
      // It may never have come to be; the failure that matters is reported below.
    }
    const cause = error as NodeJS.ErrnoException;
    const isFull = cause.code === "ENOSPC" || cause.code === "EDQUOT";
    throw new GodwitError(
      isFull ? "NO_SPACE" : "CONFIGURATION",
      `cannot write ${path}: ${cause.code ?? cause.message}; the version before is kept`,
      { path, cause },
    );
  }
}

/** Makes the names in a directory durable. Does nothing where a directory cannot be opened (Windows). */
export function syncDirectory(directory: string): void {
  if (process.platform === "win32") return;
  const descriptor = openSync(directory, constants.O_RDONLY | (constants.O_DIRECTORY ?? 0));
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/**
 * The bytes of a regular file of at most `maxBytes`, or `undefined` when there is none.
 *
 * @throws GodwitError CONFIGURATION when it cannot be read or is too large, INSECURE_KEY_FILE when
 *   `isSecret` and others than the owner may read or write it.
 */
export function readStateFile(path: string, maxBytes: number, isSecret: boolean): Uint8Array | undefined {
  let descriptor: number;
  try {
    descriptor = openSync(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  } catch (error) {
    const cause = error as NodeJS.ErrnoException;
    if (cause.code === "ENOENT") return undefined;
    throw new GodwitError("CONFIGURATION", `cannot read ${path}: ${cause.code ?? cause.message}`, {
      path,
      cause,
    });
  }
  try {
    const status = fstatSync(descriptor);
    if (!status.isFile()) throw new GodwitError("CONFIGURATION", `${path} is not a regular file`, { path });
    if (status.size > maxBytes) {
      throw new GodwitError("CONFIGURATION", `${path} is larger than ${maxBytes} bytes; move it away`, {
        path,
      });
    }
    if (isSecret && process.platform !== "win32" && (status.mode & 0o077) !== 0) {
      throw new GodwitError(
        "INSECURE_KEY_FILE",
        `${path} may be read or written by others; run: chmod 600 ${path}`,
        { path },
      );
    }
    const bytes = new Uint8Array(status.size);
    let at = 0;
    while (at < bytes.length) {
      const count = readSync(descriptor, bytes, at, bytes.length - at, at);
      if (count === 0) break;
      at += count;
    }
    return bytes.subarray(0, at);
  } finally {
    closeSync(descriptor);
  }
}
