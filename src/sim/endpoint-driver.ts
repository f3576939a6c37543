/**
 * The loop around a protocol object in virtual time: the same dance that `src/node/driver.ts` does in
 * production.
 */
import { GodwitError } from "../base/errors.ts";
import { MAX_DATAGRAM_BYTES } from "../base/limits.ts";
import { PacketBatch } from "../wire/batch.ts";
import type { Sleeper } from "./clock.ts";
import type { HostListener, SimHost } from "./host.ts";

/** A protocol object with the core's four verbs. */
export interface SimEndpoint {
  /** Datagrams `[from, to)` of the batch have arrived; their addresses are where they came from. */
  handleDatagrams(batch: PacketBatch, from: number, to: number, nowUs: number): void;
  /** The time of `nextTimeoutUs` has come. */
  handleTimeout(nowUs: number): void;
  /** Appends what is to be sent now; the caller sends it and asks again until nothing is appended. */
  pollTransmit(batch: PacketBatch, nowUs: number): unknown;
  /** When `handleTimeout` is wanted, in microseconds; `undefined` or infinite: not at all. */
  nextTimeoutUs(): number | undefined;
}

/** Datagrams in one batch of the simulated driver. */
const BATCH_DATAGRAMS = 64;

/** Bytes in one batch: room for one of the largest datagrams at any fill level. */
const BATCH_BYTES = 4 * MAX_DATAGRAM_BYTES;

/** Times an endpoint may send or ask for a timer at one moment before it counts as stuck. */
const ROUNDS_AT_ONE_MOMENT = 10_000;

/** Batches are empty between calls, so all drivers share one of each. */
const receiving = new PacketBatch(BATCH_DATAGRAMS, BATCH_BYTES);
const sending = new PacketBatch(BATCH_DATAGRAMS, BATCH_BYTES);

/** Drives one endpoint on one host. */
export class EndpointDriver implements HostListener, Sleeper {
  private readonly host: SimHost;
  private readonly endpoint: SimEndpoint;
  private isStopped = false;
  private momentUs = -1;
  private rounds = 0;

  constructor(host: SimHost, endpoint: SimEndpoint) {
    this.host = host;
    this.endpoint = endpoint;
  }

  handleReadable(nowUs: number): void {
    for (;;) {
      receiving.clear();
      const count = this.host.receive(receiving);
      if (count === 0) return;
      this.endpoint.handleDatagrams(receiving, 0, count, nowUs);
      this.drive();
      if (this.isStopped) return;
    }
  }

  handleResume(nowUs: number): void {
    this.wake(nowUs);
  }

  wake(nowUs: number): void {
    if (this.isStopped || this.host.isPaused) return;
    const timeoutUs = this.endpoint.nextTimeoutUs() ?? Number.POSITIVE_INFINITY;
    if (timeoutUs <= nowUs) this.endpoint.handleTimeout(nowUs);
    this.drive();
  }

  /** Sends all the endpoint has to send and sets its timer. */
  drive(): void {
    const { host, endpoint } = this;
    const { clock } = host.world;
    for (;;) {
      this.countRound(clock.nowUs);
      sending.clear();
      endpoint.pollTransmit(sending, clock.nowUs);
      if (sending.count === 0) break;
      for (let i = 0; i < sending.count; i++) host.transmit(sending, i);
    }
    if (!this.isStopped) clock.schedule(this, endpoint.nextTimeoutUs() ?? Number.POSITIVE_INFINITY);
  }

  /** No timer fires any more. */
  stop(): void {
    this.isStopped = true;
    this.host.world.clock.schedule(this, Number.POSITIVE_INFINITY);
  }

  private countRound(nowUs: number): void {
    if (nowUs !== this.momentUs) {
      this.momentUs = nowUs;
      this.rounds = 0;
    }
    this.rounds += 1;
    if (this.rounds > ROUNDS_AT_ONE_MOMENT) {
      throw new GodwitError(
        "INTERNAL",
        `the endpoint of ${this.host.name} is stuck: it asks for the same moment (${nowUs} us) for ever`,
      );
    }
  }
}
