/**
 * A disk in memory that behaves like a bad one: a volatile cache against a durable image, failing
 * calls, short writes, no space. It carries out the operations of `src/files/disk.ts`.
 *
 * One `SimDisk` is one machine's file system. A process that dies keeps its cache (`killProcess`); a
 * power cut (`cutPower`) keeps what was synced and any subset of the rest.
 */
import { assert } from "../base/assert.ts";
import { SeededRandom } from "../base/random.ts";
import type {
  DiskFailure,
  DiskOperation,
  DiskPath,
  DiskResult,
  ListedEntry,
  OperationOf,
} from "../files/disk.ts";
import { HEALTHY_DISK } from "./disk-faults.ts";
import type { DiskFaults } from "./disk-faults.ts";
import { DirectoryNode, PAGE_BYTES } from "./disk-node.ts";
import type { FileNode, SymlinkNode } from "./disk-node.ts";
import { DiskTree, split } from "./disk-tree.ts";
import type { Place } from "./disk-tree.ts";

const OK = { ok: true } as const;

/** Free space told where there is no limit: a terabyte. */
const PLENTY_BYTES = 1e12;

/** Longest name, as on Linux. */
const NAME_MAX_BYTES = 255;

function fail(errno: string): DiskFailure {
  return { ok: false, errno };
}

interface OpenFile {
  readonly node: FileNode;
  readonly isWritable: boolean;
}

/** A file system with faults. */
export class SimDisk extends DiskTree {
  /** What is wrong with it; may be changed at any time. */
  faults: DiskFaults = HEALTHY_DISK;
  /** Operations carried out, by kind: what `DiskCallFault.atCall` counts. */
  readonly calls: Partial<Record<DiskOperation["kind"], number>> = {};
  private readonly random: SeededRandom;
  private readonly roots = new Map<number, DirectoryNode>();
  private readonly files = new Map<number, OpenFile>();
  private readonly listings = new Map<number, ListedEntry[]>();
  private readonly locks = new Set<FileNode>();
  private nextHandle = 1;

  /** @param nowUs - Time for the files' dates, in microseconds since 1970. */
  constructor(seed: number, label: string, nowUs: () => number) {
    super(nowUs);
    this.random = new SeededRandom(seed, `disk/${label}`);
  }

  /** Handles open now: a process that ends in order leaves none. */
  get openHandles(): number {
    return this.roots.size + this.files.size + this.listings.size;
  }

  /** Bytes of file data in use. */
  get usedBytes(): number {
    const seen = this.namedFiles();
    for (const { node } of this.files.values()) seen.add(node);
    let pages = 0;
    for (const node of seen) pages += node.pageCount;
    return pages * PAGE_BYTES;
  }

  /** Carries out one operation. */
  perform(operation: DiskOperation): DiskResult {
    const call = (this.calls[operation.kind] ?? 0) + 1;
    this.calls[operation.kind] = call;
    const fault = this.faults.calls.find(
      ({ kind, atCall, times = 1 }) => kind === operation.kind && call >= atCall && call < atCall + times,
    );
    if (fault !== undefined) return this.failCall(operation, fault.errno);
    return this.carryOut(operation);
  }

  /** The process dies: its handles are gone and its locks have no owner. The cache stays. */
  killProcess(): void {
    this.roots.clear();
    this.files.clear();
    this.listings.clear();
    this.locks.clear();
  }

  /** The machine loses power: what was synced stays, and any subset of the rest. */
  cutPower(): void {
    this.killProcess();
    this.losePower(this.random);
  }

  private failCall(operation: DiskOperation, errno: string): DiskFailure {
    // A handle is gone even when closing fails; a failed sync leaves pages clean that never reached the disk.
    if (operation.kind === "close-file") this.files.delete(operation.file);
    if (operation.kind === "sync-data" || operation.kind === "sync-file") {
      this.files.get(operation.file)?.node.failSync();
    }
    return fail(errno);
  }

  private carryOut(operation: DiskOperation): DiskResult {
    switch (operation.kind) {
      case "open-root":
        return this.openRoot(operation);
      case "close-root":
        assert(this.roots.delete(operation.root), "root is open");
        return OK;
      case "make-directory":
        return this.make(operation, () => this.newDirectory(operation.mode));
      case "make-symlink":
        return this.make(operation, () => this.newSymlink(operation.target));
      case "remove-directory":
        return this.removeDirectory(operation);
      case "open-source":
      case "open-staging":
        return this.openFile(operation);
      case "create-staging":
        return this.createStaging(operation);
      case "read":
        return this.read(operation);
      case "write":
        return this.write(operation);
      case "stat-file":
        return { ok: true, facts: this.factsOf(this.file(operation.file).node) };
      case "truncate":
        return this.truncate(operation);
      case "sync-data":
      case "sync-file":
        this.file(operation.file).node.sync(operation.kind === "sync-file");
        return OK;
      case "close-file":
        this.file(operation.file);
        this.files.delete(operation.file);
        return OK;
      case "set-file-facts":
        this.setFacts(this.file(operation.file).node, operation);
        return OK;
      case "set-directory-facts":
        return this.withDirectory(operation, (node) => {
          this.setFacts(node, operation);
          return OK;
        });
      case "sync-directory":
        return this.withDirectory(operation, (node) => {
          node.sync();
          return OK;
        });
      case "link":
        return this.link(operation);
      case "rename":
        return this.rename(operation);
      case "unlink":
        return this.unlink(operation);
      case "lstat":
        return this.lstat(operation);
      case "open-directory":
        return this.withDirectory(operation, (node) => {
          const handle = this.nextHandle++;
          this.listings.set(handle, listing(node));
          return { ok: true, directory: handle };
        });
      case "read-directory": {
        const entries = this.listings.get(operation.directory);
        assert(entries !== undefined, "directory is open");
        return { ok: true, entries: entries.splice(0, operation.maxEntries) };
      }
      case "close-directory":
        assert(this.listings.delete(operation.directory), "directory is open");
        return OK;
      case "read-link": {
        const place = this.place(operation);
        if ("errno" in place) return place;
        if (place.node === undefined) return fail("ENOENT");
        return place.node.kind === "symlink" ? { ok: true, target: place.node.target } : fail("EINVAL");
      }
      case "free-space":
        return {
          ok: true,
          freeBytes:
            this.faults.capacityBytes === 0
              ? PLENTY_BYTES
              : Math.max(0, this.faults.capacityBytes - this.usedBytes),
        };
      case "lock":
        return this.lock(operation);
      case "unlock": {
        const place = this.place(operation);
        if ("errno" in place) return place;
        if (place.node?.kind !== "file") return fail("ENOENT");
        this.locks.delete(place.node);
        this.leave(place);
        return OK;
      }
      default:
        return operation satisfies never;
    }
  }

  private openRoot(operation: OperationOf<"open-root">): DiskResult {
    const components = split(operation.location);
    const found = this.find(this.top, components);
    if (found !== undefined && found.kind !== "directory") return fail("ENOTDIR");
    if (found === undefined && !operation.create) return fail("ENOENT");
    // Directories made here are synced with their parents, as the real disk does.
    const node = found ?? this.makeDirectories(components);
    const handle = this.nextHandle++;
    this.roots.set(handle, node);
    return { ok: true, root: handle };
  }

  private openFile(operation: OperationOf<"open-source" | "open-staging">): DiskResult {
    const place = this.place(operation);
    if ("errno" in place) return place;
    const { node } = place;
    if (node === undefined) return fail("ENOENT");
    if (node.kind === "symlink") return fail("ELOOP");
    const isWritable = operation.kind === "open-staging";
    if (node.kind !== "file" || (isWritable && node.links !== 1)) return fail("ENOTREG");
    return { ok: true, file: this.open(node, isWritable), facts: this.factsOf(node) };
  }

  private createStaging(operation: OperationOf<"create-staging">): DiskResult {
    const place = this.place(operation);
    if ("errno" in place) return place;
    if (place.node !== undefined) return fail("EEXIST");
    const node = this.newFile(0o600);
    this.enter(place.parent, place.name, node);
    return { ok: true, file: this.open(node, true) };
  }

  private read(operation: OperationOf<"read">): DiskResult {
    const { node } = this.file(operation.file);
    let { target } = operation;
    if (target.length > 1 && this.random.chance(this.faults.shortReadProbability)) {
      target = target.subarray(0, this.random.integer(1, target.length - 1));
    }
    return { ok: true, lengthBytes: node.read(operation.offset, target) };
  }

  private write(operation: OperationOf<"write">): DiskResult {
    const { node, isWritable } = this.file(operation.file);
    if (!isWritable) return fail("EBADF");
    let { bytes } = operation;
    const { fileSizeMaxBytes } = this.faults;
    if (fileSizeMaxBytes > 0 && operation.offset + bytes.length > fileSizeMaxBytes) {
      if (operation.offset >= fileSizeMaxBytes) return fail("EFBIG");
      bytes = bytes.subarray(0, fileSizeMaxBytes - operation.offset);
    }
    const fitting = this.fittingBytes(node, operation.offset, bytes.length);
    if (fitting === 0 && bytes.length > 0) return fail("ENOSPC");
    bytes = bytes.subarray(0, fitting);
    if (bytes.length > 1 && this.random.chance(this.faults.shortWriteProbability)) {
      bytes = bytes.subarray(0, this.random.integer(1, bytes.length - 1));
    }
    node.write(operation.offset, bytes);
    this.touch(node);
    return { ok: true, lengthBytes: bytes.length };
  }

  private truncate(operation: OperationOf<"truncate">): DiskResult {
    const { node, isWritable } = this.file(operation.file);
    if (!isWritable) return fail("EINVAL");
    const { fileSizeMaxBytes } = this.faults;
    if (fileSizeMaxBytes > 0 && operation.sizeBytes > fileSizeMaxBytes) return fail("EFBIG");
    node.truncate(operation.sizeBytes);
    this.touch(node);
    return OK;
  }

  private link(operation: OperationOf<"link">): DiskResult {
    const from = this.place({ root: operation.root, path: operation.from });
    if ("errno" in from) return from;
    const to = this.place({ root: operation.root, path: operation.to });
    if ("errno" in to) return to;
    if (from.node === undefined) return fail("ENOENT");
    if (to.node !== undefined) return fail("EEXIST");
    if (from.node.kind === "directory" || this.faults.hasNoLinks) return fail("EPERM");
    this.enter(to.parent, to.name, from.node);
    return OK;
  }

  private rename(operation: OperationOf<"rename">): DiskResult {
    const from = this.place({ root: operation.root, path: operation.from });
    if ("errno" in from) return from;
    const to = this.place({ root: operation.root, path: operation.to });
    if ("errno" in to) return to;
    const { node } = from;
    if (node === undefined) return fail("ENOENT");
    // A directory cannot move into itself.
    if (node.kind === "directory" && isWithin(to.parent, node)) return fail("EINVAL");
    // Linux looks at this before the kinds: a directory above the source is never empty.
    if (to.node?.kind === "directory" && isWithin(from.parent, to.node)) return fail("ENOTEMPTY");
    // POSIX: two names of one file stay as they are.
    if (node === to.node) return OK;
    if (to.node?.kind === "directory") {
      if (node.kind !== "directory") return fail("EISDIR");
      if (to.node.entries.size > 0) return fail("ENOTEMPTY");
    } else if (to.node !== undefined && node.kind === "directory") return fail("ENOTDIR");
    if (to.node?.kind === "file") this.dropName(to.node);
    DirectoryNode.change({
      effects: [
        { directory: from.parent, name: from.name, node: undefined },
        { directory: to.parent, name: to.name, node },
      ],
    });
    return OK;
  }

  private unlink(operation: OperationOf<"unlink">): DiskResult {
    const place = this.place(operation);
    if ("errno" in place) return place;
    if (place.node === undefined) return fail("ENOENT");
    if (place.node.kind === "directory") return fail("EISDIR");
    this.leave(place);
    return OK;
  }

  private removeDirectory(operation: OperationOf<"remove-directory">): DiskResult {
    const place = this.place(operation);
    if ("errno" in place) return place;
    if (place.node === undefined) return fail("ENOENT");
    if (place.node.kind !== "directory") return fail("ENOTDIR");
    if (place.node.entries.size > 0) return fail("ENOTEMPTY");
    this.leave(place);
    return OK;
  }

  private lstat(operation: OperationOf<"lstat">): DiskResult {
    const root = this.root(operation.root);
    if (operation.path.length === 0) return { ok: true, facts: this.factsOf(root) };
    const place = this.place(operation);
    if ("errno" in place) return place;
    return place.node === undefined ? fail("ENOENT") : { ok: true, facts: this.factsOf(place.node) };
  }

  private lock(operation: OperationOf<"lock">): DiskResult {
    const place = this.place(operation);
    if ("errno" in place) return place;
    let { node } = place;
    if (node === undefined) {
      node = this.newFile(0o600);
      this.enter(place.parent, place.name, node);
    }
    if (node.kind !== "file") return fail("ELOOP");
    if (this.locks.has(node)) return fail("EBUSY");
    this.locks.add(node);
    return OK;
  }

  private make(
    operation: { readonly root: number; readonly path: DiskPath },
    create: () => DirectoryNode | SymlinkNode,
  ): DiskResult {
    if (operation.path.length === 0) return fail("EEXIST");
    const place = this.place(operation);
    if ("errno" in place) return place;
    if (place.node !== undefined) return fail("EEXIST");
    this.enter(place.parent, place.name, create());
    return OK;
  }

  private withDirectory(
    operation: { readonly root: number; readonly path: DiskPath },
    action: (node: DirectoryNode) => DiskResult,
  ): DiskResult {
    const root = this.root(operation.root);
    if (operation.path.length === 0) return action(root);
    const place = this.place(operation);
    if ("errno" in place) return place;
    if (place.node === undefined) return fail("ENOENT");
    if (place.node.kind !== "directory") return fail("ENOTDIR");
    return action(place.node);
  }

  /** How many of `length` bytes at `offset` there is room for. */
  private fittingBytes(node: FileNode, offset: number, length: number): number {
    const { capacityBytes } = this.faults;
    if (capacityBytes === 0 || length === 0) return length;
    let freePages = Math.floor((capacityBytes - this.usedBytes) / PAGE_BYTES);
    const last = Math.floor((offset + length - 1) / PAGE_BYTES);
    for (let index = Math.floor(offset / PAGE_BYTES); index <= last; index++) {
      if (node.hasPage(index)) continue;
      if (freePages <= 0) return Math.max(0, index * PAGE_BYTES - offset);
      freePages -= 1;
    }
    return length;
  }

  private open(node: FileNode, isWritable: boolean): number {
    const handle = this.nextHandle++;
    this.files.set(handle, { node, isWritable });
    return handle;
  }

  private root(handle: number): DirectoryNode {
    const root = this.roots.get(handle);
    assert(root !== undefined, "root is open");
    return root;
  }

  private file(handle: number): OpenFile {
    const file = this.files.get(handle);
    assert(file !== undefined, "file is open");
    return file;
  }

  /** Where a path below a root leads; no component may be a link. */
  private place(operation: { readonly root: number; readonly path: DiskPath }): Place | DiskFailure {
    const { path } = operation;
    let parent = this.root(operation.root);
    if (path.length === 0) return fail("EINVAL");
    for (const name of path) {
      assert(
        name !== "" && name !== "." && name !== ".." && !/[/\0]/.test(name),
        "a component is a plain name",
      );
      if (name.length > NAME_MAX_BYTES) return fail("ENAMETOOLONG");
    }
    for (const name of path.slice(0, -1)) {
      const next = parent.entries.get(name);
      if (next === undefined) return fail("ENOENT");
      if (next.kind !== "directory") return fail("ENOTDIR");
      parent = next;
    }
    const name = path[path.length - 1];
    return { parent, name, node: parent.entries.get(name) };
  }
}

function isWithin(directory: DirectoryNode, above: DirectoryNode): boolean {
  if (directory === above) return true;
  for (const node of above.entries.values()) {
    if (node.kind === "directory" && isWithin(directory, node)) return true;
  }
  return false;
}

function listing(node: DirectoryNode): ListedEntry[] {
  return [...node.entries].map(([name, entry]) => ({ name, isExactName: true, kind: entry.kind }));
}
