/**
 * Turns components below a root into a path that no symbolic link can bend.
 *
 * On Linux each parent is opened by handle (`O_DIRECTORY|O_NOFOLLOW`) from the one above, and the
 * last name is used through `/proc/self/fd/N/name`: a directory that is swapped for a link while
 * we look leads to an error, never outside. Elsewhere every parent is checked with `lstat` first; a
 * local user who may write in the destination can win that race (documented in SECURITY.md).
 */
import { closeSync, constants, existsSync, lstatSync, openSync } from "node:fs";
import { join } from "node:path";

/** Linux's O_PATH, which Node does not name: a handle for naming only, needs no read permission. */
const O_PATH = 0o10_000_000;

const IS_LINUX = process.platform === "linux" && existsSync("/proc/self/fd");

/** A path to use now, and what must be released after its use. */
export interface ConfinedPath {
  readonly path: string;
  /** Closes the handles that keep `path` meaningful. */
  readonly release: () => void;
}

/** An opened root directory. */
export interface Root {
  /** Absolute path as it was opened, for platforms without handles. */
  readonly location: string;
  /** Directory handle, or -1 on platforms without. */
  readonly descriptor: number;
}

function systemError(code: string): NodeJS.ErrnoException {
  return Object.assign(new Error(code), { code });
}

const nothing = (): void => undefined;

/** Opens `location` as a root; links in it are followed. @throws the system's error. */
export function openRoot(location: string): Root {
  if (!IS_LINUX) {
    if (!lstatSync(join(location, ".")).isDirectory()) throw systemError("ENOTDIR");
    return { location, descriptor: -1 };
  }
  const descriptor = openSync(location, O_PATH | constants.O_DIRECTORY);
  return { location, descriptor };
}

/** Gives the root's handle back. */
export function closeRoot(root: Root): void {
  if (root.descriptor >= 0) closeSync(root.descriptor);
}

/** A parent directory that is held open, and by how many. */
interface HeldParent {
  readonly root: Root;
  readonly components: readonly string[];
  readonly descriptor: number;
  holders: number;
}

/**
 * Confines paths. The parent of the last path is kept for the next ones of the same directory until
 * `forget` is called, which the owner does before anybody else could have changed the tree and relied on it:
 * at the end of what it does in one go.
 */
export class PathConfiner {
  private last: HeldParent | undefined;

  /**
   * A path for the entry `components` below `root` (the root itself when empty), valid until released.
   *
   * @throws the system's error (`ELOOP` or `ENOTDIR` for a link in place of a parent directory).
   */
  confine(root: Root, components: readonly string[]): ConfinedPath {
    if (!IS_LINUX) return confineByLooking(root, components);
    const depth = components.length - 1;
    if (depth < 0) return { path: `/proc/self/fd/${root.descriptor}/.`, release: nothing };
    const name = components[depth];
    if (depth === 0) return { path: `/proc/self/fd/${root.descriptor}/${name}`, release: nothing };
    let held = this.last;
    if (held === undefined || held.root !== root || !isParent(held.components, components)) {
      this.forget();
      held = {
        root,
        components: components.slice(0, depth),
        descriptor: openParent(root, components),
        holders: 1,
      };
      this.last = held;
    }
    const parent = held;
    parent.holders++;
    return { path: `/proc/self/fd/${parent.descriptor}/${name}`, release: () => giveBack(parent) };
  }

  /** Whether a parent is kept. */
  get holdsParent(): boolean {
    return this.last !== undefined;
  }

  /** The next path is looked up from its root. */
  forget(): void {
    if (this.last !== undefined) giveBack(this.last);
    this.last = undefined;
  }
}

function giveBack(parent: HeldParent): void {
  parent.holders--;
  if (parent.holders === 0) closeSync(parent.descriptor);
}

/** Whether `parent` is all of `components` but the last. */
function isParent(parent: readonly string[], components: readonly string[]): boolean {
  if (parent.length !== components.length - 1) return false;
  // From the end: that is where neighbours differ.
  for (let i = parent.length - 1; i >= 0; i--) if (parent[i] !== components[i]) return false;
  return true;
}

/** Opens the directory above the last of `components`, each from the one above it. */
function openParent(root: Root, components: readonly string[]): number {
  let parent = root.descriptor;
  for (let i = 0; i < components.length - 1; i++) {
    let next: number;
    try {
      next = openSync(
        `/proc/self/fd/${parent}/${components[i]}`,
        O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW,
      );
    } finally {
      if (parent !== root.descriptor) closeSync(parent);
    }
    parent = next;
  }
  return parent;
}

function confineByLooking(root: Root, components: readonly string[]): ConfinedPath {
  let path = root.location;
  for (let i = 0; i < components.length - 1; i++) {
    path = join(path, components[i]);
    const status = lstatSync(path);
    if (status.isSymbolicLink()) throw systemError("ELOOP");
    if (!status.isDirectory()) throw systemError("ENOTDIR");
  }
  const last = components[components.length - 1];
  return { path: last === undefined ? path : join(path, last), release: nothing };
}
