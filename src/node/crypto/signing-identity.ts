/** Ed25519 identities from `node:crypto`. Where the seed is kept is the identity store's business. */
import { createPrivateKey, createPublicKey, randomBytes, sign } from "node:crypto";
import { assert } from "../../base/assert.ts";
import type { SigningIdentity } from "../../transport/crypto.ts";

/** Bytes of an Ed25519 seed, the secret from which the key pair follows. RFC 8032 §5.1.5. */
export const IDENTITY_SEED_BYTES = 32;

/** PKCS #8 wrapping of an Ed25519 seed. RFC 8410 §7. */
const PKCS8_PREFIX = Buffer.from("302e020100300506032b657004220420", "hex");

/** A new random seed. */
export function newIdentitySeed(): Uint8Array {
  return new Uint8Array(randomBytes(IDENTITY_SEED_BYTES));
}

/** The signing identity of a 32-byte seed. */
export function signingIdentity(seed: Uint8Array): SigningIdentity {
  assert(seed.length === IDENTITY_SEED_BYTES, "an identity seed is 32 bytes");
  const privateKey = createPrivateKey({
    key: Buffer.concat([PKCS8_PREFIX, seed]),
    format: "der",
    type: "pkcs8",
  });
  const { x } = createPublicKey(privateKey).export({ format: "jwk" });
  assert(x !== undefined, "an exported Ed25519 key has its public part");
  return {
    publicKey: new Uint8Array(Buffer.from(x, "base64url")),
    sign: (message) => new Uint8Array(sign(null, message, privateKey)),
  };
}
