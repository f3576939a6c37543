/** `verifyReceipt()`: checks a receipt's signature, and files against it. */
import { constants } from "node:fs";
import { lstat, open, readlink } from "node:fs/promises";
import { join } from "node:path";
import { fromHex, toHex } from "../base/bytes.ts";
import { GodwitError } from "../base/errors.ts";
import { CHUNK_BYTES } from "../base/limits.ts";
import { HashForest, type Hash } from "../files/hash-tree.ts";
import { parseSafePath } from "../files/safe-path.ts";
import { nodeCryptoProvider } from "../node/crypto/provider.ts";
import { loadBlake3 } from "../node/hash.ts";
import { fingerprintOf, parseFingerprint } from "../transport/fingerprint.ts";
import { DurableEntries, receiptMessage, type ReceiptEntry } from "../transfer/receipt.ts";
import { factsOf, parseReceipt, type Receipt } from "./receipt.ts";

/** What to check beside the signature. */
export interface VerifyReceiptOptions {
  /** Directory that holds the entries under the paths they were sent as. */
  readonly directory?: string | undefined;
  /** Fingerprint of the receiver that must have signed. */
  readonly by?: string | undefined;
}

/** An entry that is not as the receipt says. */
export interface ReceiptDifference {
  readonly path: string;
  readonly kind: "missing" | "different" | "unreadable";
  readonly text: string;
}

/** A receipt whose signature holds. */
export interface ReceiptVerdict {
  readonly root: string;
  readonly files: number;
  readonly bytes: number;
  readonly flushedAt: string;
  /** Fingerprints. */
  readonly sender: string;
  readonly receiver: string;
  /** Entries compared; 0 without a directory. */
  readonly compared: number;
  readonly differences: readonly ReceiptDifference[];
}

/**
 * Checks a receipt: its text, or parsed.
 *
 * @throws GodwitError USAGE when it is none, BAD_SIGNATURE when its signature or its list does not hold,
 *   PIN_MISMATCH when somebody else signed than `by`.
 */
export async function verifyReceipt(
  receipt: unknown,
  options: VerifyReceiptOptions = {},
): Promise<ReceiptVerdict> {
  const parsed = parseReceipt(receipt);
  const hash = await loadBlake3();
  const receiver = checkSigned(parsed, hash, options.by);
  const differences: ReceiptDifference[] = [];
  const { directory } = options;
  if (directory !== undefined) {
    for (const entry of parsed.entries) {
      const difference = await compareEntry(directory, entry, hash);
      if (difference !== undefined) differences.push(difference);
    }
  }
  return {
    root: parsed.root,
    files: parsed.files,
    bytes: parsed.bytes,
    flushedAt: parsed.flushedAt,
    sender: parsed.sender.fingerprint,
    receiver,
    compared: directory === undefined ? 0 : parsed.entries.length,
    differences,
  };
}

/** RECEIPTS §4. Returns the fingerprint of who signed. */
function checkSigned(receipt: Receipt, hash: Hash, by: string | undefined): string {
  const crypto = nodeCryptoProvider();
  const bad = (why: string): GodwitError =>
    new GodwitError("BAD_SIGNATURE", `the receipt does not hold: ${why}`);
  const senderKey = fromHex(receipt.sender.key);
  const receiverKey = fromHex(receipt.receiver.key);
  const message = receiptMessage(factsOf(receipt), fromHex(receipt.transferId), senderKey, receiverKey);
  if (!crypto.verifySignature(receiverKey, message, fromHex(receipt.signature)))
    throw bad("it was not signed by the key it names, or it was changed");
  const fingerprint = fingerprintOf(receiverKey, crypto);
  if (
    fingerprint !== receipt.receiver.fingerprint ||
    fingerprintOf(senderKey, crypto) !== receipt.sender.fingerprint
  )
    throw bad("a fingerprint is not that of its key");
  const entries = new DurableEntries(hash);
  receipt.entries.forEach((entry, object) =>
    entries.add({ object, ...entry }, entry.sizeBytes, fromHex(entry.root)),
  );
  if (toHex(entries.root()) !== receipt.root) throw bad("the list of entries is not the one that was signed");
  if (by !== undefined && parseFingerprint(by) !== fingerprint)
    throw new GodwitError(
      "PIN_MISMATCH",
      `the receipt was signed by ${fingerprint}, not by ${parseFingerprint(by)}`,
    );
  return fingerprint;
}

async function compareEntry(
  directory: string,
  entry: ReceiptEntry,
  hash: Hash,
): Promise<ReceiptDifference | undefined> {
  const { path } = entry;
  const different = (text: string): ReceiptDifference => ({ path, kind: "different", text });
  try {
    // The list is signed, but by somebody else: its names go through the same door as a sender's.
    const location = join(directory, ...parseSafePath(path).components);
    const facts = await lstat(location);
    if (entry.kind === "directory") return facts.isDirectory() ? undefined : different("is no directory");
    if (entry.kind === "symlink") {
      if (!facts.isSymbolicLink()) return different("is no link");
      return (await readlink(location)) === entry.target ? undefined : different("leads somewhere else");
    }
    if (!facts.isFile()) return different("is no regular file");
    if (facts.size !== entry.sizeBytes)
      return different(`has ${facts.size} bytes instead of ${entry.sizeBytes}`);
    const root = await fileRoot(location, entry.sizeBytes, hash);
    return root === entry.root ? undefined : different("has other contents");
  } catch (error) {
    if (error instanceof GodwitError) return { path, kind: "unreadable", text: error.message };
    const code = (error as NodeJS.ErrnoException).code ?? "error";
    if (code === "ENOENT" || code === "ENOTDIR") return { path, kind: "missing", text: "is missing" };
    return { path, kind: "unreadable", text: `cannot be read (${code})` };
  }
}

/** Root of the hash tree over a file, hexadecimal; `""` when it has another size meanwhile. */
async function fileRoot(location: string, sizeBytes: number, hash: Hash): Promise<string> {
  const {
    O_RDONLY,
    O_NOFOLLOW = 0,
    O_NONBLOCK = 0,
  } = constants as Partial<typeof constants> & {
    O_RDONLY: number;
  };
  const file = await open(location, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  try {
    const forest = new HashForest(hash);
    const chunk = new Uint8Array(CHUNK_BYTES);
    for (let index = 0, at = 0; at < sizeBytes; index++) {
      let filled = 0;
      const wanted = Math.min(CHUNK_BYTES, sizeBytes - at);
      while (filled < wanted) {
        const { bytesRead } = await file.read(chunk, filled, wanted - filled, at + filled);
        if (bytesRead === 0) return "";
        filled += bytesRead;
      }
      forest.addChunk(index, filled, hash(chunk.subarray(0, filled)));
      at += filled;
    }
    return toHex(forest.root(sizeBytes) ?? new Uint8Array(0));
  } finally {
    await file.close();
  }
}
