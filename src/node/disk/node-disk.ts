/**
 * The disk of this machine: carries out the operations of `src/files/disk.ts`.
 *
 * What can wait for a device (data, syncs, names) runs on libuv's threads; looking up and closing
 * handles happens at once. Nothing is retried: what to do about a failure is decided by the caller.
 */
import {
  close,
  closeSync,
  constants,
  fchmod,
  fdatasync,
  fstat,
  fsync,
  ftruncate,
  futimes,
  link,
  lstat,
  mkdir,
  open,
  opendir,
  read,
  readlink,
  rename,
  rmdir,
  statfs,
  symlink,
  unlink,
  write,
  type BigIntStats,
  type Dir,
  type Dirent,
} from "node:fs";
import { dirname, resolve } from "node:path";
import type {
  DiskFailure,
  DiskOperation,
  DiskRequest,
  DiskResult,
  EntryFacts,
  EntryKind,
  ListedEntry,
  OperationOf,
  DiskOperationKind,
} from "../../files/disk.ts";
import { assert } from "../../base/assert.ts";
import { makeDirectories } from "../make-directories.ts";
import { syncDirectory } from "../stores/atomic-file.ts";
import { closeRoot, confine, openRoot, type ConfinedPath, type Root } from "./confined-path.ts";
import { releaseLock, takeLock } from "./lock-file.ts";

/** Told the result of each operation, never from inside `perform`. */
export type DiskResultHandler = (id: number, result: DiskResult) => void;

type Done = (result: DiskResult) => void;

const OK = { ok: true } as const;
const NOFOLLOW = constants.O_NOFOLLOW ?? 0;
const NONBLOCK = constants.O_NONBLOCK ?? 0;

function failure(error: unknown): DiskFailure {
  const code = (error as NodeJS.ErrnoException | null)?.code;
  return { ok: false, errno: typeof code === "string" && code.startsWith("E") ? code : "EIO" };
}

function kindOf(entry: Pick<Dirent, "isFile" | "isDirectory" | "isSymbolicLink">): EntryKind {
  if (entry.isFile()) return "file";
  if (entry.isDirectory()) return "directory";
  return entry.isSymbolicLink() ? "symlink" : "special";
}

function factsOf(status: BigIntStats): EntryFacts {
  return {
    kind: kindOf(status),
    sizeBytes: Number(status.size),
    mode: Number(status.mode & 0o7777n),
    modifiedAtUs: Number(status.mtimeNs / 1_000n),
    changedAtUs: Number(status.ctimeNs / 1_000n),
    identity: `${status.dev}:${status.ino}`,
    links: Number(status.nlink),
  };
}

/** A `Disk` on Node's file system calls. */
export class NodeDisk {
  private readonly handle: DiskResultHandler;
  private readonly roots = new Map<number, Root>();
  private readonly directories = new Map<number, Dir>();
  private nextHandle = 1;
  /** Operations under way. */
  pending = 0;

  constructor(handleResult: DiskResultHandler) {
    this.handle = handleResult;
  }

  /** Begins an operation; its result is reported later, in any order among those under way. */
  perform(request: DiskRequest): void {
    this.pending++;
    let isAnswered = false;
    const done: Done = (result) => {
      assert(!isAnswered, "an operation has one result");
      isAnswered = true;
      this.pending--;
      this.handle(request.id, result);
    };
    try {
      this.begin(request.operation, done);
    } catch (error) {
      queueMicrotask(() => done(failure(error)));
    }
  }

  /** Closes what is still open: for a process that goes on after a transfer was dropped. */
  close(): void {
    for (const directory of this.directories.values()) directory.close(() => undefined);
    this.directories.clear();
    for (const root of this.roots.values()) closeRoot(root);
    this.roots.clear();
  }

  private begin(operation: DiskOperation, done: Done): void {
    switch (operation.kind) {
      case "open-root":
        return later(done, () => this.openRoot(operation));
      case "close-root":
        return later(done, () => {
          closeRoot(this.root(operation.root));
          this.roots.delete(operation.root);
          return OK;
        });
      case "make-directory":
        return this.named(operation, done, (path, end) => mkdir(path, operation.mode, end));
      case "remove-directory":
        return this.named(operation, done, (path, end) => rmdir(path, end));
      case "open-source":
        return this.openFile(operation, constants.O_RDONLY | NONBLOCK | NOFOLLOW, done);
      case "open-staging":
        return this.openFile(operation, constants.O_RDWR | NONBLOCK | NOFOLLOW, done);
      case "create-staging":
        return this.openFile(
          operation,
          constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | NOFOLLOW,
          done,
        );
      case "read":
        return read(
          operation.file,
          operation.target,
          0,
          operation.target.length,
          operation.offset,
          (error, lengthBytes) => done(error === null ? { ok: true, lengthBytes } : failure(error)),
        );
      case "write":
        return write(
          operation.file,
          operation.bytes,
          0,
          operation.bytes.length,
          operation.offset,
          (error, lengthBytes) => done(error === null ? { ok: true, lengthBytes } : failure(error)),
        );
      case "stat-file":
        return fstat(operation.file, { bigint: true }, (error, status) =>
          done(error === null ? { ok: true, facts: factsOf(status) } : failure(error)),
        );
      case "truncate":
        return ftruncate(operation.file, operation.sizeBytes, plain(done));
      case "sync-data":
        return fdatasync(operation.file, plain(done));
      case "sync-file":
        return fsync(operation.file, plain(done));
      case "close-file":
        return close(operation.file, plain(done));
      case "set-file-facts":
        return setFacts(operation.file, operation.mode, operation.modifiedAtUs, done);
      case "set-directory-facts":
        return this.withDirectory(operation, done, (descriptor, end) =>
          setFacts(descriptor, operation.mode, operation.modifiedAtUs, end),
        );
      case "link":
        return this.namedPair(operation, done, link);
      case "rename":
        return this.namedPair(operation, done, rename);
      case "unlink":
        return this.named(operation, done, (path, end) => unlink(path, end));
      case "sync-directory":
        if (process.platform === "win32") return later(done, () => OK);
        return this.withDirectory(operation, done, (descriptor, end) => fsync(descriptor, plain(end)));
      case "lstat":
        return this.stat(operation, done);
      case "open-directory":
        return this.openDirectory(operation, done);
      case "read-directory":
        return this.readDirectory(operation, done);
      case "close-directory": {
        const directory = this.directory(operation.directory);
        this.directories.delete(operation.directory);
        return directory.close((error) => done(isNone(error) ? OK : failure(error)));
      }
      case "read-link":
        return this.readLink(operation, done);
      case "make-symlink":
        return this.named(operation, done, (path, end) => symlink(operation.target, path, end));
      case "free-space":
        return this.freeSpace(operation, done);
      case "lock":
        return this.namedNow(operation, done, (path, key) => takeLock(path, key));
      case "unlock":
        return this.namedNow(operation, done, (path, key) => releaseLock(path, key));
    }
  }

  private root(handle: number): Root {
    const root = this.roots.get(handle);
    assert(root !== undefined, "root is open");
    return root;
  }

  private directory(handle: number): Dir {
    const directory = this.directories.get(handle);
    assert(directory !== undefined, "directory is open");
    return directory;
  }

  private openRoot(operation: OperationOf<"open-root">): DiskResult<"open-root"> {
    const location = resolve(operation.location);
    if (operation.create) {
      const first = makeDirectories(location);
      if (first !== undefined) {
        // Every directory just made, and the one the first of them was made in, must survive a power cut.
        for (let made = location; made.length >= first.length; made = dirname(made)) syncDirectory(made);
        syncDirectory(dirname(first));
      }
    }
    const handle = this.nextHandle++;
    this.roots.set(handle, openRoot(location));
    return { ok: true, root: handle };
  }

  /** Runs a system call on one name below a root. */
  private named(
    operation: { readonly root: number; readonly path: readonly string[] },
    done: Done,
    call: (path: string, end: (error: NodeJS.ErrnoException | null) => void) => void,
  ): void {
    const { path, release } = confine(this.root(operation.root), operation.path);
    call(path, (error) => {
      release();
      done(error === null ? OK : failure(error));
    });
  }

  /** Runs a quick synchronous call on one name below a root. */
  private namedNow(
    operation: { readonly root: number; readonly path: readonly string[] },
    done: Done,
    call: (path: string, key: string) => void,
  ): void {
    const root = this.root(operation.root);
    later(done, () => {
      const { path, release } = confine(root, operation.path);
      try {
        call(path, `${root.location}\0${operation.path.join("/")}`);
        return OK;
      } finally {
        release();
      }
    });
  }

  private namedPair(
    operation: OperationOf<"link" | "rename">,
    done: Done,
    call: (from: string, to: string, end: (error: NodeJS.ErrnoException | null) => void) => void,
  ): void {
    const root = this.root(operation.root);
    const from = confine(root, operation.from);
    let to: ConfinedPath;
    try {
      to = confine(root, operation.to);
    } catch (error) {
      from.release();
      throw error;
    }
    call(from.path, to.path, (error) => {
      from.release();
      to.release();
      done(error === null ? OK : failure(error));
    });
  }

  private openFile(
    operation: OperationOf<"open-source" | "open-staging" | "create-staging">,
    flags: number,
    done: Done,
  ): void {
    const { path, release } = confine(this.root(operation.root), operation.path);
    open(path, flags, 0o600, (error, file) => {
      release();
      // A directory cannot be opened for writing: the system says so before we can look.
      if (error?.code === "EISDIR") return done({ ok: false, errno: "ENOTREG" });
      if (error !== null) return done(failure(error));
      if (operation.kind === "create-staging") return done({ ok: true, file });
      fstat(file, { bigint: true }, (statError, status) => {
        const isRefused =
          statError !== null ||
          !status.isFile() ||
          (operation.kind === "open-staging" &&
            (status.nlink !== 1n ||
              (process.getuid !== undefined && status.uid !== BigInt(process.getuid()))));
        if (!isRefused) return done({ ok: true, file, facts: factsOf(status) });
        closeSync(file);
        done(statError === null ? { ok: false, errno: "ENOTREG" } : failure(statError));
      });
    });
  }

  private stat(operation: OperationOf<"lstat">, done: Done): void {
    const { path, release } = confine(this.root(operation.root), operation.path);
    lstat(path, { bigint: true }, (error, status) => {
      release();
      done(error === null ? { ok: true, facts: factsOf(status) } : failure(error));
    });
  }

  /** Opens a directory itself (not what a link points to) for a call on its handle. */
  private withDirectory(
    operation: { readonly root: number; readonly path: readonly string[] },
    done: Done,
    call: (descriptor: number, end: Done) => void,
  ): void {
    const { path, release } = confine(this.root(operation.root), operation.path);
    open(path, constants.O_RDONLY | (constants.O_DIRECTORY ?? 0) | NOFOLLOW, (error, descriptor) => {
      release();
      if (error !== null) return done(failure(error));
      call(descriptor, (result) => {
        closeSync(descriptor);
        done(result);
      });
    });
  }

  private openDirectory(operation: OperationOf<"open-directory">, done: Done): void {
    const { path, release } = confine(this.root(operation.root), operation.path);
    const begin = (name: string, cleanUp: () => void): void => {
      // Names come as bytes: one that is not UTF-8 must be seen as such, not as replacement characters.
      opendir(name, { encoding: "buffer" as BufferEncoding, bufferSize: 256 }, (error, directory) => {
        cleanUp();
        if (error !== null) return done(failure(error));
        const handle = this.nextHandle++;
        this.directories.set(handle, directory);
        done({ ok: true, directory: handle });
      });
    };
    if (process.platform !== "linux") return begin(path, release);
    open(path, constants.O_RDONLY | constants.O_DIRECTORY | NOFOLLOW, (error, descriptor) => {
      release();
      if (error !== null) return done(failure(error));
      begin(`/proc/self/fd/${descriptor}`, () => closeSync(descriptor));
    });
  }

  private readDirectory(operation: OperationOf<"read-directory">, done: Done): void {
    const directory = this.directory(operation.directory);
    const entries: ListedEntry[] = [];
    const next = (): void => {
      directory.read((error, entry) => {
        if (!isNone(error)) return done(failure(error));
        if (entry === null) return done({ ok: true, entries });
        entries.push(listed(entry));
        if (entries.length >= operation.maxEntries) return done({ ok: true, entries });
        next();
      });
    };
    next();
  }

  private readLink(operation: OperationOf<"read-link">, done: Done): void {
    const { path, release } = confine(this.root(operation.root), operation.path);
    readlink(path, { encoding: "buffer" }, (error, target) => {
      release();
      if (error !== null) return done(failure(error));
      const text = target.toString("utf8");
      done(
        Buffer.from(text, "utf8").equals(target)
          ? { ok: true, target: text }
          : { ok: false, errno: "EILSEQ" },
      );
    });
  }

  private freeSpace(operation: OperationOf<"free-space">, done: Done): void {
    const { path, release } = confine(this.root(operation.root), []);
    statfs(path, (error, status) => {
      release();
      done(error === null ? { ok: true, freeBytes: status.bavail * status.bsize } : failure(error));
    });
  }
}

function listed(entry: Dirent): ListedEntry {
  const bytes = entry.name as unknown as Buffer;
  const name = bytes.toString("utf8");
  return { name, isExactName: Buffer.from(name, "utf8").equals(bytes), kind: kindOf(entry) };
}

function setFacts(
  descriptor: number,
  mode: number | undefined,
  modifiedAtUs: number | undefined,
  done: Done,
): void {
  const setTimes = (): void => {
    if (modifiedAtUs === undefined) return done(OK);
    futimes(descriptor, modifiedAtUs / 1e6, modifiedAtUs / 1e6, plain(done));
  };
  if (mode === undefined) return setTimes();
  fchmod(descriptor, mode, (error) => (error === null ? setTimes() : done(failure(error))));
}

/** Node hands out both `null` and `undefined` where nothing failed. */
function isNone(error: unknown): boolean {
  return error === null || error === undefined;
}

function plain(done: Done): (error: NodeJS.ErrnoException | null) => void {
  return (error) => done(isNone(error) ? OK : failure(error));
}

/** Runs a synchronous operation and reports its result after the current call has returned. */
function later<K extends DiskOperationKind>(done: Done, run: () => DiskResult<K>): void {
  let result: DiskResult;
  try {
    result = run();
  } catch (error) {
    result = failure(error);
  }
  queueMicrotask(() => done(result));
}
