/** Receipts as programs and files see them. Form: docs/spec/receipts.md §5. */
import * as v from "valibot";
import { fromHex, toHex } from "../base/bytes.ts";
import { GodwitError } from "../base/errors.ts";
import type { Identity } from "../node/stores/identity.ts";
import type { CryptoProvider } from "../transport/crypto.ts";
import { fingerprintOf } from "../transport/fingerprint.ts";
import type { ReceiptFacts, ReceiptHost, SignedReceipt } from "../transfer/receipt.ts";

const Hex32 = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));
const Count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const Party = v.object({ fingerprint: v.string(), key: Hex32 });
const ReceiptFile = v.object({
  godwit: v.literal("receipt"),
  version: v.literal(1),
  root: Hex32,
  files: Count,
  bytes: Count,
  flushedAt: v.pipe(v.string(), v.isoTimestamp()),
  transferId: v.pipe(v.string(), v.regex(/^[0-9a-f]{32}$/)),
  sender: Party,
  receiver: Party,
  signature: v.pipe(v.string(), v.regex(/^[0-9a-f]{128}$/)),
  entries: v.array(
    v.object({
      kind: v.picklist(["file", "directory", "symlink"]),
      path: v.string(),
      sizeBytes: Count,
      root: v.union([v.literal(""), Hex32]),
      target: v.string(),
    }),
  ),
});

/** A receiver's signed word that it has these entries, verified and flushed. */
export type Receipt = v.InferOutput<typeof ReceiptFile>;

/** What sessions need to give and check receipts as `identity`. */
export function receiptHost(identity: Identity, crypto: CryptoProvider, keepsList: boolean): ReceiptHost {
  return {
    ownKey: identity.signing.publicKey,
    sign: (message) => identity.signing.sign(message),
    verify: (publicKey, message, signature) => crypto.verifySignature(publicKey, message, signature),
    wallTimeMs: () => Date.now(),
    keepsList,
  };
}

/** The receipt of a session in its lasting form. */
export function receiptOf(signed: SignedReceipt, crypto: CryptoProvider): Receipt {
  const party = (key: Uint8Array): Receipt["sender"] => ({
    fingerprint: fingerprintOf(key, crypto),
    key: toHex(key),
  });
  return {
    godwit: "receipt",
    version: 1,
    root: toHex(signed.root),
    files: signed.files,
    bytes: signed.bytes,
    flushedAt: new Date(signed.flushedAtMs).toISOString(),
    transferId: toHex(signed.transferId),
    sender: party(signed.senderKey),
    receiver: party(signed.receiverKey),
    signature: toHex(signed.signature),
    entries: [...signed.list],
  };
}

/** What the signature of a receipt is about. */
export function factsOf(receipt: Receipt): ReceiptFacts {
  return {
    root: fromHex(receipt.root),
    entries: receipt.entries.length,
    files: receipt.files,
    bytes: receipt.bytes,
    flushedAtMs: Date.parse(receipt.flushedAt),
  };
}

/** The text of a receipt file: one entry a line. */
export function formatReceipt(receipt: Receipt): string {
  const { entries, ...head } = receipt;
  const lines = entries.map((entry) => `    ${JSON.stringify(entry)}`).join(",\n");
  return `${JSON.stringify(head, undefined, 2).slice(0, -2)},\n  "entries": [\n${lines}\n  ]\n}\n`;
}

/** Reads a receipt from its text or its parsed form. @throws GodwitError USAGE when it is none. */
export function parseReceipt(receipt: unknown): Receipt {
  let value = receipt;
  if (typeof receipt === "string") {
    try {
      value = JSON.parse(receipt);
    } catch {
      value = undefined;
    }
  }
  const checked = v.safeParse(ReceiptFile, value);
  if (!checked.success)
    throw new GodwitError("USAGE", "this is not a receipt of version 1, as godwit send --receipt writes it");
  return checked.output;
}
