/**
 * One connection as a state machine without I/O: datagrams, time and the application's calls in;
 * datagrams, the next time and drained facts out. Wires the parts together and owns no algorithm.
 */
import { InvariantError } from "../base/assert.ts";
import type { ErrorCode } from "../base/errors.ts";
import { GodwitError } from "../base/errors.ts";
import {
  EARLY_PACKETS_HELD,
  IDLE_TIMEOUT_US,
  MAX_DATAGRAM_BYTES,
  MIN_DATAGRAM_BYTES,
  RECEIVE_MEMORY_BYTES,
  RECEIVE_MEMORY_MAX_BYTES,
} from "../base/limits.ts";
import { SeededRandom } from "../base/random.ts";
import type { GodwitEvent } from "../events/event.ts";
import { EventQueue } from "../events/queue.ts";
import { ADDRESS_WORDS, copyAddress } from "../wire/address.ts";
import { PacketBatch } from "../wire/batch.ts";
import { SUPPORTED_VERSIONS } from "../wire/header.ts";
import type { TransportParameters } from "../wire/transport-parameters.ts";
import { DEFAULT_TRANSPORT_PARAMETERS } from "../wire/transport-parameters.ts";
import { AckTracker } from "./ack-tracker.ts";
import type { ConnectionState } from "./closing.ts";
import { Closing } from "./closing.ts";
import type { CongestionControllerFactory } from "./congestion/controller.ts";
import type { ConnectionIdRouter } from "./connection-ids.ts";
import { LocalConnectionIds, RemoteConnectionIds } from "./connection-ids.ts";
import type { ConnectionStatistics } from "./connection-statistics.ts";
import { LimitClock } from "./connection-statistics.ts";
import { ControlQueue } from "./control-queue.ts";
import type { CryptoProvider } from "./crypto.ts";
import { DatagramSize } from "./datagram-size.ts";
import { fingerprintOf } from "./fingerprint.ts";
import { ReceiveWindow, SendCredit } from "./flow-control.ts";
import type { HandshakeResult } from "./handshake/configuration.ts";
import { handshakePacketEvent } from "./handshake/packet-event.ts";
import type { KeyLimits } from "./keys.ts";
import { KEY_LIMITS, PacketKeys } from "./keys.ts";
import { Liveness } from "./liveness.ts";
import { MtuDiscovery } from "./mtu-discovery.ts";
import type { ObjectSink, ObjectSource } from "./objects.ts";
import type { Pacer } from "./pacer.ts";
import { PacketReceiver } from "./packet-receiver.ts";
import { PacketSender } from "./packet-sender.ts";
import type { ReceiveLease } from "./receive-budget.ts";
import { Paths } from "./paths.ts";
import { Recovery } from "./recovery/recovery.ts";
import { SentFrames } from "./sent-frames.ts";
import type { Session } from "./session.ts";
import type { Role, StreamLimits } from "./streams.ts";
import { STREAM_LIMITS, Streams } from "./streams.ts";

/** A handshake in progress: either side of src/transport/handshake/. */
export interface Handshake {
  readonly result: HandshakeResult | undefined;
  readonly failure: GodwitError | undefined;
  handlePacket(datagram: Uint8Array, nowUs: number): void;
  pollTransmit(nowUs: number): Uint8Array | undefined;
  nextTimeoutUs(): number | undefined;
  handleTimeout(nowUs: number): void;
  /** Only the initiator needs to know that packets under the new keys arrived. */
  handleConfirmed?(): void;
}

/** Sizes and times of one connection; tests set extreme ones. */
export interface ConnectionConfig {
  /** First size of the receive window for file data, and what it may grow to, in bytes. */
  readonly receiveWindowBytes: number;
  readonly receiveWindowMaxBytes: number;
  readonly streamLimits: StreamLimits;
  readonly keyLimits: KeyLimits;
  /** Silence after which this side gives up, in microseconds. */
  readonly idleTimeoutUs: number;
  /** Time without an acknowledgement, while one is due, after which this side gives up; 0 for never. */
  readonly patienceUs: number;
  /** Silence after which the peer is asked for a sign of life; 0 for never. */
  readonly keepAliveUs: number;
  /** Size of full datagrams before path MTU discovery. */
  readonly datagramBytes: number;
  /** Largest datagram this side receives. */
  readonly maxDatagramBytes: number;
  readonly maxAckDelayUs: number;
  /** Program and version, for people. */
  readonly agent: string;
}

/** The values in use outside of tests. */
export const CONNECTION_CONFIG: ConnectionConfig = {
  receiveWindowBytes: RECEIVE_MEMORY_BYTES,
  receiveWindowMaxBytes: RECEIVE_MEMORY_MAX_BYTES,
  streamLimits: STREAM_LIMITS,
  keyLimits: KEY_LIMITS,
  idleTimeoutUs: IDLE_TIMEOUT_US,
  patienceUs: IDLE_TIMEOUT_US,
  keepAliveUs: 0,
  datagramBytes: MIN_DATAGRAM_BYTES,
  maxDatagramBytes: MAX_DATAGRAM_BYTES,
  maxAckDelayUs: 25_000, // RFC 9000 §18.2, the default
  agent: "",
};

/** The transport parameters that tell the peer about a configuration. */
export function localTransportParameters(config: ConnectionConfig): TransportParameters {
  return {
    ...DEFAULT_TRANSPORT_PARAMETERS,
    maxIdleTimeoutUs: config.idleTimeoutUs,
    maxDatagramBytes: config.maxDatagramBytes,
    initialMaxObjectData: config.receiveWindowBytes,
    initialMaxStreamData: config.streamLimits.windowBytes,
    initialMaxStreams: config.streamLimits.peerStreams,
    maxAckDelayUs: config.maxAckDelayUs,
    activeConnectionIdLimit: 4, // one in use, and spares for moves in quick succession
    agent: config.agent,
  };
}

/** What a connection is made of. */
export interface ConnectionOptions {
  readonly role: Role;
  readonly crypto: CryptoProvider;
  /** Seed for pacing jitter and skipped packet numbers; not for secrets. */
  readonly seed: number;
  readonly router: ConnectionIdRouter;
  /** Id under which the peer's packets arrive, already routed. */
  readonly localConnectionId: Uint8Array;
  readonly handshake: Handshake;
  /** Six words, see wire/address.ts. */
  readonly peerAddress: Int32Array;
  readonly controllerFactory: CongestionControllerFactory;
  /** The user's cap, shared by all connections of a process. */
  readonly rateCap?: Pacer | undefined;
  /** Largest datagram worth trying on the path, from the local interface. */
  readonly datagramLimitBytes: number;
  /** Whether packets are held until `accept`, so that the application can say first where data goes. */
  readonly waitsForAccept?: boolean | undefined;
  readonly config: ConnectionConfig;
  readonly nowUs: number;
}

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
  private early: PacketBatch | undefined;
  private earlyAtUs = 0;
  private keepAliveUs: number;
  private patienceUs: number;
  private isReleased = false;
  private isAccepted: boolean;
  /** Whether something happened since `pollTransmit` last had nothing to send. */
  private isTouched = true;

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
    return this.streams.open();
  }

  /** Queues bytes on a stream and returns how many were taken; `isFinal` ends it if all were. */
  writeStream(id: number, bytes: Uint8Array, isFinal = false): number {
    this.isTouched = true;
    return this.streams.write(id, bytes, isFinal);
  }

  /** Bytes that a write to a stream could take now. */
  writableBytes(id: number): number {
    return this.streams.writableBytes(id);
  }

  /** All bytes of a stream that are next in order, or `undefined` when there are none. */
  readStream(id: number): Uint8Array | undefined {
    this.isTouched = true;
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
    this.streams.reset(id, wireCode);
  }

  /** Asks the peer to stop sending on a stream. */
  stopStream(id: number): void {
    this.streams.stop(id);
  }

  /** Streams that became readable (bytes, the end, or a reset) since the last call. */
  takeReadableStreams(): number[] {
    this.handleEarly(this.earlyAtUs);
    return this.streams.takeReadable();
  }

  /** Streams that have room again after a write was cut short, since the last call. */
  takeWritableStreams(): number[] {
    return this.streams.takeWritable();
  }

  /** The local interface changed: larger datagrams are not worth trying any more, or are now. */
  setDatagramLimit(limitBytes: number): void {
    const { session, receiver } = this;
    if (session?.mtu.setLimit(Math.min(limitBytes, session.peerParameters.maxDatagramBytes)) === true)
      receiver?.handleDatagramSize("probe");
  }

  /** Where file data to be sent comes from. */
  setObjectSource(source: ObjectSource | undefined): void {
    this.source = source;
    if (this.session !== undefined) this.session.source = source;
  }

  /** Where file data that arrives goes. File data that arrives without a sink closes the connection. */
  setObjectSink(sink: ObjectSink | undefined): void {
    this.sink = sink;
    if (this.session !== undefined) this.session.sink = sink;
  }

  /** Takes a part of the memory that several connections share: the window follows it from now on. */
  shareReceiveMemory(lease: ReceiveLease): void {
    this.isTouched = true;
    this.window.share(lease, RECEIVE_MEMORY_BYTES);
  }

  /** The application is done with received file bytes: the peer may send as many more. */
  consumeObjectBytes(count: number, nowUs: number): void {
    this.isTouched = true;
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
    this.session?.control.addPing();
  }

  /** Silence after which the peer is asked for a sign of life, in microseconds; 0 for never. */
  setKeepAlive(keepAliveUs: number): void {
    this.keepAliveUs = keepAliveUs;
    this.session?.liveness.setTimes({ keepAliveUs });
  }

  /** Time without an acknowledgement, while one is due, after which to give up; 0 for never. */
  setPatience(patienceUs: number): void {
    this.patienceUs = patienceUs;
    this.session?.liveness.setTimes({ patienceUs });
  }

  /** Ends the connection; `code` is `undefined` when all is well. The peer is told if it can be. */
  close(code: ErrorCode | undefined, reason: string, nowUs: number): void {
    this.isTouched = true;
    if (this.session === undefined) {
      this.closing.abandon(new GodwitError(code ?? "INTERRUPTED", reason));
      this.release();
    } else this.closing.close(code, reason, this.session.recovery.probeTimeoutUs, nowUs);
  }

  /** Counters and measurements up to `nowUs`. */
  statistics(nowUs: number): ConnectionStatistics {
    const { session, receiver, sender } = this;
    const recovery = session?.recovery;
    const counters = recovery?.statistics;
    const tracker = session?.tracker;
    return {
      packetsSent: counters?.packetsSent ?? 0,
      bytesSent: counters?.bytesSent ?? 0,
      packetsReceived: receiver?.packetsReceived ?? 0,
      bytesReceived: receiver?.bytesReceived ?? 0,
      packetsLost: counters?.packetsLost ?? 0,
      bytesLost: counters?.bytesLost ?? 0,
      packetsSpurious: counters?.packetsSpurious ?? 0,
      bytesSpurious: counters?.bytesSpurious ?? 0,
      retransmittedBytes: sender?.retransmittedBytes ?? 0,
      objectBytesReceived: receiver?.objectBytesReceived ?? 0,
      objectBytesDuplicate: receiver?.objectBytesDuplicate ?? 0,
      packetsDuplicate: tracker?.duplicatePackets ?? 0,
      packetsReordered: tracker?.reorderedPackets ?? 0,
      largestReordering: tracker?.reorderingDistance ?? 0,
      packetsNotAuthentic: session?.keys.failedPackets ?? 0,
      probeTimeouts: counters?.probeTimeouts ?? 0,
      ecnState: recovery?.ecnState ?? "testing",
      packetsCe: counters?.packetsCe ?? 0,
      keyUpdates: session?.keys.updates ?? 0,
      pathChanges: receiver?.pathChanges ?? 0,
      minRttUs: recovery?.minRttUs ?? 0,
      smoothedRttUs: recovery?.smoothedRttUs ?? 0,
      latestRttUs: recovery?.latestRttUs ?? 0,
      rttVariationUs: recovery?.rttVariationUs ?? 0,
      datagramBytes: session?.mtu.datagramBytes ?? this.config.datagramBytes,
      congestionWindowBytes: recovery?.congestionWindowBytes ?? 0,
      bytesInFlight: recovery?.bytesInFlight ?? 0,
      pacingRateBytesPerSecond: recovery?.pacingRateBytesPerSecond ?? 0,
      bandwidthBytesPerSecond: recovery?.bandwidthBytesPerSecond ?? 0,
      controller: recovery?.controllerName ?? "",
      controllerState: recovery?.controllerState ?? "",
      receiveWindowBytes: this.window.windowBytes,
      limitedUs: this.limits.totals(nowUs),
    };
  }

  // What the endpoint drives.

  /**
   * The application knows of the connection: packets held so far are handled when it first asks for
   * readable streams, or with the next `pollTransmit`.
   */
  accept(): void {
    this.isAccepted = true;
    this.isTouched = true;
  }

  /** Takes short-header datagrams `[from, to)` that carry an id of this connection. They are opened in place. */
  handleDatagrams(batch: PacketBatch, from: number, to: number, nowUs: number): void {
    const { session, receiver } = this;
    if (session === undefined || receiver === undefined || !this.isAccepted) {
      this.holdEarly(batch, from, to, nowUs);
      return;
    }
    this.handleEarly(nowUs);
    if (this.closing.state === "closed") return;
    this.isTouched = true;
    this.guard(nowUs, () => receiver.handleDatagrams(batch, from, to, nowUs));
    if (receiver.packetsReceived > 0) this.handshake.handleConfirmed?.();
  }

  /** Takes a long-header datagram that belongs to this connection's handshake. */
  handleLongDatagram(datagram: Uint8Array, nowUs: number): void {
    if (this.closing.state !== "open") return;
    this.isTouched = true;
    this.events.add(handshakePacketEvent("handshake-packet-received", datagram));
    this.handshake.handlePacket(datagram, nowUs);
    this.checkHandshake(nowUs);
  }

  /** The time of `nextTimeoutUs` came. */
  handleTimeout(nowUs: number): void {
    const { session, receiver } = this;
    this.isTouched = true;
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
    if (this.closing.state === "closed") return false;
    return this.isTouched || this.sender?.mayTransmit === true || (this.nextTimeoutUs() ?? Infinity) <= nowUs;
  }

  /** Appends sealed datagrams to send now. To be called until it appends none. */
  pollTransmit(batch: PacketBatch, nowUs: number): void {
    this.handleEarly(nowUs);
    const { session, sender, paths } = this;
    const before = batch.count;
    while (this.closing.state === "open" && batch.hasRoom(MIN_DATAGRAM_BYTES)) {
      const datagram = this.handshake.pollTransmit(nowUs);
      if (datagram === undefined) break;
      this.events.add(handshakePacketEvent("handshake-packet-sent", datagram));
      batch.bytes.set(datagram, batch.usedBytes);
      batch.push(datagram.length, paths.current, 0);
    }
    if (session === undefined || sender === undefined || this.closing.state === "closed") return;
    const first = batch.count;
    this.guard(nowUs, () => {
      if (session.keys.updateIfDue())
        session.events.add({ type: "key-updated", phase: session.keys.phase, initiatedBy: "local" });
      sender.poll(batch, nowUs);
      session.keys.seal(batch, first, batch.count);
    });
    if (batch.count === before && batch.hasRoom(session.datagramSize.bytes)) this.isTouched = false;
  }

  /** When `handleTimeout` and `pollTransmit` shall be called next, or `undefined` for never. */
  nextTimeoutUs(): number | undefined {
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

  /** Keeps the first protected packets that overtook the end of the handshake. */
  private holdEarly(batch: PacketBatch, from: number, to: number, nowUs: number): void {
    this.earlyAtUs = nowUs;
    this.early ??= new PacketBatch(EARLY_PACKETS_HELD, EARLY_PACKETS_HELD * MIN_DATAGRAM_BYTES);
    const { early } = this;
    for (let i = from; i < to; i++) {
      if (!early.hasRoom(batch.lengths[i])) return;
      early.bytes.set(batch.datagram(i), early.usedBytes);
      const index = early.push(batch.lengths[i], batch.addresses, i);
      early.ecn[index] = batch.ecn[i];
    }
  }

  /** Handles the packets that were held, once there are keys and the application knows of the connection. */
  private handleEarly(nowUs: number): void {
    const { early } = this;
    if (early === undefined || this.session === undefined || !this.isAccepted) return;
    this.early = undefined;
    this.handleDatagrams(early, 0, early.count, nowUs);
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
    const { options, config, events, streams, window, localIds } = this;
    const { peerParameters } = outcome;
    const random = new SeededRandom(options.seed, "connection");
    const credit = new SendCredit(peerParameters.initialMaxObjectData);
    const recovery = new Recovery({
      controllerFactory: options.controllerFactory,
      datagramBytes: config.datagramBytes,
      nowUs,
      randomFloat: () => random.float(),
      events,
      maxAckDelayUs: peerParameters.maxAckDelayUs,
      rateCap: options.rateCap,
    });
    if (outcome.rttUs !== undefined) recovery.handleInitialRtt(outcome.rttUs, nowUs);
    const idleTimeouts = [config.idleTimeoutUs, peerParameters.maxIdleTimeoutUs].filter((us) => us > 0);
    const datagramLimit = Math.min(options.datagramLimitBytes, peerParameters.maxDatagramBytes);
    const session: Session = {
      role: options.role,
      events,
      random,
      localParameters: localTransportParameters(config),
      peerParameters,
      keys: new PacketKeys(options.crypto, outcome.sendSecret, outcome.receiveSecret, config.keyLimits),
      tracker: new AckTracker(config.maxAckDelayUs),
      recovery,
      mtu: new MtuDiscovery(config.datagramBytes, datagramLimit),
      datagramSize: new DatagramSize(Math.min(config.datagramBytes, datagramLimit)),
      sentFrames: new SentFrames(),
      streams,
      window,
      credit,
      localIds,
      remoteIds: new RemoteConnectionIds(outcome.peerConnectionId),
      control: new ControlQueue({ streams, window, credit, localIds }),
      paths: this.paths,
      liveness: new Liveness(
        events,
        {
          idleTimeoutUs: idleTimeouts.length === 0 ? 0 : Math.min(...idleTimeouts),
          patienceUs: this.patienceUs,
          keepAliveUs: this.keepAliveUs,
        },
        nowUs,
      ),
      closing: this.closing,
      limits: this.limits,
      source: this.source,
      sink: this.sink,
      isConfirmed: options.role === "responder",
    };
    this.session = session;
    this.receiver = new PacketReceiver(session);
    this.sender = new PacketSender(session, this.receiver);
    this.paths.handleValidated();
    streams.handlePeerLimits(peerParameters.initialMaxStreams, peerParameters.initialMaxStreamData);
    session.control.addNewConnectionIds(localIds.replenish(peerParameters.activeConnectionIdLimit));
    if (options.role === "responder") session.control.addHandshakeDone();
    events.add({
      type: "handshake-completed",
      peerFingerprint: fingerprintOf(outcome.peerIdentity, options.crypto),
      peerAgent: peerParameters.agent,
      version: outcome.version,
      tookUs: nowUs - options.nowUs,
    });
    this.handleEarly(nowUs);
  }
}

/** A copy of one address of a batch: what a new connection is given. */
export function addressOf(batch: PacketBatch, index: number): Int32Array {
  const address = new Int32Array(ADDRESS_WORDS);
  copyAddress(batch.addresses, index, address, 0);
  return address;
}
