/**
 * Control messages of a transfer: what is asked, offered, accepted, verified and committed.
 * Wire form and meaning: docs/spec/transfer.md. File data travels beside them, by object and offset.
 */
import { unreachable } from "../base/assert.ts";
import { ByteReader, ByteWriter } from "../base/bytes.ts";
import type { ErrorCode } from "../base/errors.ts";
import { DecodeError, ERRORS, errorCodeFromWire } from "../base/errors.ts";
import {
  CONTROL_MESSAGE_BYTES,
  HASHES_PER_MESSAGE,
  PATH_BYTES,
  PEER_TEXT_BYTES,
  REFETCH_RANGES,
  REQUEST_PATHS,
  REQUEST_RULES,
  RULE_BYTES,
  SUBTREES_PER_ACCEPT,
} from "../base/limits.ts";
import { decodeUtf8, decodeUtf8Lossy, encodeUtf8 } from "../base/utf8.ts";
import type { Subtree } from "../files/hash-tree.ts";
import { HASH_BYTES, TREE_HEIGHT } from "../files/hash-tree.ts";
import { SIGNATURE_BYTES } from "./receipt.ts";

/** Version of the control messages; a peer that does not know it answers VERSION_MISMATCH. */
export const TRANSFER_VERSION = 1;

/** Bytes of a transfer id and of a source token. */
export const ID_BYTES = 16;

/** What the opener wants. */
export type RequestMode = "push" | "pull" | "list";

/** One include or exclude rule; the first that matches decides. */
export interface PathRule {
  readonly include: boolean;
  readonly pattern: string;
}

/** Choices that both sides must know. */
export interface TransferOptions {
  /** Replace existing files, atomically. */
  readonly overwrite: boolean;
  /** Skip files that are there with the same size and time; replace others. */
  readonly update: boolean;
  /** With `update`: compare contents instead of times. */
  readonly checksum: boolean;
  /** Send symbolic links as links. */
  readonly links: boolean;
  /** Say what would happen; change nothing. */
  readonly dryRun: boolean;
  /** Leave runs of zeros as holes. */
  readonly sparse: boolean;
}

/** No option set. */
export const DEFAULT_OPTIONS: TransferOptions = {
  overwrite: false,
  update: false,
  checksum: false,
  links: false,
  dryRun: false,
  sparse: false,
};

/** First message, by the side that opened the connection. */
export interface RequestMessage {
  readonly type: "request";
  readonly version: number;
  readonly mode: RequestMode;
  readonly options: TransferOptions;
  /** Names the job of a push, so that the same command finds its journal again. */
  readonly transferId: Uint8Array;
  /** Directory below the receiver's root, `""` for the root itself. Only for a push. */
  readonly destination: string;
  /** What to hand out; only for a pull or list. */
  readonly paths: readonly string[];
  readonly rules: readonly PathRule[];
}

/** What an entry is on the wire. */
export type OfferedKind = "file" | "directory" | "symlink";

/** One offered entry. */
export interface EntryMessage {
  readonly type: "entry";
  /** Number of the entry; ascends by one from 0. */
  readonly object: number;
  readonly kind: OfferedKind;
  readonly path: string;
  /** Size of a file, `undefined` while the source has no end yet (a pipe). 0 for others. */
  readonly sizeBytes: number | undefined;
  /** Permission bits. */
  readonly mode: number;
  /** Microseconds since 1970; `undefined` if the source has none. */
  readonly modifiedAtUs: number | undefined;
  /** Changes whenever the source file may have changed. */
  readonly token: Uint8Array;
  /** Target of a symbolic link, otherwise `""`. */
  readonly target: string;
}

/** Whether the sender shall send data and hashes, or hashes first. */
export type AcceptMode = "data" | "hashes";

/** All messages. */
export type ControlMessage =
  | RequestMessage
  | EntryMessage
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
} as const satisfies Record<ControlMessage["type"], number>;

const MODES: readonly RequestMode[] = ["push", "pull", "list"];
const KINDS: readonly OfferedKind[] = ["file", "directory", "symlink"];
const ACCEPT_MODES: readonly AcceptMode[] = ["data", "hashes"];
const COMMIT_STATES = ["committed", "unchanged", "planned", "replacing"] as const;
const OPTION_BITS: readonly (keyof TransferOptions)[] = [
  "overwrite",
  "update",
  "checksum",
  "links",
  "dryRun",
  "sparse",
];

/** Last time that a calendar of ECMAScript has, in milliseconds since 1970 (ECMA-262 §21.4.1.1). */
const MAX_TIME_MS = 8_640_000_000_000_000;

/** Bit of an entry's flags: the size is known. */
const HAS_SIZE = 1;
/** Bit of an entry's flags: the time is known. */
const HAS_TIME = 2;
/** Bit of an entry's flags: the time lies before 1970. */
const NEGATIVE_TIME = 4;

/** The message with its length in front, ready for the control stream. */
export function encodeMessage(message: ControlMessage): Uint8Array {
  const body = new ByteWriter(64);
  body.uint8(TYPE_CODES[message.type]);
  writeBody(body, message);
  const bytes = body.finish();
  return new ByteWriter(bytes.length + 4).lengthPrefixed(bytes).finish();
}

function text(writer: ByteWriter, value: string): void {
  writer.lengthPrefixed(encodeUtf8(value));
}

/** Text for people: cut to what the peer accepts. */
function peerText(writer: ByteWriter, value: string): void {
  let bytes = encodeUtf8(value);
  if (bytes.length > PEER_TEXT_BYTES)
    bytes = encodeUtf8(decodeUtf8Lossy(bytes.subarray(0, PEER_TEXT_BYTES - 3)));
  writer.lengthPrefixed(bytes.subarray(0, PEER_TEXT_BYTES));
}

function optionBits(options: TransferOptions): number {
  let bits = 0;
  OPTION_BITS.forEach((name, bit) => {
    if (options[name]) bits |= 1 << bit;
  });
  return bits;
}

function writeBody(writer: ByteWriter, message: ControlMessage): void {
  switch (message.type) {
    case "request":
      writer.varint(message.version).uint8(MODES.indexOf(message.mode)).varint(optionBits(message.options));
      writer.raw(message.transferId);
      text(writer, message.destination);
      writer.varint(message.paths.length);
      for (const path of message.paths) text(writer, path);
      writer.varint(message.rules.length);
      for (const rule of message.rules) {
        writer.uint8(rule.include ? 1 : 0);
        text(writer, rule.pattern);
      }
      return;
    case "entry":
      writeEntry(writer, message);
      return;
    case "entries-end":
      writer.varint(message.entries).varint(message.totalBytes);
      return;
    case "skipped":
      text(writer, message.path);
      writer.uint8(message.isFailure ? 1 : 0).varint(ERRORS[message.code].wire);
      peerText(writer, message.text);
      return;
    case "accept":
      writer.varint(message.object).uint8(ACCEPT_MODES.indexOf(message.mode)).varint(message.have.length);
      for (const { height, index, hash } of message.have) writer.uint8(height).varint(index).raw(hash);
      return;
    case "refuse":
    case "source-failed":
      writer.varint(message.object).varint(ERRORS[message.code].wire);
      peerText(writer, message.text);
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
      peerText(writer, message.text);
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
      return;
    case "rejected":
      writer.varint(ERRORS[message.code].wire);
      peerText(writer, message.text);
      return;
    default:
      unreachable(message);
  }
}

function writeEntry(writer: ByteWriter, entry: EntryMessage): void {
  const time = entry.modifiedAtUs;
  writer.varint(entry.object).uint8(KINDS.indexOf(entry.kind));
  writer.uint8(
    (entry.sizeBytes === undefined ? 0 : HAS_SIZE) |
      (time === undefined ? 0 : HAS_TIME) |
      (time !== undefined && time < 0 ? NEGATIVE_TIME : 0),
  );
  text(writer, entry.path);
  writer.varint(entry.sizeBytes ?? 0).uint16(entry.mode & 0o7777);
  writer.varint(Math.abs(time ?? 0)).raw(entry.token);
  text(writer, entry.target);
}

/** Reads the body of one message. @throws DecodeError for anything that is not exactly one valid message. */
export function decodeMessage(bytes: Uint8Array): ControlMessage {
  const reader = new ByteReader(bytes);
  const message = readBody(reader);
  reader.finish();
  return message;
}

function readText(reader: ByteReader, maxBytes: number): string {
  const at = reader.at;
  const value = decodeUtf8(reader.lengthPrefixed(maxBytes));
  if (value === undefined) throw new DecodeError("text that is not valid UTF-8", at);
  return value;
}

function readPeerText(reader: ByteReader): string {
  return decodeUtf8Lossy(reader.lengthPrefixed(PEER_TEXT_BYTES));
}

function readCount(reader: ByteReader, max: number): number {
  const at = reader.at;
  const count = reader.varint();
  if (count > max) throw new DecodeError(`${count} items are over the limit of ${max}`, at);
  return count;
}

function readChoice<T>(reader: ByteReader, choices: readonly T[]): T {
  const at = reader.at;
  const index = reader.uint8();
  if (index >= choices.length) throw new DecodeError(`unknown choice ${index}`, at);
  return choices[index];
}

/** A failure code; one this version does not know counts as a broken protocol rule of its sender. */
function readCode(reader: ByteReader): ErrorCode {
  return errorCodeFromWire(reader.varint()) ?? "PROTOCOL_VIOLATION";
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
    case TYPE_CODES.rejected:
      return { type: "rejected", code: readCode(reader), text: readPeerText(reader) };
    default:
      throw new DecodeError(`unknown control message ${code}`, reader.at - 1);
  }
}

function readRequest(reader: ByteReader): RequestMessage {
  const version = reader.varint();
  const mode = readChoice(reader, MODES);
  const bits = reader.varint();
  const options = Object.fromEntries(
    OPTION_BITS.map((name, bit) => [name, (bits & (1 << bit)) !== 0]),
  ) as Record<keyof TransferOptions, boolean>;
  const transferId = reader.copy(ID_BYTES);
  const destination = readText(reader, PATH_BYTES);
  const paths: string[] = [];
  for (let left = readCount(reader, REQUEST_PATHS); left > 0; left--)
    paths.push(readText(reader, PATH_BYTES));
  const rules: PathRule[] = [];
  for (let left = readCount(reader, REQUEST_RULES); left > 0; left--)
    rules.push({ include: reader.uint8() !== 0, pattern: readText(reader, RULE_BYTES) });
  return { type: "request", version, mode, options, transferId, destination, paths, rules };
}

function readEntry(reader: ByteReader): EntryMessage {
  const object = reader.varint();
  const kind = readChoice(reader, KINDS);
  const flags = reader.uint8();
  const path = readText(reader, PATH_BYTES + 1);
  const sizeBytes = reader.varint();
  const mode = reader.uint16();
  const time = reader.varint();
  const token = reader.copy(ID_BYTES);
  const target = readText(reader, PATH_BYTES);
  return {
    type: "entry",
    object,
    kind,
    path,
    sizeBytes: (flags & HAS_SIZE) === 0 ? undefined : sizeBytes,
    mode,
    modifiedAtUs: (flags & HAS_TIME) === 0 ? undefined : (flags & NEGATIVE_TIME) === 0 ? time : -time,
    token,
    target,
  };
}

/** Cuts the control stream into messages. Holds at most one incomplete message. */
export class MessageDecoder {
  private pending = new Uint8Array(0);

  /**
   * Takes the next bytes of the stream and returns the messages they complete.
   *
   * @throws DecodeError for an invalid or too long message; the stream is useless after it.
   */
  handleBytes(bytes: Uint8Array): ControlMessage[] {
    let buffer = bytes;
    if (this.pending.length > 0) {
      buffer = new Uint8Array(this.pending.length + bytes.length);
      buffer.set(this.pending);
      buffer.set(bytes, this.pending.length);
    }
    const messages: ControlMessage[] = [];
    let at = 0;
    while (at < buffer.length) {
      const prefixBytes = 1 << (buffer[at] >>> 6);
      if (at + prefixBytes > buffer.length) break;
      const length = new ByteReader(buffer, at).varint();
      if (length > CONTROL_MESSAGE_BYTES) throw new DecodeError(`a control message of ${length} bytes`, at);
      const end = at + prefixBytes + length;
      if (end > buffer.length) break;
      messages.push(decodeMessage(buffer.subarray(at + prefixBytes, end)));
      at = end;
    }
    this.pending = buffer.slice(at);
    return messages;
  }
}

/** Messages waiting for room on the control stream. */
export class MessageQueue {
  private waiting: Uint8Array[] = [];
  private head = 0;
  private headAt = 0;
  private bytes = 0;

  /** Bytes waiting. */
  get sizeBytes(): number {
    return this.bytes;
  }

  /** Appends a message. */
  add(message: ControlMessage): void {
    const encoded = encodeMessage(message);
    this.waiting.push(encoded);
    this.bytes += encoded.length;
  }

  /** The next bytes of the stream, at most `maxBytes`; empty if nothing waits. */
  take(maxBytes: number): Uint8Array {
    const size = Math.min(maxBytes, this.bytes);
    const taken = new Uint8Array(size);
    let at = 0;
    while (at < size) {
      const first = this.waiting[this.head];
      const part = first.subarray(this.headAt, this.headAt + size - at);
      taken.set(part, at);
      at += part.length;
      this.headAt += part.length;
      if (this.headAt === first.length) {
        this.head++;
        this.headAt = 0;
      }
    }
    if (this.head > 0 && this.head * 2 >= this.waiting.length) {
      this.waiting = this.waiting.slice(this.head);
      this.head = 0;
    }
    this.bytes -= size;
    return taken;
  }
}
