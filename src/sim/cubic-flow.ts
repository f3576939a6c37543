/**
 * A neighbour for fairness tests: an endless TCP flow that runs CUBIC, packet by packet, over the same
 * links as the flow under test.
 *
 * Ideal where TCP is not: every acknowledgement lists all that arrived, data never runs out, the
 * receiver reads at once. CUBIC as in RFC 9438 with its Reno-friendly region and fast convergence; loss
 * by three later deliveries in order of transmission (RFC 8985 without its timer); RTO as RFC 6298 with
 * Linux's floor. Not modelled: HyStart, pacing, ECN, delayed acknowledgements beyond "every second".
 */
import { RangeSet } from "../base/range-set.ts";
import type { PacketBatch } from "../wire/batch.ts";
import type { SimEndpoint } from "./endpoint-driver.ts";

/** One segment with its TCP header, as UDP payload: 1 500 bytes on an IPv4 link with 28 of overhead. */
const SEGMENT_BYTES = 1_472;

/** Payload of a segment: 1 500 less IPv4 (20) and TCP with timestamps (32). */
const SEGMENT_PAYLOAD_BYTES = 1_448;

/** Ranges in one acknowledgement: more than any queue makes. */
const ACK_RANGES = 64;

/** RFC 9438 §4.1: C and beta_cubic. */
const CUBIC_C = 0.4;
const CUBIC_BETA = 0.7;

/** RFC 9438 §4.3: the Reno-friendly slope, 3 (1 - beta) / (1 + beta). */
const RENO_ALPHA = (3 * (1 - CUBIC_BETA)) / (1 + CUBIC_BETA);

/** Initial window in segments. RFC 6928. */
const INITIAL_WINDOW = 10;

/** Deliveries of later transmissions that make a segment lost. RFC 5681 (three duplicates). */
const LOSS_THRESHOLD = 3;

/** Linux's smallest retransmission timeout (RFC 6298 says one second). */
const RTO_MIN_US = 200_000;

interface Sent {
  atUs: number;
  /** Order of transmission, over all segments. */
  order: number;
  isLost: boolean;
  isRetransmitted: boolean;
}

/** Sends for ever; the peer is a `CubicReceiver`. */
export class CubicSender implements SimEndpoint {
  /** Congestion window in segments. */
  windowSegments = INITIAL_WINDOW;
  /** Bytes of data delivered, each counted once. */
  deliveredBytes = 0;
  /** Segments sent again. */
  retransmissions = 0;
  private readonly to: Int32Array;
  private readonly stopUs: number;
  private readonly outstanding = new Map<number, Sent>();
  private readonly lost: number[] = [];
  private inFlight = 0;
  private next = 0;
  private order = 0;
  private largestDeliveredOrder = -1;
  private recoveryOrder = 0;
  private slowStartThreshold = Number.POSITIVE_INFINITY;
  private maxWindow = 0;
  private epochUs = -1;
  private epochWindow = 0;
  private renoWindow = 0;
  private smoothedRttUs = 0;
  private rttVariationUs = 0;
  private rtoBackoff = 1;
  private timerUs = Number.POSITIVE_INFINITY;

  /** @param stopUs - Nothing new is sent from this time on. */
  constructor(to: Int32Array, stopUs = Number.POSITIVE_INFINITY) {
    this.to = to;
    this.stopUs = stopUs;
  }

  /** Smoothed round-trip time in microseconds; 0 before the first sample. */
  get rttUs(): number {
    return this.smoothedRttUs;
  }

  handleDatagrams(batch: PacketBatch, from: number, to: number, nowUs: number): void {
    for (let i = from; i < to; i++) {
      const bytes = batch.datagram(i);
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      const ranges = view.getUint32(0);
      for (let r = 0; r < ranges; r++)
        this.acknowledge(view.getUint32(4 + r * 8), view.getUint32(8 + r * 8), nowUs);
      this.detectLoss();
    }
    this.armTimer(nowUs);
  }

  handleTimeout(nowUs: number): void {
    if (nowUs < this.timerUs) return;
    // RFC 5681 §3.1: after a timeout everything outstanding is sent again from a window of one.
    this.reduce();
    this.windowSegments = 1;
    this.rtoBackoff = Math.min(this.rtoBackoff * 2, 64);
    for (const [segment, sent] of this.outstanding) {
      if (!sent.isLost) this.markLost(segment, sent);
    }
    this.armTimer(nowUs);
  }

  pollTransmit(batch: PacketBatch, nowUs: number): void {
    while (this.inFlight < Math.floor(this.windowSegments) && batch.hasRoom(SEGMENT_BYTES)) {
      const again = this.nextLost();
      if (again === undefined && nowUs >= this.stopUs) break;
      const segment = again ?? this.next++;
      const known = this.outstanding.get(segment);
      if (known === undefined) {
        const fresh = { atUs: nowUs, order: this.order++, isLost: false, isRetransmitted: false };
        this.outstanding.set(segment, fresh);
      } else {
        known.atUs = nowUs;
        known.order = this.order++;
        known.isLost = false;
        known.isRetransmitted = true;
        this.retransmissions += 1;
      }
      this.inFlight += 1;
      const { bytes } = batch;
      const at = batch.usedBytes;
      bytes.fill(0, at, at + SEGMENT_BYTES);
      new DataView(bytes.buffer, bytes.byteOffset).setUint32(at, segment);
      batch.push(SEGMENT_BYTES, this.to, 0);
      if (this.timerUs === Number.POSITIVE_INFINITY) this.armTimer(nowUs);
    }
  }

  nextTimeoutUs(): number {
    return this.timerUs;
  }

  private nextLost(): number | undefined {
    for (;;) {
      const segment = this.lost.shift();
      if (segment === undefined || this.outstanding.get(segment)?.isLost === true) return segment;
    }
  }

  /** Segments [first, end) have arrived. */
  private acknowledge(first: number, end: number, nowUs: number): void {
    // Segments stand in ascending order: sending one again does not move it.
    for (const segment of this.outstanding.keys()) {
      if (segment >= end) break;
      if (segment >= first) this.deliver(segment, nowUs);
    }
  }

  private deliver(segment: number, nowUs: number): void {
    const sent = this.outstanding.get(segment);
    if (sent === undefined) return;
    this.outstanding.delete(segment);
    this.deliveredBytes += SEGMENT_PAYLOAD_BYTES;
    if (!sent.isLost) this.inFlight -= 1;
    this.largestDeliveredOrder = Math.max(this.largestDeliveredOrder, sent.order);
    // Karn's rule, RFC 6298 §3: no samples from what was sent twice.
    if (!sent.isRetransmitted) this.sampleRtt(nowUs - sent.atUs);
    this.rtoBackoff = 1;
    this.grow(nowUs);
  }

  private sampleRtt(sampleUs: number): void {
    if (this.smoothedRttUs === 0) {
      this.smoothedRttUs = sampleUs;
      this.rttVariationUs = sampleUs / 2;
      return;
    }
    this.rttVariationUs = 0.75 * this.rttVariationUs + 0.25 * Math.abs(this.smoothedRttUs - sampleUs);
    this.smoothedRttUs = 0.875 * this.smoothedRttUs + 0.125 * sampleUs;
  }

  private grow(nowUs: number): void {
    if (this.windowSegments < this.slowStartThreshold) {
      this.windowSegments += 1;
      return;
    }
    if (this.epochUs < 0) {
      this.epochUs = nowUs;
      this.epochWindow = this.windowSegments;
      this.renoWindow = this.windowSegments;
      this.maxWindow = Math.max(this.maxWindow, this.windowSegments);
    }
    const k = Math.cbrt((this.maxWindow - this.epochWindow) / CUBIC_C);
    const t = (nowUs - this.epochUs + this.smoothedRttUs) / 1_000_000;
    const cubic = CUBIC_C * (t - k) ** 3 + this.maxWindow;
    const target = Math.min(Math.max(cubic, this.windowSegments), 1.5 * this.windowSegments);
    this.renoWindow += RENO_ALPHA / this.windowSegments;
    this.windowSegments += (target - this.windowSegments) / this.windowSegments;
    this.windowSegments = Math.max(this.windowSegments, this.renoWindow);
  }

  private detectLoss(): void {
    let isNew = false;
    for (const [segment, sent] of this.outstanding) {
      if (sent.isLost || this.largestDeliveredOrder - sent.order < LOSS_THRESHOLD) {
        // Segments never sent twice stand in ascending order: nothing later can be overtaken.
        if (!sent.isLost && !sent.isRetransmitted) break;
        continue;
      }
      // One reduction per round trip: losses of what was sent before the last one are the same event.
      if (sent.order >= this.recoveryOrder) isNew = true;
      this.markLost(segment, sent);
    }
    if (isNew) this.reduce();
  }

  private markLost(segment: number, sent: Sent): void {
    sent.isLost = true;
    this.inFlight -= 1;
    this.lost.push(segment);
  }

  private reduce(): void {
    this.recoveryOrder = this.order;
    this.epochUs = -1;
    // RFC 9438 §4.7: fast convergence gives way to newcomers.
    this.maxWindow =
      this.windowSegments < this.maxWindow
        ? (this.windowSegments * (1 + CUBIC_BETA)) / 2
        : this.windowSegments;
    this.windowSegments = Math.max(2, this.windowSegments * CUBIC_BETA);
    this.slowStartThreshold = this.windowSegments;
  }

  private armTimer(nowUs: number): void {
    if (this.outstanding.size === 0) {
      this.timerUs = Number.POSITIVE_INFINITY;
      return;
    }
    const rtoUs =
      this.smoothedRttUs === 0
        ? 1_000_000
        : Math.max(RTO_MIN_US, this.smoothedRttUs + 4 * this.rttVariationUs);
    this.timerUs = nowUs + Math.ceil(rtoUs * this.rtoBackoff);
  }
}

/** Acknowledges a `CubicSender`: every second segment, at once when something is missing. */
export class CubicReceiver implements SimEndpoint {
  private readonly to: Int32Array;
  private readonly received = new RangeSet();
  private unacknowledged = 0;
  private isDue = false;
  private timerUs = Number.POSITIVE_INFINITY;

  constructor(to: Int32Array) {
    this.to = to;
  }

  handleDatagrams(batch: PacketBatch, from: number, to: number, nowUs: number): void {
    for (let i = from; i < to; i++) {
      const bytes = batch.datagram(i);
      const segment = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
      this.received.add(segment, segment + 1);
      this.unacknowledged += 1;
    }
    if (this.unacknowledged >= 2 || this.received.rangeCount > 1) this.isDue = true;
    else this.timerUs = Math.min(this.timerUs, nowUs + 40_000);
  }

  handleTimeout(nowUs: number): void {
    if (nowUs >= this.timerUs) this.isDue = true;
  }

  pollTransmit(batch: PacketBatch): void {
    if (!this.isDue) return;
    this.isDue = false;
    this.unacknowledged = 0;
    this.timerUs = Number.POSITIVE_INFINITY;
    const view = new DataView(batch.bytes.buffer, batch.bytes.byteOffset + batch.usedBytes);
    let count = 0;
    for (let r = this.received.rangeCount - 1; r >= 0 && count < ACK_RANGES; r--, count++) {
      view.setUint32(4 + count * 8, this.received.startAt(r));
      view.setUint32(8 + count * 8, this.received.endAt(r));
    }
    view.setUint32(0, count);
    batch.push(4 + count * 8, this.to, 0);
  }

  nextTimeoutUs(): number {
    return this.timerUs;
  }
}
