import { describe, expect, test } from "vitest";
import { fromHex } from "../../base/bytes.ts";
import { SeededRandom } from "../../base/random.ts";
import { nodeCryptoProvider } from "../../node/crypto/provider.ts";
import { temporaryIdentity } from "../../node/stores/identity.ts";
import { LONG_TYPE, decodeLongPacket, decodeVersions, encodeLongPacket } from "../../wire/header.ts";
import { DEFAULT_TRANSPORT_PARAMETERS } from "../../wire/transport-parameters.ts";
import { COOKIE_BYTES, CookieJar } from "./cookie.ts";
import { DOOR, HandshakeDoor } from "./door.ts";
import { HandshakeInitiator } from "./initiator.ts";
import { HandshakeResponder } from "./responder.ts";
import { SourceLimiter } from "./source-limiter.ts";

const crypto = nodeCryptoProvider();
const V1 = 0x6764_7701;

/** 192.0.2.`host`, in the six words of wire/address.ts. */
function v4(host: number, port = 4_639): Int32Array {
  return Int32Array.of(0, 0, 0xffff, (0xc0000200 | 0) + host, port, 0);
}

function init(seed: number, more: Partial<Parameters<typeof encodeLongPacket>[0]> = {}): Uint8Array {
  const random = new SeededRandom(seed, "init");
  return encodeLongPacket(
    {
      type: LONG_TYPE.init,
      psk: false,
      version: V1,
      destinationId: random.bytes(new Uint8Array(8)),
      sourceId: random.bytes(new Uint8Array(8)),
      token: new Uint8Array(0),
      payload: random.bytes(new Uint8Array(32)),
      ...more,
    },
    1_200,
  );
}

describe("cookies", () => {
  const ids = { destinationId: fromHex("0001020304050607"), sourceId: fromHex("08090a0b0c0d0e0f") };

  test("are good for ten seconds at the address, port and ids they were made for", () => {
    const jar = new CookieJar(crypto, 0);
    const cookie = jar.issue(v4(1), 0, ids, 1_000_000);
    expect(cookie.length).toBe(20);
    expect(jar.isValid(cookie, v4(1), 0, ids, 1_000_000)).toBe(true);
    expect(jar.isValid(cookie, v4(2), 0, ids, 1_000_000)).toBe(false);
    expect(jar.isValid(cookie, v4(1, 4_640), 0, ids, 1_000_000)).toBe(false);
    const swapped = { destinationId: ids.sourceId, sourceId: ids.destinationId };
    expect(jar.isValid(cookie, v4(1), 0, swapped, 1_000_000)).toBe(false);
    expect(jar.isValid(cookie, v4(1), 0, ids, 11_000_000)).toBe(true);
    expect(jar.isValid(cookie, v4(1), 0, ids, 11_001_000)).toBe(false);
  });

  test("live through one change of the secret", () => {
    const jar = new CookieJar(crypto, 0);
    const cookie = jar.issue(v4(1), 0, ids, 9_999_000);
    expect(jar.isValid(cookie, v4(1), 0, ids, 10_000_000)).toBe(true);
    expect(jar.isValid(cookie, v4(1), 0, ids, 19_999_000)).toBe(true);
    expect(jar.isValid(cookie, v4(1), 0, ids, 20_001_000)).toBe(false);
  });

  test("are of no use at another endpoint, altered, shortened, or from the future", () => {
    const jar = new CookieJar(crypto, 0);
    const cookie = jar.issue(v4(1), 0, ids, 1_000_000);
    expect(new CookieJar(crypto, 0).isValid(cookie, v4(1), 0, ids, 1_000_000)).toBe(false);
    for (let bit = 0; bit < COOKIE_BYTES * 8; bit++) {
      const altered = cookie.slice();
      altered[bit >> 3] ^= 1 << (bit & 7);
      expect(jar.isValid(altered, v4(1), 0, ids, 1_000_000)).toBe(false);
    }
    expect(jar.isValid(cookie.subarray(0, 19), v4(1), 0, ids, 1_000_000)).toBe(false);
    expect(jar.isValid(cookie, v4(1), 0, ids, 999_000)).toBe(false);
  });

  test("survive the wrap of the millisecond counter", () => {
    const wrapUs = 2 ** 32 * 1_000;
    const jar = new CookieJar(crypto, wrapUs - 1_000_000);
    const cookie = jar.issue(v4(1), 0, ids, wrapUs - 500_000);
    expect(jar.isValid(cookie, v4(1), 0, ids, wrapUs + 500_000)).toBe(true);
  });
});

describe("source limits", () => {
  test("five at once, then twenty a second", () => {
    const limiter = new SourceLimiter(20, 5);
    const taken = (nowUs: number): number => {
      let count = 0;
      while (limiter.take(v4(1), 0, nowUs)) count++;
      return count;
    };
    expect(taken(0)).toBe(5);
    expect(taken(49_999)).toBe(0);
    expect(taken(100_000)).toBe(2);
    expect(taken(10_000_000)).toBe(5);
  });

  test("other sources have their own; ports of one host and one /64 share", () => {
    const limiter = new SourceLimiter(20, 5);
    const v6 = (network: number, host: number): Int32Array => Int32Array.of(network, 1, 0, host, 9, 0);
    for (let i = 0; i < 5; i++) {
      expect(limiter.take(v4(1, 1_000 + i), 0, 0)).toBe(true);
      expect(limiter.take(v6(7, i), 0, 0)).toBe(true);
    }
    expect(limiter.take(v4(1, 2_000), 0, 0)).toBe(false);
    expect(limiter.take(v6(7, 99), 0, 0)).toBe(false);
    expect(limiter.take(v4(2), 0, 0)).toBe(true);
    expect(limiter.take(v6(8, 0), 0, 0)).toBe(true);
  });

  test("a flood of addresses does not grow memory, and keeps the ones in use", () => {
    const limiter = new SourceLimiter(20, 5);
    while (limiter.take(v4(1), 0, 0));
    for (let i = 0; i < 10_000; i++) {
      limiter.take(Int32Array.of(i, i, 0, 0, 0, 0), 0, 0);
      if (i % 1_000 === 0) expect(limiter.take(v4(1), 0, 0)).toBe(false);
    }
    expect(limiter.size).toBe(4_096);
  });
});

describe("the door", () => {
  test("lets a first INIT in without a cookie, and knows its repetition", () => {
    const door = new HandshakeDoor<string>(crypto, 0);
    expect(door.handleDatagram(init(1), v4(1), 0, 0)).toBe(DOOR.admit);
    expect(door.isAddressValidated).toBe(false);
    door.opened(door.attempt, "first");
    expect(door.handleDatagram(init(1), v4(1), 0, 0)).toBe(DOOR.known);
    expect(door.known).toBe("first");
    expect(door.handleDatagram(init(1), v4(2), 0, 0)).toBe(DOOR.admit);
    expect(door.handleDatagram(init(2), v4(1), 0, 0)).toBe(DOOR.admit);
  });

  test("drops late copies of an INIT whose handshake has ended, for ten seconds", () => {
    const door = new HandshakeDoor<string>(crypto, 0);
    door.handleDatagram(init(1), v4(1), 0, 0);
    const { attempt } = door;
    door.opened(attempt, "first");
    door.closed(attempt, 1_000_000);
    expect(door.halfOpenCount).toBe(0);
    expect(door.handleDatagram(init(1), v4(1), 0, 10_999_999)).toBe(DOOR.drop);
    expect(door.handleDatagram(init(1), v4(1), 0, 11_000_000)).toBe(DOOR.admit);
  });

  test.each([
    ["one byte short of 1200", init(1).subarray(0, 1_199)],
    ["REPLY", init(1, { type: LONG_TYPE.reply })],
    ["FINISH", init(1, { type: LONG_TYPE.finish })],
    ["RETRY", init(1, { type: LONG_TYPE.retry, payload: new Uint8Array(0) })],
    ["VERSIONS", init(1, { type: LONG_TYPE.versions, version: 0 })],
    ["an INIT without a key", init(1, { payload: new Uint8Array(31) })],
    ["a short header", new Uint8Array(1_200).fill(0x40)],
    ["nothing", new Uint8Array(0)],
  ])("drops %s", (_, datagram) => {
    const door = new HandshakeDoor<string>(crypto, 0);
    expect(door.handleDatagram(datagram, v4(1), 0, 0)).toBe(DOOR.drop);
    expect(door.statistics.dropped).toBe(1);
  });

  test("answers an unknown version with the list, whatever else that version looks like", () => {
    const door = new HandshakeDoor<string>(crypto, 0);
    const datagram = new Uint8Array(1_200).fill(0xee);
    expect(door.handleDatagram(datagram, v4(1), 0, 0)).toBe(DOOR.answer);
    const packet = decodeLongPacket(door.answer, 0, door.answer.length);
    expect(packet.type).toBe(LONG_TYPE.versions);
    expect(decodeVersions(packet.payload)).toEqual([V1]);
    expect(packet.destinationId).toEqual(datagram.subarray(0, 8));
    expect(door.handleDatagram(datagram.subarray(1), v4(1), 0, 0)).toBe(DOOR.drop);
    // Never an answer to an answer: two doors must not talk to each other.
    const versions = encodeLongPacket(packet, 1_200);
    expect(door.handleDatagram(versions, v4(1), 0, 0)).toBe(DOOR.drop);
  });

  test("the sixth INIT at once from one source has to show a cookie, and then comes in", () => {
    const door = new HandshakeDoor<string>(crypto, 0);
    for (let i = 0; i < 5; i++) expect(door.handleDatagram(init(i), v4(1), 0, 0)).toBe(DOOR.admit);
    expect(door.handleDatagram(init(5), v4(1), 0, 0)).toBe(DOOR.answer);
    expect(door.answer.length).toBeLessThan(100);
    const retry = decodeLongPacket(door.answer, 0, door.answer.length);
    expect(retry.type).toBe(LONG_TYPE.retry);
    expect(door.handleDatagram(init(5, { token: retry.token }), v4(1), 0, 0)).toBe(DOOR.admit);
    expect(door.isAddressValidated).toBe(true);
    expect(door.handleDatagram(init(6), v4(2), 0, 0)).toBe(DOOR.admit);
    expect(door.isAddressValidated).toBe(false);
  });

  test("cookies raise the limit of a source that really is there to 200, they do not lift it", () => {
    const door = new HandshakeDoor<string>(crypto, 0);
    const admittedAt = (nowUs: number, firstId: number): number => {
      let admitted = 0;
      for (let i = firstId; i < firstId + 400; i++) {
        let verdict = door.handleDatagram(init(i), v4(1), 0, nowUs);
        if (verdict === DOOR.answer) {
          const { token } = decodeLongPacket(door.answer, 0, door.answer.length);
          verdict = door.handleDatagram(init(i, { token }), v4(1), 0, nowUs);
        }
        if (verdict === DOOR.admit) admitted++;
      }
      return admitted;
    };
    // 5 without a cookie and 200 with one; 100 ms later 2 and 20 more.
    expect(admittedAt(0, 0)).toBe(205);
    expect(admittedAt(100_000, 400)).toBe(22);
  });

  test("from 64 handshakes in progress on everybody needs a cookie, from 1024 on nobody comes in", () => {
    const door = new HandshakeDoor<number>(crypto, 0);
    for (let i = 0; i < 64; i++) {
      expect(door.handleDatagram(init(i), v4(i), 0, 0)).toBe(DOOR.admit);
      door.opened(door.attempt, i);
    }
    for (let i = 64; i < 1_025; i++) {
      expect(door.handleDatagram(init(i), v4(i), 0, 0)).toBe(DOOR.answer);
      const { token } = decodeLongPacket(door.answer, 0, door.answer.length);
      const verdict = door.handleDatagram(init(i, { token }), v4(i), 0, 0);
      expect(verdict).toBe(i < 1_024 ? DOOR.admit : DOOR.drop);
      if (verdict === DOOR.admit) door.opened(door.attempt, i);
    }
    expect(door.halfOpenCount).toBe(1_024);
  });

  test("a spoofed flood is answered with less than it sent, and the owner of the address still gets in", () => {
    const door = new HandshakeDoor<number>(crypto, 0);
    let sent = 0;
    let answered = 0;
    for (let i = 0; i < 2_000; i++) {
      const datagram = init(i);
      sent += datagram.length;
      const verdict = door.handleDatagram(datagram, v4(1), 0, i * 100);
      if (verdict === DOOR.answer) answered += door.answer.length;
    }
    expect(answered).toBeLessThan(sent / 20);
    const owner = init(9_999);
    expect(door.handleDatagram(owner, v4(1), 0, 199_950)).toBe(DOOR.answer);
    const { token } = decodeLongPacket(door.answer, 0, door.answer.length);
    expect(door.handleDatagram(init(9_999, { token }), v4(1), 0, 199_950)).toBe(DOOR.admit);
  });

  test("junk never throws", () => {
    const door = new HandshakeDoor<number>(crypto, 0);
    const random = new SeededRandom(3, "junk");
    for (let i = 0; i < 5_000; i++) {
      const junk = random.bytes(new Uint8Array(1_200 + random.integer(0, 300)));
      if (random.chance(0.8)) junk.set(init(i).subarray(0, random.integer(5, 60)));
      door.handleDatagram(junk, v4(i & 0xff), 0, i);
    }
    expect(door.statistics.dropped).toBeGreaterThan(0);
  });
});

test("door, initiator and responder together, through a RETRY", () => {
  const door = new HandshakeDoor<HandshakeResponder>(crypto, 0);
  for (let i = 0; i < 64; i++) {
    door.handleDatagram(init(i), v4(i), 0, 0);
    door.opened(door.attempt, undefined as never);
  }
  const common = {
    crypto,
    localParameters: DEFAULT_TRANSPORT_PARAMETERS,
    verifyPeer: () => undefined,
  };
  const side = (): {
    identity: ReturnType<typeof temporaryIdentity>["signing"];
    staticKey: ReturnType<typeof temporaryIdentity>["staticKey"];
  } => {
    const { signing, staticKey } = temporaryIdentity(crypto);
    return { identity: signing, staticKey };
  };
  const initiator = new HandshakeInitiator(
    { ...common, ...side(), localConnectionId: fromHex("a1a1a1a1a1a1a1a1") },
    0,
  );
  const send = (): Uint8Array => initiator.pollTransmit(0) ?? new Uint8Array(0);
  expect(door.handleDatagram(send(), v4(200), 0, 0)).toBe(DOOR.answer);
  initiator.handlePacket(door.answer, 0);
  const second = send();
  expect(door.handleDatagram(second, v4(200), 0, 0)).toBe(DOOR.admit);
  const responder = new HandshakeResponder(
    {
      ...common,
      ...side(),
      localConnectionId: fromHex("b0b0b0b0b0b0b0b0"),
      isAddressValidated: door.isAddressValidated,
    },
    0,
  );
  const { attempt } = door;
  responder.handlePacket(second, 0);
  door.opened(attempt, responder);
  initiator.handlePacket(responder.pollTransmit(0) ?? new Uint8Array(0), 0);
  responder.handlePacket(send(), 0);
  expect(responder.result?.handshakeHash).toEqual(initiator.result?.handshakeHash);
  door.closed(attempt, 0);
  expect(door.handleDatagram(second, v4(200), 0, 0)).toBe(DOOR.drop);
});
