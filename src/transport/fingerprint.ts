/**
 * How people tell identities apart: base32 (RFC 4648 §6) of the first 160 bits of BLAKE2b over the
 * Ed25519 public key, in eight groups of four. 160 bits leave a second preimage out of reach.
 */
import { GodwitError } from "../base/errors.ts";
import type { CryptoProvider } from "./crypto.ts";

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const FINGERPRINT_BYTES = 20;

/** The fingerprint of a 32-byte Ed25519 public key, as `ABCD-EFGH-…`, 39 characters. */
export function fingerprintOf(publicKey: Uint8Array, crypto: CryptoProvider): string {
  const hash = crypto.blake2b(publicKey);
  let text = "";
  let bits = 0;
  let held = 0;
  for (let i = 0; i < FINGERPRINT_BYTES; i++) {
    bits = ((bits << 8) | hash[i]) & 0xffff;
    held += 8;
    while (held >= 5) {
      held -= 5;
      text += ALPHABET[(bits >>> held) & 31];
    }
  }
  return text.replace(/.{4}(?=.)/g, "$&-");
}

/**
 * The canonical form of a fingerprint that a person typed: case, spaces and hyphens do not matter.
 *
 * @throws GodwitError USAGE if it is not 32 base32 characters.
 */
export function parseFingerprint(text: string): string {
  const compact = text.toUpperCase().replace(/[-\s]/g, "");
  if (!/^[A-Z2-7]{32}$/.test(compact)) {
    throw new GodwitError(
      "USAGE",
      `"${text.slice(0, 60)}" is not a fingerprint: expected 32 letters and digits, as printed by godwit id`,
    );
  }
  return compact.replace(/.{4}(?=.)/g, "$&-");
}
