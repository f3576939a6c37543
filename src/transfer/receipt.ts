/**
 * Receipts: the root over everything that a transfer made durable, and the receiver's signed word for
 * it. Pure; keys and the wall clock come in as values. Source: docs/spec/receipts.md.
 */
import { concatBytes, toHex, writeUint32 } from "../base/bytes.ts";
import { encodeUtf8 } from "../base/utf8.ts";
import { HASH_BYTES, type Hash } from "../files/hash-tree.ts";
import type { OfferedKind } from "./entry-message.ts";

const KINDS: readonly OfferedKind[] = ["file", "directory", "symlink"];
const LABEL = encodeUtf8("godwit receipt v1");

/** Bytes of an Ed25519 signature. */
export const SIGNATURE_BYTES = 64;

/** One durable entry, as both sides know it. */
export interface ReceiptEntry {
  readonly kind: OfferedKind;
  /** As the sender offered it. */
  readonly path: string;
  /** 0 unless it is a file. */
  readonly sizeBytes: number;
  /** A file's root, hexadecimal; `""` for others. */
  readonly root: string;
  /** Target of a link, else `""`. */
  readonly target: string;
}

/** What a receiver states. */
export interface ReceiptFacts {
  /** Root over all entries, see `EntryLeaves`. */
  readonly root: Uint8Array;
  readonly entries: number;
  readonly files: number;
  readonly bytes: number;
  /** Wall time of the receiver when everything was durable, in milliseconds since 1970. */
  readonly flushedAtMs: number;
}

/** Facts and the receiver's signature over them and what they belong to. */
export interface SignedReceipt extends ReceiptFacts {
  readonly transferId: Uint8Array;
  readonly senderKey: Uint8Array;
  readonly receiverKey: Uint8Array;
  readonly signature: Uint8Array;
  /** The entries behind `root`, in their order. */
  readonly list: readonly ReceiptEntry[];
}

/** What a session needs to give or to check receipts. */
export interface ReceiptHost {
  /** Ed25519 public key of this side. */
  readonly ownKey: Uint8Array;
  sign(message: Uint8Array): Uint8Array;
  verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean;
  /** Wall time in milliseconds since 1970. */
  wallTimeMs(): number;
  /** A sender keeps the list of entries, and with it can show a receipt later. */
  readonly keepsList: boolean;
}

/** RECEIPTS §2: H(03 | kind | size (8) | content (32) | path). */
export function entryLeaf(
  hash: Hash,
  kind: OfferedKind,
  sizeBytes: number,
  content: Uint8Array,
  path: string,
): Uint8Array {
  const head = new Uint8Array(10);
  head[0] = 3;
  head[1] = KINDS.indexOf(kind);
  writeUint64(head, 2, sizeBytes);
  return hash(concatBytes(head, content, encodeUtf8(path)));
}

/** The content of an entry in its leaf: a file's root, the hash of a link's target, zeros for a directory. */
export function leafContent(hash: Hash, kind: OfferedKind, root: Uint8Array, target: string): Uint8Array {
  if (kind === "file") return root;
  return kind === "symlink" ? hash(encodeUtf8(target)) : new Uint8Array(HASH_BYTES);
}

/** Leaves of the durable entries by their number, packed: a million of them take 33 MB. */
export class EntryLeaves {
  private bytes = new Uint8Array(0);
  private count = 0;

  /** Entries added. */
  get size(): number {
    return this.count;
  }

  /** Adds the leaf of entry `object`; a second one for it is ignored. */
  add(object: number, leaf: Uint8Array): void {
    const at = object * (HASH_BYTES + 1);
    if (at >= this.bytes.length) {
      const grown = new Uint8Array(Math.max(2 * this.bytes.length, at + 64 * (HASH_BYTES + 1)));
      grown.set(this.bytes);
      this.bytes = grown;
    }
    if (this.bytes[at] === 1) return;
    this.bytes[at] = 1;
    this.bytes.set(leaf, at + 1);
    this.count++;
  }

  /** The leaf of entry `object`, which was added. */
  leaf(object: number): Uint8Array {
    const at = object * (HASH_BYTES + 1) + 1;
    return this.bytes.subarray(at, at + HASH_BYTES);
  }

  /** RECEIPTS §2: H(04 | number of entries (8) | leaves in the order of the entries). */
  root(hash: Hash): Uint8Array {
    const all = new Uint8Array(9 + HASH_BYTES * this.count);
    all[0] = 4;
    writeUint64(all, 1, this.count);
    let to = 9;
    for (let at = 0; at < this.bytes.length; at += HASH_BYTES + 1) {
      if (this.bytes[at] !== 1) continue;
      all.set(this.bytes.subarray(at + 1, at + 1 + HASH_BYTES), to);
      to += HASH_BYTES;
    }
    return hash(all);
  }
}

/** The bytes that are signed. RECEIPTS §3. */
export function receiptMessage(
  facts: ReceiptFacts,
  transferId: Uint8Array,
  senderKey: Uint8Array,
  receiverKey: Uint8Array,
): Uint8Array {
  const numbers = new Uint8Array(32);
  writeUint64(numbers, 0, facts.entries);
  writeUint64(numbers, 8, facts.files);
  writeUint64(numbers, 16, facts.bytes);
  writeUint64(numbers, 24, facts.flushedAtMs);
  return concatBytes(LABEL, facts.root, numbers, transferId, senderKey, receiverKey);
}

/** The durable entries of one transfer: their leaves, and their list when it is wanted. */
export class DurableEntries {
  private readonly hash: Hash;
  private readonly leaves = new EntryLeaves();
  private readonly list: Omit<ReceiptEntry, "root">[] | undefined;
  /** Roots of the entries in `list`, packed: as text they would be most of its memory. */
  private readonly roots = new EntryLeaves();

  constructor(hash: Hash, keepsList = false) {
    this.hash = hash;
    this.list = keepsList ? [] : undefined;
  }

  /** Entries added. */
  get size(): number {
    return this.leaves.size;
  }

  /** Root over all entries; hexadecimal, `""` without entries. */
  get rootHex(): string {
    return this.size === 0 ? "" : toHex(this.root());
  }

  /** Root over all entries. */
  root(): Uint8Array {
    return this.leaves.root(this.hash);
  }

  /** An offered entry became durable. `root` counts for files only. */
  add(
    entry: {
      readonly object: number;
      readonly kind: OfferedKind;
      readonly path: string;
      readonly target: string;
    },
    sizeBytes: number,
    root: Uint8Array,
  ): void {
    const { object, kind, path, target } = entry;
    const isFile = kind === "file";
    const size = isFile ? sizeBytes : 0;
    const { hash, list } = this;
    this.leaves.add(object, entryLeaf(hash, kind, size, leafContent(hash, kind, root, target), path));
    if (list === undefined) return;
    list[object] = { kind, path, sizeBytes: size, target };
    this.roots.add(object, root);
  }

  /** The entries in their order, if they were kept. */
  kept(): readonly ReceiptEntry[] {
    const entries: ReceiptEntry[] = [];
    // Failed entries leave holes, which forEach skips.
    this.list?.forEach(({ kind, path, sizeBytes, target }, object) => {
      const root = kind === "file" ? toHex(this.roots.leaf(object)) : "";
      entries.push({ kind, path, sizeBytes, root, target });
    });
    return entries;
  }
}

function writeUint64(bytes: Uint8Array, at: number, value: number): void {
  writeUint32(bytes, at, Math.floor(value / 0x1_0000_0000));
  writeUint32(bytes, at + 4, value % 0x1_0000_0000);
}
