/**
 * Control messages of a transfer: what is asked, offered, accepted, verified and committed.
 * Wire form and meaning: docs/spec/transfer.md. File data travels beside them, by object and offset.
 */
import { unreachable } from "../base/assert.ts";
import { ByteReader, ByteWriter } from "../base/bytes.ts";
import type { ErrorCode } from "../base/errors.ts";
import { DecodeError, ERRORS, errorCodeFromWire } from "../base/errors.ts";
import { HASHES_PER_MESSAGE, PATH_BYTES, REFETCH_RANGES, SUBTREES_PER_ACCEPT } from "../base/limits.ts";
import { decodeUtf8Lossy } from "../base/utf8.ts";
import type { Subtree } from "../files/hash-tree.ts";
import { HASH_BYTES, TREE_HEIGHT } from "../files/hash-tree.ts";
import type { EntryMessage } from "./entry-message.ts";
import { readEntry, writeEntry } from "./entry-message.ts";
import { readChoice, readCode, readCount, readPeerText, writePeerText, writeText } from "./message-fields.ts";
import { SIGNATURE_BYTES } from "./receipt.ts";
import type { RelayMessage } from "./relay/relay-messages.ts";
import { isRelayMessage, readRelayMessage, RELAY_CODES, writeRelayMessage } from "./relay/relay-messages.ts";
import type { RequestMessage } from "./request-message.ts";
import { readRequest, writeRequest } from "./request-message.ts";

/** Whether the sender shall send data and hashes, or hashes first. */
export type AcceptMode = "data" | "hashes";

/** All messages. */
export type ControlMessage =
  | RequestMessage
  | EntryMessage
  | RelayMessage
  /** All entries were offered. Counts what was offered. */
  | {
      readonly type: "entries-end";
      readonly entries: number;
      readonly totalBytes: number;
    }
  /** An entry of the source that is not offered, and why. `isFailure`: it should have been. */
  | {
      readonly type: "skipped";
      readonly path: string;
      readonly isFailure: boolean;
      readonly code: ErrorCode;
      readonly text: string;
    }
  | {
      readonly type: "accept";
      readonly object: number;
      readonly mode: AcceptMode;
      /** Subtrees that the receiver has verified already. */
      readonly have: readonly Subtree[];
    }
  /** `refuse`: the receiver will not take, or gave up, an object. `source-failed`: the sender cannot go on with it. */
  | {
      readonly type: "refuse" | "source-failed";
      readonly object: number;
      readonly code: ErrorCode;
      readonly text: string;
    }
  | {
      readonly type: "chunk-hashes";
      readonly object: number;
      readonly firstChunk: number;
      readonly hashes: readonly Uint8Array[];
    }
  | {
      readonly type: "root";
      readonly object: number;
      readonly sizeBytes: number;
      readonly root: Uint8Array;
    }
  /** Send these chunks (again). */
  | {
      readonly type: "refetch";
      readonly object: number;
      readonly ranges: readonly (readonly [start: number, end: number])[];
    }
  /** The object is durable under its final name, or was there already. */
  | {
      readonly type: "committed";
      readonly object: number;
      /** `planned` and `replacing`: a dry run would have made, or replaced it. */
      readonly state: "committed" | "unchanged" | "planned" | "replacing";
      readonly root: Uint8Array;
    }
  /** What the receiver signs, before its `result`. docs/spec/receipts.md */
  | {
      readonly type: "receipt";
      readonly root: Uint8Array;
      readonly entries: number;
      readonly files: number;
      readonly bytes: number;
      readonly flushedAtMs: number;
      readonly signature: Uint8Array;
    }
  /** The receiver's last word; `code` is `undefined` for complete success. */
  | {
      readonly type: "result";
      readonly code: ErrorCode | undefined;
      readonly text: string;
      readonly committed: number;
      readonly failed: number;
    }
  /** Chunks that hold nothing but zeros: no data comes for them. Only with the option `sparse`. */
  | {
      readonly type: "zero-chunks";
      readonly object: number;
      readonly firstChunk: number;
      readonly count: number;
    }
  /** Bytes the receiver has verified so far, those of earlier runs included. For showing only. */
  | { readonly type: "progress"; readonly verifiedBytes: number; readonly unwrittenBytes: number }
  /** What a long list will come to, counted ahead: before it, no data is asked for. */
  | { readonly type: "totals"; readonly entries: number; readonly totalBytes: number }
  /** This side is busy by itself, with a disk or a pipe: it is still there, and will go on. */
  | { readonly type: "working" }
  /** The sender's answer to `result`: nothing more will come. */
  | { readonly type: "finished" }
  /** The answering side does not do what was requested. Last message of its side. */
  | { readonly type: "rejected"; readonly code: ErrorCode; readonly text: string };

/** No hash: for entries without contents. */
export const NO_HASH: Uint8Array = new Uint8Array(HASH_BYTES);

const TYPE_CODES = {
  request: 1,
  entry: 2,
  "entries-end": 3,
  skipped: 4,
  accept: 5,
  refuse: 6,
  "chunk-hashes": 7,
  root: 8,
  "source-failed": 9,
  refetch: 10,
  committed: 11,
  result: 12,
  finished: 13,
  rejected: 14,
  progress: 15,
  "zero-chunks": 16,
  receipt: 17,
  working: 18,
  totals: 19,
  ...RELAY_CODES,
} as const satisfies Record<ControlMessage["type"], number>;

const ACCEPT_MODES: readonly AcceptMode[] = ["data", "hashes"];
const COMMIT_STATES = ["committed", "unchanged", "planned", "replacing"] as const;
/** Last time that a calendar of ECMAScript has, in milliseconds since 1970 (ECMA-262 §21.4.1.1). */
const MAX_TIME_MS = 8_640_000_000_000_000;

/** The message with its length in front, ready for the control stream. */
export function encodeMessage(message: ControlMessage): Uint8Array {
  const body = new ByteWriter(64);
  body.uint8(TYPE_CODES[message.type]);
  writeBody(body, message);
  const bytes = body.finish();
  return new ByteWriter(bytes.length + 4).lengthPrefixed(bytes).finish();
}

function writeBody(writer: ByteWriter, message: ControlMessage): void {
  if (isRelayMessage(message)) {
    writeRelayMessage(writer, message);
    return;
  }
  switch (message.type) {
    case "request":
      writeRequest(writer, message);
      return;
    case "entry":
      writeEntry(writer, message);
      return;
    case "entries-end":
    case "totals":
      writer.varint(message.entries).varint(message.totalBytes);
      return;
    case "skipped":
      writeText(writer, message.path);
      writer.uint8(message.isFailure ? 1 : 0).varint(ERRORS[message.code].wire);
      writePeerText(writer, message.text);
      return;
    case "accept":
      writer.varint(message.object).uint8(ACCEPT_MODES.indexOf(message.mode)).varint(message.have.length);
      for (const { height, index, hash } of message.have) writer.uint8(height).varint(index).raw(hash);
      return;
    case "refuse":
    case "source-failed":
      writer.varint(message.object).varint(ERRORS[message.code].wire);
      writePeerText(writer, message.text);
      return;
    case "chunk-hashes":
      writer.varint(message.object).varint(message.firstChunk).varint(message.hashes.length);
      for (const hash of message.hashes) writer.raw(hash);
      return;
    case "root":
      writer.varint(message.object).varint(message.sizeBytes).raw(message.root);
      return;
    case "refetch":
      writer.varint(message.object).varint(message.ranges.length);
      for (const [start, end] of message.ranges) writer.varint(start).varint(end);
      return;
    case "committed":
      writer.varint(message.object).uint8(COMMIT_STATES.indexOf(message.state)).raw(message.root);
      return;
    case "result":
      writer.varint(message.code === undefined ? 0 : ERRORS[message.code].wire);
      writePeerText(writer, message.text);
      writer.varint(message.committed).varint(message.failed);
      return;
    case "zero-chunks":
      writer.varint(message.object).varint(message.firstChunk).varint(message.count);
      return;
    case "progress":
      writer.varint(message.verifiedBytes).varint(message.unwrittenBytes);
      return;
    case "receipt":
      writer.raw(message.root).varint(message.entries).varint(message.files).varint(message.bytes);
      writer.varint(message.flushedAtMs).raw(message.signature);
      return;
    case "finished":
    case "working":
      return;
    case "rejected":
      writer.varint(ERRORS[message.code].wire);
      writePeerText(writer, message.text);
      return;
    default:
      unreachable(message);
  }
}

/** Reads the body of one message. @throws DecodeError for anything that is not exactly one valid message. */
export function decodeMessage(bytes: Uint8Array): ControlMessage {
  const reader = new ByteReader(bytes);
  const message = readBody(reader);
  reader.finish();
  return message;
}

function readBody(reader: ByteReader): ControlMessage {
  const code = reader.uint8();
  switch (code) {
    case TYPE_CODES.request:
      return readRequest(reader);
    case TYPE_CODES.entry:
      return readEntry(reader);
    case TYPE_CODES["entries-end"]:
      return { type: "entries-end", entries: reader.varint(), totalBytes: reader.varint() };
    case TYPE_CODES.skipped: {
      const path = decodeUtf8Lossy(reader.lengthPrefixed(PATH_BYTES));
      const isFailure = reader.uint8() !== 0;
      return { type: "skipped", path, isFailure, code: readCode(reader), text: readPeerText(reader) };
    }
    case TYPE_CODES.accept: {
      const object = reader.varint();
      const mode = readChoice(reader, ACCEPT_MODES);
      const have: Subtree[] = [];
      for (let left = readCount(reader, SUBTREES_PER_ACCEPT); left > 0; left--) {
        const at = reader.at;
        const height = reader.uint8();
        if (height > TREE_HEIGHT) throw new DecodeError(`subtree of height ${height}`, at);
        have.push({ height, index: reader.varint(), hash: reader.copy(HASH_BYTES) });
      }
      return { type: "accept", object, mode, have };
    }
    case TYPE_CODES.refuse:
    case TYPE_CODES["source-failed"]: {
      const type = code === TYPE_CODES.refuse ? "refuse" : "source-failed";
      return { type, object: reader.varint(), code: readCode(reader), text: readPeerText(reader) };
    }
    case TYPE_CODES["chunk-hashes"]: {
      const object = reader.varint();
      const firstChunk = reader.varint();
      const hashes: Uint8Array[] = [];
      for (let left = readCount(reader, HASHES_PER_MESSAGE); left > 0; left--)
        hashes.push(reader.copy(HASH_BYTES));
      return { type: "chunk-hashes", object, firstChunk, hashes };
    }
    case TYPE_CODES.root:
      return {
        type: "root",
        object: reader.varint(),
        sizeBytes: reader.varint(),
        root: reader.copy(HASH_BYTES),
      };
    case TYPE_CODES.refetch: {
      const object = reader.varint();
      const ranges: [number, number][] = [];
      for (let left = readCount(reader, REFETCH_RANGES); left > 0; left--) {
        const at = reader.at;
        const start = reader.varint();
        const end = reader.varint();
        if (start >= end) throw new DecodeError("an empty range of chunks", at);
        ranges.push([start, end]);
      }
      return { type: "refetch", object, ranges };
    }
    case TYPE_CODES.committed:
      return {
        type: "committed",
        object: reader.varint(),
        state: readChoice(reader, COMMIT_STATES),
        root: reader.copy(HASH_BYTES),
      };
    case TYPE_CODES.result: {
      const wire = reader.varint();
      return {
        type: "result",
        code: wire === 0 ? undefined : (errorCodeFromWire(wire) ?? "PROTOCOL_VIOLATION"),
        text: readPeerText(reader),
        committed: reader.varint(),
        failed: reader.varint(),
      };
    }
    case TYPE_CODES["zero-chunks"]: {
      const object = reader.varint();
      const firstChunk = reader.varint();
      return { type: "zero-chunks", object, firstChunk, count: readCount(reader, HASHES_PER_MESSAGE) };
    }
    case TYPE_CODES.progress:
      return { type: "progress", verifiedBytes: reader.varint(), unwrittenBytes: reader.varint() };
    case TYPE_CODES.receipt:
      return {
        type: "receipt",
        root: reader.copy(HASH_BYTES),
        entries: reader.varint(),
        files: reader.varint(),
        bytes: reader.varint(),
        flushedAtMs: readCount(reader, MAX_TIME_MS),
        signature: reader.copy(SIGNATURE_BYTES),
      };
    case TYPE_CODES.finished:
      return { type: "finished" };
    case TYPE_CODES.totals:
      return { type: "totals", entries: reader.varint(), totalBytes: reader.varint() };
    case TYPE_CODES.working:
      return { type: "working" };
    case TYPE_CODES.rejected:
      return { type: "rejected", code: readCode(reader), text: readPeerText(reader) };
    default: {
      const at = reader.at - 1;
      const message = readRelayMessage(reader, code);
      if (message === undefined) throw new DecodeError(`unknown control message ${code}`, at);
      return message;
    }
  }
}
