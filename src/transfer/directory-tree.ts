/**
 * The directories of a destination: made when first needed, each once, never through a link; and
 * which of them have entries that are not durable yet.
 */
import { MANIFEST_ENTRIES } from "../base/limits.ts";
import type { DiskPath, DiskSequence, RootHandle } from "../files/disk.ts";
import { ask } from "../files/disk.ts";
import type { DiskRunner } from "../files/disk-runner.ts";

/** One directory below the root. */
export interface DirectoryNode {
  readonly path: DiskPath;
  readonly parent: DirectoryNode | undefined;
  state: "making" | "ready" | "failed";
  /** System error of a failed one. */
  errno: string;
  /** Made by this transfer. */
  isMade: boolean;
  /** Has entries that were not synced. */
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
  private readonly rootHandle: RootHandle;
  readonly root: DirectoryNode;
  private readonly nodes = new Map<string, DirectoryNode>();
  private readonly waiters = new Map<DirectoryNode, (() => void)[]>();

  constructor(runner: DiskRunner, rootHandle: RootHandle) {
    this.runner = runner;
    this.rootHandle = rootHandle;
    this.root = {
      path: [],
      parent: undefined,
      state: "ready",
      errno: "",
      isMade: false,
      isDirty: false,
      mode: undefined,
      modifiedAtUs: undefined,
    };
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
      isDirty: false,
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
      node.isMade = made.isNew;
      if (made.isNew) parent.isDirty = true;
      const waiting = this.waiters.get(node) ?? [];
      this.waiters.delete(node);
      for (const waiter of waiting) waiter();
    });
  }
}

function* makeDirectory(
  root: RootHandle,
  path: DiskPath,
): DiskSequence<{ readonly errno: string; readonly isNew: boolean }> {
  const made = yield* ask({ kind: "make-directory", root, path, mode: MODE_IN_USE });
  if (made.ok) return { errno: "", isNew: true };
  if (made.errno !== "EEXIST") return { errno: made.errno, isNew: false };
  const there = yield* ask({ kind: "lstat", root, path });
  if (!there.ok) return { errno: there.errno, isNew: false };
  return { errno: there.facts.kind === "directory" ? "" : "EEXIST", isNew: false };
}
