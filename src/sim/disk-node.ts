/**
 * What a simulated file system is made of: every node has a volatile state, which the running system
 * sees, and a durable one, which is all that a power cut is sure to leave.
 *
 * What it does not model: inode tables and journals of particular file systems, bit rot, writes that
 * reach another place than meant, disks that lie about a sync.
 */
import type { SeededRandom } from "../base/random.ts";

/** Bytes of a page: the unit that a cache writes back. */
export const PAGE_BYTES = 4_096;

/** Bytes of a sector: what a disk writes whole; a page may be torn between two of them. */
const SECTOR_BYTES = 512;

/** Versions of one unsynced page that a crash can bring back: older ones are as good as the durable one. */
const PAGE_VERSIONS = 8;

const EMPTY_PAGE = new Uint8Array(PAGE_BYTES);

/** Permissions and time of a node. */
export interface NodeFacts {
  mode: number;
  modifiedAtUs: number;
}

/** A regular file: pages that are never changed in place, so that versions can be shared. */
export class FileNode {
  readonly kind = "file";
  readonly id: number;
  facts: NodeFacts;
  changedAtUs: number;
  sizeBytes = 0;
  /** Names in the volatile tree. */
  links = 0;
  private pages = new Map<number, Uint8Array>();
  private durablePages = new Map<number, Uint8Array>();
  private durableSizeBytes = 0;
  private durableFacts: NodeFacts;
  /** Versions of each page since the last sync, oldest first. */
  private unsynced = new Map<number, Uint8Array[]>();

  constructor(id: number, mode: number, nowUs: number) {
    this.id = id;
    this.facts = { mode, modifiedAtUs: nowUs };
    this.durableFacts = { ...this.facts };
    this.changedAtUs = nowUs;
  }

  /** Pages that take space. */
  get pageCount(): number {
    return this.pages.size;
  }

  /** Whether a page takes space already. */
  hasPage(index: number): boolean {
    return this.pages.has(index);
  }

  /** Copies bytes from `offset` on into `target`; returns how many there were. */
  read(offset: number, target: Uint8Array): number {
    const length = Math.max(0, Math.min(target.length, this.sizeBytes - offset));
    for (let done = 0; done < length;) {
      const index = Math.floor((offset + done) / PAGE_BYTES);
      const within = offset + done - index * PAGE_BYTES;
      const count = Math.min(PAGE_BYTES - within, length - done);
      const page = this.pages.get(index) ?? EMPTY_PAGE;
      target.set(page.subarray(within, within + count), done);
      done += count;
    }
    return length;
  }

  write(offset: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length;) {
      const index = Math.floor((offset + done) / PAGE_BYTES);
      const within = offset + done - index * PAGE_BYTES;
      const count = Math.min(PAGE_BYTES - within, bytes.length - done);
      const page = (this.pages.get(index) ?? EMPTY_PAGE).slice();
      page.set(bytes.subarray(done, done + count), within);
      this.replacePage(index, page);
      done += count;
    }
    // POSIX: writing nothing beyond the end does not extend the file.
    if (bytes.length > 0) this.sizeBytes = Math.max(this.sizeBytes, offset + bytes.length);
  }

  truncate(sizeBytes: number): void {
    if (sizeBytes < this.sizeBytes) {
      const last = Math.floor(sizeBytes / PAGE_BYTES);
      for (const index of this.pages.keys()) {
        if (index > last) {
          this.pages.delete(index);
          this.unsynced.set(index, [EMPTY_PAGE]);
        }
      }
      const page = this.pages.get(last);
      if (page !== undefined) {
        const cut = page.slice();
        cut.fill(0, sizeBytes - last * PAGE_BYTES);
        this.replacePage(last, cut);
      }
    }
    this.sizeBytes = sizeBytes;
  }

  /** What was written is durable now; with `withFacts` (fsync) permissions and time, too. */
  sync(withFacts: boolean): void {
    for (const index of this.unsynced.keys()) {
      const page = this.pages.get(index);
      if (page === undefined) this.durablePages.delete(index);
      else this.durablePages.set(index, page);
    }
    this.unsynced.clear();
    this.durableSizeBytes = this.sizeBytes;
    if (withFacts) this.durableFacts = { ...this.facts };
  }

  /**
   * A sync failed: the pages count as clean but never reached the disk. A later sync succeeds and
   * changes nothing, which is why a failed sync is final.
   */
  failSync(): void {
    this.unsynced.clear();
  }

  /** The power goes: each unsynced page is old, one of its new versions, or torn between two. */
  cutPower(random: SeededRandom): void {
    const pages = this.durablePages;
    let end = this.durableSizeBytes;
    for (const [index, versions] of this.unsynced) {
      const choice = random.integer(-1, versions.length - 1);
      if (choice < 0) continue;
      let page = versions[choice];
      if (random.chance(0.25)) {
        const before = choice === 0 ? (pages.get(index) ?? EMPTY_PAGE) : versions[choice - 1];
        page = before.slice();
        page.set(
          versions[choice].subarray(0, SECTOR_BYTES * random.integer(1, PAGE_BYTES / SECTOR_BYTES - 1)),
        );
      }
      pages.set(index, page);
      end = Math.max(end, Math.min(this.sizeBytes, (index + 1) * PAGE_BYTES));
    }
    // The new size may be durable without the data behind it, a grown part without any size.
    const sizes = [this.durableSizeBytes, end, this.sizeBytes];
    this.sizeBytes = random.pick(sizes);
    this.pages = new Map(pages);
    this.durablePages = pages;
    this.unsynced = new Map();
    this.cutBeyondEnd();
    this.durableSizeBytes = this.sizeBytes;
    if (random.chance(0.5)) this.durableFacts = { ...this.facts };
    this.facts = { ...this.durableFacts };
  }

  /** All bytes the running system sees. */
  content(): Uint8Array {
    const bytes = new Uint8Array(this.sizeBytes);
    this.read(0, bytes);
    return bytes;
  }

  /** All bytes that would survive a power cut for certain. */
  durableContent(): Uint8Array {
    const bytes = new Uint8Array(this.durableSizeBytes);
    for (const [index, page] of this.durablePages) {
      const at = index * PAGE_BYTES;
      if (at < bytes.length) bytes.set(page.subarray(0, Math.min(PAGE_BYTES, bytes.length - at)), at);
    }
    return bytes;
  }

  private replacePage(index: number, page: Uint8Array): void {
    this.pages.set(index, page);
    const versions = this.unsynced.get(index);
    if (versions === undefined) this.unsynced.set(index, [page]);
    else {
      versions.push(page);
      if (versions.length > PAGE_VERSIONS) versions.shift();
    }
  }

  /** Bytes behind the end read as zeros should the file grow again. */
  private cutBeyondEnd(): void {
    const { sizeBytes } = this;
    const last = Math.floor(sizeBytes / PAGE_BYTES);
    for (const map of [this.pages, this.durablePages]) {
      for (const index of map.keys()) if (index > last) map.delete(index);
      const page = map.get(last);
      if (page !== undefined) {
        const cut = page.slice();
        cut.fill(0, sizeBytes - last * PAGE_BYTES);
        map.set(last, cut);
      }
    }
  }
}

/** A symbolic link. */
export class SymlinkNode {
  readonly kind = "symlink";
  readonly id: number;
  readonly target: string;
  readonly facts: NodeFacts;

  constructor(id: number, target: string, nowUs: number) {
    this.id = id;
    this.target = target;
    this.facts = { mode: 0o777, modifiedAtUs: nowUs };
  }
}

/** A FIFO or a device: present, and of no use. */
export class SpecialNode {
  readonly kind = "special";
  readonly id: number;
  readonly facts: NodeFacts;

  constructor(id: number, nowUs: number) {
    this.id = id;
    this.facts = { mode: 0o644, modifiedAtUs: nowUs };
  }
}

/** Anything that has a name. */
export type DiskNode = FileNode | DirectoryNode | SymlinkNode | SpecialNode;

/** One change of names that reaches the disk whole or not at all; a rename changes two. */
export interface NameChange {
  readonly effects: readonly {
    readonly directory: DirectoryNode;
    readonly name: string;
    /** `undefined`: the name goes. */
    readonly node: DiskNode | undefined;
  }[];
}

/** A directory: its names are durable only after it was synced. */
export class DirectoryNode {
  readonly kind = "directory";
  readonly id: number;
  facts: NodeFacts;
  readonly entries = new Map<string, DiskNode>();
  readonly durableEntries = new Map<string, DiskNode>();
  private unsynced: NameChange[] = [];

  constructor(id: number, mode: number, nowUs: number) {
    this.id = id;
    this.facts = { mode, modifiedAtUs: nowUs };
  }

  /** Changes names, in this and in every other directory the change touches. */
  static change(change: NameChange): void {
    for (const { directory, name, node } of change.effects) {
      if (node === undefined) directory.entries.delete(name);
      else directory.entries.set(name, node);
      directory.unsynced.push(change);
    }
  }

  /** All changes of names in this directory are durable now. */
  sync(): void {
    for (const change of this.unsynced.splice(0)) settle(change);
  }

  /**
   * The power goes: any subset of the unsynced changes of names is kept, or as on a journaling file
   * system a prefix of them. Call it for the root; directories that are left are walked.
   */
  cutPower(random: SeededRandom, seen = new Set<number>()): void {
    if (seen.has(this.id)) return;
    seen.add(this.id);
    const changes = this.unsynced.splice(0);
    const isPrefix = random.chance(0.5);
    const kept = random.integer(0, changes.length);
    changes.forEach((change, i) => {
      if (isPrefix ? i < kept : random.chance(0.5)) settle(change);
      else discard(change);
    });
    this.entries.clear();
    for (const [name, node] of this.durableEntries) {
      this.entries.set(name, node);
      if (node.kind === "directory") node.cutPower(random, seen);
      else if (node.kind === "file" && !seen.has(node.id)) {
        seen.add(node.id);
        node.cutPower(random);
      }
    }
  }

  private forget(change: NameChange): void {
    this.unsynced = this.unsynced.filter((other) => other !== change);
  }

  /** @internal */
  static forgetEverywhere(change: NameChange): void {
    for (const { directory } of change.effects) directory.forget(change);
  }
}

function settle(change: NameChange): void {
  for (const { directory, name, node } of change.effects) {
    if (node === undefined) directory.durableEntries.delete(name);
    else directory.durableEntries.set(name, node);
  }
  DirectoryNode.forgetEverywhere(change);
}

function discard(change: NameChange): void {
  DirectoryNode.forgetEverywhere(change);
}
