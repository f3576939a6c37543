/** Fuzz targets for what transfers read: control messages, journals, paths, rules, receipts. */
import { posix, win32 } from "node:path";
import { expect } from "vitest";
import { NAME_BYTES, PATH_BYTES, PATH_DEPTH } from "../../src/base/limits.ts";
import { factsOf, formatReceipt, parseReceipt } from "../../src/api/receipt.ts";
import { chunkCount, HASH_BYTES } from "../../src/files/hash-tree.ts";
import { emptyJournal, JournalDecoder, JournalEncoder } from "../../src/files/journal.ts";
import { collisionKey, isSafeLinkTarget, parseSafePath } from "../../src/files/safe-path.ts";
import type { ControlMessage } from "../../src/transfer/messages.ts";
import { MessageDecoder } from "../../src/transfer/control-stream.ts";
import { decodeMessage, encodeMessage, NO_HASH } from "../../src/transfer/messages.ts";
import { DEFAULT_OPTIONS } from "../../src/transfer/transfer-options.ts";
import { compileRules } from "../../src/transfer/path-rules.ts";
import { receiptMessage } from "../../src/transfer/receipt.ts";
import { answered, seedText, textOf, type FuzzTarget } from "./pool.ts";

const TOKEN = new Uint8Array(16).fill(7);

/** One message of each type, with something in every field. */
export const MESSAGES: readonly ControlMessage[] = [
  {
    type: "request",
    version: 1,
    mode: "push",
    options: DEFAULT_OPTIONS,
    transferId: TOKEN,
    destination: "d",
    paths: ["a/b", ""],
    rules: [{ include: false, pattern: "*.tmp" }],
  },
  {
    type: "entry",
    object: 0,
    kind: "file",
    path: "a",
    sizeBytes: 300_000,
    mode: 0o644,
    modifiedAtUs: -5,
    token: TOKEN,
    target: "",
  },
  {
    type: "entry",
    object: 1,
    kind: "symlink",
    path: "l",
    sizeBytes: 0,
    mode: 0o777,
    modifiedAtUs: undefined,
    token: TOKEN,
    target: "a",
  },
  { type: "entries-end", entries: 2, totalBytes: 300_000 },
  { type: "skipped", path: "s", isFailure: true, code: "SOURCE_CHANGED", text: "no" },
  { type: "accept", object: 0, mode: "data", have: [{ height: 1, index: 0, hash: NO_HASH }] },
  { type: "refuse", object: 0, code: "EXISTS", text: "there" },
  { type: "source-failed", object: 0, code: "SOURCE_CHANGED", text: "gone" },
  { type: "chunk-hashes", object: 0, firstChunk: 0, hashes: [NO_HASH, NO_HASH] },
  { type: "root", object: 0, sizeBytes: 300_000, root: NO_HASH },
  { type: "refetch", object: 0, ranges: [[0, 2]] },
  { type: "committed", object: 0, state: "committed", root: NO_HASH },
  {
    type: "receipt",
    root: NO_HASH,
    entries: 1,
    files: 1,
    bytes: 300_000,
    flushedAtMs: 1e12,
    signature: new Uint8Array(64),
  },
  { type: "result", code: undefined, text: "", committed: 1, failed: 0 },
  { type: "zero-chunks", object: 0, firstChunk: 0, count: 2 },
  { type: "progress", verifiedBytes: 5, unwrittenBytes: 65_536 },
  { type: "finished" },
  { type: "working" },
  { type: "totals", entries: 5_000, totalBytes: 123_456_789 },
  { type: "rejected", code: "NOT_AUTHORIZED", text: "no" },
];

/** Decodes a whole control stream; `undefined` if it is invalid. */
function messagesOf(bytes: Uint8Array, cutAt = bytes.length): ControlMessage[] | undefined {
  const decoder = new MessageDecoder();
  return answered(["DECODE"], () => [
    ...decoder.handleBytes(bytes.slice(0, cutAt)),
    ...decoder.handleBytes(bytes.slice(cutAt)),
  ]);
}

/** The body of an encoded message. */
function bodyOf(message: ControlMessage): Uint8Array {
  const bytes = encodeMessage(message);
  return bytes.subarray(1 << (bytes[0] >>> 6));
}

/** Control messages of a transfer. */
export const messages: FuzzTarget = {
  seeds: () => MESSAGES.map(encodeMessage),
  check(input) {
    const whole = messagesOf(input);
    expect(messagesOf(input, input.length >>> 1)).toEqual(whole);
    for (const message of whole ?? []) {
      // What is lossy (unknown codes, text that is no UTF-8, reserved bits) is lost in the first round.
      const once = answered(["DECODE"], () => decodeMessage(bodyOf(message)));
      if (once !== undefined) expect(decodeMessage(bodyOf(once))).toEqual(once);
    }
  },
};

/** A hash that is always the same, so that changed records keep a right checksum and are looked at. */
const noHash = (): Uint8Array => new Uint8Array(HASH_BYTES);

/** Records of a journal, behind its checksums. */
export const journal: FuzzTarget = {
  seeds: () => {
    const encoder = new JournalEncoder(noHash, emptyJournal(noHash), "job");
    const binding = { key: TOKEN, token: TOKEN, sizeBytes: 900_000 };
    const chunks = [0, 1, 3].map((index) => ({ index, contentHash: NO_HASH }));
    encoder.addFile(binding, "1:2");
    encoder.addChunks(TOKEN, chunks);
    encoder.addClean(TOKEN, {
      kind: "file",
      sizeBytes: 5,
      mode: 0,
      modifiedAtUs: 1,
      changedAtUs: 2,
      identity: "1:2",
    } as never);
    encoder.addIntent(binding, NO_HASH, "1:2");
    const kept = encoder.take();
    encoder.addForget(TOKEN);
    return [kept, Uint8Array.of(...kept, ...encoder.take())];
  },
  check(input) {
    const decoder = new JournalDecoder(noHash, "job");
    decoder.handleBytes(input.slice(0, input.length >>> 1));
    if (!decoder.hasStopped) decoder.handleBytes(input.slice(input.length >>> 1));
    const contents = decoder.finish();
    if (contents.validBytes > input.length) throw new Error("more valid bytes than bytes");
    if (contents.validBytes < input.length && contents.damage === undefined)
      throw new Error("an end that is not used and not named");
    for (const { have, sizeBytes } of contents.files.values())
      if (have.rangeCount > 0 && have.endAt(have.rangeCount - 1) > chunkCount(sizeBytes))
        throw new Error("chunks beyond the end of a file");
  },
};

/** Names and link targets from a peer: two lines, the path and the target. */
export const safePath: FuzzTarget = {
  seeds: () =>
    seedText(
      "a/b\nc",
      "a/b/c\n../../x",
      "..\n..",
      "C:\\x\n/etc",
      "a\u0000b\nc\\d",
      "CON.txt\n%2e%2e/x",
      "~\n~",
    ),
  check(input) {
    const bytePath = answered(["UNSAFE_NAME"], () => parseSafePath(input));
    const [text, target = ""] = textOf(input).split("\n", 2);
    const path = answered(["UNSAFE_NAME"], () => parseSafePath(text));
    for (const safe of [bytePath, path]) {
      if (safe === undefined) continue;
      if (!posix.resolve("/r", safe.text).startsWith("/r/")) throw new Error("leaves the root");
      if (!win32.resolve("C:\\r", safe.text).startsWith("C:\\r\\"))
        throw new Error("leaves the root on Windows");
      if (posix.normalize(safe.text) !== safe.text) throw new Error("two names for one place");
      if (safe.components.length > PATH_DEPTH) throw new Error("too deep");
      if (Buffer.byteLength(safe.text) > PATH_BYTES) throw new Error("too long");
      if (safe.components.some((name) => Buffer.byteLength(name) > NAME_BYTES))
        throw new Error("a name too long");
      // oxlint-disable-next-line no-control-regex
      if (/[\u0000-\u001f\u007f-\u009f\\:]/.test(safe.text)) throw new Error("a forbidden character");
      collisionKey(safe.text);
      if (isSafeLinkTarget(safe, target)) {
        const at = posix.resolve("/r", posix.dirname(safe.text), target);
        if (at !== "/r" && !at.startsWith("/r/")) throw new Error("a link out of the root");
      }
    }
  },
};

/** Include and exclude rules from a peer: the last line is the name they are tried on. */
export const rules: FuzzTarget = {
  seeds: () => seedText("*.tmp\na/b.tmp", "/a/**/c/\n**\na/b/c", "a*a*a*a*b\naaaaaaaaaaaaaaaaaaa", "?\n["),
  check(input) {
    const lines = textOf(input).split("\n");
    const name = (lines.pop() ?? "").split("/");
    const filter = answered(["USAGE"], () =>
      compileRules(lines.map((pattern, index) => ({ include: index % 2 === 0, pattern }))),
    );
    filter?.(name, true);
    filter?.(name, false);
  },
};

/** Receipt files. */
export const receipt: FuzzTarget = {
  seeds: () => {
    const party = { fingerprint: "F", key: "ab".repeat(32) };
    const entry = { kind: "file" as const, path: "a", sizeBytes: 5, root: "cd".repeat(32), target: "" };
    const text = formatReceipt({
      godwit: "receipt",
      version: 1,
      root: "ab".repeat(32),
      files: 1,
      bytes: 5,
      flushedAt: "2026-11-21T08:29:00.000Z",
      transferId: "ab".repeat(16),
      sender: party,
      receiver: party,
      signature: "ab".repeat(64),
      entries: [entry, { ...entry, kind: "symlink", root: "", target: "x", sizeBytes: 0 }],
    });
    return seedText(text);
  },
  check(input) {
    const parsed = answered(["USAGE"], () => parseReceipt(textOf(input)));
    if (parsed === undefined) return;
    receiptMessage(factsOf(parsed), new Uint8Array(16), new Uint8Array(32), new Uint8Array(32));
    expect(parseReceipt(formatReceipt(parsed))).toEqual(parsed);
  },
};
