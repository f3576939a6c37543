/**
 * CPace, the password-authenticated key exchange of draft-irtf-cfrg-cpace, in its suite
 * CPACE-RISTR255-SHA512, as an initiator-responder exchange. Group arithmetic: @noble/curves; hash:
 * `node:crypto`. Use in godwit: docs/spec/pairing.md.
 */
import { createHash, randomFillSync } from "node:crypto";
import { ristretto255, ristretto255_hasher } from "@noble/curves/ed25519.js";
import { concatBytes } from "../../base/bytes.ts";
import { encodeUtf8 } from "../../base/utf8.ts";
import type { Pake, PakeMessage, PakeRun } from "../../transport/pairing/pake.ts";

const { Point } = ristretto255;
const DSI = encodeUtf8("CPaceRistretto255");
const DSI_ISK = encodeUtf8("CPaceRistretto255_ISK");

/** Input block of SHA-512, H.s_in_bytes. */
const HASH_BLOCK_BYTES = 128;

function sha512(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHash("sha512").update(bytes).digest());
}

/** prepend_len and lv_cat: each part with its length in front, as LEB128. */
export function lengthValues(...parts: readonly Uint8Array[]): Uint8Array {
  return concatBytes(
    ...parts.flatMap((part) => {
      const length: number[] = [];
      for (let left = part.length; ; left >>>= 7) {
        length.push(left < 128 ? left : (left & 127) | 128);
        if (left < 128) break;
      }
      return [Uint8Array.from(length), part];
    }),
  );
}

/** The generator of the group for a password: `G.calculate_generator(H, PRS, CI, sid)`. */
export function calculateGenerator(
  password: Uint8Array,
  channel: Uint8Array,
  sessionId: Uint8Array,
): Uint8Array {
  // The zeros fill the first block of the hash together with DSI and password.
  const fill = HASH_BLOCK_BYTES - 1 - lengthValues(password).length - lengthValues(DSI).length;
  const padding = new Uint8Array(Math.max(0, fill));
  const digest = sha512(lengthValues(DSI, password, padding, channel, sessionId));
  const point = ristretto255_hasher.deriveToCurve?.(digest);
  if (point === undefined) throw new Error("@noble/curves has no element derivation for ristretto255");
  return point.toBytes();
}

/**
 * `G.scalar_mult_vfy`: the scalar times the point, or `undefined` for bytes that are no point and for
 * the neutral element, which the exchange must abort on.
 *
 * @param scalar - 32 bytes, little-endian.
 */
export function scalarMultVerify(scalar: Uint8Array, point: Uint8Array): Uint8Array | undefined {
  try {
    const product = Point.fromBytes(point).multiply(Point.Fn.fromBytes(scalar));
    return product.is0() ? undefined : product.toBytes();
  } catch {
    return undefined;
  }
}

/** The intermediate session key of an initiator-responder exchange, 64 bytes. */
export function sessionKey(
  sessionId: Uint8Array,
  secret: Uint8Array,
  initiator: PakeMessage,
  responder: PakeMessage,
): Uint8Array {
  return sha512(
    concatBytes(
      lengthValues(DSI_ISK, sessionId, secret),
      lengthValues(initiator.share, initiator.data),
      lengthValues(responder.share, responder.data),
    ),
  );
}

/** A scalar without bias: 64 random bytes modulo the order, never 0. */
function randomScalar(): Uint8Array {
  for (;;) {
    let value = 0n;
    for (const byte of randomFillSync(new Uint8Array(64))) value = (value << 8n) | BigInt(byte);
    value = Point.Fn.create(value);
    if (value !== 0n) return Point.Fn.toBytes(value);
  }
}

/** CPace as the transport uses it. */
export const cpace: Pake = {
  start(password, channel, sessionId): PakeRun {
    const scalar = randomScalar();
    const share = scalarMultVerify(scalar, calculateGenerator(password, channel, sessionId));
    if (share === undefined) throw new Error("a generator is never the neutral element");
    return {
      share,
      finish: (peer, isInitiator, ownData) => {
        const secret = scalarMultVerify(scalar, peer.share);
        if (secret === undefined) return undefined;
        const own = { share, data: ownData };
        return isInitiator
          ? sessionKey(sessionId, secret, own, peer)
          : sessionKey(sessionId, secret, peer, own);
      },
    };
  },
};
