/**
 * From handshake keys to packet keys: one secret per direction and key phase, each giving a packet
 * key and the next secret. Source: docs/spec/handshake.md §7, after RFC 9001 §5.1 and §6.1.
 */
import { assert } from "../../base/assert.ts";
import { encodeUtf8 } from "../../base/utf8.ts";
import { PACKET_IV_BYTES, PACKET_KEY_BYTES } from "../crypto.ts";
import type { CryptoProvider, PacketKey } from "../crypto.ts";

/** Bytes of a direction's secret. */
export const SECRET_BYTES = 32;

const KEY_LABEL = encodeUtf8("godwit key");
const IV_LABEL = encodeUtf8("godwit iv");
const NEXT_LABEL = encodeUtf8("godwit ku");

/** HKDF-Expand (RFC 5869 §2.3) with HMAC-BLAKE2b, for at most one block of 64 bytes. */
export function expandSecret(
  secret: Uint8Array,
  label: Uint8Array,
  lengthBytes: number,
  crypto: CryptoProvider,
): Uint8Array {
  assert(lengthBytes <= 64, "one block is 64 bytes");
  return crypto.hmacBlake2b(secret, label, Uint8Array.of(1)).slice(0, lengthBytes);
}

/** The packet key of a direction and key phase. */
export function derivePacketKey(secret: Uint8Array, crypto: CryptoProvider): PacketKey {
  const key = expandSecret(secret, KEY_LABEL, PACKET_KEY_BYTES, crypto);
  const iv = expandSecret(secret, IV_LABEL, PACKET_IV_BYTES, crypto);
  return crypto.packetKey(key, iv);
}

/** The secret of the next key phase; the present one cannot be computed back from it. */
export function nextSecret(secret: Uint8Array, crypto: CryptoProvider): Uint8Array {
  return expandSecret(secret, NEXT_LABEL, SECRET_BYTES, crypto);
}
