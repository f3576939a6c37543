/** The names of a simulated file system: finding, entering and leaving them, and what a test plants and looks at. */
import { assert } from "../base/assert.ts";
import type { SeededRandom } from "../base/random.ts";
import type { EntryFacts } from "../files/disk.ts";
import { DirectoryNode, FileNode, SpecialNode, SymlinkNode } from "./disk-node.ts";
import type { DiskNode } from "./disk-node.ts";

/** Where a path leads: a name in a directory, and what it names now. */
export interface Place {
  readonly parent: DirectoryNode;
  readonly name: string;
  readonly node: DiskNode | undefined;
}

/** A tree of nodes in memory, with a volatile and a durable state. */
export class DiskTree {
  /** Directory at the top: all roots lie below it. */
  protected readonly top: DirectoryNode;
  private readonly nowUs: () => number;
  private lastId = 0;

  /** @param nowUs - Time for the files' dates, in microseconds since 1970. */
  constructor(nowUs: () => number) {
    this.nowUs = nowUs;
    this.top = this.newDirectory(0o755);
  }

  /** Makes a file with parents, durable at once: what was there before the story begins. */
  plant(path: string, content: Uint8Array, mode = 0o644): void {
    const components = split(path);
    const parent = this.makeDirectories(components.slice(0, -1));
    const node = this.newFile(mode);
    node.write(0, content);
    node.sync(true);
    this.enter(parent, components[components.length - 1], node);
    parent.sync();
  }

  /** Makes a directory with parents, durable at once. */
  plantDirectory(path: string): void {
    this.makeDirectories(split(path));
  }

  /** Makes a symbolic link or (no target) a FIFO, durable at once. */
  plantSpecial(path: string, target?: string): void {
    const components = split(path);
    const parent = this.makeDirectories(components.slice(0, -1));
    const node =
      target === undefined ? new SpecialNode(this.nextId(), this.nowUs()) : this.newSymlink(target);
    this.enter(parent, components[components.length - 1], node);
    parent.sync();
  }

  /** Every file by path with its bytes, as the running system sees it. */
  tree(): Map<string, Uint8Array> {
    const out = new Map<string, Uint8Array>();
    walk(this.top, "", (path, node) => void (node.kind === "file" && out.set(path, node.content())), false);
    return out;
  }

  /** Every file that a power cut now would leave for certain, with the bytes it would have. */
  durableTree(): Map<string, Uint8Array> {
    const out = new Map<string, Uint8Array>();
    walk(
      this.top,
      "",
      (path, node) => void (node.kind === "file" && out.set(path, node.durableContent())),
      true,
    );
    return out;
  }

  /** What a power cut now would leave for certain of every file that has a name, by identity. */
  durableContents(): Map<string, Uint8Array> {
    return new Map([...this.namedFiles()].map((node) => [`sim:${node.id}`, node.durableContent()]));
  }

  /** Changes a file in place behind everybody's back: what another program does to a source. */
  scribble(path: string, offset: number, bytes: Uint8Array): void {
    const node = this.find(this.top, split(path));
    assert(node?.kind === "file", `${path} is a file`);
    node.write(offset, bytes);
    this.touch(node);
  }

  /** The machine loses power: what was synced stays, and any subset of the rest. */
  protected losePower(random: SeededRandom): void {
    this.top.cutPower(random);
    const seen = new Map<FileNode, number>();
    countLinks(this.top, seen);
    for (const [node, links] of seen) node.links = links;
  }

  /** All files that have a name now. */
  protected namedFiles(): Set<FileNode> {
    const seen = new Set<FileNode>();
    collectFiles(this.top, seen);
    return seen;
  }

  protected newFile(mode: number): FileNode {
    return new FileNode(this.nextId(), mode, this.nowUs());
  }

  protected newDirectory(mode: number): DirectoryNode {
    return new DirectoryNode(this.nextId(), mode, this.nowUs());
  }

  protected newSymlink(target: string): SymlinkNode {
    return new SymlinkNode(this.nextId(), target, this.nowUs());
  }

  /** Dates a file whose bytes changed. */
  protected touch(node: FileNode): void {
    node.facts = { ...node.facts, modifiedAtUs: this.nowUs() };
    node.changedAtUs = this.nowUs();
  }

  /** Sets permissions and time, each unless it is `undefined`. */
  protected setFacts(
    node: FileNode | DirectoryNode,
    { mode, modifiedAtUs }: { readonly mode: number | undefined; readonly modifiedAtUs: number | undefined },
  ): void {
    node.facts = { mode: mode ?? node.facts.mode, modifiedAtUs: modifiedAtUs ?? node.facts.modifiedAtUs };
    if (node.kind === "file") node.changedAtUs = this.nowUs();
  }

  /** Gives a node a name. */
  protected enter(parent: DirectoryNode, name: string, node: DiskNode): void {
    if (node.kind === "file") node.links += 1;
    DirectoryNode.change({ effects: [{ directory: parent, name, node }] });
  }

  /** Takes the name from a node. */
  protected leave({ parent, name, node }: Place): void {
    if (node?.kind === "file") this.dropName(node);
    DirectoryNode.change({ effects: [{ directory: parent, name, node: undefined }] });
  }

  /** Counts one name less. */
  protected dropName(node: FileNode): void {
    node.links -= 1;
    node.changedAtUs = this.nowUs();
  }

  /** The node at the end of a path, or `undefined`. */
  protected find(from: DirectoryNode, components: readonly string[]): DiskNode | undefined {
    let node: DiskNode | undefined = from;
    for (const name of components) {
      if (node?.kind !== "directory") return undefined;
      node = node.entries.get(name);
    }
    return node;
  }

  /** The directory at the end of a path; what is missing is made, durable at once. */
  protected makeDirectories(components: readonly string[]): DirectoryNode {
    let parent = this.top;
    for (const name of components) {
      const next = parent.entries.get(name);
      if (next === undefined) {
        const made = this.newDirectory(0o755);
        this.enter(parent, name, made);
        parent.sync();
        parent = made;
      } else {
        assert(next.kind === "directory", `${name} is a directory`);
        parent = next;
      }
    }
    return parent;
  }

  /** What `lstat` tells of a node. */
  protected factsOf(node: DiskNode): EntryFacts {
    return {
      kind: node.kind,
      sizeBytes: node.kind === "file" ? node.sizeBytes : 0,
      mode: node.facts.mode,
      modifiedAtUs: node.facts.modifiedAtUs,
      changedAtUs: node.kind === "file" ? node.changedAtUs : node.facts.modifiedAtUs,
      identity: `sim:${node.id}`,
      links: node.kind === "file" ? node.links : 1,
    };
  }

  private nextId(): number {
    return ++this.lastId;
  }
}

/** The components of a path. */
export function split(path: string): string[] {
  return path.split("/").filter((part) => part !== "" && part !== ".");
}

function walk(
  directory: DirectoryNode,
  prefix: string,
  visit: (path: string, node: DiskNode) => void,
  isDurable: boolean,
): void {
  for (const [name, node] of isDurable ? directory.durableEntries : directory.entries) {
    visit(`${prefix}/${name}`, node);
    if (node.kind === "directory") walk(node, `${prefix}/${name}`, visit, isDurable);
  }
}

function collectFiles(directory: DirectoryNode, into: Set<FileNode>): void {
  walk(directory, "", (_path, node) => void (node.kind === "file" && into.add(node)), false);
}

function countLinks(directory: DirectoryNode, into: Map<FileNode, number>): void {
  walk(
    directory,
    "",
    (_path, node) => void (node.kind === "file" && into.set(node, (into.get(node) ?? 0) + 1)),
    false,
  );
}
