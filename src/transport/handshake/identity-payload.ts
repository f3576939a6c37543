/**
 * The encrypted payload of REPLY and FINISH: who is speaking, the proof, and the transport
 * parameters. Source: docs/spec/handshake.md §5.
 */
import { ByteReader, concatBytes } from "../../base/bytes.ts";
import { DecodeError, GodwitError } from "../../base/errors.ts";
import { encodeUtf8 } from "../../base/utf8.ts";
import {
  decodeTransportParameters,
  encodeTransportParameters,
  type DecodedParameters,
  type HandshakeBinding,
  type TransportParameters,
} from "../../wire/transport-parameters.ts";
import type { CryptoProvider, SigningIdentity } from "../crypto.ts";

/** Bytes of an Ed25519 public key and of a signature. RFC 8032 §5.1. */
const IDENTITY_BYTES = 32;
const SIGNATURE_BYTES = 64;

const LABEL = encodeUtf8("godwit identity v1");

/** The side a payload speaks for: it is signed, so that a payload cannot be turned round. */
export const ROLE = { initiator: 0, responder: 1 } as const;

/** What is signed: label, role, handshake hash just before the payload, X25519 static key. HANDSHAKE §5.2. */
function signedMessage(role: number, handshakeHash: Uint8Array, staticKey: Uint8Array): Uint8Array {
  return concatBytes(LABEL, Uint8Array.of(role), handshakeHash, staticKey);
}

/** Makes a payload. */
export function encodeIdentityPayload(
  role: number,
  handshakeHash: Uint8Array,
  staticKey: Uint8Array,
  identity: SigningIdentity,
  parameters: TransportParameters,
  binding: HandshakeBinding,
): Uint8Array {
  return concatBytes(
    identity.publicKey,
    identity.sign(signedMessage(role, handshakeHash, staticKey)),
    encodeTransportParameters(parameters, binding),
  );
}

/** A payload whose signature holds and whose parameters are in range. */
export interface IdentityPayload extends DecodedParameters {
  /** 32 bytes. */
  readonly identity: Uint8Array;
}

/**
 * Parses and verifies a payload.
 *
 * @param role - The side that must have sent it.
 * @param version - Version in the packet's header.
 * @throws GodwitError BAD_SIGNATURE, PROTOCOL_VIOLATION if the peer states another version, DECODE
 * if it is malformed.
 */
export function decodeIdentityPayload(
  payload: Uint8Array,
  role: number,
  handshakeHash: Uint8Array,
  staticKey: Uint8Array,
  version: number,
  crypto: CryptoProvider,
): IdentityPayload {
  const reader = new ByteReader(payload);
  const identity = reader.copy(IDENTITY_BYTES);
  const signature = reader.copy(SIGNATURE_BYTES);
  if (!crypto.verifySignature(identity, signedMessage(role, handshakeHash, staticKey), signature))
    throw new GodwitError(
      "BAD_SIGNATURE",
      "the peer could not prove its identity; if this repeats, somebody is interfering with the connection",
    );
  const decoded = decodeTransportParameters(reader.copy(reader.remaining));
  const { binding } = decoded;
  if (binding.version !== version)
    throw new GodwitError("PROTOCOL_VIOLATION", "the peer states another version than it uses");
  if (binding.supportedVersions.length === 0) throw new DecodeError("no supported versions", payload.length);
  return { ...decoded, identity };
}
