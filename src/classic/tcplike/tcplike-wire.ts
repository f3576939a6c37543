/**
 * The packets of the TCP-like system: a 12-byte little-endian header, and from client to server
 * always 512 payload bytes padded with NULs. Source: docs/classic/tcplike.md.
 */

/** Bytes of a header: sequence and acknowledgement (int32), connection id and flags (int16). */
export const TCPLIKE_HEADER_BYTES = 12;

/** Bytes of payload in every packet from the client. */
export const TCPLIKE_PAYLOAD_BYTES = 512;

/** Bytes of every packet from the client; packets from the server are bare headers. */
export const TCPLIKE_PACKET_BYTES = TCPLIKE_HEADER_BYTES + TCPLIKE_PAYLOAD_BYTES;

/** Sequence numbers count modulo this. */
export const TCPLIKE_MODULUS = 204_800;

/** First sequence number of both sides. */
export const TCPLIKE_FIRST_SEQUENCE = 42;

/** Highest connection id; the server draws 1 to this. */
export const TCPLIKE_MAX_CONNECTION_ID = 20;

/** Flags of data after the first packet. */
export const FLAG_DATA = 0;
/** Flags of the end of the data, from both sides. */
export const FLAG_FIN = 1;
/** Flags of the client's first packet. */
export const FLAG_SYN = 2;
/** Flags of every acknowledgement, and of the client's third packet, which carries the first data. */
export const FLAG_ACK = 4;
/** Flags of the answer to a FIN. */
export const FLAG_FIN_ACK = 5;
/** Flags of the answer to a SYN. */
export const FLAG_SYN_ACK = 6;

/**
 * Asked for in the acknowledgement field of a SYN, where the original sends 0, and answered in the
 * sequence field of the SYN-ACK, where it sends 42: both ends are godwit and use exact lengths and a
 * digest. The ASCII bytes `gdwt`.
 */
export const TCPLIKE_EXTENSION = 0x7477_6467;

/** A header as numbers. */
export interface TcplikeHeader {
  readonly sequence: number;
  readonly acknowledgement: number;
  readonly connectionId: number;
  readonly flags: number;
}

/** The header at the start of `bytes`, or `undefined` if they are fewer than 12. */
export function readTcplikeHeader(bytes: Uint8Array): TcplikeHeader | undefined {
  if (bytes.length < TCPLIKE_HEADER_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, TCPLIKE_HEADER_BYTES);
  return {
    sequence: view.getInt32(0, true),
    acknowledgement: view.getInt32(4, true),
    connectionId: view.getInt16(8, true),
    flags: view.getInt16(10, true),
  };
}

/** A packet of `sizeBytes` with this header, this payload, and NULs behind it. */
export function tcplikePacket(header: TcplikeHeader, sizeBytes: number, payload?: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  const view = new DataView(bytes.buffer);
  view.setInt32(0, header.sequence, true);
  view.setInt32(4, header.acknowledgement, true);
  view.setInt16(8, header.connectionId, true);
  view.setInt16(10, header.flags, true);
  if (payload !== undefined) bytes.set(payload, TCPLIKE_HEADER_BYTES);
  return bytes;
}

/** `a - b` on the circle of sequence numbers: 0 to 204 799. */
export function sequenceDistance(a: number, b: number): number {
  return (((a - b) % TCPLIKE_MODULUS) + TCPLIKE_MODULUS) % TCPLIKE_MODULUS;
}

/** The original's name for flags in its log; plain data has none. */
export function flagName(flags: number): string {
  return FLAG_NAMES.get(flags) ?? "";
}

const FLAG_NAMES: ReadonlyMap<number, string> = new Map([
  [FLAG_ACK, "ACK"],
  [FLAG_SYN, "SYN"],
  [FLAG_SYN_ACK, "ACK SYN"],
  [FLAG_FIN, "FIN"],
  [FLAG_FIN_ACK, "ACK FIN"],
]);

/** A line of the original's log: `SEND 43 0 17 ACK`, with ` DUP` behind it for repetitions. */
export function logLine(verb: "SEND" | "RECV" | "DROP", header: TcplikeHeader, isRepeated = false): string {
  const { sequence, acknowledgement, connectionId, flags } = header;
  return `${verb} ${sequence} ${acknowledgement} ${connectionId} ${flagName(flags)}${isRepeated ? " DUP" : ""}`;
}

/** The DROP line of the original's server, which lacks the space before the flag. */
export function serverDropLine(header: TcplikeHeader): string {
  const { sequence, acknowledgement, connectionId, flags } = header;
  return `DROP ${sequence} ${acknowledgement} ${connectionId}${flagName(flags)}`;
}
