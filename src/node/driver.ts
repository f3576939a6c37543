/**
 * The only code that knows the poll loop: carries datagrams and time between a socket and an endpoint.
 *
 * One turn: take what arrived, let the application react, send what may be sent, report it, arm the timer.
 */
import type { DatagramSocket } from "../transport/socket.ts";
import { MAX_DATAGRAM_BYTES } from "../base/limits.ts";
import { PacketBatch } from "../wire/batch.ts";
import { monotonicNowUs } from "./clock.ts";

/** What a driver drives: the four verbs of the core, batch first. */
export interface DrivenEndpoint {
  handleDatagrams(batch: PacketBatch, nowUs: number): void;
  /** Does what is due by now, if anything is. */
  handleTimeout(nowUs: number): void;
  /** Fills `batch` with datagrams to send now; leaves it empty when there are none. */
  pollTransmit(batch: PacketBatch, nowUs: number): void;
  /** When `handleTimeout` or `pollTransmit` shall be called next, or `undefined` for never. */
  nextTimeoutUs(nowUs: number): number | undefined;
}

/** The application above the endpoint. None of its functions may throw. */
export interface DriverApplication {
  /** Called in each turn between receiving and sending. */
  handleTurn(nowUs: number): void;
  /** Called when a turn has sent datagrams: what the endpoint has to tell of them is still fresh. */
  handleSent(): void;
  /** Called once when the socket is lost or an invariant broke; the driver is closed then. */
  handleFailure(error: Error): void;
  /** Called when the system refused a feature of the socket. */
  handleDegraded(feature: string, reason: string): void;
}

/** Datagrams in one receive batch: what sixteen coalesced ones, which fill its bytes, are cut into on Ethernet and more. */
const RECEIVE_BATCH_DATAGRAMS = 1_024;

/** Bytes of one receive batch: native sockets receive coalesced datagrams of up to 64 KiB each. */
const RECEIVE_BATCH_BYTES = 16 * 65_536;

/**
 * Datagrams in one send batch: three super-packets of 44, the most that fit into 64 KiB on Ethernet. With
 * 64 each batch would end in a super-packet half as large, at the same cost in the kernel at both ends.
 */
const SEND_BATCH_DATAGRAMS = 132;

/** Bytes of one send batch. */
const SEND_BATCH_BYTES = 8 * MAX_DATAGRAM_BYTES;

/** Send batches in one turn before other work of the process gets its turn: about 1 000 datagrams. */
const SEND_BATCHES_PER_TURN = 8;

/** Batches received in one turn before other work of the process gets its turn. */
const RECEIVE_BATCHES_PER_TURN = 16;

/** A timer this late means that the process was held up: what arrived meanwhile is read first. */
const LATE_TIMER_US = 5_000;

/** Datagrams of one receive call that say that no more wait: who sends much is never this slow. */
const FEW_DATAGRAMS = 2;

/**
 * The batches that no driver uses now. A turn takes them and gives them back, so that a process with a
 * hundred sockets has one pair, which stays in the processor's cache, and not a hundred of 1.5 MiB.
 */
const spareReceived: PacketBatch[] = [];
const spareOutgoing: PacketBatch[] = [];

/** Drives one endpoint on one socket. */
export class Driver {
  private readonly socket: DatagramSocket;
  private readonly endpoint: DrivenEndpoint;
  private readonly application: DriverApplication;
  /** Datagrams that the socket has not taken yet; it is blocked while there are any. */
  private blocked: PacketBatch | undefined;
  /** First datagram of `blocked` that the socket has not taken yet. */
  private unsentFrom = 0;
  private isBlocked = false;
  private timer: NodeJS.Timeout | undefined;
  /** When the endpoint wants a turn. */
  private timerDueUs = Number.POSITIVE_INFINITY;
  /** What `timer` was set for: never later than `timerDueUs`, which most turns put off. */
  private timerForUs = Number.POSITIVE_INFINITY;
  private immediate: NodeJS.Immediate | undefined;
  private isClosed = false;
  private readonly runReceive = (): void => this.receiveTurn();
  private readonly runSend = (): void => this.sendTurn(monotonicNowUs());
  private readonly runTimeout = (): void => this.timeoutTurn();
  private readonly handleTimer = (): void => {
    this.timer = undefined;
    this.guard(this.runTimeout);
  };
  private readonly handleImmediate = (): void => {
    this.immediate = undefined;
    this.guard(this.runSend);
  };

  constructor(socket: DatagramSocket, endpoint: DrivenEndpoint, application: DriverApplication) {
    this.socket = socket;
    this.endpoint = endpoint;
    this.application = application;
  }

  /** Begins. */
  start(): void {
    this.socket.start({
      handleReadable: () => this.guard(this.runReceive),
      handleWritable: () => {
        this.isBlocked = false;
        this.guard(this.runSend);
      },
      handleError: (error) => this.stop(error),
      handleDegraded: (feature, reason) => this.application.handleDegraded(feature, reason),
    });
    this.wake();
  }

  /** Asks for a turn soon: the application has something new to send or to say. */
  wake(): void {
    if (this.isClosed || this.immediate !== undefined) return;
    this.immediate = setImmediate(this.handleImmediate);
  }

  /** Stops at once and closes the socket. */
  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    if (this.timer !== undefined) clearTimeout(this.timer);
    if (this.immediate !== undefined) clearImmediate(this.immediate);
    this.socket.close();
  }

  private stop(error: Error): void {
    if (this.isClosed) return;
    this.close();
    this.application.handleFailure(error);
  }

  private guard(turn: () => void): void {
    if (this.isClosed) return;
    try {
      turn();
    } catch (error) {
      this.stop(error instanceof Error ? error : new Error(String(error)));
    }
  }

  private receiveTurn(): void {
    const { socket, endpoint } = this;
    const received = spareReceived.pop() ?? new PacketBatch(RECEIVE_BATCH_DATAGRAMS, RECEIVE_BATCH_BYTES);
    for (let i = 0; i < RECEIVE_BATCHES_PER_TURN; i++) {
      received.clear();
      const count = socket.receive(received);
      if (count > 0) endpoint.handleDatagrams(received, monotonicNowUs());
      if (count <= FEW_DATAGRAMS) break;
    }
    spareReceived.push(received);
    this.sendTurn(monotonicNowUs());
  }

  private timeoutTurn(): void {
    const nowUs = monotonicNowUs();
    if (nowUs < this.timerDueUs) {
      // Set for a time that was put off since: not worth a turn.
      this.arm(nowUs);
      return;
    }
    if (nowUs - this.timerDueUs > LATE_TIMER_US) {
      this.timerDueUs = Number.POSITIVE_INFINITY;
      this.wake();
      return;
    }
    this.timerDueUs = Number.POSITIVE_INFINITY;
    this.sendTurn(nowUs);
  }

  private sendTurn(nowUs: number): void {
    const { endpoint } = this;
    endpoint.handleTimeout(nowUs);
    this.application.handleTurn(nowUs);
    if (!this.isBlocked && !this.isClosed && this.transmit(nowUs)) this.application.handleSent();
    if (!this.isClosed) this.arm(monotonicNowUs());
  }

  /** Sends what there is to send, as far as the socket takes it. Returns whether there was something. */
  private transmit(nowUs: number): boolean {
    const { endpoint, socket } = this;
    const outgoing =
      this.blocked ?? spareOutgoing.pop() ?? new PacketBatch(SEND_BATCH_DATAGRAMS, SEND_BATCH_BYTES);
    if (this.blocked === undefined) {
      outgoing.clear();
      this.unsentFrom = 0;
    }
    this.blocked = undefined;
    let hasSent = false;
    for (let i = 0; !this.isBlocked && !this.isClosed; i++) {
      if (this.unsentFrom >= outgoing.count) {
        if (i === SEND_BATCHES_PER_TURN) {
          this.wake();
          break;
        }
        outgoing.clear();
        this.unsentFrom = 0;
        endpoint.pollTransmit(outgoing, nowUs);
        if (outgoing.count === 0) break;
        hasSent = true;
      }
      this.unsentFrom = socket.send(outgoing, this.unsentFrom, outgoing.count);
      this.isBlocked = this.unsentFrom < outgoing.count;
    }
    if (this.isBlocked) this.blocked = outgoing;
    else spareOutgoing.push(outgoing);
    return hasSent;
  }

  private arm(nowUs: number): void {
    const dueUs = this.endpoint.nextTimeoutUs(nowUs) ?? Number.POSITIVE_INFINITY;
    this.timerDueUs = dueUs;
    if (this.timer !== undefined) {
      if (this.timerForUs <= dueUs) return;
      clearTimeout(this.timer);
      this.timer = undefined;
    }
    if (dueUs === Number.POSITIVE_INFINITY) return;
    const delayMs = Math.min(Math.max(Math.ceil((dueUs - nowUs) / 1_000), 1), 60_000);
    this.timerForUs = dueUs;
    this.timer = setTimeout(this.handleTimer, delayMs);
  }
}
