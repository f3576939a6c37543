/**
 * Classic machines on a simulated network in virtual time: loss, duplication, delay and reordering
 * by seed, or by a rule for each datagram. It does not model rates, queues or fragmentation.
 */
import { SeededRandom } from "../../src/base/random.ts";
import type { ClassicEvent, ClassicMachine, PeerAddress } from "../../src/classic/machine.ts";

/** A datagram under way. */
export interface SentDatagram {
  readonly atUs: number;
  readonly from: PeerAddress;
  readonly to: PeerAddress;
  readonly bytes: Uint8Array;
  /** Counts datagrams from `from`, from 0. */
  readonly index: number;
}

/** When copies of a datagram arrive, in microseconds after it was sent; none at all if it is lost. */
export type Fate = readonly number[];

/** How the network behaves. */
export interface ChannelOptions {
  readonly seed?: number;
  readonly lossProbability?: number;
  readonly duplicateProbability?: number;
  /** Delay of each copy, drawn evenly from this range in microseconds: a wide one reorders. */
  readonly delayUs?: readonly [number, number];
  /** Decides about a datagram instead of the probabilities; `undefined` leaves it to them. */
  readonly decide?: (datagram: SentDatagram) => Fate | undefined;
}

/** Steps after which a world that does not end counts as a storm or a loop. */
const STEPS_MAX = 2_000_000;

/** Machines and the network between them. */
export class ClassicWorld {
  nowUs = 0;
  /** Everything that was sent, in order. */
  readonly sent: SentDatagram[] = [];
  /** Events by machine. */
  readonly events = new Map<PeerAddress, ClassicEvent[]>();
  private readonly machines = new Map<PeerAddress, ClassicMachine>();
  private readonly counts = new Map<PeerAddress, number>();
  private inFlight: { atUs: number; order: number; from: string; to: string; bytes: Uint8Array }[] = [];
  private order = 0;
  private readonly random: SeededRandom;
  private readonly options: ChannelOptions;

  constructor(options: ChannelOptions = {}) {
    this.options = options;
    this.random = new SeededRandom(options.seed ?? 1, "classic-channel");
  }

  add(address: PeerAddress, machine: ClassicMachine): void {
    this.machines.set(address, machine);
    if (!this.events.has(address)) this.events.set(address, []);
    this.drain(address, machine);
  }

  /** Takes a machine away, as if its process had died. */
  remove(address: PeerAddress): void {
    this.machines.delete(address);
  }

  /** Puts a datagram on the network that no machine sent. */
  inject(from: PeerAddress, to: PeerAddress, bytes: Uint8Array, delayUs = 0): void {
    this.schedule(from, to, bytes, delayUs);
  }

  private schedule(from: string, to: string, bytes: Uint8Array, delayUs: number): void {
    this.inFlight.push({ atUs: this.nowUs + delayUs, order: this.order++, from, to, bytes });
  }

  private drain(address: PeerAddress, machine: ClassicMachine): void {
    for (let transmit; (transmit = machine.pollTransmit(this.nowUs)) !== undefined;) {
      const index = this.counts.get(address) ?? 0;
      this.counts.set(address, index + 1);
      const datagram = { atUs: this.nowUs, from: address, index, ...transmit };
      this.sent.push(datagram);
      for (const delayUs of this.options.decide?.(datagram) ?? this.chance())
        this.schedule(address, transmit.to, transmit.bytes, delayUs);
    }
    this.events.get(address)?.push(...machine.takeEvents());
  }

  private chance(): Fate {
    const { lossProbability = 0, duplicateProbability = 0, delayUs = [100, 100] } = this.options;
    const copies = this.random.chance(lossProbability) ? 0 : this.random.chance(duplicateProbability) ? 2 : 1;
    return Array.from({ length: copies }, () => this.random.integer(delayUs[0], delayUs[1]));
  }

  /**
   * Lets time pass until `isDone` (default: every machine has an outcome), nothing is left to
   * happen, or `limitUs` is reached. Returns whether `isDone` came true.
   *
   * @throws Error if a machine wakes up for ever without time passing.
   */
  run(limitUs: number, isDone: () => boolean = () => this.isOver()): boolean {
    for (let step = 0; step < STEPS_MAX; step++) {
      if (isDone()) return true;
      let atUs = Infinity;
      for (const machine of this.machines.values())
        if (machine.outcome === undefined) atUs = Math.min(atUs, machine.nextTimeoutUs() ?? Infinity);
      let next: (typeof this.inFlight)[number] | undefined;
      for (const one of this.inFlight)
        if (next === undefined || one.atUs < next.atUs || (one.atUs === next.atUs && one.order < next.order))
          next = one;
      if (next !== undefined && next.atUs <= atUs) {
        if (next.atUs > limitUs) break;
        this.nowUs = Math.max(this.nowUs, next.atUs);
        this.inFlight = this.inFlight.filter((one) => one !== next);
        const machine = this.machines.get(next.to);
        if (machine === undefined || machine.outcome !== undefined) continue;
        machine.handleDatagram(next.bytes, next.from, this.nowUs);
        this.drain(next.to, machine);
        continue;
      }
      if (atUs > limitUs) break;
      this.nowUs = Math.max(this.nowUs, atUs);
      for (const [address, machine] of this.machines) {
        const dueUs = machine.nextTimeoutUs();
        if (machine.outcome !== undefined || dueUs === undefined || dueUs > this.nowUs) continue;
        machine.handleTimeout(this.nowUs);
        this.drain(address, machine);
      }
      if (step === STEPS_MAX - 1) throw new Error(`no end after ${STEPS_MAX} steps at ${this.nowUs} µs`);
    }
    this.nowUs = Math.max(this.nowUs, limitUs === Infinity ? 0 : limitUs);
    return isDone();
  }

  /** Lines of the original program that a machine printed. */
  linesOf(address: PeerAddress): readonly string[] {
    return (this.events.get(address) ?? []).flatMap((event) =>
      event.line === undefined ? [] : [event.line],
    );
  }

  private isOver(): boolean {
    for (const machine of this.machines.values()) if (machine.outcome === undefined) return false;
    return true;
  }
}
