/**
 * The Noise handshake state for XX and XXpsk0 with X25519, ChaCha20-Poly1305 and BLAKE2b.
 *
 * Pure: keys and hashes come from the provider, randomness only through `generateDhKeyPair`.
 * Source: The Noise Protocol Framework, revision 34. Nothing in it is ours.
 */
import { assert } from "../../base/assert.ts";
import { ByteReader, ByteWriter } from "../../base/bytes.ts";
import { GodwitError } from "../../base/errors.ts";
import { encodeUtf8 } from "../../base/utf8.ts";
import type { CryptoProvider, DhKeyPair } from "../crypto.ts";
import { TAG_BYTES } from "../crypto.ts";

/** Bytes of an X25519 key and of a cipher key. Noise §12.1, §12.3. */
export const NOISE_KEY_BYTES = 32;

/** Bytes of a BLAKE2b hash. Noise §12.8. */
export const NOISE_HASH_BYTES = 64;

type Token = "e" | "s" | "ee" | "es" | "se" | "psk";

/** Noise §7.5: XX. */
const XX: readonly (readonly Token[])[] = [["e"], ["e", "ee", "s", "es"], ["s", "se"]];

/** Noise §9.4: XXpsk0 mixes the key in before anything else. */
const XX_PSK0: readonly (readonly Token[])[] = [
  ["psk", "e"],
  ["e", "ee", "s", "es"],
  ["s", "se"],
];

const EMPTY = new Uint8Array(0);

/** What a handshake starts from. */
export interface NoiseOptions {
  readonly crypto: CryptoProvider;
  readonly isInitiator: boolean;
  /** Bytes that both sides must agree on. Noise §6. */
  readonly prologue: Uint8Array;
  readonly staticKey: DhKeyPair;
  /** A 32-byte secret both sides hold: selects XXpsk0. */
  readonly psk?: Uint8Array | undefined;
}

/** What both sides have after the last message. */
export interface NoiseKeys {
  /** Key of the initiator's direction, 32 bytes. */
  readonly initiatorKey: Uint8Array;
  /** Key of the responder's direction, 32 bytes. */
  readonly responderKey: Uint8Array;
}

/**
 * One side of a Noise handshake.
 *
 * A message that does not authenticate leaves the state spoiled, as the framework says; whoever may
 * receive forgeries reads on a `clone` and keeps it only when the message was good.
 */
export class NoiseHandshake {
  private readonly crypto: CryptoProvider;
  private readonly isInitiator: boolean;
  private readonly staticKey: DhKeyPair;
  private readonly psk: Uint8Array | undefined;
  private chainingKey: Uint8Array;
  private hash: Uint8Array;
  private key: Uint8Array | undefined;
  private nonce = 0;
  private ephemeral: DhKeyPair | undefined;
  private remoteEphemeral: Uint8Array | undefined;
  private remoteStaticKey: Uint8Array | undefined;
  private step = 0;

  constructor(options: NoiseOptions) {
    assert(options.psk === undefined || options.psk.length === NOISE_KEY_BYTES, "a Noise psk is 32 bytes");
    this.crypto = options.crypto;
    this.isInitiator = options.isInitiator;
    this.staticKey = options.staticKey;
    this.psk = options.psk;
    const pattern = options.psk === undefined ? "XX" : "XXpsk0";
    // Noise §5.2: a name that fits the hash is padded with zeros instead of hashed.
    this.hash = new Uint8Array(NOISE_HASH_BYTES);
    this.hash.set(encodeUtf8(`Noise_${pattern}_25519_ChaChaPoly_BLAKE2b`));
    this.chainingKey = this.hash;
    this.mixHash(options.prologue);
  }

  /** An independent copy of the state. */
  clone(): NoiseHandshake {
    // Every array is replaced, never written to, so that sharing them is safe.
    return Object.assign(Object.create(NoiseHandshake.prototype) as NoiseHandshake, this);
  }

  /** The handshake hash over everything so far, 64 bytes. After the last message: a unique name of the session. */
  get handshakeHash(): Uint8Array {
    return this.hash;
  }

  /** The peer's X25519 static key, once it was received. */
  get remoteStatic(): Uint8Array | undefined {
    return this.remoteStaticKey;
  }

  /** Whether all three messages are through. */
  get isComplete(): boolean {
    return this.step === XX.length;
  }

  /**
   * Makes the next message.
   *
   * @param payloadFor - Returns the payload, given the handshake hash just before it, so that the
   * payload can be bound to the message's keys.
   */
  writeMessage(payloadFor: (handshakeHash: Uint8Array) => Uint8Array): Uint8Array {
    const writer = new ByteWriter();
    for (const token of this.takeTokens(true)) {
      switch (token) {
        case "e":
          this.ephemeral = this.crypto.generateDhKeyPair();
          writer.raw(this.ephemeral.publicKey);
          this.mixEphemeral(this.ephemeral.publicKey);
          break;
        case "s":
          writer.raw(this.encryptAndHash(this.staticKey.publicKey));
          break;
        default:
          this.mixSecret(token);
      }
    }
    return writer.raw(this.encryptAndHash(payloadFor(this.hash))).finish();
  }

  /**
   * Takes the peer's next message.
   *
   * @param inspect - Called with the handshake hash just before the payload.
   * @returns The payload, or `undefined` if the message is too short, carries a key of low order or
   * is not authentic; the state is then spoiled.
   */
  readMessage(message: Uint8Array, inspect?: (handshakeHash: Uint8Array) => void): Uint8Array | undefined {
    const reader = new ByteReader(message);
    try {
      for (const token of this.takeTokens(false)) {
        switch (token) {
          case "e":
            this.remoteEphemeral = reader.copy(NOISE_KEY_BYTES);
            this.mixEphemeral(this.remoteEphemeral);
            break;
          case "s": {
            const length = NOISE_KEY_BYTES + (this.key === undefined ? 0 : TAG_BYTES);
            this.remoteStaticKey = this.decryptAndHash(reader.view(length));
            if (this.remoteStaticKey === undefined) return undefined;
            break;
          }
          default:
            this.mixSecret(token);
        }
      }
      inspect?.(this.hash);
      return this.decryptAndHash(reader.view(reader.remaining));
    } catch (error) {
      // Too short (DECODE) or a key of low order (PROTOCOL_VIOLATION): the same as not authentic.
      if (error instanceof GodwitError) return undefined;
      throw error;
    }
  }

  /** The two directions' keys. Noise §5.2, Split(). */
  split(): NoiseKeys {
    assert(this.isComplete, "keys are split after the last message");
    const [first, second] = this.hkdf(EMPTY, 2);
    return {
      initiatorKey: first.slice(0, NOISE_KEY_BYTES),
      responderKey: second.slice(0, NOISE_KEY_BYTES),
    };
  }

  private takeTokens(isWriting: boolean): readonly Token[] {
    const { step } = this;
    assert(step < XX.length, "the handshake has three messages");
    assert(isWriting === ((step % 2 === 0) === this.isInitiator), "the sides write in turns");
    this.step++;
    return (this.psk === undefined ? XX : XX_PSK0)[step];
  }

  private mixSecret(token: Exclude<Token, "e" | "s">): void {
    if (token === "psk") {
      assert(this.psk !== undefined, "the pattern has a psk");
      // Noise §9.2, MixKeyAndHash.
      const [chainingKey, hash, key] = this.hkdf(this.psk, 3);
      this.chainingKey = chainingKey;
      this.mixHash(hash);
      this.setKey(key);
      return;
    }
    // "es" is the initiator's ephemeral with the responder's static, "se" the other way round.
    const ownIsStatic = token !== "ee" && (token === "se") === this.isInitiator;
    const own = ownIsStatic ? this.staticKey : this.ephemeral;
    const remote = token === "ee" || ownIsStatic ? this.remoteEphemeral : this.remoteStaticKey;
    assert(own !== undefined && remote !== undefined, "the pattern sends keys before it uses them");
    this.mixKey(this.crypto.dh(own.privateKey, remote));
  }

  private mixEphemeral(publicKey: Uint8Array): void {
    this.mixHash(publicKey);
    // Noise §9.2: with a psk the ephemeral key randomises the cipher key as well.
    if (this.psk !== undefined) this.mixKey(publicKey);
  }

  private mixHash(data: Uint8Array): void {
    this.hash = this.crypto.blake2b(this.hash, data);
  }

  private mixKey(input: Uint8Array): void {
    const [chainingKey, key] = this.hkdf(input, 2);
    this.chainingKey = chainingKey;
    this.setKey(key);
  }

  private setKey(key: Uint8Array): void {
    this.key = key.slice(0, NOISE_KEY_BYTES);
    this.nonce = 0;
  }

  private encryptAndHash(plaintext: Uint8Array): Uint8Array {
    const sealed =
      this.key === undefined
        ? plaintext
        : this.crypto.sealChaCha(this.key, noiseNonce(this.nonce++), this.hash, plaintext);
    this.mixHash(sealed);
    return sealed;
  }

  private decryptAndHash(sealed: Uint8Array): Uint8Array | undefined {
    const plaintext =
      this.key === undefined
        ? sealed.slice()
        : this.crypto.openChaCha(this.key, noiseNonce(this.nonce++), this.hash, sealed);
    if (plaintext !== undefined) this.mixHash(sealed);
    return plaintext;
  }

  /** Noise §4.3. */
  private hkdf(input: Uint8Array, outputs: 2 | 3): Uint8Array[] {
    const { crypto } = this;
    const temporary = crypto.hmacBlake2b(this.chainingKey, input);
    const first = crypto.hmacBlake2b(temporary, Uint8Array.of(1));
    const second = crypto.hmacBlake2b(temporary, first, Uint8Array.of(2));
    if (outputs === 2) return [first, second];
    return [first, second, crypto.hmacBlake2b(temporary, second, Uint8Array.of(3))];
  }
}

/** Noise §12.3: 32 zero bits, then the counter as 64 bits little-endian. A handshake never counts to 256. */
function noiseNonce(counter: number): Uint8Array {
  assert(counter < 256, "a handshake uses a key a few times only");
  const nonce = new Uint8Array(12);
  nonce[4] = counter;
  return nonce;
}
