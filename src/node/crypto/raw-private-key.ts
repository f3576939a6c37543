/** Private keys from their 32 bytes alone, as `node:crypto` wants them. */
import { createPrivateKey } from "node:crypto";
import type { KeyObject } from "node:crypto";

/** PKCS #8 header (RFC 8410 §7) in front of a raw private key. */
const PKCS8_HEADER = {
  Ed25519: Buffer.from("302e020100300506032b657004220420", "hex"),
  X25519: Buffer.from("302e020100300506032b656e04220420", "hex"),
} as const;

/** Whether this Node refused a JSON Web Key with another public part. */
let needsDer = false;

/**
 * The key object of a private key of 32 bytes whose public part is not known. Node 20 takes a millisecond to
 * read DER, and of a JSON Web Key (RFC 8037) the private part only, so the same stands for both; Node 26,
 * which is fast with DER, refuses a key whose parts do not belong together.
 */
export function rawPrivateKey(curve: "Ed25519" | "X25519", bytes: Uint8Array): KeyObject {
  if (!needsDer) {
    const d = Buffer.from(bytes).toString("base64url");
    try {
      return createPrivateKey({ key: { kty: "OKP", crv: curve, d, x: d }, format: "jwk" });
    } catch {
      needsDer = true;
    }
  }
  const key = Buffer.concat([PKCS8_HEADER[curve], bytes]);
  return createPrivateKey({ key, format: "der", type: "pkcs8" });
}
