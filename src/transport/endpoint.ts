/**
 * All connections of one socket: routes datagrams to them, lets new peers in through the handshake's
 * door, and shares the outgoing batch fairly. A driver and the simulator call the same four verbs.
 */
import { toHex } from "../base/bytes.ts";
import type { ErrorCode } from "../base/errors.ts";
import { GodwitError } from "../base/errors.ts";
import {
  FORCED_REPLIES_PENDING,
  MIN_DATAGRAM_BYTES,
  TRANSFERS_PER_PEER,
  TRANSFERS_PER_PROCESS,
} from "../base/limits.ts";
import { SeededRandom } from "../base/random.ts";
import { addressOf } from "../wire/address.ts";
import type { PacketBatch } from "../wire/batch.ts";
import { sameConnectionId } from "../wire/connection-id.ts";
import {
  isLongHeader,
  isShortHeader,
  LONG_HEADER_BYTES,
  SHORT_CONNECTION_ID_OFFSET,
} from "../wire/header.ts";
import { bbr } from "./congestion/bbr.ts";
import type { CongestionControllerFactory } from "./congestion/controller.ts";
import { Connection } from "./connection.ts";
import type { ConnectionConfig } from "./connection-config.ts";
import { CONNECTION_CONFIG, localTransportParameters } from "./connection-config.ts";
import type { Handshake } from "./connection-options.ts";
import type { ConnectionIdRouter } from "./connection-ids.ts";
import type { CryptoProvider, DhKeyPair, SigningIdentity } from "./crypto.ts";
import { DOOR, HandshakeDoor } from "./handshake/door.ts";
import { HandshakeInitiator } from "./handshake/initiator.ts";
import { HandshakeResponder } from "./handshake/responder.ts";
import type { Pake } from "./pairing/pake.ts";
import { pairReply, type PairingDesk } from "./pairing/pairing-desk.ts";
import { PairingInitiator } from "./pairing/pairing-initiator.ts";
import type { Pacer } from "./pacer.ts";
import { RoutingTable } from "./routing-table.ts";
import type { Role } from "./streams.ts";

/** Offset of the destination id in a long header: first byte and version come before it. */
const LONG_CONNECTION_ID_OFFSET = 5;

/** UDP payload over IPv6 on Ethernet (1 500 - 40 - 8): what to try when the interface is not known. */
const ETHERNET_DATAGRAM_BYTES = 1_452;

/** The trust verdict on a peer that proved its identity: `undefined` to go on, or why not. */
export type PeerVerdict = (identityPublicKey: Uint8Array) => ErrorCode | GodwitError | undefined;

/** How strangers with a pairing code come in. docs/spec/pairing.md */
export interface PairingAcceptance {
  readonly desk: PairingDesk;
  /** Called instead of `verifyPeer` for a peer that proved that it knows the code. */
  readonly verifyPaired: PeerVerdict;
}

/** How an endpoint lets peers in. */
export interface AcceptOptions {
  readonly verifyPeer: PeerVerdict;
  /** A 32-byte secret that the peer may prove it holds. */
  readonly psk?: Uint8Array | undefined;
  /** A code that is shown here: who knows it may come in. */
  readonly pairing?: PairingAcceptance | undefined;
  /** Whether only peers that hold `psk` may come in. */
  readonly requirePsk?: boolean | undefined;
  /** Connections at once, and for one peer identity. */
  readonly connections?: number | undefined;
  readonly connectionsPerPeer?: number | undefined;
}

/** What an endpoint is made of. */
export interface EndpointOptions {
  readonly crypto: CryptoProvider;
  readonly identity: SigningIdentity;
  /** The X25519 key the identity vouches for. */
  readonly staticKey: DhKeyPair;
  /** Seed for jitter and skipped packet numbers; not for secrets. */
  readonly seed: number;
  /** Sizes and times of connections, where they differ from CONNECTION_CONFIG. */
  readonly config?: Partial<ConnectionConfig> | undefined;
  readonly controllerFactory?: CongestionControllerFactory | undefined;
  /** The user's cap on the sending rate, shared by all connections. */
  readonly rateCap?: Pacer | undefined;
  /** Largest datagram worth trying towards an address, from the local interface; 1 452 if not given. */
  readonly datagramLimit?: ((addresses: Int32Array, index: number) => number) | undefined;
  /** `undefined`: nobody is let in, the endpoint only dials. */
  readonly accept?: AcceptOptions | undefined;
  readonly nowUs: number;
}

/** How to dial one peer. */
export interface ConnectOptions {
  /** Six words, see wire/address.ts. */
  readonly address: Int32Array;
  readonly verifyPeer: PeerVerdict;
  readonly psk?: Uint8Array | undefined;
  /** A pairing code, and the exchange that turns it into a secret; instead of `psk`. */
  readonly pairing?: { readonly pake: Pake; readonly code: Uint8Array } | undefined;
  readonly config?: Partial<ConnectionConfig> | undefined;
  readonly controllerFactory?: CongestionControllerFactory | undefined;
}

/** A connection and what the endpoint remembers about it. */
class Member implements ConnectionIdRouter {
  readonly table: RoutingTable<Member>;
  /** Set right after construction: the connection needs its router first. */
  connection!: Connection;
  /** What the door calls its handshake while it is in progress; `undefined` for dialled ones. */
  attempt: string | undefined;
  wasOffered = false;

  constructor(table: RoutingTable<Member>) {
    this.table = table;
  }

  issueConnectionId(): Uint8Array {
    return this.table.issue(this);
  }

  releaseConnectionId(id: Uint8Array): void {
    this.table.release(id);
  }
}

/** The connections of one socket. */
export class Endpoint {
  private readonly options: EndpointOptions;
  private readonly random: SeededRandom;
  private readonly table: RoutingTable<Member>;
  private members: Member[] = [];
  private readonly door: HandshakeDoor<Member>;
  /** Answers to strangers that wait to be sent. */
  private readonly answers: { readonly datagram: Uint8Array; readonly address: Int32Array }[] = [];
  private readonly accepted: Connection[] = [];
  /** Member that is asked first for packets next time. */
  private turn = 0;
  private isAccepting = true;
  /** Datagrams that belong to nobody, or are too short to tell. */
  datagramsDropped = 0;

  constructor(options: EndpointOptions) {
    this.options = options;
    this.random = new SeededRandom(options.seed, "endpoint");
    this.table = new RoutingTable<Member>(options.crypto.randomBytes);
    this.door = new HandshakeDoor<Member>(options.crypto, options.nowUs);
  }

  /** Connections that are not closed yet. */
  get connections(): Connection[] {
    return this.members.map(({ connection }) => connection);
  }

  /** Dials a peer. The handshake's first packet waits in `pollTransmit`. */
  connect(options: ConnectOptions, nowUs: number): Connection {
    const { crypto, identity, staticKey } = this.options;
    const config = { ...CONNECTION_CONFIG, ...this.options.config, ...options.config };
    const member = new Member(this.table);
    const localConnectionId = member.issueConnectionId();
    const { psk, pairing, verifyPeer } = options;
    const localParameters = localTransportParameters(config);
    const handshake =
      pairing === undefined
        ? new HandshakeInitiator(
            { crypto, identity, staticKey, localParameters, localConnectionId, verifyPeer, psk },
            nowUs,
          )
        : new PairingInitiator(
            { crypto, identity, staticKey, localParameters, localConnectionId, verifyPeer, ...pairing },
            nowUs,
          );
    const { address, controllerFactory } = options;
    return this.add(
      member,
      "initiator",
      handshake,
      localConnectionId,
      address,
      config,
      controllerFactory,
      nowUs,
    );
  }

  /**
   * Connections of peers that proved themselves since the last call. What they sent already is handled
   * after the application had time to say where it goes.
   */
  takeAccepted(): Connection[] {
    if (this.accepted.length === 0) return [];
    for (const connection of this.accepted) connection.accept();
    return this.accepted.splice(0);
  }

  /** Lets nobody in from now on; connections that exist go on. */
  stopAccepting(): void {
    this.isAccepting = false;
  }

  /** Ends all connections; the peers are told by the next `pollTransmit`. */
  closeAll(code: ErrorCode | undefined, reason: string, nowUs: number): void {
    this.isAccepting = false;
    for (const member of this.members) {
      member.connection.close(code, reason, nowUs);
      this.look(member, nowUs);
    }
  }

  /** Takes all datagrams of a batch. They are opened in place. */
  handleDatagrams(batch: PacketBatch, nowUs: number): void {
    const { bytes, offsets, lengths, count } = batch;
    for (let i = 0; i < count;) {
      const offset = offsets[i];
      if (isShortHeader(bytes, offset, lengths[i])) {
        const idAt = offset + SHORT_CONNECTION_ID_OFFSET;
        let end = i + 1;
        // A run: consecutive datagrams with one id go to their connection together.
        while (
          end < count &&
          isShortHeader(bytes, offsets[end], lengths[end]) &&
          sameConnectionId(bytes, offsets[end] + SHORT_CONNECTION_ID_OFFSET, bytes, idAt)
        )
          end++;
        const member = this.table.find(bytes, idAt);
        if (member === undefined) this.datagramsDropped += end - i;
        else {
          member.connection.handleDatagrams(batch, i, end, nowUs);
          this.look(member, nowUs);
        }
        i = end;
      } else {
        if (lengths[i] >= LONG_HEADER_BYTES && isLongHeader(bytes, offset)) this.handleLong(batch, i, nowUs);
        else this.datagramsDropped++;
        i++;
      }
    }
  }

  /** The time of `nextTimeoutUs` came. */
  handleTimeout(nowUs: number): void {
    // A look may remove the member: walk backwards.
    for (let i = this.members.length - 1; i >= 0; i--) {
      const member = this.members[i];
      if ((member.connection.nextTimeoutUs() ?? Infinity) > nowUs) continue;
      member.connection.handleTimeout(nowUs);
      this.look(member, nowUs);
    }
  }

  /**
   * Appends datagrams to send now; to be called until it appends none. Each call begins with another
   * connection, so that one with much to send does not keep others waiting.
   */
  pollTransmit(batch: PacketBatch, nowUs: number): void {
    while (this.answers.length > 0 && batch.hasRoom(MIN_DATAGRAM_BYTES)) {
      const { datagram, address } = this.answers.shift()!;
      batch.bytes.set(datagram, batch.usedBytes);
      batch.push(datagram.length, address, 0);
    }
    const { members } = this;
    const count = members.length;
    if (count === 0) return;
    const first = this.turn % count;
    this.turn = first + 1;
    for (let step = 0; step < count; step++) {
      const { connection } = members[(first + step) % count];
      if (connection.mayTransmit(nowUs)) connection.pollTransmit(batch, nowUs);
    }
  }

  /** When `handleTimeout` and `pollTransmit` shall be called next, or `undefined` for never. */
  nextTimeoutUs(): number | undefined {
    let atUs = Infinity;
    for (const { connection } of this.members) atUs = Math.min(atUs, connection.nextTimeoutUs() ?? Infinity);
    return atUs === Infinity ? undefined : atUs;
  }

  private handleLong(batch: PacketBatch, index: number, nowUs: number): void {
    const offset = batch.offsets[index];
    // Rare and small: a copy is simpler than parsing in place.
    const datagram = batch.datagram(index).slice();
    const member =
      this.table.find(batch.bytes, offset + LONG_CONNECTION_ID_OFFSET) ??
      this.askDoor(batch, index, datagram, nowUs);
    if (member === undefined) return;
    member.connection.handleLongDatagram(datagram, nowUs);
    this.look(member, nowUs);
  }

  /** The handshake a stranger's datagram is for, if the door lets it in. */
  private askDoor(
    batch: PacketBatch,
    index: number,
    datagram: Uint8Array,
    nowUs: number,
  ): Member | undefined {
    const { door } = this;
    const { accept } = this.options;
    if (accept === undefined || !this.isAccepting) {
      this.datagramsDropped++;
      return undefined;
    }
    const verdict = door.handleDatagram(datagram, batch.addresses, index, nowUs);
    if (verdict === DOOR.known) return door.known;
    const { pairing } = accept;
    let answer = verdict === DOOR.answer ? door.answer : undefined;
    if (verdict === DOOR.admit) {
      if (door.packet?.psk !== true || pairing === undefined)
        return this.admit(accept, addressOf(batch.addresses, index), nowUs);
      answer = this.admitPaired(pairing, batch, index, datagram, nowUs);
      if (answer === undefined) return undefined;
    } else if (verdict === DOOR.pair && door.packet !== undefined) {
      answer =
        pairing === undefined
          ? pairReply(door.packet, "none", 0)
          : pairing.desk.handlePair(door.packet, batch.addresses, index, nowUs);
    }
    if (answer !== undefined && this.answers.length < FORCED_REPLIES_PENDING)
      this.answers.push({ datagram: answer, address: addressOf(batch.addresses, index) });
    else this.datagramsDropped++;
    return undefined;
  }

  /** Takes the one INIT of a pairing attempt. Returns what to answer to a wrong one; nothing otherwise. */
  private admitPaired(
    pairing: PairingAcceptance,
    batch: PacketBatch,
    index: number,
    datagram: Uint8Array,
    nowUs: number,
  ): Uint8Array | undefined {
    const { packet } = this.door;
    const { desk, verifyPaired } = pairing;
    if (packet === undefined) return undefined;
    const attempt = desk.handleInit(packet, batch.addresses, index, nowUs);
    if (attempt === undefined || attempt instanceof Uint8Array) return attempt;
    const verifyPeer: PeerVerdict = (publicKey) =>
      desk.complete()
        ? verifyPaired(publicKey)
        : new GodwitError("WRONG_CODE", "the pairing code was used by somebody else meanwhile");
    const member = new Member(this.table);
    const id = member.issueConnectionId();
    const handshake = this.responder(id, { psk: attempt.psk, requirePsk: true, verifyPeer }, true, nowUs);
    handshake.handlePacket(datagram, nowUs);
    if (!handshake.hasAccepted) {
      member.releaseConnectionId(id);
      return desk.refuse(attempt, packet);
    }
    desk.admit(attempt);
    this.open(member, id, handshake, addressOf(batch.addresses, index), nowUs);
    return undefined;
  }

  private admit(accept: AcceptOptions, address: Int32Array, nowUs: number): Member {
    const member = new Member(this.table);
    const localConnectionId = member.issueConnectionId();
    const handshake = this.responder(localConnectionId, accept, this.door.isAddressValidated, nowUs);
    this.open(member, localConnectionId, handshake, address, nowUs);
    return member;
  }

  private responder(
    localConnectionId: Uint8Array,
    accept: Pick<AcceptOptions, "psk" | "requirePsk" | "verifyPeer">,
    isAddressValidated: boolean,
    nowUs: number,
  ): HandshakeResponder {
    const { crypto, identity, staticKey } = this.options;
    const localParameters = localTransportParameters({ ...CONNECTION_CONFIG, ...this.options.config });
    const { psk, requirePsk, verifyPeer } = accept;
    return new HandshakeResponder(
      {
        crypto,
        identity,
        staticKey,
        localParameters,
        localConnectionId,
        psk,
        requirePsk,
        isAddressValidated,
        verifyPeer,
      },
      nowUs,
    );
  }

  private open(
    member: Member,
    localConnectionId: Uint8Array,
    handshake: HandshakeResponder,
    address: Int32Array,
    nowUs: number,
  ): void {
    const config = { ...CONNECTION_CONFIG, ...this.options.config };
    member.attempt = this.door.attempt;
    this.door.opened(member.attempt, member);
    this.add(member, "responder", handshake, localConnectionId, address, config, undefined, nowUs);
  }

  private add(
    member: Member,
    role: Role,
    handshake: Handshake,
    localConnectionId: Uint8Array,
    peerAddress: Int32Array,
    config: ConnectionConfig,
    controllerFactory: CongestionControllerFactory | undefined,
    nowUs: number,
  ): Connection {
    const { crypto, rateCap } = this.options;
    const connection = new Connection({
      role,
      crypto,
      seed: this.random.uint32(),
      router: member,
      localConnectionId,
      handshake,
      peerAddress,
      controllerFactory: controllerFactory ?? this.options.controllerFactory ?? bbr,
      rateCap,
      waitsForAccept: role === "responder",
      datagramLimitBytes: this.options.datagramLimit?.(peerAddress, 0) ?? ETHERNET_DATAGRAM_BYTES,
      config,
      nowUs,
    });
    member.connection = connection;
    this.members.push(member);
    return connection;
  }

  /** Follows a connection's life after it was called: offers it once, forgets it in the end. */
  private look(member: Member, nowUs: number): void {
    const { connection } = member;
    if (connection.role === "responder" && !member.wasOffered && connection.state === "established") {
      member.wasOffered = true;
      if (this.isBusy(member)) {
        connection.close("BUSY", "too many transfers at once; try again later", nowUs);
      } else this.accepted.push(connection);
    }
    if (member.attempt !== undefined && connection.state !== "handshaking") {
      this.door.closed(member.attempt, nowUs);
      member.attempt = undefined;
    }
    if (connection.state !== "closed") return;
    const index = this.members.indexOf(member);
    if (index >= 0) this.members.splice(index, 1);
  }

  /** Whether one more connection of this peer is over a limit. Checked once the peer is known, so that it can be told. */
  private isBusy(newcomer: Member): boolean {
    const { accept } = this.options;
    const identity = toHex(newcomer.connection.peerIdentity ?? new Uint8Array(0));
    let all = 0;
    let ofPeer = 0;
    for (const { connection, wasOffered } of this.members) {
      if (!wasOffered || connection.state !== "established") continue;
      all++;
      if (toHex(connection.peerIdentity ?? new Uint8Array(0)) === identity) ofPeer++;
    }
    return (
      all > (accept?.connections ?? TRANSFERS_PER_PROCESS) ||
      ofPeer > (accept?.connectionsPerPeer ?? TRANSFERS_PER_PEER)
    );
  }
}
