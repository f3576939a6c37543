/**
 * Gives finished files their final names and makes the names durable, in batches: one flush of a
 * directory serves all files that were linked before it began.
 */
import type { DiskPath, RootHandle } from "../files/disk.ts";
import { ask } from "../files/disk.ts";
import type { DiskRunner } from "../files/disk-runner.ts";
import type { Errno } from "../files/staging.ts";
import { publishStaging } from "../files/staging.ts";
import type { DirectoryNode, DirectoryTree } from "./directory-tree.ts";

/** A flushed staging file and its final name. */
export interface Publication {
  readonly staging: DiskPath;
  readonly final: DiskPath;
  readonly replaces: boolean;
}

interface Pending {
  readonly directory: DirectoryNode;
  readonly publication: Publication | undefined;
  readonly onDurable: (errno: Errno) => void;
  errno: Errno;
}

/** Publishes for one transfer. */
export class Publisher {
  private readonly runner: DiskRunner;
  private readonly root: RootHandle;
  private readonly directories: DirectoryTree;
  private waiting: Pending[] = [];
  private isRunning = false;

  constructor(runner: DiskRunner, root: RootHandle, directories: DirectoryTree) {
    this.runner = runner;
    this.root = root;
    this.directories = directories;
  }

  /** Whether nothing is being published. */
  get isIdle(): boolean {
    return !this.isRunning && this.waiting.length === 0;
  }

  /**
   * Publishes (or, without `publication`, only waits for the entries made so far in `directory`), and
   * calls `onDurable` when the entry and all new directories above it survive a power cut.
   */
  add(
    directory: DirectoryNode,
    publication: Publication | undefined,
    onDurable: (errno: Errno) => void,
  ): void {
    this.waiting.push({ directory, publication, onDurable, errno: undefined });
    if (!this.isRunning) this.runBatch();
  }

  private runBatch(): void {
    const batch = this.waiting;
    if (batch.length === 0) return;
    this.waiting = [];
    this.isRunning = true;
    this.forEach(
      batch.filter(({ publication }) => publication !== undefined),
      (pending, onDone) => {
        const { publication } = pending;
        if (publication === undefined) return;
        const { staging, final, replaces } = publication;
        this.runner.start(publishStaging(this.root, staging, final, replaces), (errno) => {
          pending.errno = errno;
          // Even a failed attempt may have changed the directory.
          pending.directory.isDirty = true;
          onDone();
        });
      },
      () => this.syncDirectories(batch),
    );
  }

  private syncDirectories(batch: readonly Pending[]): void {
    const dirty = new Set<DirectoryNode>();
    for (const { directory } of batch) this.directories.dirtyChain(directory, dirty);
    const failed = new Map<DirectoryNode, string>();
    // An entry made while the flush runs is not covered by it: it marks the directory again.
    for (const node of dirty) node.isDirty = false;
    this.forEach(
      [...dirty],
      (node, onDone) =>
        this.runner.start(ask({ kind: "sync-directory", root: this.root, path: node.path }), (synced) => {
          if (!synced.ok) {
            failed.set(node, synced.errno);
            node.isDirty = true;
          }
          onDone();
        }),
      () => this.report(batch, failed),
    );
  }

  private report(batch: readonly Pending[], failed: ReadonlyMap<DirectoryNode, string>): void {
    this.isRunning = false;
    for (const pending of batch) {
      for (let at: DirectoryNode | undefined = pending.directory; at !== undefined; at = at.parent)
        pending.errno ??= failed.get(at);
      pending.onDurable(pending.errno);
    }
    if (!this.isRunning) this.runBatch();
  }

  /** Runs `work` for all items side by side and then `onAll`. */
  private forEach<T>(
    items: readonly T[],
    work: (item: T, onDone: () => void) => void,
    onAll: () => void,
  ): void {
    let left = items.length;
    if (left === 0) {
      onAll();
      return;
    }
    for (const item of items)
      work(item, () => {
        left--;
        if (left === 0) onAll();
      });
  }
}
