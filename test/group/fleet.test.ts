/** One to many in the simulated world. docs/design/group.md names the rules. */
import { describe, expect, test } from "vitest";
import { SharedSource } from "../../src/group/shared-source.ts";
import { content, environment, expectComplete, LOSSY_STAR, SimFleet } from "./fleet-world.ts";

const MEGABYTE = 1_000_000;

describe("one read for all", () => {
  test("16 equal receivers: every byte is read once", () => {
    const film = content(1, 4 * MEGABYTE);
    const fleet = new SimFleet({
      receivers: 16,
      files: { film },
      uplink: { rateBytesPerSecond: 12_500_000, delayUs: 5_000 },
    });
    fleet.run();
    expect(fleet.verdicts).toEqual(Array.from({ length: 16 }, () => "verified"));
    for (let i = 0; i < 16; i++) expectComplete(fleet, i, film);
    expect([fleet.source.supply.readBytes, fleet.source.supply.rereadBytes]).toEqual([4 * MEGABYTE, 0]);
    // 16 times 4 MB through 12.5 MB/s take 5.12 s; headers, handshakes and start-up may cost 25 %.
    expect(Math.max(...fleet.seconds)).toBeLessThan(6.4);
  });

  test("a receiver that falls behind a small cache reads again, and that is counted", () => {
    const film = content(2, 8 * MEGABYTE);
    const fleet = new SimFleet({
      receivers: 2,
      files: { film },
      supplyBytes: 2 * 1024 * 1024,
      downlink: (index) => ({ delayUs: 5_000, rateBytesPerSecond: index === 0 ? 10_000_000 : 500_000 }),
    });
    fleet.run();
    expect(fleet.verdicts).toEqual(["verified", "verified"]);
    expectComplete(fleet, 1, film);
    const { readBytes, rereadBytes } = fleet.source.supply;
    expect(rereadBytes).toBeGreaterThan(4 * MEGABYTE);
    expect(readBytes - rereadBytes).toBe(8 * MEGABYTE);
  });
});

describe("the uplink", () => {
  test("8 lossy receivers fill a shared uplink", () => {
    const film = content(12, 20 * MEGABYTE);
    const fleet = new SimFleet({
      ...LOSSY_STAR,
      files: { film },
    });
    fleet.run();
    expect(fleet.verdicts).toEqual(Array.from({ length: 8 }, () => "verified"));
    // 8 times 20 MB through 12.5 MB/s take 12.8 s.
    expect(Math.max(...fleet.seconds)).toBeLessThan(12.8 * 1.15);
    expect(fleet.source.supply.readBytes).toBe(20 * MEGABYTE);
  });

  test("16 receivers take no longer than one where the uplink is not the limit", () => {
    const film = content(13, 2 * MEGABYTE);
    const run = (receivers: number): number => {
      const fleet = new SimFleet({
        receivers,
        files: { film },
        uplink: { rateBytesPerSecond: 125_000_000 },
        downlink: () => ({ delayUs: 5_000, rateBytesPerSecond: 1_250_000, queueBytes: 125_000 }),
      });
      fleet.run();
      return Math.max(...fleet.seconds);
    };
    expect(run(16)).toBeLessThan(1.3 * run(1));
  });
});

describe("nobody holds up the rest", () => {
  test("64 lanes with a slow, a lossy, a dying and a refusing one", () => {
    const film = content(3, MEGABYTE);
    const make = (odd: boolean): SimFleet => {
      const fleet = new SimFleet({
        receivers: 64,
        files: { film },
        downlink: (index) => ({
          delayUs: 10_000,
          rateBytesPerSecond: odd && index === 3 ? 20_000 : 2_000_000,
          lossProbability: odd && index === 7 ? 0.2 : 0,
        }),
      });
      fleet.receivers[20].refuses = odd;
      return fleet;
    };
    const calm = make(false);
    calm.run();
    const fleet = make(true);
    fleet.run(600_000_000, () => fleet.group.receivers[11].verifiedBytes > 0);
    fleet.receivers[11].crash();
    fleet.run();
    const others = fleet.verdicts.filter((_, index) => ![3, 7, 11, 20].includes(index));
    expect(others).toEqual(Array.from({ length: 60 }, () => "verified"));
    expect([3, 7, 11, 20].map((index) => fleet.verdicts[index])).toEqual([
      "verified",
      "verified",
      "timed-out",
      "refused",
    ]);
    for (let i = 0; i < 64; i++) if (i !== 11 && i !== 20) expectComplete(fleet, i, film);
    expect(fleet.receivers[20].file("film")).toBeUndefined();
    const slowest = Math.max(...fleet.seconds.filter((_, index) => ![3, 7, 11, 20].includes(index)));
    expect(slowest).toBeLessThan(Math.max(...calm.seconds) * 1.1);
    expect(fleet.source.supply.readBytes).toBeLessThanOrEqual(MEGABYTE * 1.05);
  });

  test("one that confirms contents that were never sent is refused, and harms nobody", () => {
    const film = content(14, MEGABYTE);
    const fleet = new SimFleet({ receivers: 3, files: { film }, policy: { retries: 2 } });
    fleet.receivers[1].lies = true;
    fleet.run();
    expect(fleet.verdicts).toEqual(["verified", "refused", "verified"]);
    expect(fleet.group.ends[1].code).toBe("PROTOCOL_VIOLATION");
    expectComplete(fleet, 0, film);
    expectComplete(fleet, 2, film);
    expect(fleet.source.supply.readBytes).toBe(MEGABYTE);
  });

  test("one receiver at a hundredth of the others' rate, with a cache smaller than the file", () => {
    const film = content(4, 6 * MEGABYTE);
    const run = (slow: boolean): SimFleet => {
      const fleet = new SimFleet({
        receivers: 4,
        files: { film },
        supplyBytes: 4 * 1024 * 1024,
        downlink: (index) => ({
          delayUs: 10_000,
          rateBytesPerSecond: slow && index === 0 ? 40_000 : 4_000_000,
        }),
      });
      fleet.run();
      return fleet;
    };
    const [without, beside] = [run(false), run(true)];
    expect(beside.verdicts).toEqual(["verified", "verified", "verified", "verified"]);
    expect(Math.max(...beside.seconds.slice(1))).toBeLessThan(1.1 * Math.max(...without.seconds.slice(1)));
  });

  test("a stalled lane does not keep memory from the others", () => {
    const film = content(5, 20 * MEGABYTE);
    const fleet = new SimFleet({
      receivers: 3,
      files: { film },
      supplyBytes: 3 * 1024 * 1024,
      downlink: () => ({ delayUs: 10_000, rateBytesPerSecond: 5_000_000 }),
    });
    fleet.run(60_000_000, () => fleet.group.receivers[1].verifiedBytes > MEGABYTE);
    fleet.downlinks[1].configure({ lossProbability: 1 });
    fleet.run();
    expect(fleet.verdicts).toEqual(["verified", "timed-out", "verified"]);
    expect(Math.max(fleet.seconds[0], fleet.seconds[2])).toBeLessThan(8);
  });
});

describe("a source that cannot be opened", () => {
  const setup = {
    hash: environment.hash,
    sources: [{ location: "/home/anna", path: ["film"], name: ["film"] }],
    sendsLinks: false,
    rules: [],
    laneCount: 2,
  };

  test("is named here with its place, and to receivers without", () => {
    const source = new SharedSource(setup);
    const [{ id, operation }] = source.takeDiskRequests();
    expect(operation.kind).toBe("open-root");
    source.handleDiskResult(id, { ok: false, errno: "ENOENT" });
    expect(source.failure).toEqual({
      code: "SOURCE_MISSING",
      text: "cannot open /home/anna: no such file or directory",
      peerText: "the sender cannot open film: no such file or directory",
    });
  });

  test("ends every lane, and each receiver hears what it may", () => {
    const fleet = new SimFleet({
      receivers: 2,
      files: { film: content(16, 4 * MEGABYTE) },
      downlink: () => ({ delayUs: 10_000, rateBytesPerSecond: 500_000 }),
    });
    fleet.run(60_000_000, () => fleet.group.receivers.every(({ verifiedBytes }) => verifiedBytes > 0));
    fleet.source.failure = { code: "SOURCE_MISSING", text: "here: /home/anna", peerText: "there: film" };
    fleet.run();
    fleet.world.run(fleet.world.nowUs + 1_000_000, () => false);
    expect(fleet.group.ends.map(({ text }) => text)).toEqual(["here: /home/anna", "here: /home/anna"]);
    for (const { heard } of fleet.receivers) expect(heard).toEqual(["there: film"]);
  });
});

describe("late and restarted receivers", () => {
  test("one that is killed and comes back resumes, and the rest is not sent again", () => {
    const film = content(6, 6 * MEGABYTE);
    const fleet = new SimFleet({
      receivers: 3,
      files: { film },
      policy: { retries: 3 },
      downlink: () => ({ delayUs: 10_000, rateBytesPerSecond: 500_000 }),
      endpoint: { config: { keepAliveUs: 1_000_000, patienceUs: 3_000_000 } },
    });
    fleet.run(60_000_000, () => fleet.group.receivers[2].verifiedBytes > 4 * MEGABYTE);
    fleet.receivers[2].crash();
    fleet.receivers[2].start();
    fleet.run();
    expect(fleet.verdicts).toEqual(["verified", "verified", "resumed"]);
    expectComplete(fleet, 2, film);
    expect(fleet.group.receivers[2].attempts).toBe(2);
    expect(fleet.group.ends[2].outcome?.resumedBytes).toBeGreaterThan(2 * MEGABYTE);
  });

  test("one that appears late is served by a retry", () => {
    const film = content(7, MEGABYTE);
    const fleet = new SimFleet({
      receivers: 2,
      files: { film },
      policy: { retries: 3 },
      absent: [1],
    });
    fleet.run(600_000_000, () => fleet.group.receivers[1].failures === 1);
    fleet.receivers[1].start();
    fleet.run();
    expect(fleet.verdicts).toEqual(["verified", "verified"]);
    expectComplete(fleet, 1, film);
    expect(fleet.source.supply.readBytes).toBe(MEGABYTE);
  });

  test("one that has everything is done at once", () => {
    const film = content(8, MEGABYTE);
    const fleet = new SimFleet({
      receivers: 2,
      files: { film },
      downlink: () => ({ delayUs: 10_000, rateBytesPerSecond: 100_000 }),
    });
    fleet.receivers[0].disk.plant("/in/film", film);
    fleet.run();
    // It is there under its name already, with the same contents: nothing is sent to it.
    expect(fleet.verdicts).toEqual(["verified", "verified"]);
    expect(fleet.seconds[0]).toBeLessThan(1);
  });
});

describe("rules", () => {
  test("at most so many lanes at once, and the first ones finish early", () => {
    const film = content(9, MEGABYTE);
    const fleet = new SimFleet({
      receivers: 6,
      files: { film },
      policy: { maxLanes: 2 },
      uplink: { rateBytesPerSecond: 1_000_000, delayUs: 5_000 },
    });
    let most = 0;
    fleet.run(600_000_000, () => {
      most = Math.max(most, fleet.group.receivers.filter(({ isActive }) => isActive).length);
      return false;
    });
    expect(most).toBe(2);
    expect(fleet.verdicts.every((verdict) => verdict === "verified")).toBe(true);
    // Two share 1 MB/s: two are done after each two seconds or so, not all six after six.
    expect(Math.max(fleet.seconds[0], fleet.seconds[1])).toBeLessThan(3.2);
    expect(fleet.source.supply.readBytes).toBe(MEGABYTE);
  });

  test("a quorum ends the rest, or leaves them until the deadline", () => {
    const options = {
      receivers: 3,
      files: { film: content(10, MEGABYTE) },
      downlink: (index: number) => ({ delayUs: 5_000, rateBytesPerSecond: index === 2 ? 50_000 : 1_000_000 }),
    };
    const fleet = new SimFleet({ ...options, policy: { quorum: 2 } });
    fleet.run();
    expect(fleet.verdicts).toEqual(["verified", "verified", "stopped"]);
    expect(fleet.receivers[2].file("film")).toBeUndefined();

    const patient = new SimFleet({ ...options, policy: { quorum: 2, deadlineUs: 10_000_000 } });
    patient.run();
    expect(patient.verdicts).toEqual(["verified", "verified", "timed-out"]);
    expect(patient.seconds[2]).toBeCloseTo(10, 1);
  });

  test("a laggard is dropped, or gives its lane to one that waits and finishes later", () => {
    const options = {
      receivers: 3,
      files: { film: content(11, 2 * MEGABYTE) },
      downlink: (index: number) => ({
        delayUs: 5_000,
        rateBytesPerSecond: index === 0 ? 50_000 : 1_000_000,
      }),
    };
    const policy = { maxLanes: 1, minRateBytesPerSecond: 200_000 };
    const dropped = new SimFleet({ ...options, policy: { ...policy, laggards: "drop" } });
    dropped.run();
    expect(dropped.verdicts).toEqual(["timed-out", "verified", "verified"]);

    const demoted = new SimFleet({ ...options, policy: { ...policy, laggards: "demote" } });
    demoted.run();
    expect(demoted.verdicts).toEqual(["resumed", "verified", "verified"]);
    expect(demoted.seconds[0]).toBeGreaterThan(Math.max(demoted.seconds[1], demoted.seconds[2]));
  });
});
