/**
 * Cryptography as values: what the pure layers ask of their host. The implementations are in
 * `src/node/crypto/`; one conformance suite runs on all of them.
 */
import type { PacketBatch } from "../wire/batch.ts";
import type { RandomBytes } from "../base/random.ts";

/** Bytes of an AES-256-GCM authentication tag. Never shorter. */
export const TAG_BYTES = 16;

/** Bytes of a packet key. */
export const PACKET_KEY_BYTES = 32;

/** Bytes of a packet protection IV; nonce = IV xor packet number, RFC 9001 §5.3. */
export const PACKET_IV_BYTES = 12;

/**
 * One direction's packet protection key (AES-256-GCM), for short-header packets.
 *
 * The nonce of a packet is the IV xor its full packet number (big-endian, left-padded with zeros).
 * The associated data is the packet's first `headerBytes` bytes; the rest is ciphertext and tag.
 */
export interface PacketKey {
  /**
   * Seals datagrams `[from, to)` in place. `lengths[i]` already includes the 16 tag bytes, whose
   * place at the end of the datagram is overwritten; `packetNumbers[i]` is set. What a datagram
   * borrows (`batch.borrowedBytes`) is sealed like the rest of its plaintext.
   */
  seal(batch: PacketBatch, from: number, to: number, headerBytes: number): void;
  /**
   * Opens datagrams `[from, to)` in place and returns how many were authentic. Sets `opened[i]` to
   * 1 or 0; offsets and lengths stay as they were (the last 16 bytes of an opened one mean nothing).
   * A datagram shorter than header and tag is not authentic. The plaintext of one that failed must
   * not be read.
   */
  open(batch: PacketBatch, from: number, to: number, headerBytes: number): number;
}

/** Makes a packet key from 32 and 12 bytes. */
export type PacketKeyFactory = (key: Uint8Array, iv: Uint8Array) => PacketKey;

/** An X25519 key pair, 32 bytes each. */
export interface DhKeyPair {
  readonly publicKey: Uint8Array;
  readonly privateKey: Uint8Array;
}

/** An Ed25519 signing identity. The private key stays inside. */
export interface SigningIdentity {
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
  /** A 64-byte Ed25519 signature, RFC 8032. */
  sign(message: Uint8Array): Uint8Array;
}

/** The host's cryptography. All functions are synchronous and keep nothing of their arguments. */
export interface CryptoProvider {
  readonly randomBytes: RandomBytes;
  /** A new X25519 key pair. */
  generateDhKeyPair(): DhKeyPair;
  /** X25519, RFC 7748. @throws GodwitError PROTOCOL_VIOLATION for a point of low order (all-zero result). */
  dh(privateKey: Uint8Array, publicKey: Uint8Array): Uint8Array;
  /** ChaCha20-Poly1305 (RFC 8439) with a 12-byte nonce: ciphertext and 16-byte tag. For handshake messages. */
  sealChaCha(
    key: Uint8Array,
    nonce: Uint8Array,
    associatedData: Uint8Array,
    plaintext: Uint8Array,
  ): Uint8Array;
  /** The plaintext, or `undefined` if it is not authentic. */
  openChaCha(
    key: Uint8Array,
    nonce: Uint8Array,
    associatedData: Uint8Array,
    ciphertext: Uint8Array,
  ): Uint8Array | undefined;
  /** BLAKE2b with a 64-byte result, RFC 7693. */
  blake2b(...parts: readonly Uint8Array[]): Uint8Array;
  /** HMAC over BLAKE2b (block size 128), 64 bytes. RFC 2104. */
  hmacBlake2b(key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array;
  /** Whether an Ed25519 signature is valid; false for malformed keys and signatures. RFC 8032. */
  verifySignature(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean;
  /** A packet protection key from 32 and 12 bytes. */
  packetKey(key: Uint8Array, iv: Uint8Array): PacketKey;
  /** Equality in constant time; lengths may differ. */
  equalSecrets(a: Uint8Array, b: Uint8Array): boolean;
}
