/** What a disk holds open below its roots, by the numbers that operations name. */
import type { Dir } from "node:fs";
import { assert } from "../../base/assert.ts";
import { closeRoot, PathConfiner, type Root } from "./confined-path.ts";

/** A directory that is being listed, and where it is. */
export interface OpenDirectory {
  readonly directory: Dir;
  readonly root: number;
  readonly path: readonly string[];
}

/** Roots and listings, and the way to names below a root. */
export class OpenHandles {
  readonly confiner = new PathConfiner();
  private readonly roots = new Map<number, Root>();
  private readonly directories = new Map<number, OpenDirectory>();
  private nextHandle = 1;

  /** Keeps a root; returns its number. */
  addRoot(root: Root): number {
    const handle = this.nextHandle++;
    this.roots.set(handle, root);
    return handle;
  }

  /** Keeps a listing; returns its number. */
  addDirectory(directory: OpenDirectory): number {
    const handle = this.nextHandle++;
    this.directories.set(handle, directory);
    return handle;
  }

  /** An open root. */
  root(handle: number): Root {
    const root = this.roots.get(handle);
    assert(root !== undefined, "root is open");
    return root;
  }

  /** An open listing. */
  directory(handle: number): OpenDirectory {
    const directory = this.directories.get(handle);
    assert(directory !== undefined, "directory is open");
    return directory;
  }

  /** Closes a root. */
  closeRoot(handle: number): void {
    closeRoot(this.root(handle));
    this.roots.delete(handle);
  }

  /** Hands out a listing to be closed. */
  takeDirectory(handle: number): Dir {
    const { directory } = this.directory(handle);
    this.directories.delete(handle);
    return directory;
  }

  /** Closes everything. */
  close(): void {
    for (const { directory } of this.directories.values()) directory.close(() => undefined);
    this.directories.clear();
    for (const root of this.roots.values()) closeRoot(root);
    this.roots.clear();
    this.confiner.forget();
  }
}
