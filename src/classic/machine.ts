/**
 * What every classic datagram system is: a state machine without sockets, clock or files.
 *
 * Whoever drives it (the UDP runner, the simulator, a test) follows one loop: put something in with
 * one `handle…` call, send everything `pollTransmit` gives, hand on everything `takeEvents` gives,
 * look at `outcome`, and sleep until `nextTimeoutUs` or the next datagram. Time is an argument in
 * microseconds from any fixed point; random values enter through the options of a machine.
 */
import type { GodwitError } from "../base/errors.ts";

/** Address of a datagram's other end: `192.0.2.1:4639` or `[2001:db8::1]:4639`. Compared, never parsed. */
export type PeerAddress = string;

/** One datagram to send. The bytes belong to the driver and do not change afterwards. */
export interface Transmit {
  readonly to: PeerAddress;
  readonly bytes: Uint8Array;
}

/**
 * How a machine ended.
 *
 * `complete`: the peer confirmed everything the wire lets it confirm. `probably-complete`: all that
 * is missing is a last confirmation which the wire cannot give or which never came. `failed`: not
 * complete, with the reason.
 */
export type ClassicOutcome =
  | { readonly result: "complete" }
  | { readonly result: "probably-complete"; readonly reason: string }
  | { readonly result: "failed"; readonly error: GodwitError };

/** Something that happened, for progress, logs and JSON lines. Past tense. */
export interface ClassicEvent {
  /** What happened, in kebab case: `session-started`, `datagram-resent`, `progress`. */
  readonly type: string;
  /** The line the original program prints for it, exactly and without the line feed. */
  readonly line?: string;
  /** The other end it is about. */
  readonly peer?: PeerAddress;
  /** File it is about, as named on the wire or on disk. */
  readonly name?: string;
  /** Sequence number as on the wire. */
  readonly sequence?: number;
  /** File bytes done so far. */
  readonly doneBytes?: number;
  /** File bytes there are, where known. */
  readonly totalBytes?: number;
  /** Why, in a few words. */
  readonly reason?: string;
  /** Whatever else one system has to tell; field names carry their unit. */
  readonly facts?: Readonly<Record<string, string | number | boolean>>;
}

/** A classic system in one role. */
export interface ClassicMachine {
  /** Takes a datagram that arrived. Never throws for what is in it. `bytes` is only valid during the call. */
  handleDatagram(bytes: Uint8Array, from: PeerAddress, nowUs: number): void;
  /** Does what is due at `nowUs`; harmless when nothing is. */
  handleTimeout(nowUs: number): void;
  /** Ends early because the user wants so: staging files go, `outcome` is set. */
  handleStop(nowUs: number): void;
  /** The next datagram to send now, or `undefined`. */
  pollTransmit(nowUs: number): Transmit | undefined;
  /** When `handleTimeout` is due, in microseconds, or `undefined` if only a datagram can change anything. */
  nextTimeoutUs(): number | undefined;
  /** What happened since the last call. */
  takeEvents(): readonly ClassicEvent[];
  /** How it ended, or `undefined` while it goes on. Datagrams still in `pollTransmit` are sent first. */
  readonly outcome: ClassicOutcome | undefined;
}

/** File bytes to send. Synchronous: a classic system asks for a few hundred bytes at a time. */
export interface ByteSource {
  readonly sizeBytes: number;
  /**
   * The bytes at `[offset, offset + length)`, cut at the end of the file. Valid until the next call.
   *
   * @throws GodwitError `SOURCE_CHANGED` if the file became shorter, `SOURCE_UNREADABLE` if it cannot be read.
   */
  read(offset: number, length: number): Uint8Array;
  /** @throws GodwitError `SOURCE_CHANGED` if the file is not the one that was opened any more. */
  checkUnchanged(): void;
  /** Releases the file. Calling it again does nothing. */
  close(): void;
}

/** Where file bytes go: a staging file that gets its name at the end, or a pipe. */
export interface ByteSink {
  /** Appends a copy of `bytes`. @throws GodwitError `NO_SPACE`, `DISK_ERROR` and the like. */
  write(bytes: Uint8Array): void;
  /** Makes the bytes durable and gives the file its name. @throws GodwitError; the staging file is gone then. */
  commit(): void;
  /** Throws the bytes away. Calling it again, or after `commit`, does nothing. */
  abort(): void;
}

/** A directory (or the like) that a server puts received files into. Names have passed `safeName`. */
export interface FileStore {
  /** Whether a file of that name exists and has contents. @throws GodwitError if it cannot be looked at. */
  holdsData(name: string): boolean;
  /** Opens a staging file for `name`. @throws GodwitError if that is not possible or not wanted. */
  create(name: string, sizeBytes: number | undefined): ByteSink;
}

/** Events held between two drains; more are dropped. A driver drains after every call, so only a bug gets there. */
const EVENTS_HELD = 4_096;

/** Collects what a machine has to say and to send. */
export class Outbox {
  private events: ClassicEvent[] = [];
  private readonly transmits: Transmit[] = [];
  private head = 0;

  emit(event: ClassicEvent): void {
    if (this.events.length < EVENTS_HELD) this.events.push(event);
  }

  send(to: PeerAddress, bytes: Uint8Array): void {
    this.transmits.push({ to, bytes });
  }

  takeEvents(): readonly ClassicEvent[] {
    if (this.events.length === 0) return NO_EVENTS;
    const { events } = this;
    this.events = [];
    return events;
  }

  pollTransmit(): Transmit | undefined {
    if (this.head === this.transmits.length) return undefined;
    const transmit = this.transmits[this.head++];
    if (this.head === this.transmits.length) {
      this.transmits.length = 0;
      this.head = 0;
    }
    return transmit;
  }
}

const NO_EVENTS: readonly ClassicEvent[] = [];

/** What most machines do alike: hand out what they put into their outbox, and sleep until one deadline. */
export class OutboxMachine {
  protected readonly outbox: Outbox = new Outbox();
  /** When `handleTimeout` is due, in microseconds; `undefined` while only a datagram can change anything. */
  protected deadlineUs: number | undefined;

  pollTransmit(): Transmit | undefined {
    return this.outbox.pollTransmit();
  }

  nextTimeoutUs(): number | undefined {
    return this.deadlineUs;
  }

  takeEvents(): readonly ClassicEvent[] {
    return this.outbox.takeEvents();
  }
}
