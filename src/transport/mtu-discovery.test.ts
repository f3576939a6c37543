import { describe, expect, test } from "vitest";
import * as fc from "fast-check";
import { MtuDiscovery, RAISE_INTERVAL_US, RETURN_INTERVAL_US } from "./mtu-discovery.ts";

/** A congestion window that holds any probe. */
const WINDOW_BYTES = 1_000_000;

/** Answers probes as a path that carries up to `pathBytes` would; returns the sizes probed. */
function search(mtu: MtuDiscovery, pathBytes: number, nowUs: number): number[] {
  const sizes: number[] = [];
  for (;;) {
    const size = mtu.nextProbeBytes(nowUs, WINDOW_BYTES);
    if (size === undefined) return sizes;
    sizes.push(size);
    mtu.handleProbeSent();
    expect(mtu.nextProbeBytes(nowUs, WINDOW_BYTES)).toBe(undefined); // one probe at a time
    if (size <= pathBytes) mtu.handleProbeAcked(size);
    else mtu.handleProbeLost(size);
  }
}

describe("search, RFC 8899 §5.2", () => {
  test("where the interface tells the truth, one probe is enough", () => {
    const mtu = new MtuDiscovery(1_200, 1_472);
    expect(search(mtu, 1_472, 0)).toEqual([1_472]);
    expect(mtu.datagramBytes).toBe(1_472);
    const loopback = new MtuDiscovery(1_200, 65_507);
    expect(search(loopback, 65_535, 0)).toEqual([65_507]);
  });

  test("three losses make a size too large; then up the ladder, then halves", () => {
    const mtu = new MtuDiscovery(1_200, 1_472);
    // A path of 1 420: 1 452 fails, then half way between 1 392 and 1 452, and so on to within 16 bytes.
    expect(search(mtu, 1_420, 0)).toEqual([
      1_472, 1_472, 1_472, 1_232, 1_252, 1_392, 1_452, 1_452, 1_452, 1_422, 1_422, 1_422, 1_407,
    ]);
    expect(mtu.datagramBytes).toBe(1_407);
  });

  test("a window too small for the limit has a second to grow", () => {
    const mtu = new MtuDiscovery(1_200, 65_507);
    expect(mtu.nextProbeBytes(5_000_000, 38_400)).toBe(undefined);
    expect(mtu.nextProbeBytes(5_999_999, 60_000)).toBe(undefined);
    expect(mtu.nextProbeBytes(5_999_999, 65_507)).toBe(65_507);
  });

  test("what such a window held and the path did not is followed by what links carry", () => {
    const mtu = new MtuDiscovery(1_200, 65_507);
    mtu.nextProbeBytes(0, 38_400);
    const sizes: number[] = [];
    for (let i = 0; i < 4; i++) {
      const size = mtu.nextProbeBytes(1_000_000, 38_400)!;
      sizes.push(size);
      mtu.handleProbeSent();
      mtu.handleProbeLost(size);
    }
    expect(sizes).toEqual([32_768, 32_768, 32_768, 1_232]);
  });

  test("a window that stays too small for the limit probes what it holds, and comes to the limit as it grows", () => {
    const mtu = new MtuDiscovery(1_200, 65_507);
    mtu.nextProbeBytes(-1_000_000, 4_800);
    // Four datagrams, the least window there is: 4 800 bytes hold 4 324, four of those hold 16 384.
    const sizes: number[] = [];
    while (!mtu.isSearchComplete) {
      sizes.push(mtu.nextProbeBytes(0, 4 * mtu.datagramBytes)!);
      mtu.handleProbeSent();
      mtu.handleProbeAcked(sizes.at(-1)!);
    }
    expect(sizes).toEqual([4_324, 16_384, 65_507]);
  });

  test("a window that changes before the probe could leave changes the probe; too small a one sends none", () => {
    const mtu = new MtuDiscovery(1_200, 65_507);
    mtu.nextProbeBytes(-1_000_000, 4_800);
    expect(mtu.nextProbeBytes(0, 4_800)).toBe(4_324);
    expect(mtu.nextProbeBytes(0, 65_507)).toBe(65_507);
    expect(mtu.nextProbeBytes(0, 65_506)).toBe(65_487);
    expect(mtu.nextProbeBytes(0, 1_231)).toBe(undefined);
    expect(mtu.nextProbeBytes(0, 65_507)).toBe(65_507);
  });

  test("a path that carries only the smallest size stays there", () => {
    const mtu = new MtuDiscovery(1_200, 1_472);
    search(mtu, 1_200, 0);
    expect(mtu.datagramBytes).toBe(1_200);
    expect(mtu.isSearchComplete).toBe(true);
  });

  test("a finished search looks again after ten minutes", () => {
    const mtu = new MtuDiscovery(1_200, 1_472);
    search(mtu, 1_300, 5);
    expect(search(mtu, 1_472, 5 + RAISE_INTERVAL_US - 1)).toEqual([]);
    expect(search(mtu, 1_472, 5 + RAISE_INTERVAL_US)).toEqual([1_472]);
    expect(mtu.datagramBytes).toBe(1_472);
  });

  test("limits that come later: lower ones hold at once, higher ones are searched", () => {
    const mtu = new MtuDiscovery(1_200, 1_472);
    search(mtu, 9_000, 0);
    expect(mtu.setLimit(1_300)).toBe(true);
    expect(mtu.datagramBytes).toBe(1_300);
    expect(mtu.setLimit(8_972)).toBe(false);
    expect(search(mtu, 9_000, 0)).toEqual([8_972]);
  });

  test("another path starts from the smallest size", () => {
    const mtu = new MtuDiscovery(1_200, 1_472);
    search(mtu, 1_472, 0);
    mtu.handlePathChange();
    expect(mtu.datagramBytes).toBe(1_200);
    expect(search(mtu, 1_472, 0)).toEqual([1_472]);
  });

  test("whatever the path carries, the search comes within 16 bytes in 60 probes", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1_200, max: 65_535 }),
        fc.integer({ min: 1_200, max: 65_507 }),
        (path, limit) => {
          const mtu = new MtuDiscovery(1_200, limit);
          const probes = search(mtu, path, 0);
          const best = Math.min(path, limit);
          expect(mtu.datagramBytes).toBeLessThanOrEqual(best);
          expect(mtu.datagramBytes).toBeGreaterThanOrEqual(best - 16);
          expect(probes.length).toBeLessThanOrEqual(60);
        },
      ),
    );
  });
});

describe("black hole, RFC 8899 §4.3", () => {
  function full(): MtuDiscovery {
    const mtu = new MtuDiscovery(1_200, 1_472);
    search(mtu, 1_472, 0);
    for (let number = 0; number < 10; number++) mtu.handlePacketAcked(number, 1_472);
    return mtu;
  }

  test("eight large ones lost after a small one arrived, and two more small ones arrived", () => {
    const mtu = full();
    // The flight that was under way when the path shrank does not count: it may be an outage.
    for (let number = 10; number < 40; number++) expect(mtu.handlePacketLost(number, 1_472)).toBe(false);
    mtu.handlePacketAcked(40, 1_200);
    for (let number = 41; number < 45; number++) expect(mtu.handlePacketLost(number, 1_472)).toBe(false);
    expect(mtu.handlePacketAcked(45, 1_200)).toBe(false);
    for (let number = 46; number < 50; number++) expect(mtu.handlePacketLost(number, 1_472)).toBe(false);
    expect(mtu.handlePacketAcked(50, 600)).toBe(true);
    expect(mtu.datagramBytes).toBe(1_200);
    // At once up again, below what failed, and after half a minute up to the limit.
    search(mtu, 1_400, 1_000);
    expect(mtu.datagramBytes).toBe(1_392);
    expect(search(mtu, 1_472, 1_000 + RETURN_INTERVAL_US)).toEqual([1_472]);
  });

  test("losses that are told late, of packets sent before the small one arrived, do not count", () => {
    const mtu = full();
    mtu.handlePacketAcked(40, 1_200);
    mtu.handlePacketAcked(41, 1_200);
    mtu.handlePacketAcked(42, 1_200);
    for (let number = 10; number < 40; number++) expect(mtu.handlePacketLost(number, 1_472)).toBe(false);
    expect(mtu.handlePacketAcked(43, 1_200)).toBe(false);
    expect(mtu.handlePacketAcked(44, 1_200)).toBe(false);
    expect(mtu.datagramBytes).toBe(1_472);
  });

  test("seven are not eight", () => {
    const mtu = full();
    mtu.handlePacketAcked(10, 1_200);
    for (let number = 11; number < 18; number++) mtu.handlePacketLost(number, 1_472);
    mtu.handlePacketAcked(18, 1_200);
    expect(mtu.handlePacketAcked(19, 1_200)).toBe(false);
    expect(mtu.handlePacketLost(20, 1_472)).toBe(true);
  });

  test("one large packet that arrives clears the suspicion", () => {
    const mtu = full();
    mtu.handlePacketAcked(40, 1_200);
    for (let number = 41; number < 48; number++) mtu.handlePacketLost(number, 1_472);
    mtu.handlePacketAcked(48, 1_472);
    mtu.handlePacketAcked(49, 1_200);
    mtu.handlePacketAcked(50, 1_200);
    for (let number = 51; number < 58; number++) expect(mtu.handlePacketLost(number, 1_472)).toBe(false);
    expect(mtu.datagramBytes).toBe(1_472);
  });

  test("an outage is none: everything is lost, then everything passes", () => {
    const mtu = full();
    let number = 10;
    for (let outage = 0; outage < 50; outage++) {
      for (let i = 0; i < 30; i++) mtu.handlePacketLost(number++, 1_472);
      for (let i = 0; i < 4; i++) mtu.handlePacketLost(number++, 1_200);
      for (let i = 0; i < 3; i++) expect(mtu.handlePacketAcked(number++, 1_200)).toBe(false);
      mtu.handlePacketAcked(number++, 1_472);
    }
    expect(mtu.datagramBytes).toBe(1_472);
  });

  test("a million packets at 20 % random loss, every hundredth small", () => {
    const mtu = full();
    let state = 12_345;
    const random = (): number => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return state / 2 ** 32;
    };
    for (let number = 10; number < 1_000_000; number++) {
      const size = random() < 0.01 ? 300 : 1_472;
      if (random() < 0.2) mtu.handlePacketLost(number, size);
      else mtu.handlePacketAcked(number, size);
    }
    expect(mtu.datagramBytes).toBe(1_472);
  });
});
