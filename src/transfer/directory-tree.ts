/**
 * The directories of a destination: made when first needed, each once, never through a link; and
 * which of them have entries that are not durable yet.
 */
import { readUint32 } from "../base/bytes.ts";
import { GodwitError } from "../base/errors.ts";
import { MANIFEST_ENTRIES } from "../base/limits.ts";
import { encodeUtf8 } from "../base/utf8.ts";
import type { DiskPath, DiskSequence, RootHandle } from "../files/disk.ts";
import { ask } from "../files/disk.ts";
import type { DiskRunner } from "../files/disk-runner.ts";
import type { Hash } from "../files/hash-tree.ts";
import { printable } from "../files/printable.ts";
import type { SafePath } from "../files/safe-path.ts";
import { collisionKey } from "../files/safe-path.ts";

/** One directory below the root. */
export interface DirectoryNode {
  readonly path: DiskPath;
  readonly parent: DirectoryNode | undefined;
  state: "making" | "ready" | "failed";
  /** System error of a failed one. */
  errno: string;
  /** Made by this transfer. */
  isMade: boolean;
  /**
   * Has entries that this transfer did not sync. True at first: an earlier attempt that was killed may
   * have left a final name that a power cut would still take away.
   */
  isDirty: boolean;
  /** What to set when everything in it is there; `undefined` leaves it. */
  mode: number | undefined;
  modifiedAtUs: number | undefined;
}

/** Directories are made private; they get their mode when all is in them. */
const MODE_IN_USE = 0o700;

/** The directories of one transfer. */
export class DirectoryTree {
  private readonly runner: DiskRunner;
  private readonly hash: Hash;
  private readonly rootHandle: RootHandle;
  readonly root: DirectoryNode;
  private readonly nodes = new Map<string, DirectoryNode>();
  private readonly waiters = new Map<DirectoryNode, (() => void)[]>();
  /** Names taken in this transfer: a number from each name's key, because a million names would not fit. */
  private readonly claimed = new Set<number>();
  /** An earlier run of the same job made directories: those that are still private are ours. */
  adoptsPrivate = false;
  /** The file system takes names that differ in case for one. */
  ignoresCase = false;
  /** Directories and links that were offered. */
  directoryCount = 0;
  linkCount = 0;

  constructor(runner: DiskRunner, rootHandle: RootHandle, hash: Hash) {
    this.runner = runner;
    this.hash = hash;
    this.rootHandle = rootHandle;
    this.root = {
      path: [],
      parent: undefined,
      state: "ready",
      errno: "",
      isMade: false,
      isDirty: true,
      mode: undefined,
      modifiedAtUs: undefined,
    };
  }

  /**
   * Takes the name of an offered entry. @throws GodwitError NAME_COLLISION if an entry of this transfer
   * has it, or one that this file system takes for the same.
   */
  claim(path: SafePath, kind: "file" | "directory" | "symlink"): void {
    if (kind === "directory") this.directoryCount++;
    if (kind === "symlink") this.linkCount++;
    const key = this.collisionNumber(path.text);
    if (this.claimed.has(key))
      throw new GodwitError(
        "NAME_COLLISION",
        `refused ${printable(path.text)}: another entry has this name, or one that the file system here takes for it`,
        { path: path.text },
      );
    this.claimed.add(key);
  }

  /** 52 bits of the hash of the name: by chance, one in ten thousand transfers of a million names refuses one. */
  private collisionNumber(text: string): number {
    const bytes = this.hash(encodeUtf8(this.ignoresCase ? collisionKey(text) : text));
    return readUint32(bytes, 0) * 0x10_0000 + (readUint32(bytes, 4) >>> 12);
  }

  /** Calls `onReady` once the directory is there, or could not be made; perhaps at once. */
  ensure(path: DiskPath, onReady: (node: DirectoryNode) => void): void {
    if (path.length === 0) {
      onReady(this.root);
      return;
    }
    const key = path.join("/");
    const known = this.nodes.get(key);
    if (known !== undefined) {
      if (known.state === "making") this.waiters.get(known)?.push(() => onReady(known));
      else onReady(known);
      return;
    }
    const parentPath = path.slice(0, -1);
    this.ensure(parentPath, (parent) => {
      // Somebody else may have begun to make it while the parent was made.
      if (this.nodes.has(key)) this.ensure(path, onReady);
      else this.make(key, path, parent, onReady);
    });
  }

  /** The directories on the way to `node` that have entries to be synced, `node` included. */
  dirtyChain(node: DirectoryNode, into: Set<DirectoryNode>): void {
    for (let at: DirectoryNode | undefined = node; at !== undefined; at = at.parent)
      if (at.isDirty) into.add(at);
  }

  /** All directories below the root, deepest first. */
  deepestFirst(): DirectoryNode[] {
    return [...this.nodes.values()].sort((a, b) => b.path.length - a.path.length);
  }

  private make(
    key: string,
    path: DiskPath,
    parent: DirectoryNode,
    onReady: (node: DirectoryNode) => void,
  ): void {
    const node: DirectoryNode = {
      path,
      parent,
      state: "making",
      errno: "",
      isMade: false,
      isDirty: true,
      mode: undefined,
      modifiedAtUs: undefined,
    };
    if (parent.state === "failed" || this.nodes.size >= MANIFEST_ENTRIES) {
      node.state = "failed";
      node.errno = parent.state === "failed" ? parent.errno : "EDQUOT";
      if (this.nodes.size < MANIFEST_ENTRIES) this.nodes.set(key, node);
      onReady(node);
      return;
    }
    this.nodes.set(key, node);
    this.waiters.set(node, [() => onReady(node)]);
    this.runner.start(makeDirectory(this.rootHandle, path), (made) => {
      node.state = made.errno === "" ? "ready" : "failed";
      node.errno = made.errno;
      node.isMade = made.isNew || (this.adoptsPrivate && made.mode === MODE_IN_USE);
      if (node.isMade) parent.isDirty = true;
      const waiting = this.waiters.get(node) ?? [];
      this.waiters.delete(node);
      for (const waiter of waiting) waiter();
    });
  }
}

function* makeDirectory(
  root: RootHandle,
  path: DiskPath,
): DiskSequence<{ readonly errno: string; readonly isNew: boolean; readonly mode: number }> {
  const made = yield* ask({ kind: "make-directory", root, path, mode: MODE_IN_USE });
  if (made.ok) return { errno: "", isNew: true, mode: MODE_IN_USE };
  if (made.errno !== "EEXIST") return { errno: made.errno, isNew: false, mode: 0 };
  const there = yield* ask({ kind: "lstat", root, path });
  if (!there.ok) return { errno: there.errno, isNew: false, mode: 0 };
  const { kind, mode } = there.facts;
  return { errno: kind === "directory" ? "" : "EEXIST", isNew: false, mode };
}
