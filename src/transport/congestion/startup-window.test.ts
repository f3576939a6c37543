import { expect, test } from "vitest";
import { emptyAckSample } from "../recovery/samples.ts";
import { TRAIN_DATAGRAMS } from "./packet-train.ts";
import { PathMeter } from "./path-meter.ts";
import type { SendingLimits } from "./sending-limits.ts";
import { Startup } from "./startup.ts";
import { INITIAL_WINDOW_DATAGRAMS, StartupWindow } from "./startup-window.ts";

const DATAGRAM_BYTES = 1_250; // 10 000 bits: 1 ms at 10 Mbit/s
const RTT_US = 100_000;

/** A startup whose bursts of ten are acknowledged as told. */
class Bursts {
  readonly limits: SendingLimits = {
    windowBytes: INITIAL_WINDOW_DATAGRAMS * DATAGRAM_BYTES,
    pacingRate: Infinity,
  };
  private readonly meter = new PathMeter(DATAGRAM_BYTES, 0);
  private readonly window = new StartupWindow(this.limits, this.meter, new Startup());
  private readonly sample = emptyAckSample();
  private nowUs = 0;
  private next = 0;

  get windowDatagrams(): number {
    return this.limits.windowBytes / DATAGRAM_BYTES;
  }

  /** Sends ten packets at once; a round trip later each of `counts` is acknowledged `everyUs` after the other. */
  run(counts: number[], everyUs: number): void {
    const { sample } = this;
    let acked = this.next;
    for (let i = 0; i < TRAIN_DATAGRAMS; i++)
      this.window.handleSent(this.nowUs, this.next++, DATAGRAM_BYTES, 0);
    this.nowUs += RTT_US;
    for (const count of counts) {
      acked += count;
      sample.nowUs = this.nowUs;
      sample.largestAcked = acked - 1;
      sample.nextPacketNumber = this.next;
      sample.hasRttSample = true;
      sample.latestRttUs = RTT_US;
      sample.minRttUs = RTT_US;
      sample.smoothedRttUs = RTT_US;
      sample.ackedBytes = count * DATAGRAM_BYTES;
      sample.totalDeliveredBytes = acked * DATAGRAM_BYTES;
      sample.bytesInFlight = (this.next - acked) * DATAGRAM_BYTES;
      this.meter.handleAck(sample, this.limits.windowBytes);
      this.window.handleAck(sample);
      this.nowUs += everyUs;
    }
  }
}

test("the first burst's spacing opens the window to three quarters of what it tells", () => {
  const bursts = new Bursts();
  // Two packets in 2 ms, four after the first ACK in 4.2: 9.5 Mbit/s are 95 packets in a round trip.
  bursts.run([2, 2, 2, 2, 2], 2_000);
  expect(bursts.windowDatagrams).toBeCloseTo((0.75 * 4 * RTT_US) / 4_200, 6);
});

test("acknowledged in one lump, the next burst is asked, and the third; then no more", () => {
  const lump = [TRAIN_DATAGRAMS];
  const spaced = [2, 2, 2, 2, 2];
  for (let lumps = 1; lumps <= 2; lumps++) {
    const bursts = new Bursts();
    for (let i = 0; i < lumps; i++) bursts.run(lump, 1_000);
    expect(bursts.windowDatagrams).toBe(INITIAL_WINDOW_DATAGRAMS);
    bursts.run(spaced, 2_000);
    expect(bursts.windowDatagrams).toBeGreaterThan(70);
  }
  const bursts = new Bursts();
  for (let i = 0; i < 3; i++) bursts.run(lump, 1_000);
  bursts.run(spaced, 2_000);
  expect(bursts.windowDatagrams).toBe(INITIAL_WINDOW_DATAGRAMS);
});
