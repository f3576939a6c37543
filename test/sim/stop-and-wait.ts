/**
 * The smallest protocol that survives a bad network: one number at a time, repeated until answered.
 * It stands in for a real endpoint where the world itself is under test.
 */
import type { SimEndpoint } from "../../src/sim/endpoint-driver.ts";
import type { PacketBatch } from "../../src/wire/batch.ts";

const CHECK = 0x5a;

function write(batch: PacketBatch, to: Int32Array, value: number, paddingBytes: number): void {
  const at = batch.usedBytes;
  batch.bytes.fill(0, at, at + 3 + paddingBytes);
  batch.bytes[at] = value >> 8;
  batch.bytes[at + 1] = value & 0xff;
  batch.bytes[at + 2] = (batch.bytes[at] ^ batch.bytes[at + 1] ^ CHECK) & 0xff;
  batch.push(3 + paddingBytes, to, 0);
}

function read(batch: PacketBatch, index: number): number | undefined {
  const bytes = batch.datagram(index);
  if (bytes.length < 3 || bytes[2] !== (bytes[0] ^ bytes[1] ^ CHECK)) return undefined;
  if (bytes.subarray(3).some((byte) => byte !== 0)) return undefined;
  return (bytes[0] << 8) | bytes[1];
}

/** Sends 0, 1, … `count` - 1; each is repeated every `timeoutUs` until the same number comes back. */
export class StopAndWaitSender implements SimEndpoint {
  acknowledged = 0;
  timeouts = 0;
  private readonly to: Int32Array;
  private readonly count: number;
  private readonly timeoutUs: number;
  private readonly paddingBytes: number;
  private isDue = true;
  private timerUs: number | undefined;

  constructor(to: Int32Array, count: number, timeoutUs: number, paddingBytes = 0) {
    this.to = to;
    this.count = count;
    this.timeoutUs = timeoutUs;
    this.paddingBytes = paddingBytes;
  }

  get isDone(): boolean {
    return this.acknowledged === this.count;
  }

  handleDatagrams(batch: PacketBatch, from: number, to: number): void {
    for (let i = from; i < to; i++) {
      if (read(batch, i) !== this.acknowledged) continue;
      this.acknowledged += 1;
      this.isDue = !this.isDone;
      this.timerUs = undefined;
    }
  }

  handleTimeout(nowUs: number): void {
    if (this.timerUs === undefined || nowUs < this.timerUs) throw new Error("woken too early");
    this.timerUs = undefined;
    this.timeouts += 1;
    this.isDue = true;
  }

  pollTransmit(batch: PacketBatch, nowUs: number): void {
    if (!this.isDue) return;
    this.isDue = false;
    this.timerUs = nowUs + this.timeoutUs;
    write(batch, this.to, this.acknowledged, this.paddingBytes);
  }

  nextTimeoutUs(): number | undefined {
    return this.timerUs;
  }
}

/** Answers each number with itself, to wherever it came from; keeps what came in order. */
export class StopAndWaitReceiver implements SimEndpoint {
  readonly values: number[] = [];
  readonly arrivalsUs: number[] = [];
  private readonly answers: { readonly to: Int32Array; readonly value: number }[] = [];

  handleDatagrams(batch: PacketBatch, from: number, to: number, nowUs: number): void {
    for (let i = from; i < to; i++) {
      const value = read(batch, i);
      if (value === undefined) continue;
      if (value === this.values.length) {
        this.values.push(value);
        this.arrivalsUs.push(nowUs);
      }
      this.answers.push({ to: batch.addresses.slice(i * 6, i * 6 + 6), value });
    }
  }

  handleTimeout(): void {
    throw new Error("it has no timer");
  }

  pollTransmit(batch: PacketBatch): void {
    for (const { to, value } of this.answers.splice(0)) write(batch, to, value, 0);
  }

  nextTimeoutUs(): undefined {
    return undefined;
  }
}
