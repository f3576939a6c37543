/** Our Noise state against published vectors and against an independent implementation. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { describe, expect, test } from "vitest";
import { fromHex, toHex } from "../../src/base/bytes.ts";
import { nodeCryptoProvider } from "../../src/node/crypto/provider.ts";
import type { CryptoProvider, DhKeyPair } from "../../src/transport/crypto.ts";
import { NoiseHandshake } from "../../src/transport/handshake/noise.ts";

const crypto = nodeCryptoProvider();
const BASE_POINT = Uint8Array.of(9, ...new Uint8Array(31));

function keyPair(privateHex: string): DhKeyPair {
  const privateKey = fromHex(privateHex);
  return { privateKey, publicKey: crypto.dh(privateKey, BASE_POINT) };
}

/** The provider with a fixed ephemeral key. */
function withEphemeral(ephemeral: DhKeyPair): CryptoProvider {
  return { ...crypto, generateDhKeyPair: () => ephemeral };
}

interface NoiseVector {
  source: string;
  protocol_name: string;
  init_prologue: string;
  init_static: string;
  init_ephemeral: string;
  resp_prologue: string;
  resp_static: string;
  resp_ephemeral: string;
  handshake_hash?: string;
  messages: { payload: string; ciphertext: string }[];
}

const { vectors } = JSON.parse(readFileSync(new URL("noise/xx.json", import.meta.url), "utf8")) as {
  vectors: NoiseVector[];
};

test.each(vectors)("$protocol_name of $source", (vector) => {
  const side = (isInitiator: boolean): NoiseHandshake =>
    new NoiseHandshake({
      crypto: withEphemeral(keyPair(isInitiator ? vector.init_ephemeral : vector.resp_ephemeral)),
      isInitiator,
      prologue: fromHex(isInitiator ? vector.init_prologue : vector.resp_prologue),
      staticKey: keyPair(isInitiator ? vector.init_static : vector.resp_static),
    });
  const initiator = side(true);
  const responder = side(false);
  vector.messages.slice(0, 3).forEach(({ payload, ciphertext }, index) => {
    const [writer, reader] = index % 2 === 0 ? [initiator, responder] : [responder, initiator];
    const message = writer.writeMessage(() => fromHex(payload));
    expect(toHex(message)).toBe(ciphertext);
    expect(toHex(reader.readMessage(message) ?? new Uint8Array(0))).toBe(payload);
  });
  if (vector.handshake_hash !== undefined)
    expect(toHex(initiator.handshakeHash)).toBe(vector.handshake_hash);
  expect(initiator.handshakeHash).toEqual(responder.handshakeHash);

  // The transport messages behind the handshake show that the keys and their directions are right.
  const { initiatorKey, responderKey } = initiator.split();
  expect(responder.split()).toEqual({ initiatorKey, responderKey });
  vector.messages.slice(3).forEach(({ payload, ciphertext }, index) => {
    const nonce = new Uint8Array(12);
    nonce[4] = Math.floor(index / 2);
    const key = index % 2 === 0 ? responderKey : initiatorKey;
    expect(toHex(crypto.sealChaCha(key, nonce, new Uint8Array(0), fromHex(payload)))).toBe(ciphertext);
  });
});

/** The parts of the npm package noise-handshake that are used here; it has no types. */
interface OtherNoise {
  e: { publicKey: Buffer; secretKey: Buffer } | null;
  initialise(prologue: Buffer): void;
  send(payload: Buffer): Buffer;
  recv(message: Buffer): Buffer;
  readonly complete: boolean;
  readonly hash: Buffer;
  readonly tx: Buffer;
  readonly rx: Buffer;
  readonly rs: Buffer;
}
type OtherNoiseClass = new (
  pattern: string,
  isInitiator: boolean,
  staticKey: { publicKey: Buffer; secretKey: Buffer },
  options: { psk?: Buffer },
) => OtherNoise;
const OtherNoise = createRequire(import.meta.url)("noise-handshake") as OtherNoiseClass;

describe.each([false, true])("differential against noise-handshake, psk %s", (hasPsk) => {
  test.each([true, false])("we initiate: %s", (weInitiate) => {
    for (let round = 0; round < 20; round++) {
      const psk = hasPsk ? crypto.randomBytes(new Uint8Array(32)) : undefined;
      const prologue = crypto.randomBytes(new Uint8Array(round * 7));
      const ourStatic = crypto.generateDhKeyPair();
      const otherStatic = crypto.generateDhKeyPair();
      const ours = new NoiseHandshake({
        crypto,
        isInitiator: weInitiate,
        prologue,
        staticKey: ourStatic,
        psk,
      });
      const other = new OtherNoise(
        hasPsk ? "XXpsk0" : "XX",
        !weInitiate,
        { publicKey: Buffer.from(otherStatic.publicKey), secretKey: Buffer.from(otherStatic.privateKey) },
        psk === undefined ? {} : { psk: Buffer.from(psk) },
      );
      other.initialise(Buffer.from(prologue));
      for (let index = 0; index < 3; index++) {
        const payload = crypto.randomBytes(new Uint8Array(index * 40 + round));
        if ((index % 2 === 0) === weInitiate) {
          const message = ours.writeMessage(() => payload);
          expect(toHex(other.recv(Buffer.from(message)))).toBe(toHex(payload));
        } else {
          const message = other.send(Buffer.from(payload));
          expect(toHex(ours.readMessage(new Uint8Array(message)) ?? new Uint8Array(0))).toBe(toHex(payload));
        }
      }
      expect(other.complete).toBe(true);
      expect(toHex(ours.handshakeHash)).toBe(toHex(other.hash));
      expect(toHex(ours.remoteStatic ?? new Uint8Array(0))).toBe(toHex(otherStatic.publicKey));
      expect(toHex(other.rs)).toBe(toHex(ourStatic.publicKey));
      const { initiatorKey, responderKey } = ours.split();
      expect(toHex(weInitiate ? initiatorKey : responderKey)).toBe(toHex(other.rx));
      expect(toHex(weInitiate ? responderKey : initiatorKey)).toBe(toHex(other.tx));
    }
  });
});

describe("what must not authenticate", () => {
  const staticKey = crypto.generateDhKeyPair();
  const begin = (isInitiator: boolean, psk?: Uint8Array, prologue = new Uint8Array(1)): NoiseHandshake =>
    new NoiseHandshake({ crypto, isInitiator, prologue, staticKey, psk });
  const empty = (): Uint8Array => new Uint8Array(0);

  test("another prologue", () => {
    const initiator = begin(true);
    const responder = begin(false, undefined, new Uint8Array(2));
    expect(responder.readMessage(initiator.writeMessage(empty))).toEqual(empty());
    expect(initiator.readMessage(responder.writeMessage(empty))).toBeUndefined();
  });

  test("another psk, in the first message already", () => {
    const initiator = begin(true, new Uint8Array(32));
    const responder = begin(false, new Uint8Array(32).fill(1));
    expect(responder.readMessage(initiator.writeMessage(empty))).toBeUndefined();
  });

  test("an ephemeral key of low order", () => {
    const initiator = begin(true);
    const responder = begin(false);
    initiator.writeMessage(empty);
    const forged = responder.clone();
    expect(forged.readMessage(new Uint8Array(32))).toEqual(empty());
    expect(() => forged.writeMessage(empty)).toThrow(
      expect.objectContaining({ code: "PROTOCOL_VIOLATION" }),
    );
    expect(initiator.readMessage(new Uint8Array(200))).toBeUndefined();
  });

  test("a message cut short at any length, and a clone is not spoiled by trying", () => {
    const initiator = begin(true);
    const responder = begin(false);
    responder.readMessage(initiator.writeMessage(empty));
    const message = responder.writeMessage(() => new Uint8Array(10));
    for (let length = 0; length < message.length; length++)
      expect(initiator.clone().readMessage(message.subarray(0, length))).toBeUndefined();
    expect(initiator.readMessage(message)).toEqual(new Uint8Array(10));
  });
});
