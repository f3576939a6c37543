/**
 * One UDP socket with everything that lives on it: the endpoint, its connections, their transfer
 * sessions, and the disk that works for them. What `serve`, `send`, `get` and `ping` stand on.
 */
import { assert } from "../base/assert.ts";
import type { GodwitEvent } from "../events/event.ts";
import type { DiskRequest, DiskResult } from "../files/disk.ts";
import type { Connection } from "../transport/connection.ts";
import type { Endpoint } from "../transport/endpoint.ts";
import type { DatagramSocket } from "../transport/socket.ts";
import { SessionBinding } from "../transfer/session-binding.ts";
import type { TransferSession } from "../transfer/session.ts";
import type { TransferOutcome } from "../transfer/tally.ts";
import { Driver } from "./driver.ts";
import { monotonicNowUs } from "./clock.ts";
import { NodeDisk } from "./disk/node-disk.ts";

/** Told what a connection and its session observed. */
export type EventHandler = (event: GodwitEvent) => void;

/** Something beside connections that has disk work to do and times to keep, such as a group's source. */
export interface HostedWork {
  takeDiskRequests(): DiskRequest[];
  readonly hasDiskRequests: boolean;
  handleDiskResult(id: number, result: DiskResult): void;
  /** Called in each turn. */
  handleTurn(nowUs: number): void;
  /** When a turn is wanted although nothing arrived. */
  nextTimeoutUs(): number | undefined;
  /** Whether it and the sessions may change each other now: then all of them are looked at in each turn. */
  readonly concernsSessions: boolean;
}

/** Times in one turn that a session goes on with what the disk did at once. */
const DISK_ROUNDS = 16;

/** A connection that somebody waits for. */
interface Watched {
  readonly connection: Connection;
  readonly onEvent: EventHandler;
  binding: SessionBinding | undefined;
  disk: NodeDisk | undefined;
  onEstablished: (() => void) | undefined;
  onOutcome: ((outcome: TransferOutcome) => void) | undefined;
  onClosing: (() => void) | undefined;
  onTurn: ((nowUs: number) => void) | undefined;
  /** Whether it has to be looked at in the next turn, whatever its connection says. */
  isPending: boolean;
  /** When its session wants to be looked at, `Infinity` for never; `undefined` when that has to be asked. */
  dueUs: number | undefined;
}

/** Carries connections and sessions of one socket. */
export class Host {
  private readonly endpoint: Endpoint;
  private readonly driver: Driver;
  /** An array: with a hundred connections it is gone through several times in each turn. */
  private watched: Watched[] = [];
  /** Whether somebody outside changed something: all are looked at in the next turn. */
  private isWoken = true;
  private work: { readonly hosted: HostedWork; readonly disk: NodeDisk } | undefined;
  private readonly onAccepted: ((connection: Connection) => void) | undefined;
  private readonly onFailed: (error: Error) => void;
  /** What broke the host, once something did. */
  failure: Error | undefined;
  readonly socket: DatagramSocket;

  /**
   * @param onAccepted - Called for each connection a peer opened; it must watch or close it.
   * @param onFailed - Called once when the socket is lost.
   */
  constructor(
    socket: DatagramSocket,
    endpoint: Endpoint,
    onAccepted: ((connection: Connection) => void) | undefined,
    onFailed: (error: Error) => void,
  ) {
    this.socket = socket;
    this.endpoint = endpoint;
    this.onAccepted = onAccepted;
    this.onFailed = onFailed;
    this.driver = new Driver(
      socket,
      {
        handleDatagrams: (batch, nowUs) => endpoint.handleDatagrams(batch, nowUs),
        handleTimeout: (nowUs) => endpoint.handleTimeout(nowUs),
        pollTransmit: (batch, nowUs) => endpoint.pollTransmit(batch, nowUs),
        nextTimeoutUs: () => this.nextTimeoutUs(),
      },
      {
        handleTurn: (nowUs) => this.react(nowUs),
        handleSent: () => {
          // In the turn that sent, so that who writes them down knows when: the next turn may be a round trip away.
          for (const { connection, binding, onEvent } of this.watched) {
            if (!connection.hasNews) continue;
            for (const event of connection.takeEvents()) onEvent(event);
            // What was sent made room for reading on.
            if (binding?.session.hasDiskRequests === true) this.driver.wake();
          }
        },
        handleFailure: (error) => this.fail(error),
        handleDegraded: (feature, reason) => {
          for (const { onEvent } of this.watched) onEvent({ type: "socket-degraded", feature, reason });
        },
      },
    );
    this.driver.start();
  }

  /** Asks for a turn in which all is looked at: something was changed from outside. */
  wake(): void {
    this.isWoken = true;
    this.driver.wake();
  }

  /** Follows a connection: its events, and its becoming established. */
  watch(connection: Connection, onEvent: EventHandler): void {
    this.watched.push({
      connection,
      onEvent,
      binding: undefined,
      disk: undefined,
      onEstablished: undefined,
      onOutcome: undefined,
      onClosing: undefined,
      onTurn: undefined,
      isPending: true,
      dueUs: undefined,
    });
    this.wake();
  }

  /** Resolves when a watched connection is established, or over before that. */
  established(connection: Connection): Promise<void> {
    const watched = this.find(connection);
    return new Promise((resolve) => {
      watched.onEstablished = resolve;
      this.wake();
    });
  }

  /** Resolves when a watched connection was closed by either side, its last packets handed to the socket. */
  closing(connection: Connection): Promise<void> {
    const watched = this.look(connection);
    return new Promise((resolve) => {
      if (watched === undefined) resolve();
      else {
        // Several may wait.
        const { onClosing } = watched;
        watched.onClosing = () => {
          onClosing?.();
          // The turn that closed the connection also sends its CLOSE: wait for the end of that turn.
          setImmediate(resolve);
        };
      }
      this.wake();
    });
  }

  /** Calls `onTurn` in each turn, before the session of a watched connection is looked at. */
  eachTurn(connection: Connection, onTurn: (nowUs: number) => void): void {
    this.find(connection).onTurn = onTurn;
    this.wake();
  }

  /** Runs a session on a watched connection; resolves with its outcome. */
  run(connection: Connection, session: TransferSession, opensStream: boolean): Promise<TransferOutcome> {
    const watched = this.find(connection);
    watched.binding = new SessionBinding(connection, session, opensStream);
    watched.disk = new NodeDisk((id, result) => {
      session.handleDiskResult(id, result, monotonicNowUs());
      watched.isPending = true;
      // A chunk read ahead of what window and pacing let go is looked at when they let something go.
      if (!connection.isHeld) this.driver.wake();
    });
    return new Promise((resolve) => {
      watched.onOutcome = resolve;
      this.wake();
    });
  }

  /** Carries work that belongs to no single connection, until the host closes. */
  carry(hosted: HostedWork): void {
    const disk = new NodeDisk((id, result) => {
      hosted.handleDiskResult(id, result);
      this.wake();
    });
    this.work = { hosted, disk };
    this.wake();
  }

  /** Stops at once. Connections that are still open are not told. */
  close(): void {
    this.driver.close();
    for (const { disk } of this.watched) disk?.close();
    this.work?.disk.close();
    this.watched = [];
  }

  private look(connection: Connection): Watched | undefined {
    return this.watched.find((watched) => watched.connection === connection);
  }

  private find(connection: Connection): Watched {
    const watched = this.look(connection);
    assert(watched !== undefined, "the connection is watched");
    return watched;
  }

  private fail(error: Error): void {
    this.failure = error;
    const nowUs = monotonicNowUs();
    for (const watched of this.watched) {
      watched.connection.close("INTERNAL", error.message, nowUs);
      this.reactTo(watched, nowUs);
    }
    this.onFailed(error);
  }

  private nextTimeoutUs(): number | undefined {
    let soonest = this.endpoint.nextTimeoutUs() ?? Number.POSITIVE_INFINITY;
    soonest = Math.min(soonest, this.work?.hosted.nextTimeoutUs() ?? Number.POSITIVE_INFINITY);
    for (const watched of this.watched) {
      if (watched.dueUs === undefined || watched.isPending || watched.connection.hasNews || this.isWoken)
        watched.dueUs = watched.binding?.nextTimeoutUs() ?? Number.POSITIVE_INFINITY;
      if (watched.dueUs < soonest) soonest = watched.dueUs;
    }
    return soonest === Number.POSITIVE_INFINITY ? undefined : soonest;
  }

  private react(nowUs: number): void {
    for (const connection of this.endpoint.takeAccepted()) this.onAccepted?.(connection);
    const isForAll = this.isWoken || this.work?.hosted.concernsSessions === true;
    this.isWoken = false;
    // Some leave while they are looked at, and new ones come behind them.
    const { watched: all } = this;
    for (const watched of all) {
      const { connection, isPending, dueUs = nowUs, onTurn } = watched;
      if (isForAll || isPending || connection.hasNews || dueUs <= nowUs || onTurn !== undefined)
        this.reactTo(watched, nowUs);
    }
    if (this.work === undefined) return;
    const { hosted, disk } = this.work;
    hosted.handleTurn(nowUs);
    for (let i = 0; i < DISK_ROUNDS && hosted.hasDiskRequests; i++) {
      for (const request of hosted.takeDiskRequests()) disk.perform(request);
      disk.report();
    }
  }

  private reactTo(watched: Watched, nowUs: number): void {
    const { connection, binding, disk } = watched;
    watched.isPending = false;
    watched.onTurn?.(nowUs);
    if (binding !== undefined && disk !== undefined) {
      binding.pump(nowUs);
      const { session } = binding;
      for (let i = 0; i < DISK_ROUNDS && session.hasDiskRequests; i++) {
        for (const request of session.takeDiskRequests()) disk.perform(request);
        disk.report();
      }
      for (const event of session.takeEvents()) watched.onEvent(event);
      if (session.outcome !== undefined && watched.onOutcome !== undefined) {
        watched.onOutcome(session.outcome);
        watched.onOutcome = undefined;
      }
    }
    for (const event of connection.takeEvents()) watched.onEvent(event);
    if (connection.state !== "handshaking" && watched.onEstablished !== undefined) {
      watched.onEstablished();
      watched.onEstablished = undefined;
    }
    const isOver = connection.state !== "handshaking" && connection.state !== "established";
    if (
      isOver &&
      watched.onClosing !== undefined &&
      (binding === undefined || binding.session.outcome !== undefined)
    ) {
      watched.onClosing();
      watched.onClosing = undefined;
    }
    if (connection.state === "closed" && (binding === undefined || binding.isDone)) {
      disk?.close();
      // Not in place: who goes through the list goes on.
      this.watched = this.watched.filter((one) => one !== watched);
    }
    connection.handleSeen();
    watched.dueUs = undefined;
  }
}
