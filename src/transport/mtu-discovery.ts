/**
 * Path MTU discovery on datagrams: finds the largest UDP payload a path carries, and notices when it
 * shrinks. Pure: says which size to probe, is told what became of packets.
 *
 * Source: RFC 8899 (DPLPMTUD). Plain loss is never taken for a black hole: see `handlePacketLost`.
 */
import { MAX_DATAGRAM_BYTES, MIN_DATAGRAM_BYTES } from "../base/limits.ts";

/**
 * UDP payloads that common links carry, ascending: 1280 over IPv6 and IPv4, WireGuard, 1500 over IPv6,
 * PPPoE and 1500 over IPv4, FDDI, 9000 over IPv6 and IPv4, 16 and 32 KiB buffers, 64 KiB over IPv6 and IPv4.
 */
const LADDER = [
  1_232,
  1_252,
  1_392,
  1_452,
  1_464,
  1_472,
  4_324,
  8_952,
  8_972,
  16_384,
  32_768,
  65_487,
  MAX_DATAGRAM_BYTES,
] as const;

/** Losses of one probe size that make it too large. RFC 8899 §5.1.2 (MAX_PROBES). */
const MAX_PROBES = 3;

/** The search ends when what is known to pass and to fail are this close, in bytes: 1 % of 1 452. */
const GRANULARITY_BYTES = 16;

/** Time until a finished search looks for a larger size again, in microseconds. RFC 8899 §5.1.1 (PMTU_RAISE_TIMER). */
export const RAISE_INTERVAL_US = 600_000_000;

/** The same after a black hole, in microseconds: the path may change back as it changed. */
export const RETURN_INTERVAL_US = 30_000_000;

/**
 * So long a window that does not hold the limit may grow, in microseconds. A probe of what it holds now fills it, and
 * where such probes are lost, startup would find a path that carries a few small packets a round trip.
 */
const WINDOW_GROWTH_US = 1_000_000;

/** Large packets lost in a row, all sent after a small one that arrived... */
const BLACK_HOLE_LOSSES = 8;
/** ...while this many small ones arrived: at 30 % random loss that is one chance in three million packets. */
const BLACK_HOLE_ARRIVALS = 2;

/** Finds and guards the datagram size of one path. */
export class MtuDiscovery {
  private current: number;
  private limit: number;
  /** Smallest size known to fail, or one more than the limit. */
  private failing: number;
  private probe = 0;
  private probeLosses = 0;
  private isProbeOut = false;
  private hasTriedLimit = false;
  /** Since when the window has been too small for the limit. */
  private crampedSinceUs = Infinity;
  private nextSearchUs = -Infinity;
  private searchIntervalUs = RAISE_INTERVAL_US;

  // Black hole detection. Packet numbers tell the order of sending.
  private firstSmallAcked = -1;
  private largestLargeAcked = -1;
  private largeLost = 0;
  private firstLargeLost = Infinity;
  private smallAckedAfter = 0;

  /**
   * @param startBytes - Size to start with: what the handshake used.
   * @param limitBytes - Largest size to try: the local interface's and the peer's limit, the smaller one.
   */
  constructor(startBytes: number, limitBytes: number) {
    this.limit = Math.max(Math.min(limitBytes, MAX_DATAGRAM_BYTES), MIN_DATAGRAM_BYTES);
    this.current = Math.min(startBytes, this.limit);
    this.failing = this.limit + 1;
  }

  /** Size of full datagrams now, in bytes of UDP payload. */
  get datagramBytes(): number {
    return this.current;
  }

  /** Size of packets sent on a probe timeout: what every path carries, in case it swallows full ones. */
  get probeTimeoutBytes(): number {
    return MIN_DATAGRAM_BYTES;
  }

  /** Whether no larger size is looked for at present. */
  get isSearchComplete(): boolean {
    return this.failing - this.current <= GRANULARITY_BYTES || this.current >= this.limit;
  }

  /** Whether no probe will be wanted at this time, however the window grows. */
  isResting(nowUs: number): boolean {
    return this.isProbeOut || nowUs < this.nextSearchUs;
  }

  /**
   * Size of the probe to send now, or `undefined` when none is wanted.
   *
   * @param windowBytes - The congestion window: a larger probe could never be sent.
   */
  nextProbeBytes(nowUs: number, windowBytes: number): number | undefined {
    if (this.isProbeOut || nowUs < this.nextSearchUs) return undefined;
    if (this.isSearchComplete) {
      if (this.nextSearchUs === -Infinity) {
        this.nextSearchUs = nowUs + this.searchIntervalUs;
        return undefined;
      }
      // The timer fired: forget what failed and look again.
      this.nextSearchUs = -Infinity;
      this.failing = this.limit + 1;
      this.hasTriedLimit = false;
      if (this.isSearchComplete) return undefined;
    }
    if (this.probeLosses === 0 || this.probe > windowBytes) {
      this.probe = this.nextCandidate(nowUs, windowBytes);
      this.probeLosses = 0;
    }
    return this.probe === 0 ? undefined : this.probe;
  }

  /**
   * The limit first: mostly it is the answer. Then what links have, then halves of what is left. Where the
   * window stays too small for the limit, the largest that it holds: the window grows with the datagrams. 0 for
   * nothing.
   */
  private nextCandidate(nowUs: number, windowBytes: number): number {
    if (!this.hasTriedLimit) {
      if (this.failing - 1 <= windowBytes) return this.failing - 1;
      this.crampedSinceUs = Math.min(this.crampedSinceUs, nowUs);
      if (nowUs - this.crampedSinceUs < WINDOW_GROWTH_US) return 0;
      return (
        LADDER.findLast((size) => size > this.current && size < this.failing && size <= windowBytes) ?? 0
      );
    }
    for (const size of LADDER) if (size > this.current && size < this.failing) return size;
    return Math.floor((this.current + this.failing) / 2);
  }

  /** The probe was sent. */
  handleProbeSent(): void {
    this.isProbeOut = true;
    if (this.probe >= this.failing - 1) this.hasTriedLimit = true;
  }

  /** A probe of this size arrived. Returns whether the datagram size changed. */
  handleProbeAcked(sizeBytes: number): boolean {
    if (sizeBytes >= this.probe) this.endProbe();
    if (sizeBytes <= this.current || sizeBytes > this.limit) return false;
    this.current = sizeBytes;
    if (this.failing <= sizeBytes) this.failing = this.limit + 1;
    this.forgetLosses();
    return true;
  }

  /** A probe of this size was lost. */
  handleProbeLost(sizeBytes: number): void {
    if (sizeBytes !== this.probe) return;
    this.isProbeOut = false;
    if (++this.probeLosses < MAX_PROBES) return;
    this.failing = Math.min(this.failing, sizeBytes);
    this.hasTriedLimit = true;
    this.endProbe();
  }

  private endProbe(): void {
    this.isProbeOut = false;
    this.probe = 0;
    this.probeLosses = 0;
  }

  /** A packet that is not a probe arrived. Returns whether the datagram size changed: see `handlePacketLost`. */
  handlePacketAcked(packetNumber: number, sizeBytes: number): boolean {
    if (sizeBytes > MIN_DATAGRAM_BYTES) {
      if (packetNumber > this.largestLargeAcked) this.largestLargeAcked = packetNumber;
      if (packetNumber > this.firstSmallAcked) this.forgetLosses();
      return false;
    }
    if (this.firstSmallAcked < 0) {
      if (packetNumber > this.largestLargeAcked) this.firstSmallAcked = packetNumber;
    } else if (packetNumber > this.firstLargeLost) this.smallAckedAfter++;
    return this.leaveBlackHole();
  }

  /**
   * A packet that is not a probe was lost. Returns whether the datagram size changed: then all large
   * packets in flight are as good as lost too.
   *
   * A black hole is when large packets are lost, and only they: at least eight in a row, every one sent
   * after a small packet that arrived, with two more small ones arriving after the first of them, and
   * not one large packet arriving in between. An outage takes small ones too; random loss spares some
   * large ones.
   */
  handlePacketLost(packetNumber: number, sizeBytes: number): boolean {
    if (sizeBytes <= MIN_DATAGRAM_BYTES || this.firstSmallAcked < 0) return false;
    if (packetNumber < this.firstSmallAcked) return false;
    this.largeLost++;
    this.firstLargeLost = Math.min(this.firstLargeLost, packetNumber);
    return this.leaveBlackHole();
  }

  private leaveBlackHole(): boolean {
    if (this.largeLost < BLACK_HOLE_LOSSES || this.smallAckedAfter < BLACK_HOLE_ARRIVALS) return false;
    this.forgetLosses();
    if (this.current <= MIN_DATAGRAM_BYTES) return false;
    this.failing = Math.min(this.failing, this.current);
    this.current = MIN_DATAGRAM_BYTES;
    this.endProbe();
    this.hasTriedLimit = true;
    this.nextSearchUs = -Infinity;
    this.searchIntervalUs = RETURN_INTERVAL_US;
    return true;
  }

  private forgetLosses(): void {
    this.firstSmallAcked = -1;
    this.largeLost = 0;
    this.firstLargeLost = Infinity;
    this.smallAckedAfter = 0;
  }

  /**
   * The limit changed: the interface or the peer said so. Returns whether the datagram size changed.
   * A higher limit is searched at once.
   */
  setLimit(limitBytes: number): boolean {
    const limit = Math.max(Math.min(limitBytes, MAX_DATAGRAM_BYTES), MIN_DATAGRAM_BYTES);
    const hasGrown = limit > this.limit;
    this.limit = limit;
    this.failing = Math.min(this.failing, limit + 1);
    if (hasGrown) this.restartSearch();
    if (this.current <= limit) return false;
    this.current = limit;
    this.endProbe();
    return true;
  }

  /** The connection moved to another path: nothing but the smallest size is known to pass. */
  handlePathChange(): void {
    this.current = MIN_DATAGRAM_BYTES;
    this.restartSearch();
  }

  private restartSearch(): void {
    this.failing = this.limit + 1;
    this.endProbe();
    this.hasTriedLimit = false;
    this.nextSearchUs = -Infinity;
    this.forgetLosses();
    this.largestLargeAcked = -1;
  }
}
