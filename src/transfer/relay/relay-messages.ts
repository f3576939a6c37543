/**
 * Control messages of peer re-serve: between a sender and its receivers (introductions, wants, reports)
 * and between two receivers that were introduced. docs/spec/relay.md
 */
import type { ByteReader, ByteWriter } from "../../base/bytes.ts";
import { DecodeError } from "../../base/errors.ts";
import { RELAY_RANGES } from "../../base/limits.ts";

import { ADDRESS_WORDS, addressBytes } from "../../wire/address.ts";
import { readChoice } from "../message-fields.ts";

/** Bytes of a public identity key. */
const KEY_BYTES = 32;

/** Bytes of an IPv6 address, or of an IPv4 one as ::ffff:a.b.c.d. */
const ADDRESS_BYTES = 16;

/** Bytes of the secret that joins two introduced receivers. */
export const RELAY_TOKEN_BYTES = 32;

/** Ranges of chunks, each from its start to its exclusive end. */
export type ChunkRanges = readonly (readonly [start: number, end: number])[];

/** Why a receiver asks a helper no more. */
export type DropReason = "lied" | "stalled" | "lost" | "unreachable";

/** The messages. */
export type RelayMessage =
  /** Receiver: it takes part. */
  | { readonly type: "relay-ready" }
  /** Sender: the receiver with this key will dial and show this token. */
  | {
      readonly type: "relay-expect";
      readonly partner: number;
      readonly key: Uint8Array;
      readonly token: Uint8Array;
    }
  /** Receiver: it will let that one in. */
  | { readonly type: "relay-expecting"; readonly partner: number }
  /** Sender: dial this receiver, which must prove this key, and show it this token. */
  | {
      readonly type: "relay-dial";
      readonly partner: number;
      readonly key: Uint8Array;
      readonly token: Uint8Array;
      /** Six words, see wire/address.ts; without a scope. */
      readonly address: Int32Array;
    }
  /** Receiver: no helper gave these; the sender shall, unless they are on their way. */
  | { readonly type: "relay-want"; readonly object: number; readonly ranges: ChunkRanges }
  /** Receiver: what came from helpers so far. */
  | { readonly type: "relay-report"; readonly relayedBytes: number; readonly helpers: number }
  /** Receiver: it asks this helper no more. */
  | { readonly type: "relay-dropped"; readonly partner: number; readonly reason: DropReason }
  /** Who dialled, to the other receiver: first message of the connection. */
  | { readonly type: "relay-join"; readonly token: Uint8Array }
  /** To another receiver: these chunks are here, verified. */
  | { readonly type: "relay-have"; readonly object: number; readonly ranges: ChunkRanges }
  /** To another receiver: send this chunk; or: it cannot be sent. */
  | { readonly type: "relay-ask" | "relay-cannot"; readonly object: number; readonly chunk: number }
  /** To another receiver: nothing more will be asked. */
  | { readonly type: "relay-done" };

/** Type numbers on the wire. */
export const RELAY_CODES = {
  "relay-ready": 32,
  "relay-expect": 33,
  "relay-expecting": 34,
  "relay-dial": 35,
  "relay-want": 36,
  "relay-report": 37,
  "relay-dropped": 38,
  "relay-join": 39,
  "relay-have": 40,
  "relay-ask": 41,
  "relay-cannot": 42,
  "relay-done": 43,
} as const satisfies Record<RelayMessage["type"], number>;

const REASONS: readonly DropReason[] = ["lied", "stalled", "lost", "unreachable"];

const TYPES = new Map(
  Object.entries(RELAY_CODES).map(([type, code]) => [code as number, type as RelayMessage["type"]]),
);

/** Whether a message is one of peer re-serve. */
export function isRelayMessage(message: { readonly type: string }): message is RelayMessage {
  return message.type in RELAY_CODES;
}

/** Writes the body of a message, behind its type. */
export function writeRelayMessage(writer: ByteWriter, message: RelayMessage): void {
  switch (message.type) {
    case "relay-expect":
      writer.varint(message.partner).raw(message.key).raw(message.token);
      return;
    case "relay-expecting":
      writer.varint(message.partner);
      return;
    case "relay-dial":
      writer.varint(message.partner).raw(message.key).raw(message.token);
      // The address of 16 bytes, then the port; a scope means nothing on another machine.
      writer.raw(addressBytes(message.address).subarray(0, ADDRESS_BYTES)).uint16(message.address[4]);
      return;
    case "relay-want":
    case "relay-have":
      writer.varint(message.object).varint(message.ranges.length);
      for (const [start, end] of message.ranges) writer.varint(start).varint(end);
      return;
    case "relay-report":
      writer.varint(message.relayedBytes).varint(message.helpers);
      return;
    case "relay-dropped":
      writer.varint(message.partner).uint8(REASONS.indexOf(message.reason));
      return;
    case "relay-join":
      writer.raw(message.token);
      return;
    case "relay-ask":
    case "relay-cannot":
      writer.varint(message.object).varint(message.chunk);
      return;
    default:
  }
}

/** Reads the body of the message with this type number; `undefined` if it is none of these. @throws DecodeError */
export function readRelayMessage(reader: ByteReader, code: number): RelayMessage | undefined {
  const type = TYPES.get(code);
  switch (type) {
    case "relay-expect":
      return { type, partner: reader.varint(), ...readSecrets(reader) };
    case "relay-expecting":
      return { type, partner: reader.varint() };
    case "relay-dial":
      return { type, partner: reader.varint(), ...readSecrets(reader), address: readAddress(reader) };
    case "relay-want":
    case "relay-have":
      return { type, object: reader.varint(), ranges: readRanges(reader) };
    case "relay-report":
      return { type, relayedBytes: reader.varint(), helpers: reader.varint() };
    case "relay-dropped":
      return { type, partner: reader.varint(), reason: readChoice(reader, REASONS) };
    case "relay-join":
      return { type, token: reader.copy(RELAY_TOKEN_BYTES) };
    case "relay-ask":
    case "relay-cannot":
      return { type, object: reader.varint(), chunk: reader.varint() };
    case "relay-ready":
    case "relay-done":
      return { type };
    default:
      return undefined;
  }
}

function readSecrets(reader: ByteReader): { readonly key: Uint8Array; readonly token: Uint8Array } {
  return { key: reader.copy(KEY_BYTES), token: reader.copy(RELAY_TOKEN_BYTES) };
}

function readAddress(reader: ByteReader): Int32Array {
  const words = new Int32Array(ADDRESS_WORDS);
  const bytes = reader.copy(ADDRESS_BYTES);
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  for (let i = 0; i < 4; i++) words[i] = view.getInt32(4 * i);
  words[4] = reader.uint16();
  return words;
}

function readRanges(reader: ByteReader): [number, number][] {
  const countAt = reader.at;
  const count = reader.varint();
  if (count > RELAY_RANGES) throw new DecodeError(`${count} ranges are over the limit`, countAt);
  const ranges: [number, number][] = [];
  for (let left = count; left > 0; left--) {
    const at = reader.at;
    const start = reader.varint();
    const end = reader.varint();
    if (start >= end) throw new DecodeError("an empty range of chunks", at);
    ranges.push([start, end]);
  }
  return ranges;
}
