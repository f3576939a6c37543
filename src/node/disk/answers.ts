/** What the operating system says, in the words of `src/files/disk.ts`: facts, kinds, failures. */
import { constants, type BigIntStats, type Dirent } from "node:fs";
import type { DiskFailure, EntryFacts, EntryKind, ListedEntry } from "../../files/disk.ts";

/** Done, and there is no more to say. */
export const OK = { ok: true } as const;

/** Flags for opening; 0 where the system does not have them. */
export const NOFOLLOW = constants.O_NOFOLLOW ?? 0;
const NONBLOCK = constants.O_NONBLOCK ?? 0;

/** Operations that open a file. */
export type OpeningKind = "open-source" | "open-staging" | "create-staging";

/** How each of them opens: never through a link, never waiting for a FIFO. */
export const OPEN_FLAGS: Readonly<Record<OpeningKind, number>> = {
  "open-source": constants.O_RDONLY | NONBLOCK | NOFOLLOW,
  "open-staging": constants.O_RDWR | NONBLOCK | NOFOLLOW,
  "create-staging": constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | NOFOLLOW,
};

/** Not a file to read or write. The system says EISDIR of a directory opened for writing, before we can look. */
export const NOT_REGULAR = { ok: false, errno: "ENOTREG" } as const;

/** Whether what was opened is what `kind` may open. */
export function isWelcome(kind: OpeningKind, status: BigIntStats): boolean {
  if (!status.isFile()) return false;
  if (kind !== "open-staging") return true;
  return status.nlink === 1n && (process.getuid === undefined || status.uid === BigInt(process.getuid()));
}

/** The failure of a call: the system's code, or EIO for what has none. */
export function failure(error: unknown): DiskFailure {
  const code = (error as NodeJS.ErrnoException | null)?.code;
  return { ok: false, errno: typeof code === "string" && code.startsWith("E") ? code : "EIO" };
}

/** What a name is. */
export function kindOf(entry: Pick<Dirent, "isFile" | "isDirectory" | "isSymbolicLink">): EntryKind {
  if (entry.isFile()) return "file";
  if (entry.isDirectory()) return "directory";
  return entry.isSymbolicLink() ? "symlink" : "special";
}

/** The facts of a name or an open file; times in microseconds. */
export function factsOf(status: BigIntStats): EntryFacts {
  return {
    kind: kindOf(status),
    sizeBytes: Number(status.size),
    mode: Number(status.mode & 0o7777n),
    modifiedAtUs: Number(status.mtimeNs / 1_000n),
    changedAtUs: Number(status.ctimeNs / 1_000n),
    identity: `${status.dev}:${status.ino}`,
    links: Number(status.nlink),
  };
}

/** An entry of a listing that was opened with names as bytes. */
export function listed(entry: Dirent): ListedEntry {
  const bytes = entry.name as unknown as Buffer;
  const name = bytes.toString("utf8");
  return { name, isExactName: Buffer.from(name, "utf8").equals(bytes), kind: kindOf(entry) };
}
