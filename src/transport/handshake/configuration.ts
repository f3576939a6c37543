/** What both sides of a handshake are given, what they return, and their timers. */
import { encodeUtf8 } from "../../base/utf8.ts";
import { concatBytes, writeUint32 } from "../../base/bytes.ts";
import { GodwitError, type ErrorCode } from "../../base/errors.ts";
import { HANDSHAKE_DEADLINE_US } from "../../base/limits.ts";
import { versionName } from "../../wire/header.ts";
import type { TransportParameters } from "../../wire/transport-parameters.ts";
import type { CryptoProvider, DhKeyPair, SigningIdentity } from "../crypto.ts";

/** First repetition of an unanswered handshake packet, in microseconds. HANDSHAKE §8. */
export const HANDSHAKE_REPEAT_US = 300_000;

/**
 * Longest pause between repetitions, in microseconds: twelve lost datagrams in a row still leave time
 * before the deadline.
 */
export const HANDSHAKE_REPEAT_MAX_US = 800_000;

/** What both sides of a handshake need. */
export interface HandshakeOptions {
  readonly crypto: CryptoProvider;
  readonly identity: SigningIdentity;
  /** The X25519 key the identity vouches for. */
  readonly staticKey: DhKeyPair;
  readonly localParameters: TransportParameters;
  /** Connection id the peer shall put into packets to this side. */
  readonly localConnectionId: Uint8Array;
  /** A 32-byte secret: the peer must hold the same one. */
  readonly psk?: Uint8Array | undefined;
  /** Destination id of the first INIT; random unless pairing agreed on one before. */
  readonly firstDestinationId?: Uint8Array | undefined;
  /** Versions this side speaks, best first; SUPPORTED_VERSIONS unless a test says otherwise. */
  readonly supportedVersions?: readonly number[] | undefined;
  /** The trust verdict on a peer that proved its identity: `undefined` to go on, or why not. */
  verifyPeer(identityPublicKey: Uint8Array): ErrorCode | GodwitError | undefined;
}

/** What a completed handshake yields. */
export interface HandshakeResult {
  readonly version: number;
  /** Secret of the own direction, for `derivePacketKey` and `nextSecret`. */
  readonly sendSecret: Uint8Array;
  /** Secret of the peer's direction. */
  readonly receiveSecret: Uint8Array;
  /** The peer's Ed25519 public key, 32 bytes, proven. */
  readonly peerIdentity: Uint8Array;
  readonly peerParameters: TransportParameters;
  /** Connection id to put into packets to the peer. */
  readonly peerConnectionId: Uint8Array;
  /** 64 bytes that name this session, the same on both sides and in no other session. */
  readonly handshakeHash: Uint8Array;
  /** A round-trip time, or `undefined` when repetitions make it ambiguous. */
  readonly rttUs: number | undefined;
}

const PROLOGUE_LABEL = encodeUtf8("godwit handshake");

/** Everything that both sides saw in clear before the first Noise message. HANDSHAKE §4. */
export function handshakePrologue(
  version: number,
  isPsk: boolean,
  firstDestinationId: Uint8Array,
  initiatorId: Uint8Array,
): Uint8Array {
  const fixed = new Uint8Array(5);
  writeUint32(fixed, 0, version);
  fixed[4] = isPsk ? 1 : 0;
  return concatBytes(PROLOGUE_LABEL, fixed, firstDestinationId, initiatorId);
}

/** The version two sides use: the initiator's best that the responder speaks, or `undefined`. HANDSHAKE §3. */
export function chooseVersion(offered: readonly number[], supported: readonly number[]): number | undefined {
  return offered.find((version) => supported.includes(version));
}

/** The failure of two sides without a common version. */
export function versionMismatch(own: readonly number[], peer: readonly number[]): GodwitError {
  const names = (versions: readonly number[]): string => versions.map(versionName).join(", ");
  return new GodwitError(
    "VERSION_MISMATCH",
    `no common protocol version: this side speaks ${names(own)}, the peer speaks ${names(peer)}; update the older godwit`,
  );
}

/** The failure of a handshake that took too long. */
export function handshakeTimeout(): GodwitError {
  const seconds = HANDSHAKE_DEADLINE_US / 1_000_000;
  return new GodwitError(
    "HANDSHAKE_TIMEOUT",
    `no valid answer within ${seconds} s; check the address and the port, and that godwit is serving there`,
  );
}

/** A trust verdict as a failure. */
export function refusal(verdict: ErrorCode | GodwitError): GodwitError {
  if (verdict instanceof GodwitError) return verdict;
  return new GodwitError(verdict, "the peer's identity is not accepted here");
}
