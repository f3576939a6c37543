/**
 * The side that shows a pairing code: answers PAIR, hands out the secret of an attempt for its one
 * INIT, and counts wrong guesses. Pure; the endpoint asks it after the handshake's door.
 *
 * Source: docs/spec/pairing.md.
 */
import { equalBytes, toHex } from "../../base/bytes.ts";
import {
  HANDSHAKE_DEADLINE_US,
  PAIRING_ATTEMPTS,
  PAIRING_ATTEMPTS_PER_SOURCE,
  PAIRING_CODE_LIFETIME_US,
  PAIRING_GUESSES,
} from "../../base/limits.ts";
import { ADDRESS_WORDS, addressBytes } from "../../wire/address.ts";
import { LONG_TYPE, encodeLongPacket, type LongPacket } from "../../wire/header.ts";
import { encodePairingReply, type PairingStatus } from "../../wire/pairing.ts";
import type { CryptoProvider } from "../crypto.ts";
import type { Pake } from "./pake.ts";
import { pairingSecret, startPairing } from "./pairing-secret.ts";

const EMPTY = new Uint8Array(0);

/** One exchange between PAIR and INIT. */
export interface PairingAttempt {
  /** Pre-shared key of its handshake. */
  readonly psk: Uint8Array;
  readonly source: string;
  readonly untilUs: number;
  /** The initiator's share, and the answer to it, for a repeated PAIR. */
  readonly peerShare: Uint8Array;
  readonly answer: Uint8Array;
  state: "open" | "admitted" | "wrong";
}

/** What is the matter with a code. */
export type CodeState = "open" | Exclude<PairingStatus, "share" | "wrong" | "none">;

/** What a desk is made of. */
export interface PairingDeskOptions {
  readonly crypto: CryptoProvider;
  readonly pake: Pake;
  readonly code: Uint8Array;
  /** Called when an INIT under a wrong code arrived, with the guesses that are left. */
  readonly onWrongGuess?: ((guessesLeft: number) => void) | undefined;
  readonly nowUs: number;
}

/** One code and everything that was tried with it. */
export class PairingDesk {
  private readonly options: PairingDeskOptions;
  private readonly expiresAtUs: number;
  private readonly attempts = new Map<string, PairingAttempt>();
  private isUsed = false;
  private guesses = PAIRING_GUESSES;

  constructor(options: PairingDeskOptions) {
    this.options = options;
    this.expiresAtUs = options.nowUs + PAIRING_CODE_LIFETIME_US;
  }

  /** Wrong codes that may still be tried. */
  get guessesLeft(): number {
    return this.guesses;
  }

  /** Attempts held. */
  get attemptCount(): number {
    return this.attempts.size;
  }

  /** Whether the code is good at `nowUs`, or why it is not. */
  stateAt(nowUs: number): CodeState {
    if (this.isUsed) return "used";
    if (this.guesses === 0) return "burnt";
    return nowUs >= this.expiresAtUs ? "expired" : "open";
  }

  /**
   * Answers a PAIR from an address that showed a cookie. `undefined`: nothing is said.
   */
  handlePair(
    packet: LongPacket,
    addresses: Int32Array,
    addressIndex: number,
    nowUs: number,
  ): Uint8Array | undefined {
    const state = this.stateAt(nowUs);
    if (state !== "open") return pairReply(packet, state, this.guesses);
    this.forgetOld(nowUs);
    const name = attemptName(packet, addresses, addressIndex);
    const known = this.attempts.get(name);
    if (known !== undefined) {
      // PAIRING §5: the same share again gets the same answer; another one would be a second guess.
      return equalBytes(known.peerShare, packet.payload) ? known.answer : undefined;
    }
    const source = sourceName(addresses, addressIndex);
    let ofSource = 0;
    for (const attempt of this.attempts.values()) if (attempt.source === source) ofSource++;
    if (this.attempts.size >= PAIRING_ATTEMPTS || ofSource >= PAIRING_ATTEMPTS_PER_SOURCE) return undefined;
    const { crypto, pake, code } = this.options;
    const run = startPairing(pake, code, packet.destinationId, packet.sourceId);
    const psk = pairingSecret(crypto, run, packet.payload, false);
    // Not a point of the group: no honest peer sends that. PAIRING §3.
    if (psk === undefined) return undefined;
    const answer = pairReply(packet, "share", this.guesses, run.share);
    const untilUs = nowUs + HANDSHAKE_DEADLINE_US;
    this.attempts.set(name, { psk, source, untilUs, peerShare: packet.payload, answer, state: "open" });
    return answer;
  }

  /** The attempt that an INIT with a pre-shared key belongs to, or what to answer, or neither. */
  handleInit(
    packet: LongPacket,
    addresses: Int32Array,
    addressIndex: number,
    nowUs: number,
  ): PairingAttempt | Uint8Array | undefined {
    this.forgetOld(nowUs);
    const attempt = this.attempts.get(attemptName(packet, addresses, addressIndex));
    if (attempt === undefined || attempt.state === "admitted") return undefined;
    if (attempt.state === "wrong") return this.wrongReply(packet);
    const state = this.stateAt(nowUs);
    return state === "open" ? attempt : pairReply(packet, state, this.guesses);
  }

  /** The INIT of an attempt opened under its key: the initiator knows the code. */
  admit(attempt: PairingAttempt): void {
    attempt.state = "admitted";
  }

  /** The INIT of an attempt did not open under its key: that was a guess. Returns the answer. */
  refuse(attempt: PairingAttempt, packet: LongPacket): Uint8Array {
    attempt.state = "wrong";
    this.guesses = Math.max(0, this.guesses - 1);
    this.options.onWrongGuess?.(this.guesses);
    return this.wrongReply(packet);
  }

  /** An admitted initiator proved its identity. False if somebody else was faster with the same code. */
  complete(): boolean {
    if (this.isUsed || this.guesses === 0) return false;
    this.isUsed = true;
    return true;
  }

  private wrongReply(packet: LongPacket): Uint8Array {
    return pairReply(packet, "wrong", this.guesses);
  }

  private forgetOld(nowUs: number): void {
    // In the order of their age: all live equally long.
    for (const [name, { untilUs }] of this.attempts) {
      if (untilUs > nowUs) return;
      this.attempts.delete(name);
    }
  }
}

/** A PAIR_REPLY to a packet, shorter than any PAIR or INIT. */
export function pairReply(
  packet: LongPacket,
  status: PairingStatus,
  guessesLeft: number,
  share: Uint8Array = EMPTY,
): Uint8Array {
  return encodeLongPacket({
    type: LONG_TYPE.pairReply,
    psk: true,
    version: packet.version,
    destinationId: packet.sourceId,
    sourceId: packet.destinationId,
    token: EMPTY,
    payload: encodePairingReply({ status, guessesLeft, share }),
  });
}

/** An attempt belongs to an address with its port and to both ids. */
function attemptName(packet: LongPacket, addresses: Int32Array, addressIndex: number): string {
  const source = toHex(addressBytes(addresses, addressIndex));
  return `${source}/${toHex(packet.destinationId)}/${toHex(packet.sourceId)}`;
}

/** An address without its port. */
function sourceName(addresses: Int32Array, addressIndex: number): string {
  return addresses.slice(addressIndex * ADDRESS_WORDS, addressIndex * ADDRESS_WORDS + 4).join(".");
}
