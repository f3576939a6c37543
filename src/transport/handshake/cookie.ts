/**
 * Stateless cookies: proof that whoever sends an INIT receives at its source address. Nothing is
 * remembered per cookie. Source: docs/spec/handshake.md §9.2, after RFC 9000 §8.1.2.
 */
import { readUint32, writeUint32 } from "../../base/bytes.ts";
import { COOKIE_LIFETIME_US } from "../../base/limits.ts";
import { addressBytes } from "../../wire/address.ts";
import type { CryptoProvider } from "../crypto.ts";

const TIME_BYTES = 4;
const MAC_BYTES = 16;
const SECRET_BYTES = 32;

/** Bytes of a cookie: time of issue in milliseconds, and an authenticator. */
export const COOKIE_BYTES = TIME_BYTES + MAC_BYTES;

/** The connection ids of an INIT, as its sender chose them. */
export interface CookieIds {
  readonly destinationId: Uint8Array;
  readonly sourceId: Uint8Array;
}

/** Issues and checks cookies under a secret that is replaced every lifetime. */
export class CookieJar {
  private readonly crypto: CryptoProvider;
  private current: Uint8Array;
  private previous: Uint8Array | undefined;
  private renewedAtUs: number;

  constructor(crypto: CryptoProvider, nowUs: number) {
    this.crypto = crypto;
    this.current = crypto.randomBytes(new Uint8Array(SECRET_BYTES));
    this.renewedAtUs = nowUs;
  }

  /** A cookie for an address and the ids of an INIT. */
  issue(addresses: Int32Array, addressIndex: number, ids: CookieIds, nowUs: number): Uint8Array {
    this.renew(nowUs);
    const cookie = new Uint8Array(COOKIE_BYTES);
    writeUint32(cookie, 0, milliseconds(nowUs));
    const time = cookie.subarray(0, TIME_BYTES);
    cookie.set(this.authenticator(this.current, addresses, addressIndex, ids, time), TIME_BYTES);
    return cookie;
  }

  /** Whether this side issued the cookie for this address and these ids at most a lifetime ago. */
  isValid(
    cookie: Uint8Array,
    addresses: Int32Array,
    addressIndex: number,
    ids: CookieIds,
    nowUs: number,
  ): boolean {
    if (cookie.length !== COOKIE_BYTES) return false;
    this.renew(nowUs);
    // Unsigned difference, so that the counter may wrap after 49 days; a cookie from the future is very old.
    const ageMs = (milliseconds(nowUs) - readUint32(cookie, 0)) >>> 0;
    if (ageMs * 1_000 > COOKIE_LIFETIME_US) return false;
    const time = cookie.subarray(0, TIME_BYTES);
    const mac = cookie.subarray(TIME_BYTES);
    for (const secret of [this.current, this.previous]) {
      if (secret === undefined) continue;
      const expected = this.authenticator(secret, addresses, addressIndex, ids, time);
      if (this.crypto.equalSecrets(expected, mac)) return true;
    }
    return false;
  }

  private renew(nowUs: number): void {
    const ageUs = nowUs - this.renewedAtUs;
    if (ageUs < COOKIE_LIFETIME_US) return;
    // The secret before the last one has no valid cookie left.
    this.previous = ageUs < 2 * COOKIE_LIFETIME_US ? this.current : undefined;
    this.current = this.crypto.randomBytes(new Uint8Array(SECRET_BYTES));
    this.renewedAtUs = nowUs;
  }

  private authenticator(
    secret: Uint8Array,
    addresses: Int32Array,
    addressIndex: number,
    ids: CookieIds,
    time: Uint8Array,
  ): Uint8Array {
    const address = addressBytes(addresses, addressIndex);
    const mac = this.crypto.hmacBlake2b(secret, address, ids.destinationId, ids.sourceId, time);
    return mac.subarray(0, MAC_BYTES);
  }
}

function milliseconds(nowUs: number): number {
  return Math.floor(nowUs / 1_000) >>> 0;
}
