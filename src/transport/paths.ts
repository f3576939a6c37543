/**
 * The addresses of the peer: which one is used, which one is being validated, and what a peer can
 * force us to send to addresses that are not validated. Sources: RFC 9000 §8, §9.
 *
 * Data moves only to a validated address: when the newest packet comes from elsewhere, that address
 * is probed first (one round trip) and the connection moves once it answered.
 */
import { AMPLIFICATION_FACTOR, FORCED_REPLIES_PENDING } from "../base/limits.ts";
import type { RandomBytes } from "../base/random.ts";
import { ADDRESS_WORDS, copyAddress, sameAddress } from "../wire/address.ts";
import { PATH_CHALLENGE_BYTES, PATH_DATA_FRAME_BYTES } from "../wire/frames.ts";
import { SHORT_HEADER_BYTES } from "../wire/header.ts";
import { TAG_BYTES } from "./crypto.ts";

/** Challenges sent to one new address before it is given up until a newer packet comes from it. */
const CHALLENGES_PER_CANDIDATE = 5;

/** Bytes of a packet with a challenge and nothing else. */
const SMALLEST_CHALLENGE_BYTES = SHORT_HEADER_BYTES + PATH_DATA_FRAME_BYTES + TAG_BYTES;

/** What became of a PATH_RESPONSE. */
export interface PathChange {
  /** Whether only the port differs: a NAT rebinding, the path itself is the same. RFC 9000 §9.4. */
  readonly isRebinding: boolean;
  /** Time from the first challenge to the answer, in microseconds. */
  readonly tookUs: number;
}

interface Candidate {
  readonly address: Int32Array;
  readonly challenge: Uint8Array;
  readonly startedAtUs: number;
  challengesSent: number;
  nextChallengeAtUs: number;
  receivedBytes: number;
  sentBytes: number;
}

/** Addresses of one connection's peer. */
export class Paths {
  /** The address in use: six words. */
  readonly current = new Int32Array(ADDRESS_WORDS);
  private readonly randomBytes: RandomBytes;
  private isValidated: boolean;
  private receivedBytes = 0;
  private sentBytes = 0;
  private candidate: Candidate | undefined;
  // Responses to send: ring of challenge data and addresses.
  private readonly responseData = new Uint8Array(FORCED_REPLIES_PENDING * PATH_CHALLENGE_BYTES);
  private readonly responseTo = new Int32Array(FORCED_REPLIES_PENDING * ADDRESS_WORDS);
  private readonly responseBytes = new Int32Array(FORCED_REPLIES_PENDING);
  private responseFirst = 0;
  private responseCount = 0;
  /** Size of the datagram that the challenge taken last shall travel in. */
  challengeDatagramBytes = 0;
  /** Path responses that were dropped because too many were waiting. */
  droppedResponses = 0;

  constructor(address: Int32Array, isValidated: boolean, randomBytes: RandomBytes) {
    copyAddress(address, 0, this.current, 0);
    this.isValidated = isValidated;
    this.randomBytes = randomBytes;
  }

  /** Whether the address in use is known to receive. */
  get isCurrentValidated(): boolean {
    return this.isValidated;
  }

  /** The handshake proved that the peer receives at the present address. */
  handleValidated(): void {
    this.isValidated = true;
  }

  /** Bytes that may still be sent to the address in use. */
  get currentBudgetBytes(): number {
    return this.isValidated ? Infinity : AMPLIFICATION_FACTOR * this.receivedBytes - this.sentBytes;
  }

  /** Counts bytes sent to the address in use. */
  handleSent(bytes: number): void {
    if (!this.isValidated) this.sentBytes += bytes;
  }

  /**
   * Counts an authentic datagram. `isNewest`: it has the largest packet number so far and carries
   * more than probing frames. Returns true if probing of a new address begins.
   */
  handleReceived(
    addresses: Int32Array,
    index: number,
    bytes: number,
    isNewest: boolean,
    nowUs: number,
  ): boolean {
    if (sameAddress(addresses, index, this.current, 0)) {
      if (!this.isValidated) this.receivedBytes += bytes;
      // RFC 9000 §9.3.3: the peer is (also) still here, so a copy sent from elsewhere moves nothing.
      if (isNewest && this.candidate !== undefined && this.candidate.challengesSent > 1)
        this.candidate = undefined;
      return false;
    }
    const { candidate } = this;
    if (candidate !== undefined && sameAddress(addresses, index, candidate.address, 0)) {
      candidate.receivedBytes += bytes;
      return false;
    }
    if (!isNewest) return false;
    const address = new Int32Array(ADDRESS_WORDS);
    copyAddress(addresses, index, address, 0);
    this.candidate = {
      address,
      challenge: this.randomBytes(new Uint8Array(PATH_CHALLENGE_BYTES)),
      startedAtUs: nowUs,
      challengesSent: 0,
      nextChallengeAtUs: nowUs,
      receivedBytes: bytes,
      sentBytes: 0,
    };
    return true;
  }

  /** Address that is being validated, or `undefined`. */
  get candidateAddress(): Int32Array | undefined {
    return this.candidate?.address;
  }

  /** When the next challenge is due (or the candidate is given up), or `undefined`. */
  get timeoutUs(): number | undefined {
    return this.candidate?.nextChallengeAtUs;
  }

  /**
   * Data of the challenge to send now to `candidateAddress`, or `undefined`; `challengeDatagramBytes`
   * tells how large its datagram may be.
   *
   * @param intervalUs - Time until it is repeated; doubles each time.
   */
  takeChallenge(datagramBytes: number, intervalUs: number, nowUs: number): Uint8Array | undefined {
    const { candidate } = this;
    if (candidate === undefined || nowUs < candidate.nextChallengeAtUs) return undefined;
    if (candidate.challengesSent >= CHALLENGES_PER_CANDIDATE) {
      this.candidate = undefined;
      return undefined;
    }
    candidate.nextChallengeAtUs = nowUs + intervalUs * (1 << candidate.challengesSent);
    candidate.challengesSent++;
    // RFC 9000 §8.1: three times what came from there, and at most that.
    const budget = AMPLIFICATION_FACTOR * candidate.receivedBytes - candidate.sentBytes;
    if (budget < SMALLEST_CHALLENGE_BYTES) return undefined;
    this.challengeDatagramBytes = Math.min(datagramBytes, budget);
    candidate.sentBytes += this.challengeDatagramBytes;
    return candidate.challenge;
  }

  /** Takes a PATH_RESPONSE: moves to the candidate if the data fits. RFC 9000 §8.2.3. */
  handleResponse(bytes: Uint8Array, at: number, nowUs: number): PathChange | undefined {
    const { candidate } = this;
    if (candidate === undefined) return undefined;
    for (let i = 0; i < PATH_CHALLENGE_BYTES; i++)
      if (bytes[at + i] !== candidate.challenge[i]) return undefined;
    let isRebinding = true;
    for (let i = 0; i < 4; i++) if (candidate.address[i] !== this.current[i]) isRebinding = false;
    copyAddress(candidate.address, 0, this.current, 0);
    this.isValidated = true;
    this.candidate = undefined;
    return { isRebinding, tookUs: nowUs - candidate.startedAtUs };
  }

  /** Queues the answer to a PATH_CHALLENGE that came in a datagram of `datagramBytes` from an address. */
  handleChallenge(
    bytes: Uint8Array,
    at: number,
    addresses: Int32Array,
    index: number,
    datagramBytes: number,
  ): void {
    if (this.responseCount === FORCED_REPLIES_PENDING) {
      this.droppedResponses++;
      return;
    }
    const slot = (this.responseFirst + this.responseCount++) % FORCED_REPLIES_PENDING;
    for (let i = 0; i < PATH_CHALLENGE_BYTES; i++)
      this.responseData[slot * PATH_CHALLENGE_BYTES + i] = bytes[at + i];
    copyAddress(addresses, index, this.responseTo, slot);
    this.responseBytes[slot] = datagramBytes;
  }

  /** Whether a PATH_RESPONSE waits to be sent. */
  get hasResponse(): boolean {
    return this.responseCount > 0;
  }

  /** The oldest waiting response: offset of its data in `responseSource`, index of its address in `responseAddresses`. */
  get responseSlot(): number {
    return this.responseFirst;
  }

  /** Data of all waiting responses, 8 bytes for each slot. */
  get responseSource(): Uint8Array {
    return this.responseData;
  }

  /** Addresses of all waiting responses, by slot. */
  get responseAddresses(): Int32Array {
    return this.responseTo;
  }

  /**
   * Bytes of the datagram that asked: the answer is not larger, which keeps the reply to a forged
   * source address below what was received from it.
   */
  get responseLimitBytes(): number {
    return this.responseBytes[this.responseFirst];
  }

  /** The oldest waiting response was sent. */
  dropResponse(): void {
    this.responseFirst = (this.responseFirst + 1) % FORCED_REPLIES_PENDING;
    this.responseCount--;
  }
}
