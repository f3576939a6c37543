/**
 * What every congestion controller must do, whatever its idea: run on each in congestion.test.ts.
 * Whole flows run over `flow-lab.ts`; the rest feeds a controller by hand.
 */
import { describe, expect, test } from "vitest";
import * as fc from "fast-check";
import { runLab, type LabPath } from "../../src/sim/flow-lab.ts";
import type {
  AckSample,
  CongestionController,
  CongestionControllerFactory,
  LossSample,
} from "../../src/transport/congestion/controller.ts";

/** What differs between controllers by design. */
export interface Expectations {
  /** Least share of a clean link with a queue of one bandwidth-delay product. */
  readonly cleanShare: number;
  /** Least share of each of two equal flows. */
  readonly twinShare: number;
}

const DATAGRAM = 1_200;
const RTT_US = 40_000;

/** 20 Mbit/s, 40 ms, one bandwidth-delay product of queue. */
const PATH: LabPath = { bitsPerSecond: 20e6, rttUs: RTT_US, queueBytes: 100_000 };

/** Feeds a controller a steady path by hand. */
class Feeder {
  readonly controller: CongestionController;
  nowUs = 0;
  private next = 0;
  private delivered = 0;
  private lost = 0;

  constructor(factory: CongestionControllerFactory) {
    this.controller = factory({ datagramBytes: DATAGRAM, nowUs: 0, randomFloat: () => 0.5 });
  }

  /** One round trip in which `packets` are sent, `lostPackets` of them are lost, the rest acknowledged. */
  round(
    packets: number,
    lostPackets = 0,
    options: { isAppLimited?: boolean; isPersistent?: boolean } = {},
  ): void {
    const { controller } = this;
    const sentAtUs = this.nowUs;
    const first = this.next;
    for (let i = 0; i < packets; i++) {
      controller.handleSent(sentAtUs, this.next, DATAGRAM, (i + 1) * DATAGRAM);
      this.next++;
    }
    if (options.isAppLimited === true) controller.handleAppLimited(sentAtUs, packets * DATAGRAM);
    this.nowUs += RTT_US;
    const prior = packets * DATAGRAM;
    const lostBytes = lostPackets * DATAGRAM;
    if (lostPackets > 0) {
      this.lost += lostBytes;
      const loss: LossSample = {
        nowUs: this.nowUs,
        lostBytes,
        lostPackets,
        bytesInFlight: prior - lostBytes,
        largestLost: first + lostPackets - 1,
        largestLostSentAtUs: sentAtUs,
        earliestLostSentAtUs: sentAtUs,
        bytesInFlightAtSend: prior,
        deliveredBytesAtSend: this.delivered,
        nextPacketNumber: this.next,
        smoothedRttUs: RTT_US,
        minRttUs: RTT_US,
        isPersistentCongestion: options.isPersistent === true,
      };
      controller.handleLoss(loss);
    }
    const ackedBytes = prior - lostBytes;
    if (ackedBytes === 0) return;
    const before = this.delivered;
    this.delivered += ackedBytes;
    const ack: AckSample = {
      nowUs: this.nowUs,
      ackedBytes,
      lostBytes,
      priorBytesInFlight: prior,
      bytesInFlight: 0,
      hasRttSample: true,
      latestRttUs: RTT_US,
      smoothedRttUs: RTT_US,
      rttVariationUs: 0,
      minRttUs: RTT_US,
      totalDeliveredBytes: this.delivered,
      totalLostBytes: this.lost,
      hasRateSample: true,
      rateDeliveredBytes: ackedBytes,
      rateIntervalUs: RTT_US,
      ratePriorDeliveredBytes: before,
      rateLostBytes: lostBytes,
      rateBytesInFlightAtSend: prior,
      rateIsAppLimited: options.isAppLimited === true,
      largestAcked: this.next - 1,
      nextPacketNumber: this.next,
      largestAckedSentAtUs: sentAtUs,
      ecnCePackets: 0,
    };
    controller.handleAck(ack);
  }

  /** Packets the window allows. */
  get windowPackets(): number {
    return Math.floor(this.controller.congestionWindowBytes / DATAGRAM);
  }
}

/** Runs the suite on one controller. */
export function congestionSuite(
  name: string,
  factory: CongestionControllerFactory,
  expected: Expectations,
): void {
  describe(`congestion controller ${name}`, () => {
    test("says its name", () => {
      expect(new Feeder(factory).controller.name).toBe(name);
    });

    test("the first window is 10 to 32 datagrams and grows while all is well", () => {
      const feeder = new Feeder(factory);
      expect(feeder.windowPackets).toBeGreaterThanOrEqual(10);
      expect(feeder.windowPackets).toBeLessThanOrEqual(32);
      const before = feeder.windowPackets;
      for (let round = 0; round < 4; round++) feeder.round(feeder.windowPackets);
      expect(feeder.windowPackets).toBeGreaterThan(2 * before);
    });

    test("an application that sends little does not make the window grow without end", () => {
      const feeder = new Feeder(factory);
      for (let round = 0; round < 200; round++) feeder.round(4, 0, { isAppLimited: true });
      expect(feeder.windowPackets).toBeLessThanOrEqual(64);
    });

    test("after persistent congestion the window is two to four datagrams, RFC 9002 §7.6.2", () => {
      const feeder = new Feeder(factory);
      for (let round = 0; round < 6; round++) feeder.round(feeder.windowPackets);
      feeder.round(10, 10, { isPersistent: true });
      expect(feeder.windowPackets).toBeGreaterThanOrEqual(2);
      expect(feeder.windowPackets).toBeLessThanOrEqual(4);
      for (let round = 0; round < 6; round++) feeder.round(feeder.windowPackets);
      expect(feeder.windowPackets).toBeGreaterThan(20);
    });

    test("another path starts from the first window", () => {
      const feeder = new Feeder(factory);
      const before = feeder.windowPackets;
      for (let round = 0; round < 6; round++) feeder.round(feeder.windowPackets);
      feeder.controller.handlePathChange(feeder.nowUs);
      expect(feeder.windowPackets).toBe(before);
    });

    test("larger datagrams: the window still holds two", () => {
      const feeder = new Feeder(factory);
      feeder.controller.handleDatagramSize(65_507);
      expect(feeder.controller.congestionWindowBytes).toBeGreaterThanOrEqual(2 * 65_507);
    });

    test("whatever happens, the window holds two datagrams and the rate is a positive number", () => {
      fc.assert(
        fc.property(
          fc.array(
            fc.record({
              packets: fc.integer({ min: 1, max: 200 }),
              lost: fc.integer({ min: 0, max: 200 }),
              isAppLimited: fc.boolean(),
              isPersistent: fc.boolean(),
              isSpurious: fc.boolean(),
            }),
            { maxLength: 60 },
          ),
          (rounds) => {
            const feeder = new Feeder(factory);
            const { controller } = feeder;
            for (const { packets, lost, isAppLimited, isPersistent, isSpurious } of rounds) {
              feeder.round(packets, Math.min(packets, lost), { isAppLimited, isPersistent });
              if (isSpurious) controller.handleSpuriousLoss(feeder.nowUs, 0, DATAGRAM, feeder.nowUs - RTT_US);
              expect(controller.congestionWindowBytes).toBeGreaterThanOrEqual(2 * DATAGRAM);
              expect(controller.congestionWindowBytes).toBeLessThan(Infinity);
              expect(controller.pacingRateBytesPerSecond).toBeGreaterThan(0);
              expect(controller.bandwidthBytesPerSecond).toBeGreaterThanOrEqual(0);
            }
          },
        ),
        { numRuns: 100 },
      );
    });

    test("fills a clean link", () => {
      const [flow] = runLab(PATH, [{ controller: factory }], 20e6);
      expect((flow.deliveredBytes * 8) / 20 / PATH.bitsPerSecond).toBeGreaterThanOrEqual(expected.cleanShare);
      expect(flow.queueDrops / flow.packetsSent).toBeLessThanOrEqual(0.03);
      expect(flow.spuriousPackets).toBe(0);
    });

    test("follows a link that halves and comes back", () => {
      const rateChanges = [
        { atUs: 10e6, bitsPerSecond: 10e6 },
        { atUs: 20e6, bitsPerSecond: 20e6 },
      ];
      const [flow] = runLab({ ...PATH, rateChanges }, [{ controller: factory }], 32e6);
      const mbit = (from: number, to: number): number =>
        (flow.perSecond.slice(from, to).reduce((sum, bytes) => sum + (bytes ?? 0), 0) * 8e-6) / (to - from);
      expect(mbit(13, 20)).toBeGreaterThanOrEqual(10 * expected.cleanShare * 0.95);
      expect(mbit(26, 32)).toBeGreaterThanOrEqual(20 * expected.cleanShare * 0.85);
      expect(flow.queueDrops / flow.packetsSent).toBeLessThanOrEqual(0.03);
    });

    test("comes back after a blackout of thirty seconds", () => {
      const rateChanges = [
        { atUs: 5e6, bitsPerSecond: 0 },
        { atUs: 35e6, bitsPerSecond: 20e6 },
      ];
      const [flow] = runLab({ ...PATH, rateChanges }, [{ controller: factory }], 45e6);
      // Two probes a second at most, and the link half full within three seconds.
      expect(flow.probeTimeouts).toBeLessThanOrEqual(36);
      expect(((flow.perSecond[38] ?? 0) * 8) / 20e6).toBeGreaterThanOrEqual(0.5);
    });

    test("two of its kind share", () => {
      const flows = runLab(PATH, [{ controller: factory }, { controller: factory, startUs: 2e6 }], 60e6, 3);
      for (const flow of flows) {
        const bytes = flow.perSecond.slice(20).reduce((sum, each) => sum + (each ?? 0), 0);
        expect((bytes * 8) / 40 / PATH.bitsPerSecond).toBeGreaterThanOrEqual(expected.twinShare);
      }
    });

    test("the same seed gives the same packets", () => {
      const path = { ...PATH, loss: 0.01, jitter: 0.1 };
      const [first] = runLab(path, [{ controller: factory }], 5e6, 7);
      const [second] = runLab(path, [{ controller: factory }], 5e6, 7);
      expect(second.packetsSent).toBe(first.packetsSent);
      expect(second.deliveredBytes).toBe(first.deliveredBytes);
    });
  });
}
