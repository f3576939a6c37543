/** Files for the classic systems: a source that is read, a staging file that gets its name at the end. */
import { createHash, randomBytes } from "node:crypto";
import type { Hash } from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import { GodwitError } from "../../base/errors.ts";
import type { ErrorCode } from "../../base/errors.ts";
import type { ByteSink, ByteSource, FileStore } from "../../classic/machine.ts";

/** Bytes read ahead or gathered before one system call: the systems ask for a few hundred at a time. */
const BLOCK_BYTES = 256 * 1024;

/**
 * Bytes between two syncs while writing. Without them the one sync at the end of a large file can
 * last longer than a classic client waits for its last acknowledgement (2.5 s in system 000).
 */
const SYNC_EVERY_BYTES = 16 * 1024 * 1024;

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = fs.constants;

/**
 * Opens a regular file for sending.
 *
 * @throws GodwitError `SOURCE_MISSING`, `SOURCE_UNREADABLE`, `SOURCE_SPECIAL`.
 */
export function openByteSource(file: string): ByteSource {
  let descriptor: number;
  try {
    // O_NONBLOCK: opening a FIFO would block for ever.
    descriptor = fs.openSync(file, O_RDONLY | (O_NONBLOCK ?? 0));
  } catch (cause) {
    const code = errnoOf(cause);
    if (code === "ENOENT" || code === "ENOTDIR")
      throw new GodwitError("SOURCE_MISSING", `${file} does not exist`, { path: file, cause });
    throw new GodwitError("SOURCE_UNREADABLE", `cannot open ${file}: ${code}`, { path: file, cause });
  }
  const stats = fs.fstatSync(descriptor);
  if (!stats.isFile()) {
    fs.closeSync(descriptor);
    throw new GodwitError("SOURCE_SPECIAL", `${file} is not a regular file`, { path: file });
  }
  return new FileSource(file, descriptor, stats);
}

class FileSource implements ByteSource {
  readonly sizeBytes: number;
  private readonly file: string;
  private descriptor: number;
  private readonly modifiedMs: number;
  private readonly block = new Uint8Array(BLOCK_BYTES);
  private blockOffset = 0;
  private blockLength = 0;

  constructor(file: string, descriptor: number, stats: fs.Stats) {
    this.file = file;
    this.descriptor = descriptor;
    this.sizeBytes = stats.size;
    this.modifiedMs = stats.mtimeMs;
  }

  read(offset: number, length: number): Uint8Array {
    const wanted = Math.max(0, Math.min(length, this.sizeBytes - offset));
    if (wanted > BLOCK_BYTES) return this.load(new Uint8Array(wanted), offset, wanted);
    if (offset < this.blockOffset || offset + wanted > this.blockOffset + this.blockLength) {
      this.blockOffset = offset;
      this.blockLength = Math.min(BLOCK_BYTES, this.sizeBytes - offset);
      this.load(this.block, offset, this.blockLength);
    }
    const at = offset - this.blockOffset;
    return this.block.subarray(at, at + wanted);
  }

  private load(target: Uint8Array, offset: number, length: number): Uint8Array {
    let done = 0;
    while (done < length) {
      let count: number;
      try {
        count = fs.readSync(this.descriptor, target, done, length - done, offset + done);
      } catch (cause) {
        throw new GodwitError("SOURCE_UNREADABLE", `cannot read ${this.file}: ${errnoOf(cause)}`, {
          path: this.file,
          cause,
        });
      }
      if (count === 0) throw this.changed("became shorter");
      done += count;
    }
    return target;
  }

  checkUnchanged(): void {
    const stats = fs.fstatSync(this.descriptor);
    if (stats.size !== this.sizeBytes || stats.mtimeMs !== this.modifiedMs) throw this.changed("changed");
  }

  private changed(how: string): GodwitError {
    return new GodwitError("SOURCE_CHANGED", `${this.file} ${how} while it was being sent; send it again`, {
      path: this.file,
    });
  }

  close(): void {
    if (this.descriptor >= 0) fs.closeSync(this.descriptor);
    this.descriptor = -1;
  }
}

/** How a received file gets its name. */
export interface SinkOptions {
  /** Replace a file of that name, as the original programs do. Otherwise an existing file is kept. */
  readonly overwrite: boolean;
  /** SHA-256 in hexadecimal that the contents must have; a file with another one gets no name. */
  readonly expectedSha256?: string;
  /** Called when the file has its name, with the SHA-256 of its contents in hexadecimal. */
  readonly onDigest?: (file: string, sha256: string) => void;
}

/** A source that tells the SHA-256 of what was read, once all of it was read from front to back. */
export function digestingSource(source: ByteSource, onDigest: (sha256: string) => void): ByteSource {
  const hash = createHash("sha256");
  let hashedBytes = 0;
  let isTold = false;
  return {
    sizeBytes: source.sizeBytes,
    read(offset, length) {
      const bytes = source.read(offset, length);
      if (offset === hashedBytes) {
        hash.update(bytes);
        hashedBytes += bytes.length;
      }
      return bytes;
    },
    checkUnchanged: () => source.checkUnchanged(),
    close() {
      source.close();
      if (isTold || hashedBytes !== source.sizeBytes) return;
      isTold = true;
      onDigest(hash.digest("hex"));
    },
  };
}

/**
 * Opens a staging file beside `file`: `.NAME.XXXXXXXX.part`, mode 0600, never through a link.
 *
 * `commit` syncs it, gives it its name and the usual mode (0666 less the umask), and syncs the directory.
 *
 * @throws GodwitError `DESTINATION_UNWRITABLE`, `DESTINATION_SPECIAL`, `EXISTS`, `NO_SPACE`.
 */
export function openByteSink(file: string, options: SinkOptions): ByteSink {
  const directory = path.dirname(file);
  const existing = statsOf(file);
  if (existing?.isDirectory() || (existing !== undefined && !existing.isFile() && !existing.isSymbolicLink()))
    throw new GodwitError("DESTINATION_SPECIAL", `${file} exists and is not a regular file`, { path: file });
  if (existing !== undefined && !options.overwrite) throw exists(file);
  const staging = path.join(directory, `.${path.basename(file)}.${randomBytes(4).toString("hex")}.part`);
  try {
    const descriptor = fs.openSync(staging, O_WRONLY | O_CREAT | O_EXCL | (O_NOFOLLOW ?? 0), 0o600);
    return new StagingSink(file, staging, descriptor, options);
  } catch (cause) {
    throw diskFailure("DESTINATION_UNWRITABLE", `cannot create a file in ${directory}`, file, cause);
  }
}

class StagingSink implements ByteSink {
  private readonly file: string;
  private readonly staging: string;
  private descriptor: number;
  private readonly options: SinkOptions;
  private readonly block = new Uint8Array(BLOCK_BYTES);
  private blockLength = 0;
  private unsyncedBytes = 0;
  private readonly hash: Hash | undefined;

  constructor(file: string, staging: string, descriptor: number, options: SinkOptions) {
    this.file = file;
    this.staging = staging;
    this.descriptor = descriptor;
    this.options = options;
    if (options.expectedSha256 !== undefined || options.onDigest !== undefined)
      this.hash = createHash("sha256");
  }

  write(bytes: Uint8Array): void {
    this.hash?.update(bytes);
    let at = 0;
    while (at < bytes.length) {
      const count = Math.min(bytes.length - at, BLOCK_BYTES - this.blockLength);
      this.block.set(bytes.subarray(at, at + count), this.blockLength);
      this.blockLength += count;
      at += count;
      if (this.blockLength === BLOCK_BYTES) this.flush();
    }
  }

  private flush(): void {
    try {
      // Short writes happen without an error on nearly full disks.
      for (let at = 0; at < this.blockLength;)
        at += fs.writeSync(this.descriptor, this.block, at, this.blockLength - at);
      this.unsyncedBytes += this.blockLength;
      this.blockLength = 0;
      if (this.unsyncedBytes >= SYNC_EVERY_BYTES) {
        fs.fdatasyncSync(this.descriptor);
        this.unsyncedBytes = 0;
      }
    } catch (cause) {
      this.abort();
      throw diskFailure("DISK_ERROR", `cannot write ${this.file}`, this.file, cause);
    }
  }

  commit(): void {
    this.flush();
    const sha256 = this.hash?.digest("hex");
    try {
      if (this.options.expectedSha256 !== undefined && this.options.expectedSha256 !== sha256)
        throw new GodwitError(
          "VERIFICATION_FAILED",
          `${this.file}: the SHA-256 of what arrived is ${sha256}, not ${this.options.expectedSha256}; nothing was saved`,
          { path: this.file },
        );
      fs.fchmodSync(this.descriptor, 0o666 & ~process.umask());
      fs.fsyncSync(this.descriptor);
      fs.closeSync(this.descriptor);
      this.descriptor = -1;
      if (this.options.overwrite) fs.renameSync(this.staging, this.file);
      else {
        fs.linkSync(this.staging, this.file);
        fs.unlinkSync(this.staging);
      }
      syncDirectory(path.dirname(this.file));
      if (sha256 !== undefined) this.options.onDigest?.(this.file, sha256);
    } catch (cause) {
      this.discard();
      if (cause instanceof GodwitError) throw cause;
      if (errnoOf(cause) === "EEXIST") throw exists(this.file);
      throw diskFailure("DISK_ERROR", `cannot give ${this.file} its name`, this.file, cause);
    }
  }

  abort(): void {
    if (this.descriptor >= 0) this.discard();
  }

  private discard(): void {
    if (this.descriptor >= 0) fs.closeSync(this.descriptor);
    this.descriptor = -1;
    this.blockLength = 0;
    fs.rmSync(this.staging, { force: true });
  }
}

/** A directory that received files go into. */
export function directoryStore(directory: string, options: SinkOptions): FileStore {
  return {
    holdsData(name) {
      const stats = statsOf(path.join(directory, name));
      return stats !== undefined && (!stats.isFile() || stats.size > 0);
    },
    create: (name) => openByteSink(path.join(directory, name), options),
  };
}

/** What stands at `file`, links not followed; `undefined` for nothing. */
function statsOf(file: string): fs.Stats | undefined {
  try {
    return fs.lstatSync(file, { throwIfNoEntry: false });
  } catch (cause) {
    throw diskFailure("DESTINATION_UNWRITABLE", `cannot look at ${file}`, file, cause);
  }
}

/** Makes a rename in `directory` durable. Windows cannot open directories; there the rename has to do. */
function syncDirectory(directory: string): void {
  if (process.platform === "win32") return;
  const descriptor = fs.openSync(directory, O_RDONLY);
  try {
    fs.fsyncSync(descriptor);
  } finally {
    fs.closeSync(descriptor);
  }
}

function exists(file: string): GodwitError {
  return new GodwitError("EXISTS", `${file} exists; move it away or allow overwriting`, { path: file });
}

function errnoOf(cause: unknown): string {
  return cause instanceof Error && "code" in cause ? String(cause.code) : String(cause);
}

function diskFailure(code: ErrorCode, text: string, file: string, cause: unknown): GodwitError {
  const errno = errnoOf(cause);
  if (errno === "ENOSPC" || errno === "EDQUOT")
    return new GodwitError("NO_SPACE", `${text}: the disk is full; free space and run the same command`, {
      path: file,
      cause,
    });
  if (errno === "EFBIG")
    return new GodwitError("FILE_TOO_LARGE", `${text}: larger than the file system allows`, {
      path: file,
      cause,
    });
  return new GodwitError(code, `${text}: ${errno}`, { path: file, cause });
}
