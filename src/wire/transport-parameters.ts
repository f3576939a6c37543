/**
 * Transport parameters: what each side tells the other inside the encrypted handshake payload.
 * A list of (id, length, value); unknown ids are ignored, so that a later version can add some.
 * Source: docs/spec/handshake.md §6.
 */
import { ByteReader, ByteWriter } from "../base/bytes.ts";
import { DecodeError } from "../base/errors.ts";
import {
  AGENT_BYTES,
  CONNECTION_IDS_KEPT,
  MAX_DATAGRAM_BYTES,
  MIN_DATAGRAM_BYTES,
  TRANSPORT_PARAMETERS,
  VERSIONS_LISTED,
} from "../base/limits.ts";
import { CONNECTION_ID_BYTES } from "./connection-id.ts";

/** What one side declares. */
export interface TransportParameters {
  /** Silence after which this side gives the connection up, in microseconds. Default: no limit told, 0. */
  readonly maxIdleTimeoutUs: number;
  /** Largest datagram this side can receive, in bytes of UDP payload. Default 1 200. */
  readonly maxDatagramBytes: number;
  /** Bytes of new file data, all objects together, that may be sent before MAX_OBJECT_DATA. Default 0. */
  readonly initialMaxObjectData: number;
  /** Bytes that may be sent on each stream before MAX_STREAM_DATA. Default 0. */
  readonly initialMaxStreamData: number;
  /** Streams the peer may open before MAX_STREAMS. Default 0. */
  readonly initialMaxStreams: number;
  /** The delay in this side's ACK frames is in units of 2^exponent microseconds. Default 3. RFC 9000 §18.2. */
  readonly ackDelayExponent: number;
  /** Longest time this side waits before it acknowledges, in microseconds. Default 25 000. RFC 9000 §18.2. */
  readonly maxAckDelayUs: number;
  /** Connection ids of the peer that this side keeps at once. Default 2. RFC 9000 §18.2. */
  readonly activeConnectionIdLimit: number;
  /** Program and version, for people: printable ASCII, other bytes escaped. Default empty. */
  readonly agent: string;
}

/** What a peer that says nothing means. */
export const DEFAULT_TRANSPORT_PARAMETERS: TransportParameters = {
  maxIdleTimeoutUs: 0,
  maxDatagramBytes: MIN_DATAGRAM_BYTES,
  initialMaxObjectData: 0,
  initialMaxStreamData: 0,
  initialMaxStreams: 0,
  ackDelayExponent: 3,
  maxAckDelayUs: 25_000,
  activeConnectionIdLimit: 2,
  agent: "",
};

/** What the handshake adds by itself, to authenticate what travelled in clear. */
export interface HandshakeBinding {
  /** The connection id this side put into the source field of its packets. */
  readonly sourceId: Uint8Array;
  /** Version this handshake uses. */
  readonly version: number;
  /** Versions this side speaks, best first. */
  readonly supportedVersions: readonly number[];
}

/** Parameter ids; those with a namesake in RFC 9000 §18.2 have its number. HANDSHAKE §6. */
export const PARAMETER = {
  maxIdleTimeoutUs: 0x01,
  maxDatagramBytes: 0x03,
  initialMaxObjectData: 0x04,
  initialMaxStreamData: 0x05,
  initialMaxStreams: 0x08,
  ackDelayExponent: 0x0a,
  maxAckDelayUs: 0x0b,
  activeConnectionIdLimit: 0x0e,
  sourceId: 0x0f,
  versions: 0x11,
  agent: 0x20,
} as const;

/** Largest ack delay exponent. RFC 9000 §18.2. */
export const ACK_DELAY_EXPONENT_MAX = 20;

/** Largest ack delay that may be declared, in microseconds: below 2^14 ms. RFC 9000 §18.2. */
export const MAX_ACK_DELAY_MAX_US = 16_383_000;

const NUMBERS = [
  ["maxIdleTimeoutUs", PARAMETER.maxIdleTimeoutUs],
  ["maxDatagramBytes", PARAMETER.maxDatagramBytes],
  ["initialMaxObjectData", PARAMETER.initialMaxObjectData],
  ["initialMaxStreamData", PARAMETER.initialMaxStreamData],
  ["initialMaxStreams", PARAMETER.initialMaxStreams],
  ["ackDelayExponent", PARAMETER.ackDelayExponent],
  ["maxAckDelayUs", PARAMETER.maxAckDelayUs],
  ["activeConnectionIdLimit", PARAMETER.activeConnectionIdLimit],
] as const;

type NumberName = (typeof NUMBERS)[number][0];

const NUMBER_NAMES: ReadonlyMap<number, NumberName> = new Map(NUMBERS.map(([name, id]) => [id, name]));

/** Bytes as text that is safe to print: what is not printable ASCII becomes `\xNN`. */
export function printableText(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) {
    // A backslash is escaped too, so that two different strings never print alike.
    if (byte >= 0x20 && byte < 0x7f && byte !== 0x5c) text += String.fromCharCode(byte);
    else text += `\\x${byte.toString(16).padStart(2, "0")}`;
  }
  return text;
}

/** The parameters as bytes. Characters of `agent` outside printable ASCII and those over the limit are left out. */
export function encodeTransportParameters(
  parameters: TransportParameters,
  binding: HandshakeBinding,
): Uint8Array {
  const writer = new ByteWriter();
  for (const [name, id] of NUMBERS) {
    const value = parameters[name];
    if (value === DEFAULT_TRANSPORT_PARAMETERS[name]) continue;
    writer.varint(id).lengthPrefixed(new ByteWriter(8).varint(value).finish());
  }
  writer.varint(PARAMETER.sourceId).lengthPrefixed(binding.sourceId);
  const versions = new ByteWriter().uint32(binding.version);
  for (const version of binding.supportedVersions) versions.uint32(version);
  writer.varint(PARAMETER.versions).lengthPrefixed(versions.finish());
  const agent = parameters.agent.replaceAll(/[^\x20-\x7e]/g, "").slice(0, AGENT_BYTES);
  if (agent !== "")
    writer.varint(PARAMETER.agent).lengthPrefixed(Uint8Array.from(agent, (c) => c.charCodeAt(0)));
  return writer.finish();
}

/** What `decodeTransportParameters` returns. */
export interface DecodedParameters {
  readonly parameters: TransportParameters;
  readonly binding: HandshakeBinding;
}

/**
 * Parses parameters, fills in defaults and checks every value's range.
 *
 * @throws DecodeError if one is malformed, out of range or there twice, or if the source id or the
 * versions are missing.
 */
export function decodeTransportParameters(bytes: Uint8Array): DecodedParameters {
  const reader = new ByteReader(bytes);
  const numbers: Record<NumberName, number> = { ...DEFAULT_TRANSPORT_PARAMETERS };
  let agent = DEFAULT_TRANSPORT_PARAMETERS.agent;
  let sourceId: Uint8Array | undefined;
  let versions: number[] | undefined;
  const seen = new Set<number>();
  while (reader.remaining > 0) {
    const at = reader.at;
    const id = reader.varint();
    if (seen.has(id)) throw new DecodeError(`transport parameter 0x${id.toString(16)} is there twice`, at);
    seen.add(id);
    if (seen.size > TRANSPORT_PARAMETERS) throw new DecodeError("too many transport parameters", at);
    const value = new ByteReader(reader.lengthPrefixed(bytes.length));
    const name = NUMBER_NAMES.get(id);
    if (name !== undefined) {
      numbers[name] = value.varint();
      value.finish();
    } else if (id === PARAMETER.sourceId) {
      sourceId = value.copy(CONNECTION_ID_BYTES);
      value.finish();
    } else if (id === PARAMETER.versions) {
      versions = readVersions(value);
    } else if (id === PARAMETER.agent) {
      if (value.remaining > AGENT_BYTES) throw new DecodeError("agent string is too long", at);
      agent = printableText(value.copy(value.remaining));
    }
  }
  if (sourceId === undefined || versions === undefined)
    throw new DecodeError("source id or versions are missing", bytes.length);
  const [version, ...supportedVersions] = versions;
  const parameters = { ...numbers, agent };
  checkRanges(parameters);
  return { parameters, binding: { sourceId, version, supportedVersions } };
}

/** The chosen version and, behind it, the supported ones. */
function readVersions(value: ByteReader): number[] {
  const versions = [value.uint32()];
  while (value.remaining > 0) {
    if (versions.length > VERSIONS_LISTED) throw new DecodeError("too many versions", value.at);
    versions.push(value.uint32());
  }
  return versions;
}

function checkRanges(parameters: TransportParameters): void {
  const check = (name: NumberName, low: number, high: number): void => {
    const value = parameters[name];
    if (value < low || value > high) throw new DecodeError(`${name} ${value} is out of range`, 0);
  };
  check("maxDatagramBytes", MIN_DATAGRAM_BYTES, MAX_DATAGRAM_BYTES);
  check("ackDelayExponent", 0, ACK_DELAY_EXPONENT_MAX);
  check("maxAckDelayUs", 0, MAX_ACK_DELAY_MAX_US);
  check("activeConnectionIdLimit", 2, CONNECTION_IDS_KEPT);
}
