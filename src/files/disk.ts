/**
 * What the pure layers ask of a disk: primitive operations as values, and their results as values.
 *
 * The order of operations (prepare, checkpoint, publish, scan) is pure code that runs on the real
 * disk (`src/node/`) and on the simulated one (`src/sim/`) alike. Nothing here blocks or throws: a
 * failed operation is a result with the name of the system's error.
 *
 * Rules for every implementation:
 * - A path is an array of components below a root that was opened before. Components passed
 *   `parseSafePath` or came from the local disk; an implementation joins them and nothing else. `[]` is the root.
 * - No component but the root itself may be a symbolic link, at any depth: the operation then fails
 *   with `ELOOP` or `ENOTDIR` and nothing is followed. On Linux through directory handles
 *   (`O_DIRECTORY|O_NOFOLLOW`, `/proc/self/fd/N/name`), elsewhere `lstat` and look again.
 * - Operations given out together may run at once and end in any order; a sequence that needs an
 *   order waits for each result.
 * - `bytes` and `target` are views into buffers of the caller: read or written in place, not kept
 *   after the result.
 * - Handles are small numbers chosen by the implementation. A handle is closed once, even when closing fails.
 */

/** A directory tree that operations are confined to. */
export type RootHandle = number;

/** An open regular file. */
export type FileHandle = number;

/** An open directory that is being listed. */
export type DirectoryHandle = number;

/** Components of a path below a root; `[]` is the root itself. */
export type DiskPath = readonly string[];

/** What a directory entry is. */
export type EntryKind = "file" | "directory" | "symlink" | "special";

/** What the disk knows about an entry. */
export interface EntryFacts {
  readonly kind: EntryKind;
  /** Size in bytes; meaningful for regular files. */
  readonly sizeBytes: number;
  /** Permission bits, `mode & 0o7777`. */
  readonly mode: number;
  /** Time of the last change of the content, in microseconds since 1970; may be negative. */
  readonly modifiedAtUs: number;
  /** Time of the last change of content or attributes, in microseconds since 1970. */
  readonly changedAtUs: number;
  /** Device and inode (or what the platform has): equal if and only if it is the same file. */
  readonly identity: string;
  /** Number of names the file has. */
  readonly links: number;
}

/** One entry of a directory listing. */
export interface ListedEntry {
  /** The name; for a name that is not valid UTF-8 a printable stand-in, only good for messages. */
  readonly name: string;
  /** Whether `name` is the name on disk. */
  readonly isExactName: boolean;
  readonly kind: EntryKind;
  /** What `lstat` would say of it, if that was asked for and could be had in passing. */
  readonly facts?: EntryFacts;
}

/** A primitive operation. Results per kind are in `DiskAnswers`. */
export type DiskOperation =
  /** Opens the directory `location` (a name of the host's, links in it are followed); `create` makes missing directories. */
  | { readonly kind: "open-root"; readonly location: string; readonly create: boolean }
  | { readonly kind: "close-root"; readonly root: RootHandle }
  /** Fails with `EEXIST` if anything has the name. */
  | {
      readonly kind: "make-directory";
      readonly root: RootHandle;
      readonly path: DiskPath;
      readonly mode: number;
    }
  /** Removes an empty directory. */
  | { readonly kind: "remove-directory"; readonly root: RootHandle; readonly path: DiskPath }
  /**
   * Opens for reading with `O_NONBLOCK|O_NOFOLLOW`, then `fstat`. Fails with `ELOOP` for a symbolic link and with
   * `ENOTREG` (a name of ours) for anything else that is not a regular file.
   */
  | { readonly kind: "open-source"; readonly root: RootHandle; readonly path: DiskPath }
  /** Reads at `offset` into `target`; may read less. 0 bytes means the end of the file. */
  | {
      readonly kind: "read";
      readonly file: FileHandle;
      readonly offset: number;
      readonly target: Uint8Array;
    }
  | { readonly kind: "stat-file"; readonly file: FileHandle }
  /** Makes and opens a new file for reading and writing: `O_CREAT|O_EXCL|O_NOFOLLOW`, mode 0600. */
  | { readonly kind: "create-staging"; readonly root: RootHandle; readonly path: DiskPath }
  /**
   * Opens an existing file for reading and writing with `O_NONBLOCK|O_NOFOLLOW`, then `fstat`. Fails with `ENOTREG`
   * unless it is a regular file that has one name and (where users exist) belongs to this user.
   */
  | { readonly kind: "open-staging"; readonly root: RootHandle; readonly path: DiskPath }
  /** Writes at `offset`; may write less without an error. */
  | {
      readonly kind: "write";
      readonly file: FileHandle;
      readonly offset: number;
      readonly bytes: Uint8Array;
    }
  /** Sets the size; a longer file grows by a hole of zeros. */
  | { readonly kind: "truncate"; readonly file: FileHandle; readonly sizeBytes: number }
  /** `fdatasync`. A failure is final: it is never tried again. */
  | { readonly kind: "sync-data"; readonly file: FileHandle }
  /** `fsync`. A failure is final: it is never tried again. */
  | { readonly kind: "sync-file"; readonly file: FileHandle }
  | { readonly kind: "close-file"; readonly file: FileHandle }
  /** Sets permission bits and modification time of an open file; what is `undefined` stays. */
  | {
      readonly kind: "set-file-facts";
      readonly file: FileHandle;
      readonly mode: number | undefined;
      readonly modifiedAtUs: number | undefined;
    }
  /** The same for a directory by its path. */
  | {
      readonly kind: "set-directory-facts";
      readonly root: RootHandle;
      readonly path: DiskPath;
      readonly mode: number | undefined;
      readonly modifiedAtUs: number | undefined;
    }
  /** Gives the file a second name; fails with `EEXIST` if anything has it. `EPERM`, `ENOTSUP`, `EMLINK`: no links here. */
  | { readonly kind: "link"; readonly root: RootHandle; readonly from: DiskPath; readonly to: DiskPath }
  /** Removes a name that is not a directory. */
  | { readonly kind: "unlink"; readonly root: RootHandle; readonly path: DiskPath }
  /** Renames, replacing a file of the new name atomically. */
  | { readonly kind: "rename"; readonly root: RootHandle; readonly from: DiskPath; readonly to: DiskPath }
  /** `fsync` of a directory: its entries are durable after it. Where the platform has none, succeeds. */
  | { readonly kind: "sync-directory"; readonly root: RootHandle; readonly path: DiskPath }
  | { readonly kind: "lstat"; readonly root: RootHandle; readonly path: DiskPath }
  | { readonly kind: "open-directory"; readonly root: RootHandle; readonly path: DiskPath }
  /** The next entries, at most `maxEntries`, without `.` and `..`; an empty list is the end. */
  | {
      readonly kind: "read-directory";
      readonly directory: DirectoryHandle;
      readonly maxEntries: number;
      /** Facts of the entries are wanted: those that come without waiting for them are in the result. */
      readonly withFacts?: boolean;
    }
  | { readonly kind: "close-directory"; readonly directory: DirectoryHandle }
  /** The target of a symbolic link. Fails with `EILSEQ` if it is not valid UTF-8. */
  | { readonly kind: "read-link"; readonly root: RootHandle; readonly path: DiskPath }
  /** Makes a symbolic link; fails with `EEXIST` if anything has the name. */
  | {
      readonly kind: "make-symlink";
      readonly root: RootHandle;
      readonly path: DiskPath;
      readonly target: string;
    }
  /** Bytes this user may still write in the file system of the root. */
  | { readonly kind: "free-space"; readonly root: RootHandle }
  /**
   * Takes the lock file `path`: `O_CREAT|O_EXCL` with the owner's process id and start time in it. Fails with `EBUSY`
   * if a living process holds it (this one included); a lock whose owner is gone is taken over.
   */
  | { readonly kind: "lock"; readonly root: RootHandle; readonly path: DiskPath }
  /** Gives a lock back and removes its file. */
  | { readonly kind: "unlock"; readonly root: RootHandle; readonly path: DiskPath };

/** Name of an operation. */
export type DiskOperationKind = DiskOperation["kind"];

interface OnlyOk {
  readonly ok: true;
}

/** What a successful operation of each kind returns. */
export interface DiskAnswers {
  readonly "open-root": OnlyOk & { readonly root: RootHandle };
  readonly "close-root": OnlyOk;
  readonly "make-directory": OnlyOk;
  readonly "remove-directory": OnlyOk;
  readonly "open-source": OnlyOk & { readonly file: FileHandle; readonly facts: EntryFacts };
  readonly read: OnlyOk & {
    readonly lengthBytes: number;
    /** It was there at once: more of the file probably is, too. */
    readonly wasInMemory?: boolean;
  };
  readonly "stat-file": OnlyOk & { readonly facts: EntryFacts };
  readonly "create-staging": OnlyOk & { readonly file: FileHandle };
  readonly "open-staging": OnlyOk & { readonly file: FileHandle; readonly facts: EntryFacts };
  readonly write: OnlyOk & { readonly lengthBytes: number };
  readonly truncate: OnlyOk;
  readonly "sync-data": OnlyOk;
  readonly "sync-file": OnlyOk;
  readonly "close-file": OnlyOk;
  readonly "set-file-facts": OnlyOk;
  readonly "set-directory-facts": OnlyOk;
  readonly link: OnlyOk;
  readonly unlink: OnlyOk;
  readonly rename: OnlyOk;
  readonly "sync-directory": OnlyOk;
  readonly lstat: OnlyOk & { readonly facts: EntryFacts };
  readonly "open-directory": OnlyOk & { readonly directory: DirectoryHandle };
  readonly "read-directory": OnlyOk & { readonly entries: readonly ListedEntry[] };
  readonly "close-directory": OnlyOk;
  readonly "read-link": OnlyOk & { readonly target: string };
  readonly "make-symlink": OnlyOk;
  readonly "free-space": OnlyOk & { readonly freeBytes: number };
  readonly lock: OnlyOk;
  readonly unlock: OnlyOk;
}

/** A failed operation: `errno` is the system's name, such as `ENOSPC`; unknown ones are `EIO`. */
export interface DiskFailure {
  readonly ok: false;
  readonly errno: string;
}

/** Result of an operation of kind `K`. */
export type DiskResult<K extends DiskOperationKind = DiskOperationKind> = DiskAnswers[K] | DiskFailure;

/** An operation on its way to a disk. */
export interface DiskRequest {
  /** Returned with the result; unique among the requests of one engine. */
  readonly id: number;
  readonly operation: DiskOperation;
}

/** Operations in an order that matters: yields one, continues with its result. */
export type DiskSequence<Outcome> = Generator<DiskOperation, Outcome, DiskResult>;

/** The operation of kind `K`. */
export type OperationOf<K extends DiskOperationKind> = Extract<DiskOperation, { readonly kind: K }>;

/** One operation within a sequence: `const result = yield* ask({ kind: "lstat", root, path })`. */
export function* ask<K extends DiskOperationKind>(
  operation: { readonly kind: K } & OperationOf<K>,
): DiskSequence<DiskResult<K>> {
  return (yield operation) as DiskResult<K>;
}
