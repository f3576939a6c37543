/**
 * The journal of a running job: collects records, writes them in groups, and flushes once for all who
 * wait. A journal that cannot be written costs the chance to resume, never the transfer.
 */
import { toHex } from "../base/bytes.ts";
import type { DiskSequence, EntryFacts, FileHandle, RootHandle } from "../files/disk.ts";
import { ask } from "../files/disk.ts";
import type { DiskRunner } from "../files/disk-runner.ts";
import type { Hash } from "../files/hash-tree.ts";
import type { FileBinding, JournalContents, JournaledChunks } from "../files/journal.ts";
import {
  emptyJournal,
  findDamagedChunks,
  JournalDecoder,
  JournalEncoder,
  readJournal,
} from "../files/journal.ts";
import { journalPath, lockPath } from "../files/staging-name.ts";
import { writeAll } from "../files/staging.ts";

/** What `openJob` found. */
export interface OpenedJob {
  readonly file: FileHandle;
  readonly contents: JournalContents;
  /** Whether an earlier run left something that can be used. */
  readonly isResumed: boolean;
  /** Whether an earlier run left a journal, whatever it says. */
  readonly wasThere: boolean;
  /** Whether the file system takes names that differ only in case for one. */
  readonly ignoresCase: boolean;
}

/** Takes the job's lock and opens its journal, or makes a new one. */
export function* openJob(
  root: RootHandle,
  hash: Hash,
  job: string,
): DiskSequence<OpenedJob | { readonly errno: string; readonly isLocked: boolean }> {
  const locked = yield* ask({ kind: "lock", root, path: lockPath(job) });
  if (!locked.ok) return { errno: locked.errno, isLocked: locked.errno === "EBUSY" };
  const opened = yield* openOrCreate(root, hash, job);
  if ("errno" in opened) {
    yield* ask({ kind: "unlock", root, path: lockPath(job) });
    return { errno: opened.errno, isLocked: false };
  }
  const shouted = journalPath(job).map((name) => name.toUpperCase());
  const looked = yield* ask({ kind: "lstat", root, path: shouted });
  return { ...opened, ignoresCase: looked.ok };
}

function* openOrCreate(
  root: RootHandle,
  hash: Hash,
  job: string,
): DiskSequence<Omit<OpenedJob, "ignoresCase"> | { readonly errno: string }> {
  const path = journalPath(job);
  const existing = yield* ask({ kind: "open-staging", root, path });
  if (existing.ok) {
    const contents = yield* readJournal(existing.file, new JournalDecoder(hash, job));
    if ("errno" in contents) {
      yield* ask({ kind: "close-file", file: existing.file });
      return contents;
    }
    // What follows the valid part must not look like records once there are new ones before it.
    const cut = yield* ask({ kind: "truncate", file: existing.file, sizeBytes: contents.validBytes });
    if (cut.ok) {
      const isResumed = contents.files.size > 0 || contents.intents.size > 0;
      const usable = contents.validBytes > 0 ? contents : { ...emptyJournal(hash), damage: contents.damage };
      return { file: existing.file, contents: usable, isResumed, wasThere: true };
    }
    yield* ask({ kind: "close-file", file: existing.file });
    return { errno: cut.errno };
  }
  if (existing.errno !== "ENOENT") return { errno: existing.errno };
  const created = yield* ask({ kind: "create-staging", root, path });
  if (!created.ok) return { errno: created.errno };
  return { file: created.file, contents: emptyJournal(hash), isResumed: false, wasThere: false };
}

/** The journal while the job runs. */
export class JobJournal {
  readonly contents: JournalContents;
  private readonly runner: DiskRunner;
  private readonly root: RootHandle;
  private readonly hash: Hash;
  private readonly job: string;
  private readonly file: FileHandle;
  private readonly encoder: JournalEncoder;
  private at: number;
  private isWriting = false;
  private waiters: ((isDurable: boolean) => void)[] = [];
  private isNameDurable: "no" | "running" | "yes" = "no";
  /** Whether an error made the journal useless from here on. */
  isBroken = false;
  /** Files about which it says something worth keeping. */
  private readonly known: Set<string>;
  /** Whether an earlier run left a journal: its staging files may be there, too. */
  readonly wasThere: boolean;
  /** Whether a later run needs the journal although this one had a result. */
  isNeeded = false;

  constructor(runner: DiskRunner, root: RootHandle, hash: Hash, job: string, opened: OpenedJob) {
    this.runner = runner;
    this.root = root;
    this.hash = hash;
    this.job = job;
    this.file = opened.file;
    this.contents = opened.contents;
    this.wasThere = opened.wasThere;
    this.at = opened.contents.validBytes;
    this.known = new Set([...opened.contents.files.keys(), ...opened.contents.intents.keys()]);
    this.encoder = new JournalEncoder(hash, opened.contents, job);
    // The flush of its name runs while the first data is still under way.
    this.syncName();
  }

  /** Whether it says something worth keeping. */
  get hasState(): boolean {
    return this.known.size > 0;
  }

  /** Verified chunks that were flushed. Begins the file's record when needed. */
  addChunks(
    file: FileBinding,
    identity: string,
    chunks: readonly { readonly index: number; readonly contentHash: Uint8Array }[],
  ): void {
    if (!this.encoder.hasFile(file.key)) this.encoder.addFile(file, identity);
    this.encoder.addChunks(
      file.key,
      [...chunks].sort((a, b) => a.index - b.index),
    );
    this.known.add(toHex(file.key));
  }

  /** The staging file is left in order. */
  addClean(file: FileBinding, facts: EntryFacts): void {
    if (this.encoder.hasFile(file.key)) this.encoder.addClean(file.key, facts);
  }

  /** The file is about to get its final name. */
  addIntent(file: FileBinding, root: Uint8Array, identity: string): void {
    this.encoder.addIntent(file, root, identity);
    this.known.add(toHex(file.key));
  }

  /** What an earlier run said about the file is void. */
  addForget(key: Uint8Array): void {
    this.encoder.addForget(key);
    this.known.delete(toHex(key));
  }

  /** A file was given up before anybody looked at what the journal says of it: the journal stays. */
  keepIfKnown(key: Uint8Array): void {
    if (this.known.has(toHex(key))) this.isNeeded = true;
  }

  /** Writes and flushes everything added so far, then calls `onDone`: `false` if the journal is broken. */
  flush(onDone: (isDurable: boolean) => void): void {
    if (this.isBroken) {
      onDone(false);
      return;
    }
    this.waiters.push(onDone);
    if (!this.isWriting) this.write();
  }

  /** Chunks of a file from an earlier run that no longer match. */
  findDamaged(
    fileIndex: number,
    staging: FileHandle,
    sizeBytes: number,
  ): DiskSequence<{ readonly index: number; readonly contentHash: Uint8Array }[]> {
    let seen: JournaledChunks[] = [];
    const decoder = new JournalDecoder(this.hash, this.job, (chunks) => seen.push(chunks));
    const take = (): JournaledChunks[] => {
      const taken = seen;
      seen = [];
      return taken;
    };
    const { validBytes } = this.contents;
    return findDamagedChunks(this.file, validBytes, decoder, take, fileIndex, staging, sizeBytes, this.hash);
  }

  /** Closes the journal, removes it unless it is to be kept, and gives the lock back. */
  *close(keeps: boolean): DiskSequence<void> {
    if (keeps && !this.isBroken && this.encoder.sizeBytes > 0) yield* this.append();
    yield* ask({ kind: "close-file", file: this.file });
    if (!keeps) yield* ask({ kind: "unlink", root: this.root, path: journalPath(this.job) });
    yield* ask({ kind: "unlock", root: this.root, path: lockPath(this.job) });
  }

  private syncName(): void {
    this.isNameDurable = "running";
    this.runner.start(ask({ kind: "sync-directory", root: this.root, path: [] }), () => {
      // Without it a power cut may lose the journal; a retry would lie.
      this.isNameDurable = "yes";
      if (this.waiters.length > 0 && !this.isWriting) this.write();
    });
  }

  private write(): void {
    if (this.isNameDurable !== "yes") return;
    const waiters = this.waiters;
    this.waiters = [];
    this.isWriting = true;
    this.runner.start(this.append(), (isDurable) => {
      this.isWriting = false;
      if (!isDurable) this.isBroken = true;
      for (const waiter of waiters) waiter(isDurable);
      if (this.isBroken) for (const waiter of this.waiters.splice(0)) waiter(false);
      else if (this.waiters.length > 0) this.write();
    });
  }

  private *append(): DiskSequence<boolean> {
    const bytes = this.encoder.take();
    if (bytes.length > 0) {
      const errno = yield* writeAll(this.file, this.at, bytes);
      if (errno !== undefined) return false;
      this.at += bytes.length;
    }
    const synced = yield* ask({ kind: "sync-data", file: this.file });
    return synced.ok;
  }
}
