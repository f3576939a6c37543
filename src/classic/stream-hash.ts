/** A hash over a stream of bytes, as the host provides it (`createHash` of `node:crypto` fits). */
export interface StreamHash {
  /** Adds bytes to what is hashed; keeps nothing of them. */
  update(bytes: Uint8Array): unknown;
  /** The digest of everything added. Called once, last. */
  digest(): Uint8Array;
}
