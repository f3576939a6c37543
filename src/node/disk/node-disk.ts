/**
 * The disk of this machine: carries out the operations of `src/files/disk.ts`.
 *
 * What waits for a device (syncs, large data, directories) runs on libuv's threads. What the system mostly
 * answers from memory (names, facts, small data) is done at once as long as that is quick: `direct-calls.ts`.
 * Nothing is retried: what to do about a failure is decided by the caller.
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
  readlink,
  rename,
  rmdir,
  statfs,
  symlink,
  unlink,
} from "node:fs";
import { dirname, resolve } from "node:path";
import type {
  DiskOperation,
  DiskRequest,
  DiskResult,
  ListedEntry,
  OperationOf,
  DiskOperationKind,
} from "../../files/disk.ts";
import { assert } from "../../base/assert.ts";
import { makeDirectories } from "../make-directories.ts";
import { syncDirectory } from "../stores/atomic-file.ts";
import {
  factsOf,
  failure,
  isWelcome,
  listed,
  NOFOLLOW,
  NOT_REGULAR,
  OK,
  OPEN_FLAGS,
  type OpeningKind,
} from "./answers.ts";
import { ChunkRuns } from "./chunk-runs.ts";
import { openRoot, type ConfinedPath } from "./confined-path.ts";
import { DirectCalls } from "./direct-calls.ts";
import { releaseLock, takeLock } from "./lock-file.ts";
import { OpenHandles } from "./open-handles.ts";

/** Told the result of each operation, never from inside `perform`. */
export type DiskResultHandler = (id: number, result: DiskResult) => void;

type Done = (result: DiskResult) => void;

/** A `Disk` on Node's file system calls. */
export class NodeDisk {
  private readonly handle: DiskResultHandler;
  private readonly handles = new OpenHandles();
  private readonly direct = new DirectCalls(this.handles);
  private readonly runs = new ChunkRuns();
  /** Results of what was done at once. */
  private ready: { readonly done: Done; readonly result: DiskResult }[] = [];
  private isTidyDue = false;
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
    try {
      const result = this.direct.attempt(request.operation);
      if (result === undefined) this.begin(request.operation, done);
      else this.ready.push({ done, result });
    } catch (error) {
      this.ready.push({ done, result: failure(error) });
    }
  }

  /**
   * Reports the results of operations that were done at once, and begins to move data. Happens by itself when the
   * caller of `perform` has returned; who has more to do with them calls it earlier.
   */
  report(): void {
    this.runs.start();
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
      this.handles.confiner.forget();
      this.report();
    });
  }

  /** Closes what is still open: for a process that goes on after a transfer was dropped. */
  close(): void {
    this.handles.close();
  }

  private begin(operation: DiskOperation, done: Done): void {
    switch (operation.kind) {
      case "open-root":
        return later(done, () => this.openRoot(operation));
      case "close-root":
        return later(done, () => {
          this.handles.closeRoot(operation.root);
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
      case "write":
        return this.runs.add(operation, done);
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
        const directory = this.handles.takeDirectory(operation.directory);
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
    return { ok: true, root: this.handles.addRoot(openRoot(location)) };
  }

  /** Runs a system call on one name below a root. */
  private named(
    operation: { readonly root: number; readonly path: readonly string[] },
    done: Done,
    call: (path: string, end: (error: NodeJS.ErrnoException | null) => void) => void,
  ): void {
    const { path, release } = this.handles.confiner.confine(
      this.handles.root(operation.root),
      operation.path,
    );
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
    const root = this.handles.root(operation.root);
    later(done, () => {
      const { path, release } = this.handles.confiner.confine(root, operation.path);
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
    const root = this.handles.root(operation.root);
    const from = this.handles.confiner.confine(root, operation.from);
    let to: ConfinedPath;
    try {
      to = this.handles.confiner.confine(root, operation.to);
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
    const { path, release } = this.handles.confiner.confine(
      this.handles.root(operation.root),
      operation.path,
    );
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
    const { path, release } = this.handles.confiner.confine(
      this.handles.root(operation.root),
      operation.path,
    );
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
    const { path, release } = this.handles.confiner.confine(
      this.handles.root(operation.root),
      operation.path,
    );
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
    const { path, release } = this.handles.confiner.confine(
      this.handles.root(operation.root),
      operation.path,
    );
    const begin = (name: string, cleanUp: () => void): void => {
      // Names come as bytes: one that is not UTF-8 must be seen as such, not as replacement characters.
      opendir(name, { encoding: "buffer" as BufferEncoding, bufferSize: 256 }, (error, directory) => {
        cleanUp();
        if (error !== null) return done(failure(error));
        const handle = this.handles.addDirectory({ directory, root: operation.root, path: operation.path });
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
    const { directory } = this.handles.directory(operation.directory);
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
    const { path, release } = this.handles.confiner.confine(
      this.handles.root(operation.root),
      operation.path,
    );
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
    const { path, release } = this.handles.confiner.confine(this.handles.root(operation.root), []);
    statfs(path, (error, status) => {
      release();
      done(error === null ? { ok: true, freeBytes: status.bavail * status.bsize } : failure(error));
    });
  }
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
