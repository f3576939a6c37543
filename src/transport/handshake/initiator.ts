/**
 * The side that opens a connection: sends INIT, takes REPLY, sends FINISH, and repeats what is lost.
 *
 * Pure and without sockets: datagrams and time in, datagrams and the next time out. Whatever
 * arrives, it either completes on the peer's unaltered messages or not at all.
 * Source: docs/spec/handshake.md.
 */
import { assert } from "../../base/assert.ts";
import { equalBytes } from "../../base/bytes.ts";
import { DecodeError, GodwitError } from "../../base/errors.ts";
import { HANDSHAKE_DEADLINE_US, MIN_DATAGRAM_BYTES, RETRIES_PER_HANDSHAKE } from "../../base/limits.ts";
import { newConnectionId } from "../../wire/connection-id.ts";
import {
  LONG_TYPE,
  SUPPORTED_VERSIONS,
  decodeLongPacket,
  decodeVersions,
  encodeLongPacket,
  type LongPacket,
} from "../../wire/header.ts";
import {
  HANDSHAKE_REPEAT_MAX_US,
  HANDSHAKE_REPEAT_US,
  chooseVersion,
  handshakePrologue,
  handshakeTimeout,
  refusal,
  versionMismatch,
  type HandshakeOptions,
  type HandshakeResult,
} from "./configuration.ts";
import { ROLE, decodeIdentityPayload, encodeIdentityPayload } from "./identity-payload.ts";
import { NoiseHandshake } from "./noise.ts";

/** FINISH goes twice: everything waits for it. The copy leaves after an eighth of a round trip, and not before. */
const FINISH_COPY_SHARE = 1 / 8;
const FINISH_COPY_MIN_US = 10_000;

/** The wait for a sign that FINISH arrived: round trips, and its bounds in microseconds. HANDSHAKE §8. */
const FINISH_REPEAT_ROUNDS = 1.25;
const FINISH_REPEAT_MIN_US = 100_000;
const FINISH_REPEAT_MAX_US = 2_000_000;

const EMPTY = new Uint8Array(0);

/** The initiator of one handshake. */
export class HandshakeInitiator {
  /** Set when the responder proved itself; packets may be sealed from then on. */
  result: HandshakeResult | undefined;
  /** Set when the handshake has ended without success. */
  failure: GodwitError | undefined;
  /** Handshake datagrams sent. */
  datagramsSent = 0;
  /** Packets that were not what was waited for, or not authentic. */
  packetsDropped = 0;

  private readonly options: HandshakeOptions;
  private readonly versions: readonly number[];
  private version: number;
  private destinationId: Uint8Array;
  private noise: NoiseHandshake;
  private message: Uint8Array;
  private token: Uint8Array = EMPTY;
  private retries = 0;
  private hasSwitchedVersion = false;
  /** Payload of the REPLY that was accepted: a repeated one asks for FINISH. */
  private acceptedReply: Uint8Array = EMPTY;
  private finish: Uint8Array | undefined;
  private isConfirmed = false;
  private startedAtUs: number;
  private lastSentAtUs: number;
  private sendAtUs: number;
  private repeatUs = HANDSHAKE_REPEAT_US;
  private initsSent = 0;
  private finishesSent = 0;
  /** From the first INIT to the REPLY: at least the round-trip time. */
  private rttBoundUs = 0;

  /** Begins at `nowUs`; the first datagram waits in `pollTransmit`. */
  constructor(options: HandshakeOptions, nowUs: number) {
    this.options = options;
    this.versions = options.supportedVersions ?? SUPPORTED_VERSIONS;
    assert(this.versions.length > 0, "an initiator speaks a version");
    this.version = this.versions[0];
    this.startedAtUs = nowUs;
    this.lastSentAtUs = nowUs;
    this.sendAtUs = nowUs;
    this.destinationId = EMPTY;
    this.message = EMPTY;
    this.noise = this.begin();
  }

  /** Starts the Noise handshake for the present version. */
  private begin(): NoiseHandshake {
    const { crypto, psk, staticKey, localConnectionId } = this.options;
    const first = this.hasSwitchedVersion ? undefined : this.options.firstDestinationId;
    this.destinationId = first ?? newConnectionId(crypto.randomBytes);
    const prologue = handshakePrologue(
      this.version,
      psk !== undefined,
      this.destinationId,
      localConnectionId,
    );
    const noise = new NoiseHandshake({ crypto, isInitiator: true, prologue, staticKey, psk });
    this.message = noise.writeMessage(() => EMPTY);
    return noise;
  }

  /** Takes a long-header datagram that carries this side's connection id. */
  handlePacket(datagram: Uint8Array, nowUs: number): void {
    if (this.failure !== undefined || this.isConfirmed) return;
    if (nowUs >= this.deadlineUs) {
      this.handleTimeout(nowUs);
      return;
    }
    const packet = parse(datagram);
    if (packet === undefined || !this.accept(packet, nowUs)) this.packetsDropped++;
  }

  /** Returns whether the packet was of use. */
  private accept(packet: LongPacket, nowUs: number): boolean {
    if (!equalBytes(packet.destinationId, this.options.localConnectionId)) return false;
    if (this.result !== undefined) {
      if (packet.type !== LONG_TYPE.reply || !equalBytes(packet.payload, this.acceptedReply)) return false;
      // HANDSHAKE §8: the responder still waits for FINISH; answer, but not faster than the path can tell.
      if (nowUs - this.lastSentAtUs >= this.rttBoundUs) this.sendAtUs = nowUs;
      return true;
    }
    if (packet.type === LONG_TYPE.versions) return this.acceptVersions(packet, nowUs);
    if (packet.version !== this.version || packet.psk !== (this.options.psk !== undefined)) return false;
    if (packet.type === LONG_TYPE.retry) return this.acceptRetry(packet, nowUs);
    if (packet.type === LONG_TYPE.reply) return this.acceptReply(packet, nowUs);
    return false;
  }

  /** HANDSHAKE §3.2. */
  private acceptVersions(packet: LongPacket, nowUs: number): boolean {
    if (packet.psk || this.hasSwitchedVersion) return false;
    if (!equalBytes(packet.sourceId, this.destinationId)) return false;
    let listed: number[];
    try {
      listed = decodeVersions(packet.payload);
    } catch {
      return false;
    }
    // A list with the version in use answers something we did not send. RFC 9000 §6.2.
    if (listed.includes(this.version)) return false;
    const version = chooseVersion(this.versions, listed);
    if (version === undefined) {
      this.failure = versionMismatch(this.versions, listed);
      return true;
    }
    this.version = version;
    this.hasSwitchedVersion = true;
    this.token = EMPTY;
    this.noise = this.begin();
    this.sendAtUs = nowUs;
    this.repeatUs = HANDSHAKE_REPEAT_US;
    return true;
  }

  /** HANDSHAKE §9.3. */
  private acceptRetry(packet: LongPacket, nowUs: number): boolean {
    if (!equalBytes(packet.sourceId, this.destinationId)) return false;
    if (packet.token.length === 0 || this.retries >= RETRIES_PER_HANDSHAKE) return false;
    if (equalBytes(packet.token, this.token)) return false;
    this.retries++;
    this.token = packet.token;
    this.sendAtUs = nowUs;
    return true;
  }

  private acceptReply(packet: LongPacket, nowUs: number): boolean {
    const { options } = this;
    const { crypto, identity, staticKey, localParameters, localConnectionId } = options;
    // A forged REPLY must not spoil the state for the real one.
    const noise = this.noise.clone();
    let hash: Uint8Array = EMPTY;
    const payload = noise.readMessage(packet.payload, (handshakeHash) => {
      hash = handshakeHash;
    });
    if (payload === undefined) return false;
    const remoteStatic = noise.remoteStatic;
    assert(remoteStatic !== undefined, "message 2 of XX carries a static key");
    try {
      const peer = decodeIdentityPayload(payload, ROLE.responder, hash, remoteStatic, this.version, crypto);
      // HANDSHAKE §6.3: the id in the clear header was altered; the real REPLY may still come.
      if (!equalBytes(peer.binding.sourceId, packet.sourceId)) return false;
      // HANDSHAKE §3.3: nobody may have talked the two sides out of a better version.
      const listed = peer.binding.supportedVersions;
      if (chooseVersion(this.versions, listed) !== this.version) throw versionMismatch(this.versions, listed);
      const verdict = options.verifyPeer(peer.identity);
      if (verdict !== undefined) throw refusal(verdict);

      const message = noise.writeMessage((handshakeHash) =>
        encodeIdentityPayload(ROLE.initiator, handshakeHash, staticKey.publicKey, identity, localParameters, {
          sourceId: localConnectionId,
          version: this.version,
          supportedVersions: this.versions,
        }),
      );
      const keys = noise.split();
      this.rttBoundUs = nowUs - this.startedAtUs;
      this.result = {
        version: this.version,
        sendSecret: keys.initiatorKey,
        receiveSecret: keys.responderKey,
        peerIdentity: peer.identity,
        peerParameters: peer.parameters,
        peerConnectionId: packet.sourceId,
        handshakeHash: noise.handshakeHash,
        rttUs: this.initsSent === 1 ? this.rttBoundUs : undefined,
      };
      this.acceptedReply = packet.payload;
      this.finish = this.encode(LONG_TYPE.finish, packet.sourceId, EMPTY, message, 0);
    } catch (error) {
      if (!(error instanceof GodwitError)) throw error;
      // The peer that holds the keys of this exchange broke the rules or is not trusted: HANDSHAKE §5.4.
      this.failure = error;
      return true;
    }
    // The deadline now guards the wait for a sign that FINISH arrived.
    this.startedAtUs = nowUs;
    this.sendAtUs = nowUs;
    const copyUs = Math.max(FINISH_COPY_SHARE * this.rttBoundUs, FINISH_COPY_MIN_US);
    this.repeatUs = Math.min(Math.ceil(copyUs), FINISH_REPEAT_MAX_US);
    return true;
  }

  private encode(
    type: number,
    destinationId: Uint8Array,
    token: Uint8Array,
    payload: Uint8Array,
    minimumBytes: number,
  ): Uint8Array {
    const bytes = encodeLongPacket(
      {
        type,
        psk: this.options.psk !== undefined,
        version: this.version,
        destinationId,
        sourceId: this.options.localConnectionId,
        token,
        payload,
      },
      minimumBytes,
    );
    assert(bytes.length <= MIN_DATAGRAM_BYTES, "a handshake packet fits the smallest datagram");
    return bytes;
  }

  /** Tells that a packet under the new keys arrived: the responder has FINISH, nothing is repeated any more. */
  handleConfirmed(): void {
    this.isConfirmed = true;
  }

  /** A datagram that is due at `nowUs`, or `undefined`. Call until it returns `undefined`. */
  pollTransmit(nowUs: number): Uint8Array | undefined {
    if (this.failure !== undefined || this.isConfirmed || nowUs < this.sendAtUs) return undefined;
    if (nowUs >= this.deadlineUs) return undefined;
    this.lastSentAtUs = nowUs;
    this.sendAtUs = nowUs + this.repeatUs;
    this.datagramsSent++;
    if (this.finish !== undefined) {
      const roundsUs = Math.ceil(FINISH_REPEAT_ROUNDS * this.rttBoundUs);
      const nextUs = this.finishesSent === 0 ? Math.max(roundsUs, FINISH_REPEAT_MIN_US) : 2 * this.repeatUs;
      this.repeatUs = Math.min(nextUs, FINISH_REPEAT_MAX_US);
      this.finishesSent++;
      return this.finish;
    }
    this.repeatUs = Math.min(this.repeatUs * 2, HANDSHAKE_REPEAT_MAX_US);
    this.initsSent++;
    return this.encode(LONG_TYPE.init, this.destinationId, this.token, this.message, MIN_DATAGRAM_BYTES);
  }

  private get deadlineUs(): number {
    return this.startedAtUs + HANDSHAKE_DEADLINE_US;
  }

  /** When to call `handleTimeout` (and then `pollTransmit`) next; `undefined` when there is nothing to wait for. */
  nextTimeoutUs(): number | undefined {
    if (this.failure !== undefined || this.isConfirmed) return undefined;
    return Math.min(this.sendAtUs, this.deadlineUs);
  }

  /** Ends the handshake once its deadline has passed. */
  handleTimeout(nowUs: number): void {
    if (this.failure !== undefined || this.isConfirmed) return;
    if (nowUs >= this.deadlineUs) this.failure = handshakeTimeout();
  }
}

function parse(datagram: Uint8Array): LongPacket | undefined {
  try {
    return decodeLongPacket(datagram, 0, datagram.length);
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}
