/**
 * The disk of this machine: carries out the operations of `src/files/disk.ts`.
 *
 * What waits for a device (syncs, large data, directories) runs on libuv's threads. What the system mostly
 * answers from memory (names, facts, small data) is done at once as long as that is quick: `call-pace.ts`.
 * Nothing is retried: what to do about a failure is decided by the caller.
 */
import {
  close,
  closeSync,
  constants,
  fchmod,
  fchmodSync,
  fdatasync,
  fstat,
  fstatSync,
  fsync,
  ftruncate,
  futimes,
  futimesSync,
  link,
  linkSync,
  lstat,
  lstatSync,
  mkdir,
  open,
  openSync,
  opendir,
  read,
  readSync,
  readlink,
  rename,
  rmdir,
  statfs,
  symlink,
  unlink,
  unlinkSync,
  write,
  writeSync,
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
import { CallPace } from "./call-pace.ts";
import { closeRoot, openRoot, PathConfiner, type ConfinedPath, type Root } from "./confined-path.ts";
import { releaseLock, takeLock } from "./lock-file.ts";

/** Told the result of each operation, never from inside `perform`. */
export type DiskResultHandler = (id: number, result: DiskResult) => void;

type Done = (result: DiskResult) => void;

/** A directory that is being listed, and where it is. */
interface OpenDirectory {
  readonly directory: Dir;
  readonly root: number;
  readonly path: readonly string[];
}

const OK = { ok: true } as const;

/** Data of at most so many bytes is read and written at once: copying it takes less time than waking a thread. */
const DIRECT_BYTES = 64 * 1024;

/** Operations that the system mostly answers from memory. */
const DIRECT_KINDS: readonly DiskOperationKind[] = [
  "open-source",
  "open-staging",
  "create-staging",
  "read",
  "write",
  "stat-file",
  "close-file",
  "set-file-facts",
  "link",
  "unlink",
  "lstat",
  "read-directory",
];
const NOFOLLOW = constants.O_NOFOLLOW ?? 0;
const NONBLOCK = constants.O_NONBLOCK ?? 0;

/** Operations that open a file. */
type OpeningKind = "open-source" | "open-staging" | "create-staging";

const OPEN_FLAGS: Readonly<Record<OpeningKind, number>> = {
  "open-source": constants.O_RDONLY | NONBLOCK | NOFOLLOW,
  "open-staging": constants.O_RDWR | NONBLOCK | NOFOLLOW,
  "create-staging": constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | NOFOLLOW,
};

/** Not a file to read or write. The system says EISDIR of a directory opened for writing, before we can look. */
const NOT_REGULAR = { ok: false, errno: "ENOTREG" } as const;

/** Whether what was opened is what `kind` may open. */
function isWelcome(kind: OpeningKind, status: BigIntStats): boolean {
  if (!status.isFile()) return false;
  if (kind !== "open-staging") return true;
  return status.nlink === 1n && (process.getuid === undefined || status.uid === BigInt(process.getuid()));
}

/** A missing name is an ordinary answer: no exception is built for it. */
const QUIET = { throwIfNoEntry: false } as const;
const EXACT_QUIET = { bigint: true, throwIfNoEntry: false } as const;

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
  private readonly directories = new Map<number, OpenDirectory>();
  private readonly confiner = new PathConfiner();
  private readonly paces = new Map<DiskOperationKind, CallPace>(
    DIRECT_KINDS.map((kind) => [kind, new CallPace()]),
  );
  /** Results of what was done at once. */
  private ready: { readonly done: Done; readonly result: DiskResult }[] = [];
  private isTidyDue = false;
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
    this.tidySoon();
    const pace = this.paces.get(request.operation.kind);
    try {
      if (pace?.takeTurn() !== true) this.begin(request.operation, done);
      else {
        const startedAt = performance.now();
        const result = this.attempt(request.operation);
        pace.handleCalls((performance.now() - startedAt) * 1_000, callCount(result));
        if (result === undefined) this.begin(request.operation, done);
        else this.ready.push({ done, result });
      }
    } catch (error) {
      this.ready.push({ done, result: failure(error) });
    }
  }

  /**
   * Reports the results of operations that were done at once. Happens by itself when the caller of `perform` has
   * returned; who has more to do with them calls it earlier.
   */
  report(): void {
    while (this.ready.length > 0) {
      const { ready } = this;
      this.ready = [];
      for (const { done, result } of ready) done(result);
    }
  }

  /** When the caller is done: reports what is left, and lets go of the directory of the last path. */
  private tidySoon(): void {
    if (this.isTidyDue) return;
    this.isTidyDue = true;
    queueMicrotask(() => {
      this.isTidyDue = false;
      this.confiner.forget();
      this.report();
    });
  }

  /** Does an operation at once; `undefined` if it is one that may take its time. */
  private attempt(operation: DiskOperation): DiskResult | undefined {
    try {
      return this.doNow(operation);
    } catch (error) {
      return failure(error);
    }
  }

  private doNow(operation: DiskOperation): DiskResult | undefined {
    switch (operation.kind) {
      case "open-source":
      case "open-staging":
      case "create-staging":
        return this.openNow(operation);
      case "read": {
        const { file, target, offset } = operation;
        if (target.length > DIRECT_BYTES) return undefined;
        return { ok: true, lengthBytes: readSync(file, target, 0, target.length, offset) };
      }
      case "write": {
        const { file, bytes, offset } = operation;
        if (bytes.length > DIRECT_BYTES) return undefined;
        return { ok: true, lengthBytes: writeSync(file, bytes, 0, bytes.length, offset) };
      }
      case "stat-file":
        return { ok: true, facts: factsOf(fstatSync(operation.file, { bigint: true })) };
      case "close-file":
        closeSync(operation.file);
        return OK;
      case "set-file-facts": {
        const { file, mode, modifiedAtUs } = operation;
        if (mode !== undefined) fchmodSync(file, mode);
        if (modifiedAtUs !== undefined) futimesSync(file, modifiedAtUs / 1e6, modifiedAtUs / 1e6);
        return OK;
      }
      case "link":
        return this.linkNow(operation);
      case "unlink":
        return this.nameNow(operation, (path) => {
          // With its last name a file may lose its contents, which takes time.
          if ((lstatSync(path, QUIET)?.nlink ?? 1) < 2) return undefined;
          unlinkSync(path);
          return OK;
        });
      case "lstat":
        return this.nameNow(operation, (path) => {
          const status = lstatSync(path, EXACT_QUIET);
          return status === undefined ? { ok: false, errno: "ENOENT" } : { ok: true, facts: factsOf(status) };
        });
      case "read-directory":
        return this.readDirectoryNow(operation);
      default:
        return undefined;
    }
  }

  /** Uses one name below a root at once. */
  private nameNow<Result>(
    operation: { readonly root: number; readonly path: readonly string[] },
    use: (path: string) => Result,
  ): Result {
    const { path, release } = this.confiner.confine(this.root(operation.root), operation.path);
    try {
      return use(path);
    } finally {
      release();
    }
  }

  private openNow(operation: OperationOf<OpeningKind>): DiskResult {
    const file = this.nameNow(operation, (path) => {
      try {
        return openSync(path, OPEN_FLAGS[operation.kind], 0o600);
      } catch (error) {
        return failure(error);
      }
    });
    if (typeof file !== "number") return file.errno === "EISDIR" ? NOT_REGULAR : file;
    if (operation.kind === "create-staging") return { ok: true, file };
    try {
      const status = fstatSync(file, { bigint: true });
      if (isWelcome(operation.kind, status)) return { ok: true, file, facts: factsOf(status) };
    } catch (error) {
      closeSync(file);
      return failure(error);
    }
    closeSync(file);
    return NOT_REGULAR;
  }

  private linkNow(operation: OperationOf<"link">): DiskResult {
    const root = this.root(operation.root);
    const from = this.confiner.confine(root, operation.from);
    try {
      const to = this.confiner.confine(root, operation.to);
      try {
        linkSync(from.path, to.path);
        return OK;
      } finally {
        to.release();
      }
    } finally {
      from.release();
    }
  }

  private readDirectoryNow(operation: OperationOf<"read-directory">): DiskResult {
    const { directory, root, path } = this.directory(operation.directory);
    const entries: ListedEntry[] = [];
    while (entries.length < operation.maxEntries) {
      const next = directory.readSync();
      if (next === null) break;
      const entry = listed(next);
      const status =
        operation.withFacts === true && entry.isExactName
          ? this.nameNow({ root, path: [...path, entry.name] }, lookQuietly)
          : undefined;
      entries.push(status === undefined ? entry : { ...entry, facts: factsOf(status) });
    }
    return { ok: true, entries };
  }

  /** Closes what is still open: for a process that goes on after a transfer was dropped. */
  close(): void {
    for (const { directory } of this.directories.values()) directory.close(() => undefined);
    this.directories.clear();
    for (const root of this.roots.values()) closeRoot(root);
    this.roots.clear();
    this.confiner.forget();
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
      case "open-staging":
      case "create-staging":
        return this.openFile(operation, done);
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
        const { directory } = this.directory(operation.directory);
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

  private directory(handle: number): OpenDirectory {
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
    const { path, release } = this.confiner.confine(this.root(operation.root), operation.path);
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
      const { path, release } = this.confiner.confine(root, operation.path);
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
    const from = this.confiner.confine(root, operation.from);
    let to: ConfinedPath;
    try {
      to = this.confiner.confine(root, operation.to);
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

  private openFile(operation: OperationOf<OpeningKind>, done: Done): void {
    const { kind } = operation;
    const { path, release } = this.confiner.confine(this.root(operation.root), operation.path);
    open(path, OPEN_FLAGS[kind], 0o600, (error, file) => {
      release();
      if (error?.code === "EISDIR") return done(NOT_REGULAR);
      if (error !== null) return done(failure(error));
      if (kind === "create-staging") return done({ ok: true, file });
      fstat(file, { bigint: true }, (statError, status) => {
        if (statError === null && isWelcome(kind, status))
          return done({ ok: true, file, facts: factsOf(status) });
        closeSync(file);
        done(statError === null ? NOT_REGULAR : failure(statError));
      });
    });
  }

  private stat(operation: OperationOf<"lstat">, done: Done): void {
    const { path, release } = this.confiner.confine(this.root(operation.root), operation.path);
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
    const { path, release } = this.confiner.confine(this.root(operation.root), operation.path);
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
    const { path, release } = this.confiner.confine(this.root(operation.root), operation.path);
    const begin = (name: string, cleanUp: () => void): void => {
      // Names come as bytes: one that is not UTF-8 must be seen as such, not as replacement characters.
      opendir(name, { encoding: "buffer" as BufferEncoding, bufferSize: 256 }, (error, directory) => {
        cleanUp();
        if (error !== null) return done(failure(error));
        const handle = this.nextHandle++;
        this.directories.set(handle, { directory, root: operation.root, path: operation.path });
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
    const { directory } = this.directory(operation.directory);
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
    const { path, release } = this.confiner.confine(this.root(operation.root), operation.path);
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
    const { path, release } = this.confiner.confine(this.root(operation.root), []);
    statfs(path, (error, status) => {
      release();
      done(error === null ? { ok: true, freeBytes: status.bavail * status.bsize } : failure(error));
    });
  }
}

/** The facts of a name; `undefined` if they cannot be had. */
function lookQuietly(path: string): BigIntStats | undefined {
  try {
    return lstatSync(path, EXACT_QUIET);
  } catch {
    return undefined;
  }
}

/** How many calls a result stands for. */
function callCount(result: DiskResult | undefined): number {
  return result !== undefined && "entries" in result ? Math.max(1, result.entries.length) : 1;
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
