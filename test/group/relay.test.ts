/** Receivers that serve each other, in the simulated world. docs/design/relay.md */
import { describe, expect, test } from "vitest";
import { content, expectComplete, LOSSY_STAR, SimFleet } from "./fleet-world.ts";
import type { FleetOptions } from "./fleet-world.ts";

const MEGABYTE = 1_000_000;

function expectAllVerified(fleet: SimFleet): void {
  expect(fleet.verdicts).toEqual(fleet.receivers.map(() => "verified"));
}

/** Bytes of datagrams that left the sender. */
function sentBytes(fleet: SimFleet): number {
  return fleet.uplink.link.statistics.bytesIn;
}

/** Why receivers asked others no more, as the sender heard it: who, whom and why. */
function drops(fleet: SimFleet): string[] {
  const fingerprints = fleet.receivers.map(({ fingerprint }) => fingerprint);
  return fleet.events.flatMap(({ receiver, event }) =>
    event.type === "relay-helper-dropped"
      ? [`${receiver} ${event.reason} ${fingerprints.indexOf(event.helper)}`]
      : [],
  );
}

/** Receivers of 2 MB/s behind an uplink of the same rate. */
const THIN = {
  relay: true,
  uplink: { rateBytesPerSecond: 2 * MEGABYTE, delayUs: 2_000 },
  downlink: () => ({ delayUs: 5_000, rateBytesPerSecond: 2 * MEGABYTE }),
} satisfies Partial<FleetOptions>;

describe("a thin uplink", () => {
  test("eight lossy receivers finish in less than 2.5 times one", () => {
    const film = content(21, 20 * MEGABYTE);
    const fleet = new SimFleet({
      ...LOSSY_STAR,
      files: { film },
      relay: true,
    });
    fleet.run();
    expectAllVerified(fleet);
    for (let i = 0; i < 8; i++) expectComplete(fleet, i, film);
    // 20 MB at 50 Mbit/s take 3.2 s; without help, 8 times 20 MB through 100 Mbit/s take 12.8 s.
    expect(Math.max(...fleet.seconds)).toBeLessThan(2.5 * 3.2);
    expect(sentBytes(fleet)).toBeLessThan(1.3 * 20 * MEGABYTE);
    expect(fleet.source.supply.readBytes).toBe(20 * MEGABYTE);
  });

  test("twelve receivers, of which none knows all others", () => {
    const film = content(22, 3 * MEGABYTE);
    const fleet = new SimFleet({ ...THIN, receivers: 12, files: { film } });
    fleet.run();
    expectAllVerified(fleet);
    for (let i = 0; i < 12; i++) expectComplete(fleet, i, film);
    // Plain: 12 times 3 MB through 2 MB/s take 18 s.
    expect(Math.max(...fleet.seconds)).toBeLessThan(9);
    // Who gets which chunk first hangs on every packet: 4.9 to 7.5 MB on eight links that differ by a few percent.
    expect(sentBytes(fleet)).toBeLessThan(3 * 3 * MEGABYTE);
  });

  test("many files, large, small and empty", () => {
    const files: Record<string, Uint8Array> = { empty: new Uint8Array(0) };
    for (let i = 0; i < 40; i++) files[`file${i}`] = content(100 + i, i < 4 ? 700_000 : 20_000 + i);
    const fleet = new SimFleet({ ...THIN, receivers: 4, files });
    fleet.run();
    expectAllVerified(fleet);
    for (let i = 0; i < 4; i++)
      for (const [name, bytes] of Object.entries(files)) expectComplete(fleet, i, bytes, name);
    const total = Object.values(files).reduce((sum, { length }) => sum + length, 0);
    expect(sentBytes(fleet)).toBeLessThan(1.6 * total);
    expect(fleet.relay?.relayedBytes).toBeGreaterThan(2 * total);
  });
});

describe("helpers that do harm", () => {
  test("one that lies costs time only, and is named", () => {
    const film = content(23, 4 * MEGABYTE);
    const fleet = new SimFleet({ ...THIN, receivers: 4, files: { film } });
    fleet.receivers[1].harms = "lies";
    fleet.run();
    expectAllVerified(fleet);
    for (let i = 0; i < 4; i++) expectComplete(fleet, i, film);
    expect(drops(fleet).toSorted()).toEqual(["0 lied 1", "2 lied 1", "3 lied 1"]);
    // Plain: 4 times 4 MB through 2 MB/s take 8 s.
    expect(Math.max(...fleet.seconds)).toBeLessThan(8);
  });

  test("one that says it has everything and sends nothing is dropped", () => {
    const film = content(24, 4 * MEGABYTE);
    const fleet = new SimFleet({ ...THIN, receivers: 4, files: { film } });
    fleet.receivers[2].harms = "is-mute";
    fleet.run();
    expectAllVerified(fleet);
    for (let i = 0; i < 4; i++) expectComplete(fleet, i, film);
    expect(drops(fleet).toSorted()).toEqual(["0 stalled 2", "1 stalled 2", "3 stalled 2"]);
    expect(Math.max(...fleet.seconds)).toBeLessThan(10);
  });

  test("one that dies in the middle: the others finish without it", () => {
    const film = content(25, 6 * MEGABYTE);
    const fleet = new SimFleet({
      ...THIN,
      receivers: 4,
      files: { film },
      endpoint: { config: { keepAliveUs: 1_000_000, patienceUs: 10_000_000 } },
    });
    fleet.run(60_000_000, () => fleet.group.receivers[3].verifiedBytes > 2 * MEGABYTE);
    fleet.receivers[3].crash();
    fleet.run();
    expect(fleet.verdicts).toEqual(["verified", "verified", "verified", "timed-out"]);
    for (let i = 0; i < 3; i++) expectComplete(fleet, i, film);
    // Plain: 3 times 6 MB through 2 MB/s take 9 s, and a half of what the dead one got.
    expect(Math.max(...fleet.seconds.slice(0, 3))).toBeLessThan(10);
  });
});

describe("receivers that cannot or will not", () => {
  test("one that takes no part gets all from the sender", () => {
    const film = content(26, 2 * MEGABYTE);
    const fleet = new SimFleet({
      ...THIN,
      receivers: 4,
      files: { film },
      absent: [2],
      policy: { retries: 3 },
    });
    fleet.receivers[2].refusesRelay = true;
    fleet.receivers[2].start();
    fleet.run();
    expectAllVerified(fleet);
    for (let i = 0; i < 4; i++) expectComplete(fleet, i, film);
    expect(fleet.relay?.relayedBytesOf(2)).toBe(0);
    expect(fleet.relay?.relayedBytes).toBeGreaterThan(2 * MEGABYTE);
  });

  test("one that no other reaches gets all from the sender", () => {
    const film = content(27, 4 * MEGABYTE);
    const fleet = new SimFleet({
      ...THIN,
      receivers: 4,
      files: { film },
      reaches: (from, to) => from !== 0 && to !== 0,
    });
    fleet.run();
    expectAllVerified(fleet);
    for (let i = 0; i < 4; i++) expectComplete(fleet, i, film);
    expect(fleet.relay?.relayedBytesOf(0)).toBe(0);
    // The sender sends the file twice, and what of it the isolated one had for the others.
    expect(sentBytes(fleet)).toBeLessThan(3.2 * 4 * MEGABYTE);
  });

  test("a receiver of another sender is not let in", () => {
    const film = content(28, MEGABYTE);
    const fleet = new SimFleet({ ...THIN, receivers: 3, files: { film } });
    fleet.run();
    expectAllVerified(fleet);
    // Introductions are good for the transfer: with its end nobody is expected any more.
    fleet.world.runFor(60_000_000);
    for (const { relays, key } of fleet.receivers) {
      expect(relays?.isIdle).toBe(true);
      for (const other of fleet.receivers) expect(other.relays?.isExpected(key)).toBe(false);
    }
  });

  test("one that comes back after a crash gets the rest from the others", () => {
    const film = content(29, 6 * MEGABYTE);
    const fleet = new SimFleet({
      ...THIN,
      receivers: 3,
      files: { film },
      policy: { retries: 4 },
      downlink: (index) => ({ delayUs: 5_000, rateBytesPerSecond: index === 1 ? 600_000 : 1_200_000 }),
      endpoint: { config: { keepAliveUs: 500_000, patienceUs: 1_500_000 } },
    });
    fleet.run(60_000_000, () => fleet.group.receivers[2].verifiedBytes > 5 * MEGABYTE);
    fleet.receivers[2].crash();
    fleet.receivers[2].start();
    fleet.run();
    expect(fleet.verdicts).toEqual(["verified", "verified", "resumed"]);
    for (let i = 0; i < 3; i++) expectComplete(fleet, i, film);
  });
});
