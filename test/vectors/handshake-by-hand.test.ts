/**
 * An initiator written from docs/spec/handshake.md alone, on an independent Noise implementation and
 * node:crypto, against our responder: the specification is complete, and both agree on every byte.
 */
import {
  createDecipheriv,
  createHmac,
  createPublicKey,
  generateKeyPairSync,
  randomBytes,
  sign,
  verify,
} from "node:crypto";
import { createRequire } from "node:module";
import { describe, expect, test } from "vitest";
import { nodeCryptoProvider } from "../../src/node/crypto/provider.ts";
import { temporaryIdentity } from "../../src/node/stores/identity.ts";
import { derivePacketKey, nextSecret } from "../../src/transport/handshake/key-schedule.ts";
import { HandshakeResponder } from "../../src/transport/handshake/responder.ts";
import { PacketBatch } from "../../src/wire/batch.ts";
import { DEFAULT_TRANSPORT_PARAMETERS } from "../../src/wire/transport-parameters.ts";

/** The parts of the npm package noise-handshake that are used here; it has no types. */
interface OtherNoise {
  digest: Buffer;
  rs: Buffer;
  tx: Buffer;
  rx: Buffer;
  hash: Buffer;
  initialise(prologue: Buffer): void;
  send(payload: Buffer): Buffer;
  recv(message: Buffer): Buffer;
  encryptAndHash(plaintext: Buffer): Buffer;
  decryptAndHash(ciphertext: Buffer): Buffer;
}
const OtherNoise = createRequire(import.meta.url)("noise-handshake") as new (
  pattern: string,
  isInitiator: boolean,
  staticKey: { publicKey: Buffer; secretKey: Buffer },
  options: { psk?: Buffer },
) => OtherNoise;

const crypto = nodeCryptoProvider();
const hex = (text: string): Buffer => Buffer.from(text.replaceAll(" ", ""), "hex");

describe.each([undefined, Buffer.alloc(32, 7)])("by hand, psk %s", (psk) => {
  test.each([true, false])("INIT, REPLY, FINISH, and a protected packet; honest about its id: %s", (isHonest) => {
    const bob = temporaryIdentity(crypto);
    const bobId = hex("b0b1b2b3b4b5b6b7");
    const responder = new HandshakeResponder(
      {
        crypto,
        identity: bob.signing,
        staticKey: bob.staticKey,
        localParameters: DEFAULT_TRANSPORT_PARAMETERS,
        localConnectionId: new Uint8Array(bobId),
        psk: psk === undefined ? undefined : new Uint8Array(psk),
        isAddressValidated: false,
        verifyPeer: () => undefined,
      },
      0,
    );

    // §4: the prologue. WIRE §5: INIT, type 0, no token, zero padding.
    const firstId = randomBytes(8);
    const ourId = randomBytes(8);
    const mode = psk === undefined ? 0 : 1;
    const psk8 = mode * 8;
    const prologue = Buffer.concat([
      Buffer.from("godwit handshake"),
      hex("67647701"),
      Buffer.of(mode),
      firstId,
      ourId,
    ]);
    const pair = crypto.generateDhKeyPair();
    const publicKey = Buffer.from(pair.publicKey);
    const noise = new OtherNoise(
      psk === undefined ? "XX" : "XXpsk0",
      true,
      { publicKey, secretKey: Buffer.from(pair.privateKey) },
      psk === undefined ? {} : { psk },
    );
    noise.initialise(prologue);
    const message1 = noise.send(Buffer.alloc(0));
    expect(message1.length).toBe(32 + mode * 16);
    const head = Buffer.concat([
      Buffer.of(0xc0 | psk8),
      hex("67647701"),
      firstId,
      ourId,
      Buffer.of(0, message1.length),
      message1,
    ]);
    responder.handlePacket(new Uint8Array(Buffer.concat([head, Buffer.alloc(1200 - head.length)])), 0);
    const reply = Buffer.from(responder.pollTransmit(0) ?? []);

    // REPLY: type 1, our id, its id, payload with a length of two bytes.
    expect(reply.subarray(0, 21)).toEqual(
      Buffer.concat([Buffer.of(0xc1 | psk8), hex("67647701"), ourId, bobId]),
    );
    const length = reply.readUInt16BE(21) & 0x3fff;
    expect(reply.length).toBe(23 + length);
    let hashBefore = Buffer.alloc(0);
    const decrypt = noise.decryptAndHash.bind(noise);
    noise.decryptAndHash = (ciphertext) => {
      hashBefore = Buffer.from(noise.digest);
      return decrypt(ciphertext);
    };
    const payload = Buffer.from(noise.recv(reply.subarray(23)));

    // §5.2: identity, signature over label, role 1, hash and static key. §6: id and versions, all else default.
    const theirs = createPublicKey({
      key: { kty: "OKP", crv: "Ed25519", x: payload.subarray(0, 32).toString("base64url") },
      format: "jwk",
    });
    expect(payload.subarray(0, 32)).toEqual(Buffer.from(bob.signing.publicKey));
    const signed = Buffer.concat([Buffer.from("godwit identity v1"), Buffer.of(1), hashBefore, noise.rs]);
    expect(verify(null, signed, theirs, payload.subarray(32, 96))).toBe(true);
    expect(payload.subarray(96)).toEqual(hex("0f08 b0b1b2b3b4b5b6b7 1108 67647701 67647701"));

    // FINISH: type 2, signed for role 0.
    const own = generateKeyPairSync("ed25519");
    const ownPublic = Buffer.from(own.publicKey.export({ format: "jwk" }).x ?? "", "base64url");
    const marker = Buffer.alloc(1);
    const encrypt = noise.encryptAndHash.bind(noise);
    noise.encryptAndHash = (plaintext) => {
      if (plaintext !== marker) return encrypt(plaintext);
      const toSign = Buffer.concat([
        Buffer.from("godwit identity v1"),
        Buffer.of(0),
        noise.digest,
        publicKey,
      ]);
      const parameters = Buffer.concat([hex("0801 05 0f08"), isHonest ? ourId : firstId, hex("1108 67647701 67647701")]);
      return encrypt(Buffer.concat([ownPublic, sign(null, toSign, own.privateKey), parameters]));
    };
    const message3 = noise.send(marker);
    const finish = Buffer.concat([
      Buffer.of(0xc2 | psk8),
      hex("67647701"),
      bobId,
      ourId,
      Buffer.of(0x40 | (message3.length >> 8), message3.length & 0xff),
      message3,
    ]);
    responder.handlePacket(new Uint8Array(finish), 0);
    const { result } = responder;
    if (!isHonest) {
      // §6.3.
      expect(responder.failure?.code).toBe("PROTOCOL_VIOLATION");
      expect(result).toBeUndefined();
      return;
    }
    expect(responder.failure).toBeUndefined();
    expect(result).toBeDefined();
    if (result === undefined) return;
    expect(Buffer.from(result.peerIdentity)).toEqual(ownPublic);
    expect(result.peerParameters.initialMaxStreams).toBe(5);
    expect(Buffer.from(result.handshakeHash)).toEqual(noise.hash);
    expect(Buffer.from(result.sendSecret)).toEqual(Buffer.from(noise.rx));
    expect(Buffer.from(result.receiveSecret)).toEqual(Buffer.from(noise.tx));

    // §7 and WIRE §4: the responder's packet 5 in its second key phase, opened by hand.
    const expand = (secret: Buffer, label: string, bytes: number): Buffer =>
      createHmac("blake2b512", secret).update(label).update(Buffer.of(1)).digest().subarray(0, bytes);
    const batch = new PacketBatch(1, 64);
    const header = hex("44").toString("hex") + ourId.toString("hex") + "00000005";
    batch.bytes.set(Buffer.concat([Buffer.from(header, "hex"), hex("01 1e")]));
    batch.push(13 + 2 + 16, new Int32Array(6), 0);
    batch.packetNumbers[0] = 5;
    derivePacketKey(nextSecret(result.sendSecret, crypto), crypto).seal(batch, 0, 1, 13);
    const sealed = Buffer.from(batch.datagram(0));
    const secret = expand(Buffer.from(noise.rx), "godwit ku", 32);
    const nonce = Buffer.from(expand(secret, "godwit iv", 12));
    nonce[11] ^= 5;
    const cipher = createDecipheriv("aes-256-gcm", expand(secret, "godwit key", 32), nonce, {
      authTagLength: 16,
    });
    cipher.setAAD(sealed.subarray(0, 13));
    cipher.setAuthTag(sealed.subarray(15));
    expect(Buffer.concat([cipher.update(sealed.subarray(13, 15)), cipher.final()])).toEqual(hex("01 1e"));
  });
});
