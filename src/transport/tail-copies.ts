/**
 * Copies of the last packets of a flight on a path that loses some: where nothing else waits to be sent,
 * a lost packet costs a round trip and more until a probe finds out, and a copy costs one packet. Pure:
 * decides which packets are worth one, and when. Figures: docs/design/recovery.md.
 *
 * Source for the idea: Flach et al., "Reducing Web Latency: the Virtue of Gentle Aggression", SIGCOMM 2013
 * (proactive and corrective sending). Departure: bounded by a share of all packets, and only where loss is
 * known or nothing is known yet.
 */

/** Copies that may go before much was sent: the messages that open a transfer, both ways. */
const INITIAL_COPIES = 8;
/** Copies for each packet sent or received: one in a hundred. A receiver's own ones are few and small. */
const COPIES_PER_PACKET = 0.01;
/** Most copies saved up for the end of a transfer. */
const COPIES_MAX = 256;

/** Packets after which a loss that was not seen is believed not to be there. */
const KNOWN_AFTER_PACKETS = 50;
/** Share of packets lost from which on copies are sent. Left-out numbers alone make one in five hundred. */
const LOSSY_SHARE = 0.005;
/** Share from which on the copy is worth a copy, too: of a hundred packets more than half of one pair is lost. */
const VERY_LOSSY_SHARE = 0.08;

/** A copy leaves after this share of a round trip: a short burst of losses is over by then... */
const DELAY_SHARE = 1 / 8;
/** ...and not before this time, in microseconds: on a short path the acknowledgement is there first. */
const DELAY_MIN_US = 10_000;

/** Outstanding packets up to which new file data is worth a copy, too; more are a flight that takes its time. */
export const COPIED_DATA_PACKETS = 16;

/** What was lost both ways, as far as known. */
export interface ObservedLoss {
  readonly lostPackets: number;
  readonly totalPackets: number;
}

/** Decides on the copies of one connection. */
export class TailCopies {
  private credit = INITIAL_COPIES;
  private packets = 0;
  /** Packets below have had their copies, or are not worth any. */
  private from = 0;
  // Packets that are copies themselves, ascending, and how often what they carry was copied before.
  private readonly numbers: number[] = [];
  private readonly generations: number[] = [];
  private head = 0;

  /** Lowest packet number that may be worth a copy. */
  get lowest(): number {
    return this.from;
  }

  /** So many packets were sent and received so far: copies are a share of them. */
  handlePackets(totalPackets: number): void {
    const earned = COPIES_PER_PACKET * (totalPackets - this.packets);
    this.packets = totalPackets;
    this.credit = Math.min(this.credit + earned, COPIES_MAX);
  }

  /** Whether a copy may be sent at all on a path with such loss. */
  isWanted(loss: ObservedLoss): boolean {
    if (this.credit < 1) return false;
    return loss.totalPackets < KNOWN_AFTER_PACKETS || loss.lostPackets >= LOSSY_SHARE * loss.totalPackets;
  }

  /** When a packet sent at `sentAtUs` is worth a copy, in microseconds. */
  dueUs(sentAtUs: number, smoothedRttUs: number): number {
    return Math.ceil(sentAtUs + Math.max(smoothedRttUs * DELAY_SHARE, DELAY_MIN_US));
  }

  /** Whether packet `number` is worth a copy, or is one and has had its share. */
  isWorthCopy(number: number, loss: ObservedLoss): boolean {
    const generation = this.generationOf(number);
    if (generation === 0) return true;
    const isVeryLossy =
      loss.totalPackets >= KNOWN_AFTER_PACKETS && loss.lostPackets >= VERY_LOSSY_SHARE * loss.totalPackets;
    return isVeryLossy && generation === 1;
  }

  /** Packet `number` needs no copy (any more). */
  handleSkipped(number: number): void {
    this.from = number + 1;
  }

  /** What packet `number` carried went again in packet `copy`. */
  handleCopied(number: number, copy: number): void {
    const generation = this.generationOf(number) + 1;
    this.numbers.push(copy);
    this.generations.push(generation);
    this.from = number + 1;
    this.credit -= 1;
  }

  /** How often what the packet carries was sent as a copy. Asked for ascending numbers only. */
  private generationOf(number: number): number {
    const { numbers, generations } = this;
    while (this.head < numbers.length && numbers[this.head] < number) this.head++;
    if (this.head === numbers.length && this.head > 0) {
      numbers.length = 0;
      generations.length = 0;
      this.head = 0;
    }
    return numbers[this.head] === number ? generations[this.head] : 0;
  }
}
