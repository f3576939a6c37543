/**
 * The side that is called: takes INIT, sends REPLY, takes FINISH. Sends at most three times the bytes
 * it received until the address is validated.
 *
 * Pure and without sockets, like the initiator. Source: docs/spec/handshake.md.
 */
import { assert } from "../../base/assert.ts";
import { equalBytes } from "../../base/bytes.ts";
import { DecodeError, GodwitError } from "../../base/errors.ts";
import { AMPLIFICATION_FACTOR, HANDSHAKE_DEADLINE_US, MIN_DATAGRAM_BYTES } from "../../base/limits.ts";
import {
  LONG_TYPE,
  SUPPORTED_VERSIONS,
  decodeLongPacket,
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

/** A repeated INIT this soon after a REPLY crossed it on the way and needs no answer, in microseconds. */
const REPLY_SPACING_US = 100_000;

const EMPTY = new Uint8Array(0);

/** What a responder needs beside the common options. */
export interface ResponderOptions extends HandshakeOptions {
  /** Whether the initiator showed a valid cookie, so that it receives at its address. */
  readonly isAddressValidated: boolean;
  /** Whether only initiators that hold `psk` may come in. Without it, `psk` is optional for them. */
  readonly requirePsk?: boolean | undefined;
}

/** The responder of one handshake: one INIT, and what belongs to it. */
export class HandshakeResponder {
  /**
   * Set when the initiator proved itself. If `failure` is set as well, it is not trusted here, and
   * the keys serve to tell it so with a CLOSE.
   */
  result: HandshakeResult | undefined;
  /** Set when the handshake has ended without success. */
  failure: GodwitError | undefined;
  /** Handshake datagrams sent. */
  datagramsSent = 0;
  /** Packets that were not what was waited for, or not authentic. */
  packetsDropped = 0;
  /** Bytes received from the initiator's address so far. */
  bytesReceived = 0;
  /** Bytes sent to it so far. */
  bytesSent = 0;

  private readonly options: ResponderOptions;
  private readonly versions: readonly number[];
  private init: LongPacket | undefined;
  private noise: NoiseHandshake | undefined;
  private reply: Uint8Array | undefined;
  private readonly startedAtUs: number;
  private lastSentAtUs: number | undefined;
  private sendAtUs: number;
  private repeatUs = HANDSHAKE_REPEAT_US;

  constructor(options: ResponderOptions, nowUs: number) {
    this.options = options;
    this.versions = options.supportedVersions ?? SUPPORTED_VERSIONS;
    this.startedAtUs = nowUs;
    this.sendAtUs = nowUs;
  }

  /** Whether an INIT was accepted. If not after the first packet, the responder can be thrown away. */
  get hasAccepted(): boolean {
    return this.init !== undefined;
  }

  /** Takes a long-header datagram: an INIT, or a packet that carries this side's connection id. */
  handlePacket(datagram: Uint8Array, nowUs: number): void {
    if (this.failure !== undefined || this.result !== undefined) return;
    if (nowUs >= this.deadlineUs) {
      this.handleTimeout(nowUs);
      return;
    }
    let packet: LongPacket;
    try {
      packet = decodeLongPacket(datagram, 0, datagram.length);
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      this.packetsDropped++;
      return;
    }
    const isInit = packet.type === LONG_TYPE.init;
    const isUsed = isInit
      ? this.acceptInit(packet, datagram.length, nowUs)
      : packet.type === LONG_TYPE.finish && this.acceptFinish(packet, nowUs);
    if (!isUsed) this.packetsDropped++;
  }

  private acceptInit(packet: LongPacket, datagramBytes: number, nowUs: number): boolean {
    // HANDSHAKE §9.1: a short INIT could be used to reflect more than it cost.
    if (datagramBytes < MIN_DATAGRAM_BYTES) return false;
    const { init } = this;
    if (init !== undefined) {
      if (!sameInit(packet, init)) return false;
      this.bytesReceived += datagramBytes;
      const { lastSentAtUs } = this;
      if (lastSentAtUs === undefined || nowUs - lastSentAtUs >= REPLY_SPACING_US) this.sendAtUs = nowUs;
      return true;
    }
    const { crypto, identity, staticKey, localParameters, localConnectionId, psk } = this.options;
    if (!this.versions.includes(packet.version)) return false;
    if (packet.psk ? psk === undefined : this.options.requirePsk === true) return false;
    const noise = new NoiseHandshake({
      crypto,
      isInitiator: false,
      prologue: handshakePrologue(packet.version, packet.psk, packet.destinationId, packet.sourceId),
      staticKey,
      psk: packet.psk ? psk : undefined,
    });
    // HANDSHAKE §5.1: the first message has no payload; without a psk it would not be authenticated.
    const payload = noise.readMessage(packet.payload);
    if (payload === undefined || payload.length > 0) return false;
    let message: Uint8Array;
    try {
      message = noise.writeMessage((handshakeHash) =>
        encodeIdentityPayload(ROLE.responder, handshakeHash, staticKey.publicKey, identity, localParameters, {
          sourceId: localConnectionId,
          version: packet.version,
          supportedVersions: this.versions,
        }),
      );
    } catch (error) {
      // An ephemeral key of low order shows only here, when it is multiplied.
      if (error instanceof GodwitError) return false;
      throw error;
    }
    this.reply = encodeLongPacket({
      type: LONG_TYPE.reply,
      psk: packet.psk,
      version: packet.version,
      destinationId: packet.sourceId,
      sourceId: localConnectionId,
      token: EMPTY,
      payload: message,
    });
    assert(this.reply.length <= MIN_DATAGRAM_BYTES, "a handshake packet fits the smallest datagram");
    this.init = packet;
    this.noise = noise;
    this.bytesReceived += datagramBytes;
    this.sendAtUs = nowUs;
    return true;
  }

  private acceptFinish(packet: LongPacket, nowUs: number): boolean {
    const { init, noise, options, versions } = this;
    if (init === undefined || noise === undefined) return false;
    if (packet.version !== init.version || packet.psk !== init.psk) return false;
    if (!equalBytes(packet.destinationId, options.localConnectionId)) return false;
    if (!equalBytes(packet.sourceId, init.sourceId)) return false;
    // A forged FINISH must not spoil the state for the real one.
    const attempt = noise.clone();
    let hash: Uint8Array = EMPTY;
    const payload = attempt.readMessage(packet.payload, (handshakeHash) => {
      hash = handshakeHash;
    });
    if (payload === undefined) return false;
    const remoteStatic = attempt.remoteStatic;
    assert(remoteStatic !== undefined, "message 3 of XX carries a static key");
    try {
      const peer = decodeIdentityPayload(
        payload,
        ROLE.initiator,
        hash,
        remoteStatic,
        init.version,
        options.crypto,
      );
      // HANDSHAKE §6.3: the ids in the clear are in the prologue already; what the peer states must agree.
      if (!equalBytes(peer.binding.sourceId, init.sourceId))
        throw new GodwitError("PROTOCOL_VIOLATION", "the peer states another connection id than it uses");
      // HANDSHAKE §3.3: with the initiator's own list this side would have ended at the same version.
      const offered = peer.binding.supportedVersions;
      if (chooseVersion(offered, versions) !== init.version) throw versionMismatch(versions, offered);
      const keys = attempt.split();
      const { lastSentAtUs } = this;
      this.result = {
        version: init.version,
        sendSecret: keys.responderKey,
        receiveSecret: keys.initiatorKey,
        peerIdentity: peer.identity,
        peerParameters: peer.parameters,
        peerConnectionId: init.sourceId,
        handshakeHash: attempt.handshakeHash,
        rttUs: this.datagramsSent === 1 && lastSentAtUs !== undefined ? nowUs - lastSentAtUs : undefined,
      };
      const verdict = options.verifyPeer(peer.identity);
      if (verdict !== undefined) throw refusal(verdict);
    } catch (error) {
      if (!(error instanceof GodwitError)) throw error;
      this.failure = error;
    }
    return true;
  }

  private get isBlocked(): boolean {
    // RFC 9000 §8.1: three times what came, until the address is known to be the peer's.
    if (this.options.isAddressValidated || this.reply === undefined) return false;
    return this.bytesSent + this.reply.length > AMPLIFICATION_FACTOR * this.bytesReceived;
  }

  /** A datagram that is due at `nowUs`, or `undefined`. Call until it returns `undefined`. */
  pollTransmit(nowUs: number): Uint8Array | undefined {
    const { reply } = this;
    if (reply === undefined || this.failure !== undefined || this.result !== undefined) return undefined;
    if (nowUs < this.sendAtUs || nowUs >= this.deadlineUs || this.isBlocked) return undefined;
    this.lastSentAtUs = nowUs;
    this.sendAtUs = nowUs + this.repeatUs;
    this.repeatUs = Math.min(this.repeatUs * 2, HANDSHAKE_REPEAT_MAX_US);
    this.datagramsSent++;
    this.bytesSent += reply.length;
    return reply;
  }

  private get deadlineUs(): number {
    return this.startedAtUs + HANDSHAKE_DEADLINE_US;
  }

  /** When to call `handleTimeout` (and then `pollTransmit`) next; `undefined` when there is nothing to wait for. */
  nextTimeoutUs(): number | undefined {
    if (this.failure !== undefined || this.result !== undefined) return undefined;
    if (this.reply === undefined || this.isBlocked) return this.deadlineUs;
    return Math.min(this.sendAtUs, this.deadlineUs);
  }

  /** Ends the handshake once its deadline has passed. */
  handleTimeout(nowUs: number): void {
    if (this.failure !== undefined || this.result !== undefined) return;
    if (nowUs >= this.deadlineUs) this.failure = handshakeTimeout();
  }
}

/** Whether a packet is a repetition of the INIT that was accepted; only the cookie may differ. */
function sameInit(packet: LongPacket, init: LongPacket): boolean {
  return (
    packet.version === init.version &&
    packet.psk === init.psk &&
    equalBytes(packet.destinationId, init.destinationId) &&
    equalBytes(packet.sourceId, init.sourceId) &&
    equalBytes(packet.payload, init.payload)
  );
}
