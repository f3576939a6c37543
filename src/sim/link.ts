/**
 * One direction of a bad network: the one link model, used by the simulated world in virtual time and
 * by `godwit link` in real time. Pure: time is an argument, randomness comes from a seed.
 *
 * A datagram passes: MTU → queue (tail drop) → serialiser → loss, corruption → propagation delay,
 * jitter, stalls → arrival. Each kind of fault draws from its own random stream, so that switching
 * one on does not move the others.
 *
 * What it does not model: fragmentation and IP headers beyond a constant overhead; active queue
 * management other than a marking threshold; ICMP; links shared by the two directions (half duplex,
 * radio contention); per-flow queues; time-varying loss other than Gilbert-Elliott, blackholes and
 * the listed changes; policers (token buckets that drop instead of queueing).
 */
import { assert } from "../base/assert.ts";
import { SeededRandom } from "../base/random.ts";
import { ECN } from "../wire/batch.ts";
import { linkConfig, queueLimitBytes } from "./link-config.ts";
import type { LinkConfig } from "./link-config.ts";
import { emptyLinkStatistics } from "./link-statistics.ts";
import type { LinkStatistics } from "./link-statistics.ts";
import { TimeHeap } from "./time-heap.ts";

/** Old datagrams kept for replay; random ones are replaced, so that some are very old. */
const REPLAY_KEPT = 256;

/** Largest junk datagram in bytes: an Ethernet frame's worth. */
const JUNK_BYTES = 1_472;

/** Who takes what a link delivers. */
export interface LinkSink<T> {
  /**
   * A datagram arrives. The array must not be changed: copies of it may still be on the way.
   * @param atUs - When it was due, in microseconds: not later than the time of the call.
   */
  handleDelivery(datagram: Uint8Array, ecn: number, tag: T, atUs: number): void;
}

class Transit<T> {
  datagram: Uint8Array;
  ecn: number;
  readonly tag: T;
  readonly enteredUs: number;
  atUs = 0;
  order = 0;

  constructor(datagram: Uint8Array, ecn: number, tag: T, enteredUs: number) {
    this.datagram = datagram;
    this.ecn = ecn;
    this.tag = tag;
    this.enteredUs = enteredUs;
  }
}

/** A directed link. `T` is whatever the user wants back with each datagram: a flow, a session. */
export class Link<T> {
  readonly statistics: LinkStatistics = emptyLinkStatistics();
  private settings: LinkConfig;
  private readonly startUs: number;
  private readonly random: Readonly<
    Record<"loss" | "burst" | "delay" | "order" | "damage" | "extra", SeededRandom>
  >;

  /** Waiting datagrams, the one being sent first; `head` is the index of the first. */
  private waiting: Transit<T>[] = [];
  private head = 0;
  private queuedBytes = 0;
  /** When the datagram being sent will have left; infinite while the serialiser is idle. */
  private headFinishUs = Number.POSITIVE_INFINITY;

  private readonly flying = new TimeHeap<Transit<T>>();
  private order = 0;
  /** Arrival of the last datagram that keeps its place: later ones do not overtake it. */
  private lastArrivalUs = 0;
  private nextChange = 0;

  private departed = 0;
  private lossRun = 0;
  private corruptRun = 0;
  private isInBurst = false;
  private jitterUs = 0;
  private jitterUntilUs = Number.NEGATIVE_INFINITY;
  private stallFromUs = 0;
  private stallUntilUs: number;
  private readonly old: Transit<T>[] = [];

  /**
   * @param seed - Equal seeds, labels and arrivals give equal deliveries.
   * @param startUs - Beginning of the link's life: what blackholes and changes count from.
   * @throws GodwitError CONFIGURATION as `linkConfig`.
   */
  constructor(config: Partial<LinkConfig>, seed: number, label = "link", startUs = 0) {
    this.settings = linkConfig(config);
    this.startUs = startUs;
    this.stallUntilUs = startUs;
    this.random = {
      loss: new SeededRandom(seed, `${label}/loss`),
      burst: new SeededRandom(seed, `${label}/burst`),
      delay: new SeededRandom(seed, `${label}/delay`),
      order: new SeededRandom(seed, `${label}/order`),
      damage: new SeededRandom(seed, `${label}/damage`),
      extra: new SeededRandom(seed, `${label}/extra`),
    };
  }

  /** The configuration in force. */
  get config(): LinkConfig {
    return this.settings;
  }

  /** Bytes on the wire that wait or are being sent. */
  get backlogBytes(): number {
    return this.queuedBytes;
  }

  /** Datagrams waiting, being sent or on their way. */
  get datagramsInside(): number {
    return this.waiting.length - this.head + this.flying.size;
  }

  /**
   * Changes the configuration from now on. What has left the serialiser keeps its arrival time; what
   * is being sent finishes at the new rate.
   * @throws GodwitError CONFIGURATION as `linkConfig`.
   */
  configure(part: Partial<LinkConfig>, nowUs: number): void {
    this.advance(nowUs);
    if (part.changes !== undefined) this.nextChange = 0;
    this.apply(part, nowUs);
  }

  /**
   * Offers a datagram to the link. The link keeps the array; the caller must not change it afterwards.
   * @param nowUs - Must not go backwards.
   */
  enqueue(datagram: Uint8Array, ecn: number, tag: T, nowUs: number): void {
    this.advance(nowUs);
    const { settings, statistics } = this;
    statistics.datagramsIn += 1;
    statistics.bytesIn += datagram.length;
    if (settings.mtuBytes > 0 && datagram.length > settings.mtuBytes) {
      statistics.droppedMtu += 1;
      return;
    }
    const transit = new Transit(datagram, ecn, tag, nowUs);
    const isIdle = this.head === this.waiting.length;
    if (isIdle && settings.rateBytesPerSecond === 0) {
      this.depart(transit, nowUs);
      return;
    }
    const wireBytes = datagram.length + settings.overheadBytes;
    const count = this.waiting.length - this.head;
    // An idle link takes anything: a datagram larger than the whole queue would never pass otherwise.
    const isFull =
      !isIdle &&
      (this.queuedBytes + wireBytes > queueLimitBytes(settings) ||
        (settings.queueDatagrams > 0 && count >= settings.queueDatagrams));
    if (isFull) {
      statistics.droppedQueue += 1;
      return;
    }
    if (ecn !== ECN.notEct && settings.markQueueBytes > 0 && this.queuedBytes >= settings.markQueueBytes) {
      transit.ecn = ECN.ce;
      statistics.marked += 1;
    }
    this.waiting.push(transit);
    this.queuedBytes += wireBytes;
    statistics.queueMaxBytes = Math.max(statistics.queueMaxBytes, this.queuedBytes);
    if (isIdle) this.headFinishUs = nowUs + this.serialiseUs(datagram);
  }

  /**
   * When `takeDelivered` should be called next, in microseconds; infinite when nothing is inside. Never
   * later than the next arrival; it may be earlier.
   */
  nextDeliveryUs(): number {
    const first = this.flying.peek();
    const flyingUs = first === undefined ? Number.POSITIVE_INFINITY : first.atUs;
    if (this.headFinishUs === Number.POSITIVE_INFINITY) return flyingUs;
    const { delayUs, jitterUs } = this.settings;
    const leaveUs = Math.min(this.headFinishUs, this.nextChangeUs());
    return Math.min(flyingUs, Math.ceil(leaveUs + Math.max(0, delayUs - jitterUs)));
  }

  /** Hands every datagram that has arrived by `nowUs` to the sink, in order; returns how many. */
  takeDelivered(nowUs: number, sink: LinkSink<T>): number {
    this.advance(nowUs);
    let taken = 0;
    for (;;) {
      const first = this.flying.peek();
      if (first === undefined || first.atUs > nowUs) return taken;
      this.flying.pop();
      taken += 1;
      this.statistics.datagramsOut += 1;
      this.statistics.bytesOut += first.datagram.length;
      sink.handleDelivery(first.datagram, first.ecn, first.tag, first.atUs);
    }
  }

  private serialiseUs(datagram: Uint8Array): number {
    const { rateBytesPerSecond, overheadBytes } = this.settings;
    if (rateBytesPerSecond === 0) return 0;
    return ((datagram.length + overheadBytes) * 1_000_000) / rateBytesPerSecond;
  }

  private nextChangeUs(): number {
    const change = this.settings.changes[this.nextChange];
    return change === undefined ? Number.POSITIVE_INFINITY : this.startUs + change.atUs;
  }

  /** Brings the serialiser and the listed changes up to `nowUs`, in the order of their times. */
  private advance(nowUs: number): void {
    for (;;) {
      const changeUs = this.nextChangeUs();
      if (Math.min(changeUs, this.headFinishUs) > nowUs) return;
      if (changeUs <= this.headFinishUs) {
        const { set } = this.settings.changes[this.nextChange++];
        this.apply(set, changeUs);
      } else {
        this.finishHead();
      }
    }
  }

  private apply(part: Partial<LinkConfig>, atUs: number): void {
    const oldRate = this.settings.rateBytesPerSecond;
    const oldOverhead = this.settings.overheadBytes;
    this.settings = linkConfig(part, this.settings);
    const newRate = this.settings.rateBytesPerSecond;
    const change = (this.settings.overheadBytes - oldOverhead) * (this.waiting.length - this.head);
    this.queuedBytes += change;
    if (this.headFinishUs === Number.POSITIVE_INFINITY || newRate === oldRate) return;
    const remainingBytes = oldRate === 0 ? 0 : (this.headFinishUs - atUs) * oldRate;
    this.headFinishUs = newRate === 0 ? atUs : atUs + remainingBytes / newRate;
  }

  private finishHead(): void {
    const atUs = this.headFinishUs;
    const transit = this.waiting[this.head];
    assert(transit !== undefined, "a busy serialiser has a datagram");
    this.head += 1;
    // Compact now and then: shifting the array for each datagram would cost its length.
    if (this.head === this.waiting.length || this.head === 1_024) {
      this.waiting = this.waiting.slice(this.head);
      this.head = 0;
    }
    this.queuedBytes -= transit.datagram.length + this.settings.overheadBytes;
    const next = this.waiting[this.head];
    this.headFinishUs =
      next === undefined ? Number.POSITIVE_INFINITY : atUs + this.serialiseUs(next.datagram);
    const delayUs = atUs - transit.enteredUs;
    this.statistics.queueDelaySumUs += delayUs;
    this.statistics.queueDelayMaxUs = Math.max(this.statistics.queueDelayMaxUs, delayUs);
    this.depart(transit, atUs);
  }

  /** The datagram has left the serialiser: what happens to it on the way is decided here. */
  private depart(transit: Transit<T>, atUs: number): void {
    const { settings, statistics, random } = this;
    if (this.isDropped(atUs)) return;
    if (settings.replayProbability > 0) this.remember(transit);
    if (
      random.damage.chance(settings.corruptProbability) &&
      !this.isRunOver("corruptRun", settings.corruptRunMax)
    ) {
      this.corruptRun += 1;
      statistics.corrupted += 1;
      transit.datagram = this.corrupt(transit.datagram);
    } else {
      this.corruptRun = 0;
    }
    if (random.damage.chance(settings.truncateProbability) && transit.datagram.length > 0) {
      statistics.truncated += 1;
      transit.datagram = transit.datagram.subarray(0, random.damage.integer(0, transit.datagram.length - 1));
    }
    if (transit.ecn !== ECN.notEct && random.damage.chance(settings.markProbability)) {
      transit.ecn = ECN.ce;
      statistics.marked += 1;
    }
    if (
      settings.bleachProbability > 0 &&
      transit.ecn !== ECN.notEct &&
      random.damage.chance(settings.bleachProbability)
    ) {
      transit.ecn = ECN.notEct;
      statistics.bleached += 1;
    }
    if (random.order.chance(settings.reorderProbability)) {
      statistics.reordered += 1;
      this.launch(transit, this.arrivalUs(atUs) + settings.reorderDelayUs);
    } else {
      this.lastArrivalUs = this.arrivalUs(atUs);
      this.launch(transit, this.lastArrivalUs);
    }
    if (random.extra.chance(settings.duplicateProbability)) {
      for (let i = 0; i < settings.duplicateCopies; i++) this.copy(transit, transit.datagram, transit.atUs);
      statistics.duplicated += settings.duplicateCopies;
    }
    if (this.old.length > 0 && random.extra.chance(settings.replayProbability)) {
      const old = random.extra.pick(this.old);
      statistics.replayed += 1;
      this.copy(old, old.datagram, transit.atUs);
    }
    if (random.extra.chance(settings.junkProbability)) {
      statistics.junk += 1;
      const bytes = new Uint8Array(random.extra.integer(0, JUNK_BYTES));
      this.copy(transit, random.extra.bytes(bytes), transit.atUs);
    }
  }

  private isDropped(atUs: number): boolean {
    const { settings, statistics, random } = this;
    const index = this.departed++;
    // The chain takes its step for every datagram, dropped by something else or not.
    if (settings.burstEnterProbability > 0 || this.isInBurst) {
      const flip = this.isInBurst ? settings.burstLeaveProbability : settings.burstEnterProbability;
      if (random.burst.chance(flip)) this.isInBurst = !this.isInBurst;
      if (settings.burstEnterProbability === 0) this.isInBurst = false;
    }
    if (this.isDark(atUs - this.startUs)) {
      statistics.droppedBlackhole += 1;
      return true;
    }
    if (index < 31 && ((settings.lossMask >>> index) & 1) === 1) {
      statistics.droppedLoss += 1;
      return true;
    }
    if (this.isInBurst && random.burst.chance(settings.burstLossProbability)) {
      statistics.droppedBurst += 1;
      return true;
    }
    if (random.loss.chance(settings.lossProbability) && !this.isRunOver("lossRun", settings.lossRunMax)) {
      this.lossRun += 1;
      statistics.droppedLoss += 1;
      return true;
    }
    this.lossRun = 0;
    return false;
  }

  private isRunOver(run: "lossRun" | "corruptRun", most: number): boolean {
    return most > 0 && this[run] >= most;
  }

  private isDark(sinceStartUs: number): boolean {
    const { blackholes, blackholeEveryUs, blackholeForUs } = this.settings;
    for (const { fromUs, untilUs } of blackholes) {
      if (sinceStartUs >= fromUs && sinceStartUs < untilUs) return true;
    }
    return blackholeEveryUs > 0 && sinceStartUs % blackholeEveryUs >= blackholeEveryUs - blackholeForUs;
  }

  /** Arrival in order: propagation, jitter and stalls, never before an earlier datagram. */
  private arrivalUs(departureUs: number): number {
    const { delayUs, stallEveryUs, stallUs } = this.settings;
    const onWayUs = Math.max(0, delayUs + this.nextJitterUs(departureUs));
    let atUs = Math.max(Math.round(departureUs + onWayUs), this.lastArrivalUs);
    if (stallEveryUs > 0) {
      while (atUs >= this.stallUntilUs) {
        this.stallFromUs = this.stallUntilUs + stallEveryUs * (0.5 + this.random.delay.float());
        this.stallUntilUs = Math.round(this.stallFromUs + stallUs);
      }
      if (atUs >= this.stallFromUs) atUs = this.stallUntilUs;
    }
    return atUs;
  }

  private nextJitterUs(departureUs: number): number {
    const { jitterUs, jitterPeriodUs } = this.settings;
    if (jitterUs === 0) return 0;
    if (departureUs >= this.jitterUntilUs) {
      this.jitterUs = (2 * this.random.delay.float() - 1) * jitterUs;
      this.jitterUntilUs = departureUs + jitterPeriodUs;
    }
    return this.jitterUs;
  }

  private launch(transit: Transit<T>, atUs: number): void {
    transit.atUs = atUs;
    transit.order = this.order++;
    this.flying.push(transit);
  }

  private copy(like: Transit<T>, datagram: Uint8Array, atUs: number): void {
    this.launch(new Transit(datagram, like.ecn, like.tag, like.enteredUs), atUs);
  }

  private corrupt(datagram: Uint8Array): Uint8Array {
    if (datagram.length === 0) return datagram;
    const damaged = datagram.slice();
    const random = this.random.damage;
    const bits = random.integer(1, Math.max(1, this.settings.corruptBitsMax));
    // The same bit drawn twice would heal itself, so the first is flipped once and for all.
    const first = random.integer(0, datagram.length * 8 - 1);
    damaged[first >> 3] ^= 1 << (first & 7);
    for (let i = 1; i < bits; i++) {
      const bit = random.integer(0, datagram.length * 8 - 1);
      if (bit !== first) damaged[bit >> 3] ^= 1 << (bit & 7);
    }
    return damaged;
  }

  private remember(transit: Transit<T>): void {
    const copy = new Transit(transit.datagram, transit.ecn, transit.tag, transit.enteredUs);
    if (this.old.length < REPLAY_KEPT) this.old.push(copy);
    else this.old[this.random.extra.integer(0, REPLAY_KEPT - 1)] = copy;
  }
}
