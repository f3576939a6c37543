/**
 * Stand-ins for the original chunks programs (edition f22), written from the description of how they
 * react, defects included. They are not the originals; recordings of those are in test/vectors/classic/.
 */
import { GodwitError } from "../../src/base/errors.ts";
import type {
  ClassicEvent,
  ClassicMachine,
  ClassicOutcome,
  PeerAddress,
  Transmit,
} from "../../src/classic/machine.ts";

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");
const RETRY_US = 500_000;
const IDLE_US = 3_000_000;
const HOLD_US = 1_000_000;

abstract class StandIn implements ClassicMachine {
  outcome: ClassicOutcome | undefined;
  protected readonly queue: Transmit[] = [];
  abstract handleDatagram(bytes: Uint8Array, from: PeerAddress, nowUs: number): void;
  abstract handleTimeout(nowUs: number): void;
  abstract nextTimeoutUs(): number | undefined;

  handleStop(): void {
    this.fail("stopped");
  }

  protected send(to: PeerAddress, message: string): void {
    this.queue.push({ to, bytes: Buffer.from(message, "latin1") });
  }

  protected fail(why: string): void {
    this.outcome ??= { result: "failed", error: new GodwitError("PEER_GONE", why) };
  }

  pollTransmit(_nowUs?: number): Transmit | undefined {
    return this.queue.shift();
  }

  takeEvents(): readonly ClassicEvent[] {
    return [];
  }
}

/** The reference client: anything but the expected answer makes it send again at once and costs one of five tries. */
export class OriginalChunksClient extends StandIn {
  private readonly server: PeerAddress;
  private readonly content: string;
  private readonly name: string;
  private sequence = 0;
  private offset = 0;
  private payload = 0;
  private bufferBytes = 0;
  private message = "";
  private sends = 0;
  private dueUs = 0;
  private isStarted = false;
  private readonly isSuppressed: (attempt: number) => boolean;
  private attempts = 0;

  /** `isSuppressed` is what makes a bad_client: attempts, counted from 1, that never leave it. */
  constructor(
    server: PeerAddress,
    content: Uint8Array,
    name: string,
    firstSequence = 0,
    isSuppressed: (attempt: number) => boolean = () => false,
  ) {
    super();
    this.server = server;
    this.content = text(content);
    this.name = name;
    this.sequence = firstSequence;
    this.isSuppressed = isSuppressed;
  }

  private attempt(nowUs: number): void {
    if (this.sends === 5) {
      this.fail("Failed after 5 retries");
      return;
    }
    this.sends++;
    this.dueUs = nowUs + RETRY_US;
    if (!this.isSuppressed(++this.attempts)) this.send(this.server, this.message);
  }

  private say(message: string, nowUs: number): void {
    this.message = message;
    this.sends = 0;
    this.attempt(nowUs);
  }

  override pollTransmit(nowUs = 0): Transmit | undefined {
    if (!this.isStarted) {
      this.isStarted = true;
      this.say(`s | ${this.sequence} | ${this.name} | ${this.content.length}`, nowUs);
    }
    return super.pollTransmit();
  }

  handleDatagram(bytes: Uint8Array, _from: PeerAddress, nowUs: number): void {
    const fields = text(bytes).split(" | ");
    const isStarting = this.bufferBytes === 0;
    if (
      fields[0] !== "a" ||
      fields.length !== (isStarting ? 3 : 2) ||
      fields[1] !== String(this.sequence + 1)
    ) {
      this.attempt(nowUs);
      return;
    }
    if (isStarting) this.bufferBytes = Number(fields[2]);
    this.offset += this.payload;
    if (this.offset === this.content.length) {
      this.outcome = { result: "complete" };
      return;
    }
    this.sequence++;
    const header = `d | ${this.sequence} | `;
    const chunk = this.content.slice(this.offset, this.offset + this.bufferBytes - header.length);
    this.payload = chunk.length;
    this.say(header + chunk, nowUs);
  }

  handleTimeout(nowUs: number): void {
    if (nowUs >= this.dueUs) this.attempt(nowUs);
  }

  nextTimeoutUs(): number | undefined {
    return this.dueUs;
  }
}

interface Session {
  expected: number;
  readonly name: string;
  readonly size: number;
  data: string;
  isFinished: boolean;
  heardUs: number;
}

/** The reference server: acknowledges what it does not store, and falls silent when a file is finished. */
export class OriginalChunksServer extends StandIn {
  readonly files = new Map<string, Buffer>();
  private readonly sessions = new Map<PeerAddress, Session>();
  private readonly isSuppressed: (attempt: number) => boolean;
  private attempts = 0;

  /** `isSuppressed` is what makes a bad_server: acknowledgements, counted from 1, that never leave it. */
  constructor(isSuppressed: (attempt: number) => boolean = () => false) {
    super();
    this.isSuppressed = isSuppressed;
  }

  private answer(to: PeerAddress, message: string): void {
    if (!this.isSuppressed(++this.attempts)) this.send(to, message);
  }

  handleDatagram(bytes: Uint8Array, from: PeerAddress, nowUs: number): void {
    const message = text(bytes.subarray(0, 1_024));
    const start = /^s \| (\d+) \| (.*) \| (\d+)$/s.exec(message);
    const data = /^d \| (\d+) \| (.*)$/s.exec(message);
    let session = this.sessions.get(from);
    if (start !== null) {
      session ??= {
        expected: Number(start[1]) + 1,
        name: start[2],
        size: Number(start[3]),
        data: "",
        isFinished: false,
        heardUs: 0,
      };
      this.sessions.set(from, session);
      if (!session.isFinished) session.heardUs = nowUs;
      this.answer(from, `a | ${Number(start[1]) + 1} | 1024`);
      return;
    }
    if (data === null || session === undefined || session.isFinished) return;
    session.heardUs = nowUs;
    const sequence = Number(data[1]);
    if (sequence === session.expected) {
      session.expected++;
      session.data += data[2];
      if (session.data.length >= session.size) {
        this.files.set(session.name, Buffer.from(session.data, "latin1"));
        session.isFinished = true;
      }
    }
    this.answer(from, `a | ${sequence + 1}`);
  }

  private dueUs(session: Session): number {
    return session.heardUs + (session.isFinished ? HOLD_US : IDLE_US);
  }

  handleTimeout(nowUs: number): void {
    for (const [peer, session] of this.sessions) if (this.dueUs(session) <= nowUs) this.sessions.delete(peer);
  }

  nextTimeoutUs(): number | undefined {
    const due = [...this.sessions.values()].map((session) => this.dueUs(session));
    return due.length === 0 ? undefined : Math.min(...due);
  }
}
