/**
 * The side that typed in a pairing code: PAIR and PAIR_REPLY first, then a handshake under the secret
 * they gave. To a connection both look like one handshake. Pure, like the handshake itself.
 *
 * Source: docs/spec/pairing.md.
 */
import { equalBytes } from "../../base/bytes.ts";
import { DecodeError, GodwitError } from "../../base/errors.ts";
import { HANDSHAKE_DEADLINE_US, MIN_DATAGRAM_BYTES, RETRIES_PER_HANDSHAKE } from "../../base/limits.ts";
import { counted } from "../../base/units.ts";
import { newConnectionId } from "../../wire/connection-id.ts";
import {
  LONG_TYPE,
  SUPPORTED_VERSIONS,
  decodeLongPacket,
  encodeLongPacket,
  type LongPacket,
} from "../../wire/header.ts";
import { decodePairingReply, type PairingReply, type PairingStatus } from "../../wire/pairing.ts";
import {
  HANDSHAKE_REPEAT_MAX_US,
  HANDSHAKE_REPEAT_US,
  handshakeTimeout,
  type HandshakeOptions,
  type HandshakeResult,
} from "../handshake/configuration.ts";
import { HandshakeInitiator } from "../handshake/initiator.ts";
import type { Pake, PakeRun } from "./pake.ts";
import { pairingSecret, startPairing } from "./pairing-secret.ts";

const EMPTY = new Uint8Array(0);

/** What pairing needs beside a handshake. */
export interface PairingInitiatorOptions extends HandshakeOptions {
  readonly pake: Pake;
  readonly code: Uint8Array;
}

/** The initiator of one pairing: one guess. */
export class PairingInitiator {
  private readonly options: PairingInitiatorOptions;
  private readonly destinationId: Uint8Array;
  private readonly run: PakeRun;
  private readonly deadlineUs: number;
  private handshake: HandshakeInitiator | undefined;
  private ownFailure: GodwitError | undefined;
  private token: Uint8Array = EMPTY;
  private retries = 0;
  private sendAtUs: number;
  private repeatUs = HANDSHAKE_REPEAT_US;

  /** Begins at `nowUs`; the first datagram waits in `pollTransmit`. */
  constructor(options: PairingInitiatorOptions, nowUs: number) {
    this.options = options;
    this.destinationId = newConnectionId(options.crypto.randomBytes);
    this.run = startPairing(options.pake, options.code, this.destinationId, options.localConnectionId);
    this.deadlineUs = nowUs + HANDSHAKE_DEADLINE_US;
    this.sendAtUs = nowUs;
  }

  /** Set when the responder proved that it knows the code, and who it is. */
  get result(): HandshakeResult | undefined {
    return this.handshake?.result;
  }

  /** Set when pairing has ended without success. */
  get failure(): GodwitError | undefined {
    return this.ownFailure ?? this.handshake?.failure;
  }

  /** Takes a long-header datagram that carries this side's connection id. */
  handlePacket(datagram: Uint8Array, nowUs: number): void {
    if (this.failure !== undefined) return;
    const packet = parse(datagram);
    if (packet === undefined) return;
    const isOurs =
      packet.version === SUPPORTED_VERSIONS[0] &&
      equalBytes(packet.destinationId, this.options.localConnectionId) &&
      equalBytes(packet.sourceId, this.destinationId);
    if (packet.type === LONG_TYPE.pairReply) {
      if (isOurs && this.result === undefined) this.handleReply(packet, nowUs);
    } else if (this.handshake !== undefined) this.handshake.handlePacket(datagram, nowUs);
    else if (isOurs && packet.type === LONG_TYPE.retry) this.handleRetry(packet, nowUs);
  }

  /** HANDSHAKE §9.3, for PAIR. */
  private handleRetry(packet: LongPacket, nowUs: number): void {
    if (packet.token.length === 0 || this.retries >= RETRIES_PER_HANDSHAKE) return;
    if (equalBytes(packet.token, this.token)) return;
    this.retries++;
    this.token = packet.token;
    this.sendAtUs = nowUs;
  }

  private handleReply(packet: LongPacket, nowUs: number): void {
    let reply: PairingReply;
    try {
      reply = decodePairingReply(packet.payload);
    } catch (error) {
      if (error instanceof DecodeError) return;
      throw error;
    }
    if (reply.status !== "share") {
      this.ownFailure = refusedCode(reply.status, reply.guessesLeft);
      return;
    }
    // A repeated answer: the handshake goes on already. PAIRING §5: one share is one guess.
    if (this.handshake !== undefined) return;
    const psk = pairingSecret(this.options.crypto, this.run, reply.share, true);
    if (psk === undefined) return;
    this.handshake = new HandshakeInitiator(
      { ...this.options, psk, firstDestinationId: this.destinationId },
      nowUs,
    );
  }

  /** See HandshakeInitiator. */
  handleConfirmed(): void {
    this.handshake?.handleConfirmed();
  }

  /** A datagram that is due at `nowUs`, or `undefined`. Call until it returns `undefined`. */
  pollTransmit(nowUs: number): Uint8Array | undefined {
    if (this.failure !== undefined) return undefined;
    if (this.handshake !== undefined) return this.handshake.pollTransmit(nowUs);
    if (nowUs < this.sendAtUs || nowUs >= this.deadlineUs) return undefined;
    this.sendAtUs = nowUs + this.repeatUs;
    this.repeatUs = Math.min(this.repeatUs * 2, HANDSHAKE_REPEAT_MAX_US);
    return encodeLongPacket(
      {
        type: LONG_TYPE.pair,
        psk: true,
        version: SUPPORTED_VERSIONS[0],
        destinationId: this.destinationId,
        sourceId: this.options.localConnectionId,
        token: this.token,
        payload: this.run.share,
      },
      MIN_DATAGRAM_BYTES,
    );
  }

  /** When to call `handleTimeout` (and then `pollTransmit`) next. */
  nextTimeoutUs(): number | undefined {
    if (this.failure !== undefined) return undefined;
    if (this.handshake !== undefined) return this.handshake.nextTimeoutUs();
    return Math.min(this.sendAtUs, this.deadlineUs);
  }

  /** Ends the pairing once its deadline has passed. */
  handleTimeout(nowUs: number): void {
    if (this.failure !== undefined) return;
    if (this.handshake !== undefined) this.handshake.handleTimeout(nowUs);
    else if (nowUs >= this.deadlineUs) this.ownFailure = handshakeTimeout();
  }
}

/** Why a code was not taken, for the person who typed it in. */
function refusedCode(status: Exclude<PairingStatus, "share">, guessesLeft: number): GodwitError {
  const again = "start godwit serve there again for a new code";
  const texts: Readonly<Record<typeof status, string>> = {
    wrong:
      guessesLeft > 0
        ? `the pairing code is wrong; ${counted(guessesLeft, "attempt")} left with this code`
        : `the pairing code is wrong, and it is dead now after too many attempts; ${again}`,
    burnt: `the pairing code is dead: too many wrong ones were tried; ${again}`,
    expired: `the pairing code is dead: it is older than ten minutes; ${again}`,
    used: `the pairing code is dead: it was used already, and a code works once; ${again}`,
    none: "no pairing code is shown there; compare fingerprints instead (--pin), or start godwit serve there without --no-code and --open",
  };
  return new GodwitError("WRONG_CODE", texts[status]);
}

function parse(datagram: Uint8Array): LongPacket | undefined {
  try {
    return decodeLongPacket(datagram, 0, datagram.length);
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}
