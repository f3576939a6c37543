/**
 * One connection as a state machine without I/O: datagrams, time and the application's calls in;
 * datagrams, the next time and drained facts out. Wires the parts together and owns no algorithm.
 */
import { InvariantError } from "../base/assert.ts";
import type { ErrorCode } from "../base/errors.ts";
import { GodwitError } from "../base/errors.ts";
import { MIN_DATAGRAM_BYTES, RECEIVE_MEMORY_BYTES } from "../base/limits.ts";
import type { GodwitEvent } from "../events/event.ts";
import { EventQueue } from "../events/queue.ts";
import type { PacketBatch } from "../wire/batch.ts";
import { SUPPORTED_VERSIONS } from "../wire/header.ts";
import type { TransportParameters } from "../wire/transport-parameters.ts";
import type { ConnectionState } from "./closing.ts";
import { Closing } from "./closing.ts";
import type { ConnectionConfig } from "./connection-config.ts";
import { LocalConnectionIds } from "./connection-ids.ts";
import type { ConnectionOptions, Handshake } from "./connection-options.ts";
import type { ConnectionStatistics } from "./connection-statistics.ts";
import { connectionStatistics } from "./connection-statistics.ts";
import { EarlyPackets } from "./early-packets.ts";
import { establishSession } from "./establish-session.ts";
import { fingerprintOf } from "./fingerprint.ts";
import { ReceiveWindow } from "./flow-control.ts";
import type { HandshakeResult } from "./handshake/configuration.ts";
import { handshakePacketEvent } from "./handshake/packet-event.ts";
import { LimitClock } from "./limit-clock.ts";
import type { ObjectSink, ObjectSource } from "./objects.ts";
import { PacketReceiver } from "./packet-receiver.ts";
import { PacketSender } from "./packet-sender.ts";
import { Paths } from "./paths.ts";
import type { ReceiveLease } from "./receive-budget.ts";
import type { Session } from "./session.ts";
import type { Role } from "./streams.ts";
import { Streams } from "./streams.ts";

/** One connection. All methods but `pollTransmit` may be called in any order; none blocks. */
export class Connection {
  /** Data of the application, which the connection does not look at. */
  readonly role: Role;
  private readonly options: ConnectionOptions;
  private readonly config: ConnectionConfig;
  private readonly handshake: Handshake;
  private readonly events = new EventQueue();
  private readonly streams: Streams;
  private readonly window: ReceiveWindow;
  private readonly paths: Paths;
  private readonly closing: Closing;
  private readonly limits: LimitClock;
  private readonly localIds: LocalConnectionIds;
  private session: Session | undefined;
  private sender: PacketSender | undefined;
  private receiver: PacketReceiver | undefined;
  private source: ObjectSource | undefined;
  private sink: ObjectSink | undefined;
  private readonly early = new EarlyPackets();
  private keepAliveUs: number;
  private patienceUs: number;
  private isReleased = false;
  private isAccepted: boolean;
  /** Whether something happened since `pollTransmit` last had nothing more to send. */
  private isTouched = true;
  /** Whether something happened since `handleSeen`. */
  private isNews = true;
  /** Whether `source` may have got something to send since `pollTransmit` last asked it. */
  private mayHaveData = true;
  /** Whether who set `source` says so when it got something. */
  private isSourceTold = false;
  /** What `nextTimeoutUs` found when nothing happened since; `Infinity` for never, `undefined` for unknown. */
  private knownTimeoutUs: number | undefined;

  constructor(options: ConnectionOptions) {
    const { role, config, nowUs } = options;
    this.role = role;
    this.options = options;
    this.config = config;
    this.handshake = options.handshake;
    this.streams = new Streams(role, config.streamLimits);
    this.window = new ReceiveWindow(config.receiveWindowBytes, config.receiveWindowMaxBytes);
    this.paths = new Paths(options.peerAddress, false, options.crypto.randomBytes);
    this.closing = new Closing(this.events);
    this.limits = new LimitClock(nowUs);
    this.localIds = new LocalConnectionIds(options.router, options.localConnectionId);
    this.keepAliveUs = config.keepAliveUs;
    this.patienceUs = config.patienceUs;
    this.isAccepted = options.waitsForAccept !== true;
    this.events.add({ type: "handshake-started", role, version: SUPPORTED_VERSIONS[0] });
  }

  // What the application sees.

  /** Where the connection is in its life. */
  get state(): ConnectionState {
    const { state } = this.closing;
    if (state !== "open") return state;
    return this.session === undefined ? "handshaking" : "established";
  }

  /** Why the connection ended; `undefined` while it is open and after an end without an error. */
  get closeReason(): GodwitError | undefined {
    return this.closing.reason;
  }

  /** The peer's Ed25519 public key once it is proven. */
  get peerIdentity(): Uint8Array | undefined {
    return this.handshake.result?.peerIdentity;
  }

  /** What the peer declared, once the handshake is complete. */
  get peerParameters(): TransportParameters | undefined {
    return this.session?.peerParameters;
  }

  /** 64 bytes that name this session on both sides and no other; `undefined` before the handshake is complete. */
  get handshakeHash(): Uint8Array | undefined {
    return this.handshake.result?.handshakeHash;
  }

  /** Address of the peer in use: six words, a view. */
  get peerAddress(): Int32Array {
    return this.paths.current;
  }

  /** Whether events about single packets are wanted. */
  setPacketEvents(isWanted: boolean): void {
    this.events.wantsPackets = isWanted;
  }

  /** Facts since the last call, oldest first. */
  takeEvents(): readonly GodwitEvent[] {
    return this.events.take();
  }

  /** Opens a stream and returns its id. @throws GodwitError OVER_LIMIT with too many open. */
  openStream(): number {
    this.touch();
    return this.streams.open();
  }

  /** Queues bytes on a stream and returns how many were taken; `isFinal` ends it if all were. */
  writeStream(id: number, bytes: Uint8Array, isFinal = false): number {
    this.touch();
    return this.streams.write(id, bytes, isFinal);
  }

  /** Bytes that a write to a stream could take now. */
  writableBytes(id: number): number {
    return this.streams.writableBytes(id);
  }

  /** All bytes of a stream that are next in order, or `undefined` when there are none. */
  readStream(id: number): Uint8Array | undefined {
    this.touch();
    return this.streams.read(id);
  }

  /** Whether all bytes of a stream were read and none will follow. */
  isStreamFinished(id: number): boolean {
    return this.streams.isFinished(id);
  }

  /** Wire code with which the peer gave a stream up, or `undefined`. */
  streamResetCode(id: number): number | undefined {
    return this.streams.resetCode(id);
  }

  /** Whether the peer acknowledged everything written to a stream, its end included. */
  isStreamDelivered(id: number): boolean {
    return this.streams.isDelivered(id);
  }

  /** Bytes from the start of a stream that the peer acknowledged; 0 for a stream that is over. */
  acknowledgedStreamBytes(id: number): number {
    return this.streams.acknowledgedBytes(id);
  }

  /** Gives up sending on a stream; the peer learns the wire code. */
  resetStream(id: number, wireCode: number): void {
    this.touch();
    this.streams.reset(id, wireCode);
  }

  /** Asks the peer to stop sending on a stream. */
  stopStream(id: number): void {
    this.touch();
    this.streams.stop(id);
  }

  /** Streams that became readable (bytes, the end, or a reset) since the last call. */
  takeReadableStreams(): number[] {
    this.handleEarly(this.early.heldAtUs);
    return this.streams.takeReadable();
  }

  /** Streams that have room again after a write was cut short, since the last call. */
  takeWritableStreams(): number[] {
    return this.streams.takeWritable();
  }

  /** The local interface changed: larger datagrams are not worth trying any more, or are now. */
  setDatagramLimit(limitBytes: number): void {
    this.touch();
    const { session, receiver } = this;
    if (session?.mtu.setLimit(Math.min(limitBytes, session.peerParameters.maxDatagramBytes)) === true)
      receiver?.handleDatagramSize("probe");
  }

  /**
   * Where file data to be sent comes from. It is asked for data in each turn, or, if `isTold`, after each
   * `handleSourceNews` and whenever something happened on the connection.
   */
  setObjectSource(source: ObjectSource | undefined, isTold = false): void {
    this.touch();
    this.mayHaveData = true;
    this.isSourceTold = isTold;
    this.source = source;
    if (this.session !== undefined) this.session.source = source;
  }

  /** The source may have got data that was not there when it was asked last. */
  handleSourceNews(): void {
    this.mayHaveData = true;
  }

  /** Where file data that arrives goes. File data that arrives without a sink closes the connection. */
  setObjectSink(sink: ObjectSink | undefined): void {
    this.sink = sink;
    if (this.session !== undefined) this.session.sink = sink;
  }

  /** Takes a part of the memory that several connections share: the window follows it from now on. */
  shareReceiveMemory(lease: ReceiveLease): void {
    this.touch();
    this.window.share(lease, RECEIVE_MEMORY_BYTES);
  }

  /** The application is done with received file bytes: the peer may send as many more. */
  consumeObjectBytes(count: number, nowUs: number): void {
    this.touch();
    const rttUs = this.session?.recovery.smoothedRttUs ?? 0;
    if (this.window.consume(count, rttUs, nowUs))
      this.events.add({ type: "flow-window-changed", windowBytes: this.window.windowBytes });
  }

  /** File bytes received and not yet consumed. */
  get heldObjectBytes(): number {
    return this.window.heldBytes;
  }

  /** Asks the peer for a sign of life: a `heartbeat` event tells the round-trip time. */
  ping(): void {
    this.touch();
    this.session?.control.addPing();
  }

  /** Silence after which the peer is asked for a sign of life, in microseconds; 0 for never. */
  setKeepAlive(keepAliveUs: number): void {
    this.knownTimeoutUs = undefined;
    this.keepAliveUs = keepAliveUs;
    this.session?.liveness.setTimes({ keepAliveUs });
  }

  /** Time without an acknowledgement, while one is due, after which to give up; 0 for never. */
  setPatience(patienceUs: number): void {
    this.knownTimeoutUs = undefined;
    this.patienceUs = patienceUs;
    this.session?.liveness.setTimes({ patienceUs });
  }

  /** Ends the connection; `code` is `undefined` when all is well. The peer is told if it can be. */
  close(code: ErrorCode | undefined, reason: string, nowUs: number): void {
    this.touch();
    if (this.session === undefined) {
      this.closing.abandon(new GodwitError(code ?? "INTERRUPTED", reason));
      this.release();
    } else this.closing.close(code, reason, this.session.recovery.probeTimeoutUs, nowUs);
  }

  /** Counters and measurements up to `nowUs`. */
  statistics(nowUs: number): ConnectionStatistics {
    return connectionStatistics({
      session: this.session,
      receiver: this.receiver,
      sender: this.sender,
      firstDatagramBytes: this.config.datagramBytes,
      receiveWindowBytes: this.window.windowBytes,
      limitedUs: this.limits.totals(nowUs),
    });
  }

  /** Whether something happened, or was sent, since `handleSeen`: there may be events, bytes or another state. */
  get hasNews(): boolean {
    return this.isNews;
  }

  /** The application has looked at everything. */
  handleSeen(): void {
    this.isNews = false;
  }

  private touch(): void {
    this.isTouched = true;
    this.isNews = true;
  }

  // What the endpoint drives.

  /**
   * The application knows of the connection: packets held so far are handled when it first asks for
   * readable streams, or with the next `pollTransmit`.
   */
  accept(): void {
    this.isAccepted = true;
    this.touch();
  }

  /** Takes short-header datagrams `[from, to)` that carry an id of this connection. They are opened in place. */
  handleDatagrams(batch: PacketBatch, from: number, to: number, nowUs: number): void {
    const { session, receiver } = this;
    if (session === undefined || receiver === undefined || !this.isAccepted) {
      this.early.hold(batch, from, to, nowUs);
      return;
    }
    this.handleEarly(nowUs);
    if (this.closing.state === "closed") return;
    this.touch();
    this.guard(nowUs, () => receiver.handleDatagrams(batch, from, to, nowUs));
    if (receiver.packetsReceived > 0) this.handshake.handleConfirmed?.();
  }

  /** Takes a long-header datagram that belongs to this connection's handshake. */
  handleLongDatagram(datagram: Uint8Array, nowUs: number): void {
    if (this.closing.state !== "open") return;
    this.touch();
    this.events.add(handshakePacketEvent("handshake-packet-received", datagram));
    this.handshake.handlePacket(datagram, nowUs);
    this.checkHandshake(nowUs);
  }

  /** The time of `nextTimeoutUs` came. */
  handleTimeout(nowUs: number): void {
    const { session, receiver } = this;
    this.touch();
    if (this.closing.state === "open") {
      this.handshake.handleTimeout(nowUs);
      this.checkHandshake(nowUs);
    }
    this.closing.handleTimeout(nowUs);
    if (this.closing.state === "closed") this.release();
    if (session === undefined || receiver === undefined || this.closing.state !== "open") return;
    this.guard(nowUs, () => receiver.handleRecoveryTimeout(nowUs));
    session.keys.handleTimeout(nowUs);
    const verdict = session.liveness.check(nowUs);
    if (verdict === "ping") session.control.addPing();
    else if (verdict !== "fine") this.giveUp(verdict);
  }

  /** Whether `pollTransmit` may have something to send: cheap, so that idle connections cost little. */
  mayTransmit(nowUs: number): boolean {
    if (this.isTouched) return this.closing.state !== "closed";
    if (this.mayHaveData && this.sender !== undefined) {
      if (this.sender.mayTransmit) return this.closing.state !== "closed";
      // What held it back ends with a packet or a timeout, which count as touching.
      this.mayHaveData = !this.isSourceTold;
    }
    return (this.nextTimeoutUs() ?? Infinity) <= nowUs;
  }

  /**
   * Whether window or pacing, not the lack of data, ended the last `pollTransmit`: an acknowledgement or
   * a timeout will bring the next turn. A connection that is closing waits for nothing.
   */
  get isHeld(): boolean {
    return this.closing.state === "open" && this.sender?.isHeld === true;
  }

  /** Appends sealed datagrams to send now. To be called until it appends none. */
  pollTransmit(batch: PacketBatch, nowUs: number): void {
    this.knownTimeoutUs = undefined;
    this.handleEarly(nowUs);
    const { session, sender, paths } = this;
    const before = batch.count;
    while (this.closing.state === "open" && batch.hasRoom(MIN_DATAGRAM_BYTES)) {
      const datagram = this.handshake.pollTransmit(nowUs);
      if (datagram === undefined) break;
      this.events.add(handshakePacketEvent("handshake-packet-sent", datagram));
      this.isNews = true;
      batch.bytes.set(datagram, batch.usedBytes);
      batch.push(datagram.length, paths.current, 0);
    }
    if (session === undefined || sender === undefined || this.closing.state === "closed") return;
    const first = batch.count;
    let isSealed = false;
    this.guard(nowUs, () => {
      if (session.keys.updateIfDue())
        session.events.add({ type: "key-updated", phase: session.keys.phase, initiatedBy: "local" });
      sender.poll(batch, nowUs);
      session.keys.seal(batch, first, batch.count);
      isSealed = true;
    });
    // What could not be sealed must not leave in the clear.
    if (!isSealed) batch.truncate(first);
    if (batch.count > before) this.isNews = true;
    if (!batch.hasRoom(session.datagramSize.bytes)) return;
    // With room left, it was not the batch that ended what there is to send.
    this.isTouched = false;
    this.mayHaveData = !this.isSourceTold;
  }

  /** When `handleTimeout` and `pollTransmit` shall be called next, or `undefined` for never. */
  nextTimeoutUs(): number | undefined {
    // Asked several times a turn, for many connections that have nothing to do.
    if (this.isTouched) this.knownTimeoutUs = undefined;
    this.knownTimeoutUs ??= this.soonestTimeoutUs() ?? Infinity;
    return this.knownTimeoutUs === Infinity ? undefined : this.knownTimeoutUs;
  }

  private soonestTimeoutUs(): number | undefined {
    const { session, sender } = this;
    if (this.closing.state === "closed") return undefined;
    if (this.closing.state !== "open") return this.closing.timeoutUs;
    let atUs = this.handshake.nextTimeoutUs() ?? Infinity;
    if (session !== undefined && sender !== undefined) {
      atUs = Math.min(
        atUs,
        session.recovery.nextTimeoutUs() ?? Infinity,
        session.tracker.dueTimeUs ?? Infinity,
        session.liveness.timeoutUs ?? Infinity,
        session.keys.timeoutUs ?? Infinity,
        session.paths.timeoutUs ?? Infinity,
        sender.timeoutUs ?? Infinity,
      );
    }
    return atUs === Infinity ? undefined : atUs;
  }

  /** Runs a step that a peer's bytes may break: that ends the connection, never the process. */
  private guard(nowUs: number, step: () => void): void {
    try {
      step();
    } catch (error) {
      if (error instanceof GodwitError) this.close(error.code, error.message, nowUs);
      else if (error instanceof InvariantError) this.close("INTERNAL", error.message, nowUs);
      else throw error;
    }
  }

  private giveUp(verdict: "idle-timeout" | "no-progress"): void {
    const failure =
      verdict === "idle-timeout"
        ? new GodwitError(
            "IDLE_TIMEOUT",
            "the peer fell silent; check the network and run the same command to resume",
          )
        : new GodwitError(
            "NO_PROGRESS",
            "the path to the peer is gone; run the same command to resume when it is back",
          );
    this.closing.abandon(failure);
    this.release();
  }

  private release(): void {
    if (this.isReleased) return;
    this.isReleased = true;
    this.localIds.releaseAll();
  }

  /** Handles the packets that were held, once there are keys and the application knows of the connection. */
  private handleEarly(nowUs: number): void {
    if (this.early.count === 0 || this.session === undefined || !this.isAccepted) return;
    const batch = this.early.take();
    this.handleDatagrams(batch, 0, batch.count, nowUs);
  }

  private checkHandshake(nowUs: number): void {
    const { result, failure } = this.handshake;
    if (this.session === undefined && result !== undefined) this.establish(result, nowUs);
    // HANDSHAKE: with keys the peer is told why; without them nobody would believe it.
    if (failure === undefined || this.closing.state !== "open") return;
    if (this.session !== undefined) this.close(failure.code, failure.message, nowUs);
    else {
      this.closing.abandon(failure);
      this.release();
    }
  }

  private establish(outcome: HandshakeResult, nowUs: number): void {
    const { options, events } = this;
    const session = establishSession(
      outcome,
      options,
      {
        events,
        streams: this.streams,
        window: this.window,
        localIds: this.localIds,
        paths: this.paths,
        closing: this.closing,
        limits: this.limits,
        source: this.source,
        sink: this.sink,
      },
      { patienceUs: this.patienceUs, keepAliveUs: this.keepAliveUs },
      nowUs,
    );
    this.session = session;
    this.receiver = new PacketReceiver(session);
    this.sender = new PacketSender(session, this.receiver);
    events.add({
      type: "handshake-completed",
      peerFingerprint: fingerprintOf(outcome.peerIdentity, options.crypto),
      peerAgent: session.peerParameters.agent,
      version: outcome.version,
      tookUs: nowUs - options.nowUs,
    });
    this.handleEarly(nowUs);
  }
}
