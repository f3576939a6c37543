import { describe, expect, test } from "vitest";
import { emptyAckSample } from "../recovery/samples.ts";
import { PacketTrain, TRAIN_DATAGRAMS } from "./packet-train.ts";

const DATAGRAM_BYTES = 1_250; // 10 000 bits: 1 ms at 10 Mbit/s

/** Sends `count` packets at once, numbers from `first` on. */
function burst(train: PacketTrain, nowUs: number, first = 0, count = TRAIN_DATAGRAMS): void {
  for (let i = 0; i < count; i++) train.handleSent(nowUs, first + i);
}

/** An ACK of everything up to packet `largest`, the first packet having number 0. */
function ack(train: PacketTrain, nowUs: number, largest: number): boolean {
  const sample = {
    ...emptyAckSample(),
    nowUs,
    largestAcked: largest,
    totalDeliveredBytes: (largest + 1) * DATAGRAM_BYTES,
  };
  return train.handleAck(sample, DATAGRAM_BYTES);
}

describe("packet train", () => {
  test("the spacing of acknowledgements is the bottleneck's", () => {
    const train = new PacketTrain();
    burst(train, 1_000);
    expect(ack(train, 50_000, 1)).toBe(false);
    expect(ack(train, 52_000, 3)).toBe(false);
    // Four packets after the first ACK, 4 ms of the link, and 0.2 ms for the timers.
    expect(ack(train, 54_000, 5)).toBe(true);
    expect(train.rate).toBeCloseTo(5_000 / 0.0042, 3);
    // It is told once.
    expect(ack(train, 56_000, 7)).toBe(false);
    expect(train.isOpen).toBe(false);
  });

  test("one acknowledgement for all tells nothing", () => {
    const train = new PacketTrain();
    burst(train, 1_000);
    expect(ack(train, 50_000, 9)).toBe(false);
    expect(ack(train, 50_500, 12)).toBe(false);
    expect(train.rate).toBe(0);
    expect(train.isOpen).toBe(false);
  });

  test("a first acknowledgement that leaves three packets or less tells nothing, and it is known at once", () => {
    const train = new PacketTrain();
    burst(train, 1_000);
    expect(ack(train, 50_000, 6)).toBe(false);
    expect(train.isOpen).toBe(false);
    expect(ack(train, 51_000, 9)).toBe(false);
    expect(train.rate).toBe(0);
  });

  test("packets that were spread are no train, the burst after them is", () => {
    const train = new PacketTrain();
    for (let i = 0; i < 20; i++) train.handleSent(i * 100, i);
    expect(train.isSent).toBe(false);
    burst(train, 5_000, 20, TRAIN_DATAGRAMS - 1);
    expect(train.isSent).toBe(false);
    train.handleSent(5_000, 29);
    expect(train.isSent).toBe(true);
    expect(ack(train, 40_000, 19)).toBe(false);
    expect(ack(train, 50_000, 21)).toBe(false);
    expect(ack(train, 52_000, 25)).toBe(true);
    expect(train.rate).toBeCloseTo(5_000 / 0.0022, 3);
  });

  test("given up, it counts as sent and tells nothing", () => {
    const train = new PacketTrain();
    burst(train, 1_000, 0, 4);
    train.giveUp();
    expect(train.isSent).toBe(true);
    expect(train.isOpen).toBe(false);
    burst(train, 2_000, 4);
    expect(ack(train, 50_000, 3)).toBe(false);
    expect(ack(train, 52_000, 9)).toBe(false);
    expect(train.rate).toBe(0);
  });

  test("after a reset the next burst counts", () => {
    const train = new PacketTrain();
    burst(train, 1_000);
    ack(train, 50_000, 1);
    train.reset();
    expect(train.isSent).toBe(false);
    burst(train, 60_000, 10);
    expect(ack(train, 90_000, 11)).toBe(false);
    expect(ack(train, 94_000, 15)).toBe(true);
    expect(train.rate).toBeCloseTo(5_000 / 0.0042, 3);
  });
});
